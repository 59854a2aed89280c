"""Writing sub-executions that are over already: their rows as they would stand after claims and commits of their own.

Within the transaction of ``ChunkStore.write``, or as parts of the one statement of ``store.fused_chunks``. Most of a
chunk is the same for all of it, so it is sent once; what differs goes to PostgreSQL as one JSON document: arrays would
do as well, but the driver takes long to quote them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.model.json_text import to_json_text
from orchestrator.store.changes import EndedChild
from orchestrator.store.kinds import Method
from orchestrator.store.rows import ClaimedChunk, dump_parameters
from orchestrator.store.tables import executions, history

INSERT_EXECUTIONS: Final = """
INSERT INTO executions (
  project, location, integration, version_id, trigger_id, method, executor, root_id,
  parent_id, parent_task, parent_attempt, parent_round, priority,
  id, state, revision, progress, request, response, error, position, created_at, ended_at, updated_at
)
SELECT
  %(project)s, %(location)s, %(integration)s, %(version_id)s, %(trigger_id)s, %(method)s, %(executor)s, %(root_id)s,
  %(parent_id)s, %(parent_task)s, %(parent_attempt)s, %(parent_round)s, %(priority)s,
  own.*, own.ended_at
FROM json_to_recordset(%(executions)s::json) AS own (
  id text, state text, revision int, progress text, request text, response text, error text, position int,
  created_at timestamptz, ended_at timestamptz
)
"""
INSERT_HISTORY: Final = """
INSERT INTO history (execution_id, revision, entry)
SELECT * FROM json_to_recordset(%(entries)s::json) AS own (execution_id text, revision int, entry text)
"""


def insert_ended(connection: sa.Connection, claimed: ClaimedChunk, ended: Sequence[EndedChild]) -> None:
    """The executions and their history."""
    if not ended:
        return
    if connection.dialect.name == "sqlite":
        shared = _shared(claimed)
        rows = [shared | row | {"updated_at": row["ended_at"]} for row in map(_own, ended)]
        connection.execute(sa.insert(executions), rows)
        if entries := _entries(ended):
            connection.execute(sa.insert(history), entries)
    else:
        values = texts_of_ended(claimed, ended)
        connection.exec_driver_sql(INSERT_EXECUTIONS, values)
        connection.exec_driver_sql(INSERT_HISTORY, values)


def texts_of_ended(claimed: ClaimedChunk, ended: Sequence[EndedChild]) -> dict[str, Any]:
    """What the two statements take."""
    own = [_own(each) for each in ended]
    return _shared(claimed) | {
        "executions": json.dumps(own, default=datetime.isoformat),
        "entries": json.dumps(_entries(ended)),
    }


def _entries(ended: Sequence[EndedChild]) -> list[dict[str, Any]]:
    return [
        {"execution_id": each.id, "revision": revision, "entry": to_json_text(entry.to_json())}
        for each in ended
        for revision, entry in enumerate(each.entries, 1)
    ]


def _shared(claimed: ClaimedChunk) -> dict[str, Any]:
    chunk = claimed.chunk
    return {
        "project": claimed.project,
        "location": claimed.location,
        "integration": claimed.integration,
        "version_id": chunk.version_id,
        "trigger_id": chunk.trigger_id,
        "method": Method.POST.value,
        "executor": chunk.executor,
        "root_id": claimed.root_id,
        "parent_id": chunk.key.execution_id,
        "parent_task": chunk.key.number,
        "parent_attempt": chunk.key.attempt,
        "parent_round": chunk.key.round,
        "priority": chunk.priority,
    }


def _own(child: EndedChild) -> dict[str, Any]:
    outcome = child.outcome
    return {
        "id": child.id,
        "state": outcome.state.value,
        "revision": len(child.entries),
        "progress": child.progress,
        "request": child.request,
        "response": dump_parameters(outcome.response),
        "error": None if outcome.error is None else to_json_text(outcome.error.to_json()),
        "position": child.position,
        "created_at": child.began_at,
        "ended_at": child.ended_at,
    }

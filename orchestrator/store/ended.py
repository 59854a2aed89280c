"""Writing sub-executions that are over already: their rows as they would stand after claims and commits of their own.

Within the transaction of ``ChunkStore.write``, or as parts of the one statement of ``store.fused_chunks``. Most of a
chunk is the same for all of it, so it is sent once; what differs goes to PostgreSQL as texts of lines, one for each
column: JSON and the ids have no line breaks in them, so nothing has to be quoted on either side. A column of no lines
is NULL in all rows, and ``one_...`` is what they have there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.model.json_text import to_json_text
from orchestrator.store.changes import EndedChild
from orchestrator.store.kinds import Method
from orchestrator.store.rows import ClaimedChunk, dump_parameters
from orchestrator.store.tables import executions, history

_OFTEN_ALIKE: Final = ("state", "revision", "progress", "response", "error")
INSERT_EXECUTIONS: Final = """
INSERT INTO executions (
  project, location, integration, version_id, trigger_id, method, executor, root_id,
  parent_id, parent_task, parent_attempt, parent_round, priority,
  id, state, revision, progress, request, response, error, position, created_at, ended_at, updated_at
)
SELECT
  %(project)s, %(location)s, %(integration)s, %(version_id)s, %(trigger_id)s, %(method)s, %(executor)s, %(root_id)s,
  %(parent_id)s, %(parent_task)s, %(parent_attempt)s, %(parent_round)s, %(priority)s,
  own.id, coalesce(own.state, %(one_state)s), coalesce(own.revision, %(one_revision)s),
  coalesce(own.progress, %(one_progress)s), own.request, coalesce(own.response, %(one_response)s),
  coalesce(own.error, %(one_error)s), own.position, own.created_at, own.ended_at, own.ended_at
FROM unnest(
  string_to_array(%(id)s, E'\n'), string_to_array(%(state)s, E'\n'), string_to_array(%(revision)s, E'\n')::int[],
  string_to_array(%(progress)s, E'\n'), string_to_array(%(request)s, E'\n'), string_to_array(%(response)s, E'\n'),
  string_to_array(%(error)s, E'\n', ''), string_to_array(%(position)s, E'\n')::int[],
  string_to_array(%(created_at)s, E'\n')::timestamptz[], string_to_array(%(ended_at)s, E'\n')::timestamptz[]
) AS own (id, state, revision, progress, request, response, error, position, created_at, ended_at)
"""
INSERT_HISTORY: Final = """
INSERT INTO history (execution_id, revision, entry)
SELECT * FROM unnest(
  string_to_array(%(of_execution_id)s, E'\n'), string_to_array(%(of_revision)s, E'\n')::int[],
  string_to_array(%(of_entry)s, E'\n')
)
"""


def insert_ended(connection: sa.Connection, claimed: ClaimedChunk, ended: Sequence[EndedChild]) -> None:
    """The executions and their history."""
    if not ended:
        return
    if connection.dialect.name == "sqlite":
        shared, own, entries = _shared(claimed), _own(ended), _entries(ended)
        rows = [shared | dict(zip(own, row, strict=True)) for row in zip(*own.values(), strict=True)]
        connection.execute(sa.insert(executions), [row | {"updated_at": row["ended_at"]} for row in rows])
        if entries["entry"]:
            lines = zip(*entries.values(), strict=True)
            connection.execute(sa.insert(history), [dict(zip(entries, line, strict=True)) for line in lines])
    else:
        values = lines_of_ended(claimed, ended)
        connection.exec_driver_sql(INSERT_EXECUTIONS, values)
        connection.exec_driver_sql(INSERT_HISTORY, values)


def lines_of_ended(claimed: ClaimedChunk, ended: Sequence[EndedChild]) -> dict[str, Any]:
    """What the two statements take."""
    own = _own(ended)
    values = _shared(claimed)
    for name in _OFTEN_ALIKE:
        first = own[name][0]
        is_one = own[name].count(first) == len(ended)
        values[f"one_{name}"] = first if is_one else None
        if is_one:
            own[name] = []
    for name in ("created_at", "ended_at"):
        own[name] = [each.isoformat() for each in own[name]]
    entries = {f"of_{name}": column for name, column in _entries(ended).items()}
    return values | {name: _lines(column) for name, column in (own | entries).items()}


def _lines(column: list[Any]) -> str:
    return "\n".join(["" if each is None else str(each) for each in column])


def _entries(ended: Sequence[EndedChild]) -> dict[str, list[Any]]:
    """The rows of their history, by column."""
    return {
        "execution_id": [each.id for each in ended for _ in each.entries],
        "revision": [revision for each in ended for revision in range(1, len(each.entries) + 1)],
        "entry": [entry.to_text() for each in ended for entry in each.entries],
    }


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


def _own(ended: Sequence[EndedChild]) -> dict[str, list[Any]]:
    """What each of them has of its own, by column."""
    outcomes = [each.outcome for each in ended]
    errors = [each.error for each in outcomes]
    return {
        "id": [each.id for each in ended],
        "state": [each.state.value for each in outcomes],
        "revision": [len(each.entries) for each in ended],
        "progress": [each.progress for each in ended],
        "request": [each.request for each in ended],
        "response": [dump_parameters(each.response) if each.response else "{}" for each in outcomes],
        "error": [None if each is None else to_json_text(each.to_json()) for each in errors],
        "position": [each.position for each in ended],
        "created_at": [each.began_at for each in ended],
        "ended_at": [each.ended_at for each in ended],
    }

"""Claim and commit of a bundle on PostgreSQL as one statement each: what ``store.fused`` says of single ones, of many.

* Nobody is waited for: what somebody else has locked is skipped. Of two messages of the same bundle the second one so
  finds nothing, and there is no order of locks to keep. What a claim has skipped is published again on its own; what a
  commit has skipped is committed on its own.
* An execution that somebody moved on is left out, and with it everything of it. An attempt that is not this worker's
  any more makes the statement fail, and so undoes it for all: by then the worker counts as dead.
* No table is joined: its rows are named by a list of keys, or by the place where they were locked. The planner, as long
  as it knows nothing of a new table, would read all of it for a join, or all of an index that has the key second.
* Of an execution as it was made one attempt lives, and a commit here is its first change: so what this worker holds of
  it is that attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from types import SimpleNamespace
from typing import Any, Final

from orchestrator.model.json_text import to_json_text
from orchestrator.model.states import ExecutionState
from orchestrator.store import fused
from orchestrator.store.arrays import to_array
from orchestrator.store.changes import Commit, Refusal, Written
from orchestrator.store.database import Database
from orchestrator.store.kinds import AttemptKey, owner_of
from orchestrator.store.rows import Claimed, StoredExecution, dump_parameters, load_parameters, to_stored
from orchestrator.store.tables import executions

_OWN: Final = ("id", "revision", "progress", "request", "created_at", "updated_at", "request_id", "is_limited")
_SHARED: Final = tuple(each.name for each in executions.c if each.name not in _OWN)
_ATTEMPT: Final = ("task_number", "attempt", "attempt_executor")

_CLAIM: Final = """
WITH wanted AS MATERIALIZED (
  SELECT executions.*, task_number, attempt, attempt_executor
  FROM (
    SELECT execution_id, task_number, attempt, executor AS attempt_executor FROM live_attempts
    WHERE rides_with = %(first)s AND phase = 'run' AND (worker IS NULL{or_again})
      AND (SELECT signal FROM executions WHERE id = live_attempts.execution_id) IS NULL
    FOR UPDATE SKIP LOCKED
  ) AS free, LATERAL (SELECT * FROM executions WHERE id = free.execution_id LIMIT 1) AS executions
), taken AS (
  UPDATE live_attempts SET worker = %(worker)s, owner = %(owner)s, started_at = clock_timestamp()
  WHERE rides_with = %(first)s AND execution_id = ANY(ARRAY(SELECT id FROM wanted))
  RETURNING execution_id, started_at
), {begun}, one AS MATERIALIZED (
  SELECT min(execution_id) AS id FROM taken
)
SELECT {own}, taken.started_at, clock_timestamp(), {shared}, set_config('synchronous_commit', 'off', true)
FROM wanted JOIN taken ON taken.execution_id = wanted.id, one
ORDER BY wanted.id
"""
_OF_ONE: Final = "CASE WHEN wanted.id = one.id THEN wanted.{} END"  # the others have the same
_PARTS: Final = {
    "begun": fused.BEGUN,
    "own": ", ".join(f"wanted.{name}" for name in (*_OWN, *_ATTEMPT)),
    "shared": ", ".join(map(_OF_ONE.format, _SHARED)),
}
_CLAIM_FREE: Final = _CLAIM.format(**_PARTS, or_again="")
_CLAIM_AGAIN: Final = _CLAIM.format(**_PARTS, or_again=" OR worker = %(worker)s")

_COMMIT: Final = """
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(%(ids)s::text[], %(revisions)s::int[], %(next_revisions)s::int[], %(states)s::text[],
    %(progresses)s::text[], %(responses)s::text[], %(errors)s::text[])
    WITH ORDINALITY AS given (id, revision, next_revision, state, progress, response, error, place)
), locked AS MATERIALIZED (
  SELECT ctid AS place, id, revision, signal FROM executions WHERE id = ANY(%(ids)s::text[])
  FOR NO KEY UPDATE SKIP LOCKED
), advanced AS (
  UPDATE executions
  SET state = given.state, revision = given.next_revision, progress = given.progress, response = given.response,
    error = given.error, updated_at = clock_timestamp(), ended_at = clock_timestamp()
  FROM given JOIN locked ON locked.id = given.id AND locked.revision = given.revision AND locked.signal IS NULL
  WHERE executions.ctid = locked.place
  RETURNING executions.id, given.place
), released AS (
  DELETE FROM live_attempts WHERE execution_id = ANY(ARRAY(SELECT id FROM advanced)) AND worker = %(worker)s
  RETURNING 1
), recorded AS (
  INSERT INTO history (execution_id, revision, entry)
  SELECT advanced.id, line.revision, line.entry
  FROM unnest(%(places)s::int[], %(lines)s::int[], %(entries)s::text[]) AS line (place, revision, entry)
    JOIN advanced ON advanced.place = line.place
)
SELECT ARRAY(SELECT id FROM advanced),
  1 / (CASE WHEN (SELECT count(*) FROM advanced) <> (SELECT count(*) FROM released) THEN 0 ELSE 1 END)
"""


def claim(database: Database, first_id: str, *, worker: str, is_again: bool) -> list[Claimed]:
    """What ``BundleStore.claim`` says."""
    values = {"first": first_id, "worker": worker, "owner": owner_of(worker)}
    with database.autocommit() as direct:
        rows = direct.run(_CLAIM_AGAIN if is_again else _CLAIM_FREE, values)
    if not rows:
        return []
    shared = _shared(rows[0])
    return [_to_claimed(row, shared, worker=worker) for row in rows]


def _shared(row: Sequence[Any]) -> dict[str, Any]:
    """What a whole bundle has in common, as fields of ``StoredExecution``."""
    values = dict(zip((*_OWN, *_ATTEMPT, "started_at", "clock", *_SHARED), row, strict=False))
    stored = to_stored(SimpleNamespace(**values))
    own = {*_OWN, "root_id"}
    fields = (name for name in StoredExecution.__dataclass_fields__ if name not in own)
    return {name: getattr(stored, name) for name in fields} | {"state": ExecutionState.PROCESSING}


def _to_claimed(row: Sequence[Any], shared: dict[str, Any], *, worker: str) -> Claimed:
    id_, revision, progress, request, created_at, updated_at, request_id, is_limited = row[: len(_OWN)]
    number, attempt, executor, started_at, clock = row[len(_OWN) : len(_OWN) + len(_ATTEMPT) + 2]
    stored = StoredExecution(
        id=id_,
        root_id=id_,
        revision=revision,
        progress=progress,
        request=load_parameters(request),
        created_at=created_at.astimezone(UTC),
        updated_at=updated_at.astimezone(UTC),
        request_id=request_id,
        is_limited=is_limited,
        **shared,
    )
    return Claimed(
        key=AttemptKey(execution_id=id_, number=number, attempt=attempt),
        worker=worker,
        executor=executor,
        execution=stored,
        parameters=dict(stored.request),
        started_at=started_at.astimezone(UTC),
        now=clock.astimezone(UTC),
        next_position=0,
        carry=None,
    )


def is_common(change: Commit) -> bool:
    """Whether ``commit`` can write it: the end of a root of which one attempt is held, and nothing unusual."""
    is_end = change.outcome is not None and len(change.released) == 1 and not change.ready
    is_root = change.execution.parent is None and change.execution.signal is None
    return is_end and is_root and fused.is_common(change)


def commit(database: Database, changes: Sequence[Commit]) -> Written:
    """What ``BundleStore.commit`` says."""
    try:
        with database.autocommit() as direct:
            written, _ = direct.run(_COMMIT, _values(changes))[0]
    except Exception as error:
        if getattr(error, "sqlstate", None) != fused.DIVISION_BY_ZERO:
            raise
        written = []
    missing = {each.execution.id for each in changes}.difference(written)
    return Written(refused=dict.fromkeys(missing, Refusal.STALE))


def _values(changes: Sequence[Commit]) -> dict[str, Any]:
    outcomes = [each.outcome for each in changes if each.outcome is not None]
    ends: list[tuple[Any, ...]] = []
    for change, outcome in zip(changes, outcomes, strict=True):
        revision = change.execution.revision
        error = None if outcome.error is None else to_json_text(outcome.error.to_json())
        response, following = dump_parameters(outcome.response), revision + len(change.entries)
        state, progress = change.state.value, change.progress
        ends.append((change.execution.id, revision, following, state, progress, response, error))
    lines = [
        (place, change.execution.revision + line, entry.to_text())
        for place, change in enumerate(changes, 1)
        for line, entry in enumerate(change.entries, 1)
    ]
    return {"worker": changes[0].worker} | _arrays(_ENDS, ends) | _arrays(_LINES, lines)


_ENDS: Final = ("ids", "revisions", "next_revisions", "states", "progresses", "responses", "errors")
_LINES: Final = ("places", "lines", "entries")


def _arrays(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, str]:
    """The columns of rows as arrays."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    return {name: to_array(column) for name, column in zip(names, columns, strict=True)}

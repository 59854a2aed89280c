"""Claim and commit on PostgreSQL as one statement each, in autocommit: one round trip where a transaction takes seven.

They say the same as the transactions of ``ExecutionStore``, which SQLite and the unusual commits take; the contract
tests run both. A statement is put together once for each shape of a commit and sent as text, because building and
looking up a large expression would cost more than the server takes to run it.

* The parts of a statement see one snapshot, and each waits for what it names: first the execution is moved on, then its
  attempts go, then come history, attempts and parameters, and the parent's join last. That is the order in which
  everybody locks.
* All or nothing: the parts look at ``advanced``. What cannot be known before, that an attempt is not this worker's any
  more, makes the statement fail, by a division by zero, and so undoes it.
* ``(state = 'PENDING') IS TRUE`` cannot be looked up in an index on the state. The planner, as long as it knows nothing
  of a new table, would do so, and read all that are PENDING for each claim.
* A claim may be undone by a crash of the server within a second, as ``Database.begin`` says.
* A worker that knows what it does next claims that in the same transaction, behind the commit. It then has locks on
  what it has ended, so it waits for nobody: what somebody else has locked it does not claim.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from datetime import UTC
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from orchestrator.model.json_text import to_json_text
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import Value, parse_value, to_value
from orchestrator.store.arrays import to_array as _array
from orchestrator.store.changes import Commit, Fired, Refusal
from orchestrator.store.commits import advanced, bind, join_of
from orchestrator.store.database import Database
from orchestrator.store.kinds import AttemptKey, Phase, owner_of
from orchestrator.store.rows import Claimed, StoredExecution, to_stored
from orchestrator.store.tables import Instant, executions

if TYPE_CHECKING:
    from orchestrator.store.direct import Row

DIVISION_BY_ZERO: Final = "22012"
_COLUMNS: Final = tuple(each.name for each in executions.c)
_CLAIMED: Final = (*_COLUMNS, "attempt_began_at", "next_position", "carry", "attempt_executor", "clock", "changed")
_INSTANTS: Final = (
    *(each.name for each in executions.c if isinstance(each.type, Instant)),
    "attempt_began_at",
    "clock",
)

_CLAIM: Final = """
WITH taken AS (
  UPDATE live_attempts
  SET worker = %(worker)s, owner = %(owner)s, started_at = coalesce(started_at, clock_timestamp())
  WHERE execution_id = %(b_id)s AND task_number = %(b_number)s AND attempt = %(b_attempt)s AND round = %(b_round)s
    AND phase <> 'wait' AND (worker IS NULL{or_again}){also}
    AND EXISTS (SELECT FROM executions WHERE id = %(b_id)s AND (signal IS NULL OR signal = 'STOPPING'))
  RETURNING started_at AS attempt_began_at, first_position + children AS next_position, carry,
    executor AS attempt_executor
), begun AS (
  UPDATE executions SET state = 'PROCESSING', updated_at = clock_timestamp()
  WHERE id IN (SELECT id FROM executions
      WHERE id = %(b_id)s AND (state = 'PENDING') IS TRUE FOR NO KEY UPDATE SKIP LOCKED)
    AND EXISTS (SELECT FROM taken)
)
SELECT {columns}, taken.*, clock_timestamp(),
  (SELECT json_object_agg(key, value) FROM parameters WHERE execution_id = %(b_id)s){durable}
FROM taken, executions WHERE executions.id = %(b_id)s
"""
_OF_EXECUTION: Final = ", ".join(f"executions.{name}" for name in _COLUMNS)
_UNDOABLE: Final = ",\n  set_config('synchronous_commit', 'off', true)"
_NOT_LOCKED: Final = """
    AND ctid IN (SELECT ctid FROM live_attempts
      WHERE execution_id = %(b_id)s AND task_number = %(b_number)s AND attempt = %(b_attempt)s AND round = %(b_round)s
      FOR NO KEY UPDATE SKIP LOCKED)"""
_CLAIM_FREE: Final = _CLAIM.format(columns=_OF_EXECUTION, or_again="", also="", durable=_UNDOABLE)
_CLAIM_AGAIN: Final = _CLAIM.format(
    columns=_OF_EXECUTION, or_again=" OR worker = %(worker)s", also="", durable=_UNDOABLE
)
_CLAIM_NEXT: Final = _CLAIM.format(columns=_OF_EXECUTION, or_again="", also=_NOT_LOCKED, durable="")

BEGUN: Final = """begun AS (
  UPDATE executions SET state = 'PROCESSING', updated_at = clock_timestamp()
  WHERE id = ANY(ARRAY(
    SELECT id FROM executions
    WHERE id = ANY(ARRAY(SELECT execution_id FROM taken)) AND (state = 'PENDING') IS TRUE
    FOR NO KEY UPDATE SKIP LOCKED))
)"""
"""The executions of many attempts that were taken, as part of a claim."""

_CLAIM_EACH: Final = """
WITH wanted AS MATERIALIZED (
  SELECT * FROM unnest(%(ids)s::text[], %(numbers)s::int[], %(attempts)s::int[], %(rounds)s::int[])
    WITH ORDINALITY AS wanted (id, number, attempt, round, place)
), free AS MATERIALIZED (
  SELECT ctid AS place FROM live_attempts
  WHERE execution_id = ANY(%(ids)s::text[]) AND phase <> 'wait' AND (worker IS NULL{or_again})
    AND (execution_id, task_number, attempt, round) IN (SELECT id, number, attempt, round FROM wanted)
    AND EXISTS (
      SELECT FROM executions WHERE id = live_attempts.execution_id AND (signal IS NULL OR signal = 'STOPPING'))
  FOR NO KEY UPDATE SKIP LOCKED
), taken AS MATERIALIZED (
  UPDATE live_attempts
  SET worker = %(worker)s, owner = %(owner)s, started_at = coalesce(started_at, clock_timestamp())
  WHERE ctid = ANY(ARRAY(SELECT place FROM free))
  RETURNING execution_id, task_number, attempt, round, started_at AS attempt_began_at,
    first_position + children AS next_position, carry, executor AS attempt_executor
), {begun}
SELECT wanted.place, {columns}, attempt_began_at, next_position, carry, attempt_executor, clock_timestamp(),
  (SELECT json_object_agg(key, value) FROM parameters WHERE execution_id = taken.execution_id),
  set_config('synchronous_commit', 'off', true)
FROM taken
  JOIN wanted ON wanted.id = taken.execution_id AND wanted.number = taken.task_number
    AND wanted.attempt = taken.attempt AND wanted.round = taken.round,
  LATERAL (SELECT * FROM executions WHERE id = taken.execution_id LIMIT 1) AS executions
ORDER BY wanted.place
"""
_CLAIM_EACH_FREE: Final = _CLAIM_EACH.format(columns=_OF_EXECUTION, begun=BEGUN, or_again="")
_CLAIM_EACH_AGAIN: Final = _CLAIM_EACH.format(columns=_OF_EXECUTION, begun=BEGUN, or_again=" OR worker = %(worker)s")

_ADVANCED: Final = """advanced AS (
  UPDATE executions
  SET signal = %(b_signal)s, state = %(b_state)s, revision = %(b_next_revision)s, progress = %(b_progress)s,
    updated_at = clock_timestamp(){ended}
  WHERE id = %(b_id)s AND revision = %(b_revision)s AND signal IS NOT DISTINCT FROM %(b_seen_signal)s
  RETURNING id
)"""
_ENDED: Final = ", response = %(b_response)s, error = %(b_error)s, ended_at = clock_timestamp()"
_RELEASED: Final = """released AS (
  DELETE FROM live_attempts USING advanced, unnest(%(numbers)s::int[], %(attempts)s::int[], %(rounds)s::int[])
    AS mine (number, attempt, round)
  WHERE execution_id = advanced.id AND task_number = mine.number AND live_attempts.attempt = mine.attempt
    AND live_attempts.round = mine.round AND worker = %(worker)s
  RETURNING 1
)"""
_RECORDED: Final = """recorded AS (
  INSERT INTO history (execution_id, revision, entry)
  SELECT advanced.id, %(b_revision)s + line.number, line.entry
  FROM advanced, unnest(string_to_array(%(entries)s, E'\n')) WITH ORDINALITY AS line (entry, number)
)"""
_READIED: Final = """readied AS (
  INSERT INTO live_attempts
    (execution_id, task_number, attempt, round, phase, task_type, executor, worker, owner, started_at)
  SELECT advanced.id, new.number, new.attempt, 0, 'run', new.task_type, new.executor, new.worker,
    CASE WHEN new.worker IS NOT NULL THEN %(owner)s END, CASE WHEN new.worker IS NOT NULL THEN clock_timestamp() END
  FROM advanced, unnest(%(new_numbers)s::int[], %(new_attempts)s::int[], %(new_types)s::text[],
    %(new_executors)s::text[], %(new_workers)s::text[]) AS new (number, attempt, task_type, executor, worker)
)"""
_KEPT: Final = """kept AS (
  INSERT INTO parameters (execution_id, key, value)
  SELECT advanced.id, changed.key, changed.value
  FROM advanced, unnest(%(keys)s::text[], %(values)s::text[]) AS changed (key, value)
  ON CONFLICT (execution_id, key) DO UPDATE SET value = excluded.value
)"""
_FORGOTTEN: Final = "forgotten AS (DELETE FROM parameters USING advanced WHERE execution_id = advanced.id)"
ARRIVED: Final = """arrived AS (
  UPDATE live_attempts
  SET arrived = arrived + {count}, phase = CASE WHEN arrived + {count} >= children THEN 'join' ELSE 'wait' END,
    queued_at = clock_timestamp(), published_at = NULL
  WHERE execution_id = %(parent_id)s AND task_number = %(parent_number)s AND attempt = %(parent_attempt)s
    AND round = %(parent_round)s AND phase = 'wait'{also} AND (SELECT count(*) FROM {after}) > 0
  RETURNING phase, executor
)"""
_WHOLE_OR_NOTHING: Final = """1 / (CASE
  WHEN (SELECT count(*) FROM advanced) = 1 AND (SELECT count(*) FROM released) <> cardinality(%(numbers)s::int[])
  THEN 0 ELSE 1 END)"""
_ANSWER: Final = """
SELECT (SELECT count(*) FROM advanced), {whole}, {phase}, {executor}"""


def claim(database: Database, key: AttemptKey, *, worker: str, is_again: bool) -> Claimed | None:
    """What ``ExecutionStore.claim`` says."""
    values = _claiming(key, worker)
    with database.autocommit() as direct:
        found = direct.run(_CLAIM_AGAIN if is_again else _CLAIM_FREE, values)
    return _to_claimed(found[0], key, worker=worker) if found else None


def claim_each(database: Database, keys: Sequence[AttemptKey], *, worker: str, is_again: bool) -> list[Claimed]:
    """What ``ExecutionStore.claim_each`` says."""
    values = {
        "ids": _array(each.execution_id for each in keys),
        "numbers": _array(each.number for each in keys),
        "attempts": _array(each.attempt for each in keys),
        "rounds": _array(each.round for each in keys),
        "worker": worker,
        "owner": owner_of(worker),
    }
    with database.autocommit() as direct:
        rows = direct.run(_CLAIM_EACH_AGAIN if is_again else _CLAIM_EACH_FREE, values)
    return [_to_claimed(row, keys[place - 1], worker=worker) for place, *row in rows]


def _claiming(key: AttemptKey, worker: str) -> dict[str, Any]:
    return bind(key) | {"worker": worker, "owner": owner_of(worker)}


def _to_claimed(row: Sequence[Any], key: AttemptKey, *, worker: str) -> Claimed:
    columns = dict(zip(_CLAIMED, row, strict=False))
    for name in _INSTANTS:
        if columns[name] is not None:
            columns[name] = columns[name].astimezone(UTC)
    if columns["state"] == ExecutionState.PENDING.value:  # it was read before it was written
        columns["state"] = ExecutionState.PROCESSING.value
    stored = to_stored(SimpleNamespace(**columns))
    return Claimed(
        key=key,
        worker=worker,
        executor=columns["attempt_executor"],
        execution=stored,
        parameters=_parameters(stored, columns["changed"]),
        started_at=columns["attempt_began_at"],
        now=columns["clock"],
        next_position=columns["next_position"],
        carry=json.loads(columns["carry"]) if columns["carry"] else None,
    )


def _parameters(stored: StoredExecution, changed: Mapping[str, str] | None) -> dict[str, Value]:
    current = dict(stored.request)
    for key, value in (changed or {}).items():
        current[key] = parse_value(json.loads(value), key)
    return current


def is_common(change: Commit) -> bool:
    """Whether ``commit`` can write it: results that make tasks ready or end the execution, and nothing unusual."""
    unusual = (
        change.withdrawn
        or change.revoked
        or change.returned
        or change.given_back
        or change.asked_to_end
        or change.waits
        or change.children
        or change.timers
        or change.fired_timers
        or change.dropped
        or change.suspensions
        or change.resolutions
        or change.is_restart
        or change.begins
        or change.begins_to_stop
        or (change.outcome is not None and (change.execution.is_limited or change.execution.deadline_at is not None))
    )
    released = {key.number for key in change.released}
    return not unusual and all(each.queue_timeout_s is None and each.number not in released for each in change.ready)


def commit(database: Database, change: Commit) -> tuple[Fired, ...] | Refusal:
    """What ``ExecutionStore.commit`` says, for a change that is common."""
    text, values = _committing(change)
    try:
        with database.autocommit() as direct:
            (row,) = direct.run(text, values)
    except Exception as error:
        return _fenced(error)
    return _written(row, change)


def commit_and_claim(
    database: Database, change: Commit, following: AttemptKey, *, worker: str
) -> tuple[tuple[Fired, ...] | Refusal, Claimed | None]:
    """What ``ExecutionStore.commit_and_claim`` says, for a change that is common."""
    try:
        with database.autocommit() as direct:
            (row,), found = direct.run_both(_committing(change), (_CLAIM_NEXT, _claiming(following, worker)))
    except Exception as error:
        return _fenced(error), None
    return _written(row, change), _to_claimed(found[0], following, worker=worker) if found else None


def _committing(change: Commit) -> tuple[str, dict[str, Any]]:
    join = join_of(change) if change.outcome is not None else None
    text = _statement(
        is_over=change.outcome is not None,
        releases=bool(change.released),
        readies=bool(change.ready),
        keeps=change.outcome is None and bool(change.parameters),
        joins=join is not None,
    )
    return text, _values(change, join)


def _fenced(error: Exception) -> Refusal:
    if getattr(error, "sqlstate", None) == DIVISION_BY_ZERO:
        return Refusal.FENCED
    raise error


def _written(row: Row, change: Commit) -> tuple[Fired, ...] | Refusal:
    is_advanced, _, phase, executor = row
    if not is_advanced:
        return Refusal.STALE
    join = join_of(change) if change.outcome is not None else None
    return () if join is None or phase != Phase.JOIN else (Fired(key=join, executor=executor),)


@functools.cache
def _statement(*, is_over: bool, releases: bool, readies: bool, keeps: bool, joins: bool) -> str:
    after = "released" if releases else "advanced"
    parts = [
        _ADVANCED.format(ended=_ENDED if is_over else ""),
        *([_RELEASED] if releases else []),
        _RECORDED,
        *([_READIED] if readies else []),
        *([_KEPT] if keeps else []),
        *([_FORGOTTEN] if is_over else []),
        *([ARRIVED.format(after=after, count=1, also="")] if joins else []),
    ]
    checks = {
        "whole": _WHOLE_OR_NOTHING if releases else "1",
        "phase": "(SELECT phase FROM arrived)" if joins else "NULL",
        "executor": "(SELECT executor FROM arrived)" if joins else "NULL",
    }
    return "WITH {}".format(", ".join(parts)) + _ANSWER.format(**checks)


def _values(change: Commit, join: AttemptKey | None) -> dict[str, Any]:
    values = advanced(change)
    values["entries"] = "\n".join([each.to_text() for each in change.entries])  # JSON, which breaks no line
    values["worker"], values["owner"] = change.worker, owner_of(change.worker)
    if change.released:
        values["numbers"] = _array(each.number for each in change.released)
        values["attempts"] = _array(each.attempt for each in change.released)
        values["rounds"] = _array(each.round for each in change.released)
    if change.ready:
        values["new_numbers"] = _array(each.number for each in change.ready)
        values["new_attempts"] = _array(each.attempt for each in change.ready)
        values["new_types"] = _array(each.task_type for each in change.ready)
        values["new_executors"] = _array(each.executor for each in change.ready)
        values["new_workers"] = _array(each.worker for each in change.ready)
    if change.outcome is None and change.parameters:
        values["keys"] = _array(change.parameters)
        values["values"] = _array(to_json_text(to_value(value)) for value in change.parameters.values())
    if join is not None:
        values["parent_id"], values["parent_number"] = join.execution_id, join.number
        values["parent_attempt"], values["parent_round"] = join.attempt, join.round
    return values

"""Claiming a chunk and writing a part of one on PostgreSQL as one statement each, as ``store.fused`` does for attempts.

They say the same as the transactions of ``ChunkStore``, which SQLite takes, and parts with sub-executions that are
begun. The lock of the parent's row, which the other chunks of the round wait for, is held for one statement and its
commit, where it would be held for three round trips more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from types import SimpleNamespace
from typing import Any, Final

from orchestrator.store.changes import EndedChild, Fired, Refusal
from orchestrator.store.database import Database
from orchestrator.store.ended import INSERT_EXECUTIONS, INSERT_HISTORY, lines_of_ended
from orchestrator.store.fused import ARRIVED, DIVISION_BY_ZERO
from orchestrator.store.kinds import Phase
from orchestrator.store.rows import ClaimedChunk
from orchestrator.store.tables import chunks

_COLUMNS: Final = tuple(each.name for each in chunks.c)
_CLAIMED: Final = (*_COLUMNS, "project", "location", "root_id", "integration", "now")
_CLAIM: Final = """
WITH taken AS (
  UPDATE chunks SET worker = %(b_worker)s, owner = %(b_owner)s
  WHERE execution_id = %(b_id)s AND task_number = %(b_number)s AND attempt = %(b_attempt)s AND round = %(b_round)s
    AND first_position = %(b_first_position)s AND (worker IS NULL{or_again})
    AND EXISTS (SELECT FROM executions WHERE id = %(b_id)s AND signal IS NULL)
    AND EXISTS (SELECT FROM live_attempts
      WHERE execution_id = %(b_id)s AND task_number = %(b_number)s AND attempt = %(b_attempt)s AND round = %(b_round)s
        AND phase = 'wait' AND stop_at IS NULL)
  RETURNING *
)
SELECT {columns}, executions.project, executions.location, executions.root_id,
  versions.integration, clock_timestamp(), set_config('synchronous_commit', 'off', true)
FROM taken JOIN executions ON executions.id = taken.execution_id JOIN versions ON versions.id = taken.version_id"""
_OF_CHUNK: Final = ", ".join(f"taken.{name}" for name in _COLUMNS)
_CLAIM_FREE: Final = _CLAIM.format(columns=_OF_CHUNK, or_again="")
_CLAIM_AGAIN: Final = _CLAIM.format(columns=_OF_CHUNK, or_again=" OR worker = %(b_worker)s")
_WRITE: Final = """
WITH made AS (
  {executions} RETURNING 1
), recorded AS (
  {history}
), wanted AS (
  SELECT FROM executions
  WHERE id = %(parent_id)s AND signal IS NULL AND (SELECT count(*) FROM made) > 0 FOR NO KEY UPDATE
), moved AS (
  {move}
  WHERE execution_id = %(parent_id)s AND task_number = %(parent_number)s AND attempt = %(parent_attempt)s
    AND round = %(parent_round)s AND first_position = %(first_position)s AND worker = %(worker)s AND done = %(seen)s
    AND EXISTS (SELECT FROM wanted)
  RETURNING 1
), {arrived}
SELECT phase, executor FROM arrived
UNION ALL SELECT NULL, NULL WHERE 1 / (SELECT count(*) FROM arrived) = 0"""
_ARRIVED: Final = ARRIVED.format(after="moved", count="%(count)s", also=" AND stop_at IS NULL")


def _write(move: str) -> str:
    return _WRITE.format(executions=INSERT_EXECUTIONS, history=INSERT_HISTORY, move=move, arrived=_ARRIVED)


_MOVE_ON: Final = _write("UPDATE chunks SET done = %(done)s")
_FINISH: Final = _write("DELETE FROM chunks")


def claim(database: Database, values: Mapping[str, Any], *, is_again: bool) -> SimpleNamespace | None:
    """What ``ChunkStore.claim`` reads, or None if there was nothing to claim."""
    with database.autocommit() as direct:
        found = direct.run(_CLAIM_AGAIN if is_again else _CLAIM_FREE, values)
    if not found:
        return None
    row = SimpleNamespace(**dict(zip(_CLAIMED, found[0], strict=False)))
    row.now = row.now.astimezone(UTC)
    return row


def write(
    database: Database, claimed: ClaimedChunk, ended: Sequence[EndedChild], *, seen: int, done: int
) -> tuple[Fired, ...] | Refusal:
    """What ``ChunkStore.write`` says, for a part of which something is over and nothing else is begun.

    Raises:
        sqlalchemy.exc.IntegrityError: one of them has a row already.
    """
    chunk = claimed.chunk
    values = lines_of_ended(claimed, ended) | {
        "parent_number": chunk.key.number,
        "first_position": chunk.key.first_position,
        "worker": claimed.worker,
        "seen": seen,
        "done": done,
        "count": len(ended),
    }
    try:
        with database.autocommit() as direct:
            statement = _FINISH if done == len(chunk.requests) else _MOVE_ON
            phase, executor = direct.run(statement, values)[0]
    except Exception as error:
        if getattr(error, "sqlstate", None) == DIVISION_BY_ZERO:
            return Refusal.FENCED
        raise
    return (Fired(key=chunk.key.join, executor=executor),) if phase == Phase.JOIN else ()

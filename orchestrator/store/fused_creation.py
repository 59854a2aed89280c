"""Creating an execution on PostgreSQL as one statement, as ``store.fused`` does with claims and commits.

What is NULL is left out, and the attempts go in as one JSON text. It writes nothing if a limit holds for the execution:
who takes slots, and who stands in line, is ``store.creation``'s; and so are many executions at once.
"""

from __future__ import annotations

import functools
from typing import Final

import sqlalchemy as sa

from orchestrator.engine.limits import general_name
from orchestrator.model.json_text import to_json_text
from orchestrator.model.version_states import VersionState
from orchestrator.store.arrays import to_array
from orchestrator.store.changes import NewExecution
from orchestrator.store.creation import attempt_row, execution_row
from orchestrator.store.database import Database
from orchestrator.store.tables import executions, live_attempts

_DIALECT: Final = sa.make_url("postgresql+psycopg://").get_dialect()()
_CREATE: Final = """
WITH made AS (
  INSERT INTO executions ({names}) SELECT {values}
  WHERE NOT EXISTS (SELECT FROM limits WHERE name = ANY(%(limits)s::text[])){guard}
  RETURNING id
), readied AS (
  INSERT INTO live_attempts ({attempt_names}) SELECT {attempt_names}
  FROM json_to_recordset(%(attempts)s::json) AS row ({attempt_types}) WHERE EXISTS (SELECT FROM made)
)
SELECT count(*) FROM made"""
_PUBLISHED: Final = f"""
  AND EXISTS (SELECT FROM versions WHERE id = %(version_id)s AND state = '{VersionState.ACTIVE.value}')"""


def is_common(new: NewExecution) -> bool:
    """Whether ``create`` can write it: it begins now, with tasks, and nothing about it is unusual."""
    unusual = (
        new.outcome is not None
        or new.hold is not None
        or new.recorded is not None
        or new.deadline_s is not None
        or new.scheduled_at is not None
        or new.parameters
    )
    return bool(new.ready) and not unusual and all(each.queue_timeout_s is None for each in new.ready)


def create(database: Database, new: NewExecution, *, only_published: bool) -> bool:
    """Store an execution that is common, with its ready start tasks; or ``only_published``, as the store says.

    Returns:
        False if a limit holds for it, or its version is not published: then nothing was written.

    Raises:
        sqlalchemy.exc.IntegrityError: there is one of this id, or with this request id.
    """
    row = {name: value for name, value in execution_row(new, None).items() if value is not None}
    attempts = [attempt_row(new.id, attempt) for attempt in new.ready]
    values = row | {
        "attempts": to_json_text(attempts),
        "limits": to_array({*new.needs, *map(general_name, new.needs)}),
    }
    text = _statement(tuple(row), tuple(attempts[0]), only_published=only_published)
    with database.autocommit() as direct:
        return bool(direct.run(text, values)[0][0])


@functools.cache
def _statement(names: tuple[str, ...], attempt_names: tuple[str, ...], *, only_published: bool) -> str:
    return _CREATE.format(
        names=", ".join(names),
        values=", ".join(f"%({name})s::{_type(executions, name)}" for name in names),
        guard=_PUBLISHED if only_published else "",
        attempt_names=", ".join(attempt_names),
        attempt_types=", ".join(f"{name} {_type(live_attempts, name)}" for name in attempt_names),
    )


def _type(table: sa.Table, name: str) -> str:
    return table.c[name].type.compile(_DIALECT)

"""Creating an execution on PostgreSQL as one statement, as ``store.fused`` does with claims and commits.

The rows go in as one JSON text for each table. It writes nothing if a limit holds for the execution: who takes slots,
and who stands in line, is ``store.creation``'s; and so are many executions at once.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from orchestrator.engine.limits import general_name
from orchestrator.model.json_text import to_json_text
from orchestrator.store.changes import NewExecution
from orchestrator.store.creation import attempt_row, execution_row
from orchestrator.store.database import Database
from orchestrator.store.tables import executions, live_attempts

_DIALECT: Final = sa.make_url("postgresql+psycopg://").get_dialect()()
_INSERT: Final = (
    "INSERT INTO {table} ({names}) SELECT {names} FROM json_to_recordset(%({table})s::json) AS row ({typed})"
)
_CREATE: Final = """
WITH made AS (
  {executions} WHERE NOT EXISTS (
    SELECT FROM limits WHERE name IN (SELECT json_array_elements_text(%(limits)s::json))
  ) RETURNING id
), readied AS (
  {attempts} WHERE EXISTS (SELECT FROM made)
)
SELECT count(*) FROM made"""


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


def create(database: Database, new: NewExecution) -> bool:
    """Store an execution that is common, with its ready start tasks.

    Returns:
        False if a limit holds for it: then nothing was written.

    Raises:
        sqlalchemy.exc.IntegrityError: there is one of this id, or with this request id.
    """
    rows = [execution_row(new, None)]
    attempts = [attempt_row(new.id, attempt) for attempt in new.ready]
    values = {
        "executions": to_json_text(rows),
        "live_attempts": to_json_text(attempts),
        "limits": to_json_text([*{*new.needs, *map(general_name, new.needs)}]),
    }
    text = _statement(tuple(rows[0]), tuple(attempts[0]))
    with database.autocommit() as direct:
        return bool(direct.run(text, values)[0][0])


@functools.cache
def _statement(execution_columns: tuple[str, ...], attempt_columns: tuple[str, ...]) -> str:
    return _CREATE.format(
        executions=_insert(executions, execution_columns), attempts=_insert(live_attempts, attempt_columns)
    )


def _insert(table: sa.Table, columns: Sequence[str]) -> str:
    typed = [f"{name} {table.c[name].type.compile(_DIALECT)}" for name in columns]
    return _INSERT.format(table=table.name, names=", ".join(columns), typed=", ".join(typed))

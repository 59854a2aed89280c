"""Filters of executions as SQL, with one meaning on SQLite and PostgreSQL.

Columns come from the table below, operators from code, and whatever a caller wrote is a bound value. Every part of a
tree is true or false and never NULL, so that NOT is the exact opposite: a test on a column that may be NULL says so
first. A plain test on ``integration`` or ``created_at`` is a plain comparison, which an index answers; one on ``state``
names the stage as well, which has the index.

``:`` is no LIKE, which means other things on the two databases (case, escapes), but a search for a piece of text.

Parameters are searched in the text of ``request`` and ``response``: that is ASCII JSON as ``to_json_text`` writes it,
so ``,"pieces":{"intValue":"4"}`` stands in it if and only if the parameter is there. Inside a string every quote
follows a backslash, so such a piece never lies within one; and it cannot begin at the quote that ends a string, because
a name never begins with what may follow there (``filter_fields.parse_parameter_name``). PostgreSQL's own JSON functions
refuse a NUL, and one such execution would fail every list.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from orchestrator.model import filter_fields as fields
from orchestrator.model.condition_parser import read_number
from orchestrator.model.filter_fields import Field, Operand
from orchestrator.model.filters import And, Comparison, Filled, Node, Not, Operator, Or
from orchestrator.model.json_text import to_json_text
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import INT64_MAX, INT64_MIN, DataType, Value, key_of, to_value
from orchestrator.store.tables import LIVE, Instant, executions


class position(FunctionElement[int]):  # noqa: N801 - written like the SQL function it is
    """``position(text, piece)``: where the piece begins in the text, from 1; 0 if it is not in it."""

    type = sa.Integer()
    inherit_cache = True


@compiles(position, "sqlite")
def _position_sqlite(element: position, compiler: SQLCompiler, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)})"


@compiles(position, "postgresql")
def _position_postgresql(element: position, compiler: SQLCompiler, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)})"


class elapsed_us(FunctionElement[int]):  # noqa: N801 - likewise
    """``elapsed_us(start, end)``: microseconds between two times, exactly."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(elapsed_us, "sqlite")
def _elapsed_sqlite(element: elapsed_us, compiler: SQLCompiler, **options: Any) -> str:
    """Whole seconds and the six digits behind the point: SQLite's own arithmetic knows milliseconds."""
    start, end = (compiler.process(each, **options) for each in element.clauses)
    seconds = f"(strftime('%s', substr({end}, 1, 19)) - strftime('%s', substr({start}, 1, 19)))"
    return f"({seconds} * 1000000 + CAST(substr({end}, 21) AS INTEGER) - CAST(substr({start}, 21) AS INTEGER))"


@compiles(elapsed_us, "postgresql")
def _elapsed_postgresql(element: elapsed_us, compiler: SQLCompiler, **options: Any) -> str:
    start, end = (compiler.process(each, **options) for each in element.clauses)
    return f"CAST(EXTRACT(EPOCH FROM ({end} - {start})) * 1000000 AS bigint)"


_COLUMNS: Final[dict[Field, sa.ColumnElement[Any]]] = {
    fields.PROJECT: executions.c.project,
    fields.LOCATION: executions.c.location,
    fields.EXECUTION_ID: executions.c.id,
    fields.INTEGRATION: executions.c.integration,
    fields.TRIGGER_ID: executions.c.trigger_id,
    fields.EXECUTOR: executions.c.executor,
    fields.PARENT_ID: executions.c.parent_id,
    fields.ROOT_ID: executions.c.root_id,
    fields.REQUEST_ID: executions.c.request_id,
    fields.SUBMITTED_BY: executions.c.submitted_by,
    fields.REPLAY_OF: executions.c.replay_of,
    fields.STATE: executions.c.state,
    fields.METHOD: executions.c.method,
    fields.PRIORITY: executions.c.priority,
    fields.CREATE_TIME: executions.c.created_at,
    fields.UPDATE_TIME: executions.c.updated_at,
    fields.END_TIME: executions.c.ended_at,
    fields.SCHEDULE_TIME: executions.c.scheduled_at,
    fields.DURATION: elapsed_us(executions.c.created_at, executions.c.ended_at),
}
_MAY_BE_NULL: Final = {
    field: column for field, column in _COLUMNS.items() if isinstance(column, sa.Column) and column.nullable
} | {fields.DURATION: executions.c.ended_at}
_COMPARED: Final[dict[Operator, Callable[[Any, Any], sa.ColumnElement[bool]]]] = {
    Operator.EQUAL: operator.eq,
    Operator.LESS: operator.lt,
    Operator.AT_MOST: operator.le,
    Operator.GREATER: operator.gt,
    Operator.AT_LEAST: operator.ge,
    Operator.CONTAINS: lambda column, piece: position(column, piece) > 0,
}


def column_of(field: Field) -> sa.ColumnElement[Any]:
    """What a field is in the table ``executions``; parameters are in no column of their own."""
    return _COLUMNS[field]


def to_clause(node: Node) -> sa.ColumnElement[bool]:
    """The WHERE clause of a filter over the table ``executions``."""
    return combined(node, _tested)


def combined(node: Node, tested: Callable[[Comparison | Filled], sa.ColumnElement[bool]]) -> sa.ColumnElement[bool]:
    """The WHERE clause of a filter, whatever its single tests become: each of them true or false, and never NULL."""
    match node:
        case Comparison() | Filled():
            return tested(node)
        case Not(part=part):
            return sa.not_(combined(part, tested))
        case And(parts=parts):
            return sa.and_(sa.true(), *(combined(part, tested) for part in parts))
        case Or(parts=parts):
            return sa.or_(sa.false(), *(combined(part, tested) for part in parts))
        case _:
            assert_never(node)


def compared(column: sa.ColumnElement[Any], test: Comparison) -> sa.ColumnElement[bool]:
    """A column that is never NULL, compared as a test says."""
    return _COMPARED[test.operator](column, to_bound(test.value))


def _tested(test: Comparison | Filled) -> sa.ColumnElement[bool]:
    match test:
        case Comparison(field=field):
            return _compared(test) if field in _COLUMNS else _searched(test)
        case Filled(field=field, name=name):
            if field in _COLUMNS:
                return _is_filled(field)
            return _has_parameter(name if field is fields.PARAMETER else None)
        case _:
            assert_never(test)


def _is_filled(field: Field) -> sa.ColumnElement[bool]:
    return _MAY_BE_NULL[field].is_not(None) if field in _MAY_BE_NULL else sa.true()


def _compared(test: Comparison) -> sa.ColumnElement[bool]:
    fits = compared(_COLUMNS[test.field], test)
    if test.field in _MAY_BE_NULL:
        return sa.and_(_is_filled(test.field), fits)
    if test.field is fields.STATE and test.operator is Operator.EQUAL and test.value != ExecutionState.SUCCEEDED:
        return sa.and_(fits, executions.c.stage == _stage_of(str(test.value)))  # which follows, and has an index
    return fits


def _stage_of(state: str) -> str:
    return LIVE if not ExecutionState(state).is_final else state


def to_bound(value: Operand) -> sa.ColumnElement[Any]:
    """A value with a type that it fits: a priority of 70,000 is none, but neither is it an error."""
    match value:
        case datetime():
            return sa.literal(value, Instant)
        case timedelta():
            return sa.literal(value // timedelta(microseconds=1), sa.BigInteger)
        case int():
            return sa.literal(value, sa.BigInteger)
        case str():
            return sa.literal(value, sa.Text)


# -- parameters ----------------------------------------------------------------------------------------------------

_TEXTS: Final = tuple(
    sa.literal_column("','").concat(sa.func.substr(sa.func.coalesce(column, ""), 2))  # so that a comma precedes each
    for column in (executions.c.request, executions.c.response)
)


def _has_any(pieces: Iterable[str]) -> sa.ColumnElement[bool]:
    found = [position(text, sa.literal(piece, sa.Text)) > 0 for piece in pieces for text in _TEXTS]
    return sa.or_(sa.false(), *found)


def _has_parameter(name: str | None) -> sa.ColumnElement[bool]:
    """One of this name; without a name, any."""
    return _has_any([':{"' if name is None else f',{to_json_text(name)}:{{"'])


def _searched(test: Comparison) -> sa.ColumnElement[bool]:
    text = str(test.value)
    match test.field:
        case fields.PARAMETER_KEY:
            return _has_parameter(text)
        case fields.PARAMETER_TYPE:
            return _has_any([f':{{"{key_of(DataType(text))}":'])
        case fields.PARAMETER_VALUE:
            return _has_any(f":{written}" for written in _writings(text))
        case _:
            return _has_any(f",{to_json_text(test.name)}:{written}" for written in _writings(text))


def _writings(text: str) -> list[str]:
    """How a text may stand in JSON as a parameter's value: a string, and a number or boolean that is written so."""
    values = [Value(DataType.STRING, text)]
    number = read_number(text)
    if isinstance(number, int) and INT64_MIN <= number <= INT64_MAX:
        values.append(Value(DataType.INT, number))
    if number is not None and abs(number) <= sys.float_info.max:
        values += [Value(DataType.DOUBLE, each) for each in ((0.0, -0.0) if number == 0 else (float(number),))]
    if text in ("true", "false"):
        values.append(Value(DataType.BOOLEAN, text == "true"))
    return [to_json_text(to_value(value)) for value in values]

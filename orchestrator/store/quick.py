"""Statements on SQLite without SQLAlchemy around each of them: written out by it once, and run by the driver.

SQLite itself takes a tenth of the time that SQLAlchemy takes over a small statement. So the transactions of the hot
path (claim, commit) run through this: it keeps what SQLAlchemy has compiled of a statement that comes again, and
how its parameters and columns are converted. A statement that is made anew each time, and one whose text depends on its
parameters, goes SQLAlchemy's way, in the same transaction; so does everything while somebody listens to statements.

It has as much of a connection's interface as those transactions use, which PostgreSQL's share (``store.commits``).
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.exc import MultipleResultsFound, NoResultFound

Convert: TypeAlias = Callable[[Any], Any]
Values: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compiled:
    """A statement as text.

    Attributes:
        text: with a question mark for each parameter.
        parameters: for each of them its name and conversion; or no name, and the value that it always has.
        row: makes a row of values by name.
        conversions: of a row's columns, where there is one.
    """

    text: str
    parameters: Sequence[tuple[str | None, Any]]
    row: Callable[..., Any] | None
    conversions: Sequence[tuple[int, Convert]]

    def bind(self, values: Values) -> list[Any]:
        return [
            then if name is None else values[name] if then is None else then(values[name])
            for name, then in self.parameters
        ]

    def read(self, found: Sequence[Any]) -> Any:
        assert self.row is not None, "a statement with rows has columns"
        columns = [*found]
        for index, convert in self.conversions:
            columns[index] = convert(columns[index])
        return self.row(*columns)


class Rows(Sequence[Any]):
    """What a statement gave, as SQLAlchemy's results give it."""

    def __init__(self, rows: Sequence[Any], rowcount: int) -> None:
        self._rows, self.rowcount = rows, rowcount

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def one_or_none(self) -> Any:
        """The only row, if there is one.

        Raises:
            sqlalchemy.exc.MultipleResultsFound: there are several.
        """
        if len(self._rows) > 1:
            raise MultipleResultsFound(f"{len(self._rows)} rows where one was expected")
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        """The only row.

        Raises:
            sqlalchemy.exc.NoResultFound, sqlalchemy.exc.MultipleResultsFound: it is not one.
        """
        row = self.one_or_none()
        if row is None:
            raise NoResultFound("no row where one was expected")
        return row


_COMPILED: Final[WeakKeyDictionary[Any, dict[tuple[str, ...], _Compiled | None]]] = WeakKeyDictionary()


def quick(connection: sa.Connection) -> sa.Connection:
    """The same connection of SQLite, for a transaction of the hot path."""
    return cast("sa.Connection", _Quick(connection))


class _Quick:
    """What stands in for a connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection, self.dialect = connection, connection.dialect
        self._driver: Any = connection.connection.driver_connection
        assert self.dialect.dbapi is not None, "the dialect of an engine has its driver"
        self._errors: Any = self.dialect.dbapi.Error
        self._is_listened_to = bool(connection.dispatch.before_cursor_execute)

    def execute(self, statement: Any, values: Values | Sequence[Values] | None = None) -> Any:
        """Run a statement; as ``sqlalchemy.Connection.execute``."""
        several = [values or {}] if values is None or isinstance(values, Mapping) else values
        compiled = None if self._is_listened_to else self._compiled(statement, several[0])
        if compiled is None:
            return self._connection.execute(statement, values)
        try:
            if len(several) > 1:
                cursor = self._driver.executemany(compiled.text, [compiled.bind(each) for each in several])
            else:
                cursor = self._driver.execute(compiled.text, compiled.bind(several[0]))
            found = cursor.fetchall() if compiled.row is not None else ()
        except self._errors as error:
            raise sa.exc.DBAPIError.instance(compiled.text, None, error, self._errors, dialect=self.dialect) from error
        return Rows([compiled.read(each) for each in found], cursor.rowcount)

    def _compiled(self, statement: Any, values: Values) -> _Compiled | None:
        """A statement that was seen before; the first time may be its only one."""
        names = tuple(values) if statement.is_insert else ()
        known = _COMPILED.setdefault(statement, {})
        if names not in known:
            known[names] = None
            return None
        found = known[names]
        if found is None:
            found = known[names] = _compile(statement, names, self.dialect)
        return found


def _compile(statement: Any, names: Sequence[str], dialect: sa.Dialect) -> _Compiled | None:
    compiled = statement.compile(dialect=dialect, column_keys=[*names] or None, for_executemany=True)
    if compiled.post_compile_params or compiled.literal_execute_params:
        return None
    return _Compiled(
        text=compiled.string,
        parameters=[_parameter(compiled, name) for name in compiled.positiontup],
        row=_row([each.keyname for each in compiled._result_columns]),
        conversions=[
            (index, convert)
            for index, each in enumerate(compiled._result_columns)
            if (convert := each.type._cached_result_processor(dialect, None)) is not None
        ],
    )


def _parameter(compiled: Any, name: str) -> tuple[str | None, Any]:
    bind = compiled.binds[name]
    convert = compiled._bind_processors.get(name)
    if bind.required:
        return bind.key, convert
    value = bind.effective_value
    return None, value if convert is None else convert(value)


def _row(names: Sequence[str]) -> Callable[..., Any] | None:
    return namedtuple("Row", names, rename=True) if names else None

"""Statements of the hot path, sent by libpq itself: prepared once for each connection, with no cursor around them.

psycopg's cursors are Python; over a statement that takes the server a fraction of a millisecond they take as long as
everything else that a worker does for a small task. What they are good for is not needed here: the statements are few
and constant, their parameters are texts and numbers, and a worker's thread has its connection to itself.

psycopg, and a pooler between here and the server, may throw away what was prepared. A statement that is not there has
done nothing, so it is prepared again.

Two statements can be sent together (``run_both``): they are one transaction, and the second one sees what the first one
wrote.
"""

from __future__ import annotations

import itertools
import re
import select
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus

Row: TypeAlias = tuple[Any, ...]
Values: TypeAlias = Mapping[str, str | float | None]
Statement: TypeAlias = tuple[str, Values]
_T = TypeVar("_T")

_PARAMETER: Final = re.compile(r"%(?:%|\((\w+)\)s)")  # or a percent sign
_GOOD: Final = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
_NUMBERS: Final = itertools.count()  # of prepared statements: a name that was used once is not used again
_LOOK_MS: Final = 100  # how often a signal's handler may run while the server takes its time


class Direct:
    """Prepared statements on one connection in autocommit."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._pgconn, self._encoding = connection.pgconn, connection.info.encoding
        self._transformer = Transformer(connection)
        self._prepared: dict[str, tuple[bytes, tuple[str, ...]]] = {}
        self._poll = select.poll()
        self._poll.register(self._pgconn.socket, select.POLLIN)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way. Who breaks off leaves the connection in the middle of something."""
        conn = self._pgconn
        return conn.transaction_status == TransactionStatus.IDLE and conn.pipeline_status == PipelineStatus.OFF

    def run(self, text: str, values: Values | None = None) -> list[Row]:
        """Run one statement.

        Args:
            text: with parameters as ``%(name)s``, and ``%%`` for a percent sign. It is kept for as long as the
                connection, so there must not be many.
            values: by name; more of them are no harm. Arrays are texts (``store.arrays``).

        Raises:
            psycopg.Error: as of a cursor.
        """

        def send() -> list[Row]:
            found = self._prepared.get(text)
            return self._together([(text, values or {})])[0] if found is None else self._run(*found, values or {})

        return self._again_if_forgotten(send)

    def run_both(self, first: Statement, second: Statement) -> tuple[list[Row], list[Row]]:
        """Run two statements, texts with their values, as one transaction in one round trip; the rows of each.

        Raises:
            psycopg.Error: one of them failed, and nothing was done.
        """
        of_first, of_second = self._again_if_forgotten(lambda: self._together([first, second]))
        return of_first, of_second

    def _again_if_forgotten(self, run: Callable[[], _T]) -> _T:
        try:
            return run()
        except errors.InvalidSqlStatementName:
            self._prepared.clear()
            return run()

    def _run(self, name: bytes, names: Sequence[str], values: Values) -> list[Row]:
        self._pgconn.send_query_prepared(name, self._encoded(names, values))
        return self._rows(self._result())

    def _together(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Prepare what is not prepared, and run all, in one round trip."""
        new = {text: _named(text) for text, _ in statements if text not in self._prepared}
        named = [(*(new.get(text) or self._prepared[text]), values) for text, values in statements]
        sent = [(name, self._encoded(names, values)) for name, names, values in named]
        self._pgconn.enter_pipeline_mode()
        for text, (name, names) in new.items():
            self._pgconn.send_prepare(name, _numbered(text, names).encode(self._encoding))
        for name, parameters in sent:
            self._pgconn.send_query_prepared(name, parameters)
        self._pgconn.pipeline_sync()
        results = iter(self._results_until_sync())
        self._pgconn.exit_pipeline_mode()
        for text, prepared in new.items():
            self._check(next(results))
            self._prepared[text] = prepared
        return [self._rows(each) for each in results]

    def _encoded(self, names: Sequence[str], values: Values) -> list[bytes | None]:
        return [self._encode(values[name]) for name in names]

    def _encode(self, value: str | float | None) -> bytes | None:
        if value is None:
            return None
        encoded = str(value).encode(self._encoding)
        if b"\0" in encoded:
            raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
        return encoded

    def _result(self) -> Any:
        """The result of the only statement on its way."""
        self._flush()
        self._wait()
        result = self._pgconn.get_result()
        while self._pgconn.get_result() is not None:
            pass
        return result

    def _results_until_sync(self) -> list[Any]:
        """The results of a pipeline: nothing of it is committed before its last word."""
        results: list[Any] = []
        self._flush()
        while True:
            self._wait()
            result = self._pgconn.get_result()
            if result is None:  # the end of one statement's results
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                break
            results.append(result)
        return results

    def _flush(self) -> None:
        """Send it. What the socket does not take at once waits for room, and not for an answer."""
        while self._pgconn.flush():
            self._poll.modify(self._pgconn.socket, select.POLLIN | select.POLLOUT)
            self._poll.poll(_LOOK_MS)
            self._poll.modify(self._pgconn.socket, select.POLLIN)
            self._pgconn.consume_input()

    def _wait(self) -> None:
        """Until there is a result."""
        while self._pgconn.is_busy():
            self._poll.poll(_LOOK_MS)
            self._pgconn.consume_input()

    def _check(self, result: Any) -> None:
        if result.status not in _GOOD:
            raise errors.error_from_result(result, self._encoding)

    def _rows(self, result: Any) -> list[Row]:
        self._check(result)
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)


def _named(text: str) -> tuple[bytes, tuple[str, ...]]:
    """A name for a statement, and those of its parameters in the order of their first places."""
    names = tuple(dict.fromkeys(filter(None, _PARAMETER.findall(text))))
    return f"direct_{next(_NUMBERS)}".encode(), names


def _numbered(text: str, names: Sequence[str]) -> str:
    """A statement as the server takes it, with ``$1`` for its first parameter."""
    return _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}" if match[1] else "%", text)

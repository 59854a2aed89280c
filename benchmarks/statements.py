"""Counts the statements that a worker sends to the database: for each a byte is appended to a file.

So the file's size is the count, over all processes and threads, on any database. BEGIN, COMMIT and the look whether a
connection still lives are not statements here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import sqlalchemy as sa

VARIABLE: Final = "BENCH_STATEMENTS"  # in a worker's environment: the file


def count_if_asked() -> None:
    """Count from now on, if the environment names a file."""
    path = os.environ.get(VARIABLE)
    if path is None:
        return
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):  # our own on SQLite, the driver's on PostgreSQL
            os.write(file, b".")

    sa.event.listen(sa.Engine, "before_cursor_execute", note)


def counted(path: Path) -> int:
    """How many there were so far."""
    return path.stat().st_size if path.exists() else 0

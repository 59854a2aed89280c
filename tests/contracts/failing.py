"""A database whose answers get lost (Temporal's ExecuteAndTimeout): the transaction is real, its answer is not."""

from contextlib import contextmanager
from functools import partial

from orchestrator.errors import Unreachable


class LosingAnswers:
    """Has every n-th writing transaction report that the database is away: after it was committed, or before it began.

    Args:
        database: whose ``begin`` and ``autocommit`` this stands before.
        is_lost: from the number of a writing transaction to "before", "after" or None.
    """

    def __init__(self, database, is_lost):
        self._is_lost, self.count, self.lost = is_lost, 0, 0
        for name in ("begin", "autocommit"):
            setattr(database, name, partial(self._connect, getattr(database, name)))

    @contextmanager
    def _connect(self, connect, **options):
        self.count += 1
        moment = self._is_lost(self.count)
        self.lost += moment is not None
        if moment == "before":
            raise Unreachable("the database", "db", "away before")
        with connect(**options) as connection:
            yield connection
        if moment == "after":
            raise Unreachable("the database", "db", "away after")

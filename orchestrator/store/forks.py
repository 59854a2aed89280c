"""Forks and SQLite: no process is forked amid the transaction of another thread, nor with a connection that waits.

SQLite keeps in memory what its process has locked, one list for each file. A child has a copy of that list and none of
the locks. What another thread of the parent held at that moment, the child waits for whenever it writes, and for ever;
and of what an open connection holds it believes that it holds it, too, so that others can take the log of changes away
under its hands. Both happen: a worker replaces a dead pool process from its main process, where threads look after
timers and heartbeats.

So whoever forks waits for the transactions of other threads, and closes the connections that are not in use; nobody
begins meanwhile. A fork within a transaction of its own thread cannot be helped: the child must leave that alone.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakSet

import sqlalchemy as sa

# A transaction ends, or gives up waiting for another process, before this; a fork that went on without its end would
# make a child that cannot write, and one that never went on a worker without processes.
LONGEST_S: Final = 60.0


class ForkGate:
    """What there is once in a process. ``engines`` are those whose idle connections no child may have."""

    def __init__(self) -> None:
        self.engines: WeakSet[sa.Engine] = WeakSet()
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()  # by thread: how many transactions it is in
        self._forking: int | None = None  # which thread forks

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Nobody forks in here, but for this thread itself."""
        me = threading.get_ident()
        with self._changed:
            if not self._inside[me]:  # or the one that forks waits for us
                self._changed.wait_for(lambda: self._forking in (None, me))
            self._inside[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[me] -= 1
                if not self._inside[me]:
                    del self._inside[me]
                self._changed.notify_all()

    def before_fork(self) -> None:
        """Wait until no other thread is in a transaction, and let none begin."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._forking is None)
            self._forking = me
            self._changed.wait_for(lambda: self._inside.keys() <= {me}, LONGEST_S)
        for engine in list(self.engines):
            engine.dispose()

    def after_fork_in_parent(self) -> None:
        """Let them begin."""
        with self._changed:
            self._forking = None
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """The other threads are gone, whatever they were about to do."""
        me = threading.get_ident()
        self._changed, self._forking = threading.Condition(), None
        self._inside = +Counter({me: self._inside[me]})


FORK_GATE: Final = ForkGate()
os.register_at_fork(
    before=FORK_GATE.before_fork,
    after_in_parent=FORK_GATE.after_fork_in_parent,
    after_in_child=FORK_GATE.after_fork_in_child,
)

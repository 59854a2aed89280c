"""What a process does next, as far as it knows, so that it need not ask the database for each by itself.

A pool process gets several messages at a time (``runtime.parcels``). Two things follow.

    heavy   the next attempt is claimed by the commit of the one before it: a claim of its own in the same transaction,
            which saves a round trip and a commit
    light   attempts that follow each other are claimed together, and run together if they can (``service.bundles``)

Nothing is claimed earlier than that: what a process has claimed it runs, whatever becomes of what it runs before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from orchestrator.store.kinds import AttemptKey
from orchestrator.store.rows import Claimed


class Ahead:
    """What this process knows. It has one thread that runs tasks; where there are others, nothing is offered."""

    def __init__(self) -> None:
        self._following: AttemptKey | None = None
        self._is_wanted: Callable[[], bool] = bool
        self._companions: Sequence[AttemptKey] = ()
        self._claimed: dict[AttemptKey, Claimed] = {}
        self._over: set[AttemptKey] = set()
        self._uncertain: AttemptKey | None = None

    def offer(
        self,
        following: AttemptKey | None = None,
        *,
        is_wanted: Callable[[], bool] = bool,
        companions: Sequence[AttemptKey] = (),
    ) -> None:
        """Say what comes after what begins now.

        Args:
            following: the next one, if it is an attempt.
            is_wanted: says later whether it still is.
            companions: light ones that come right after a light one.
        """
        self._following, self._is_wanted, self._companions = following, is_wanted, companions

    def to_claim(self) -> AttemptKey | None:
        """What a commit is to claim along the way, if anything."""
        is_free = self._following is not None and self._following not in self._claimed
        return self._following if is_free and self._is_wanted() else None

    def take_companions(self) -> Sequence[AttemptKey]:
        """What is to be claimed together with what begins now, once."""
        companions, self._companions = self._companions, ()
        return companions

    def hold(self, claimed: Iterable[Claimed]) -> None:
        """It is claimed, and begins later."""
        self._claimed |= {each.key: each for each in claimed}

    def note_doubt(self) -> None:
        """Whether the next one was claimed is not known: the answer was lost."""
        self._uncertain = self._following

    def is_in_doubt(self, key: AttemptKey) -> bool:
        """Whether this one may have been claimed by this process, which has not heard of it; asked once."""
        uncertain, self._uncertain = self._uncertain, None
        return uncertain == key

    def take(self, key: AttemptKey) -> Claimed | None:
        """Begin with one that is held."""
        return self._claimed.pop(key, None)

    def finish(self, keys: Iterable[AttemptKey]) -> None:
        """Their messages have nothing to do any more."""
        for key in keys:
            self._claimed.pop(key, None)
            self._over.add(key)

    def is_over(self, key: AttemptKey) -> bool:
        """Whether it was run before its message had its turn; asked once."""
        was_over = key in self._over
        self._over.discard(key)
        return was_over

    def knows(self, key: AttemptKey | None) -> bool:
        """Whether it is claimed, or may be, or is over: then its message is to have its turn."""
        return key is not None and (key in self._claimed or key in self._over or key == self._uncertain)

    def forget(self) -> None:
        """Nothing comes next, and everything has had its turn. What was to run and broke off is not held any more."""
        self.offer()
        self._claimed.clear()
        self._over.clear()
        self._uncertain = None


AHEAD: Final = Ahead()

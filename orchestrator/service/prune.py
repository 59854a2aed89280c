"""Retention: trees of executions that ended long ago are deleted, with their artifacts. ``store.pruning`` says how.

The tree's root decides: when it ended, and whether it FAILED, whatever became of what is below it. A replay is a root
of its own, so it may outlive what it repeats.

Results of plain tasks that share the result backend go as well once they have expired, because Celery deletes them only
where somebody runs its beat; so do starts that no rate counts any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from orchestrator.artifacts import Artifacts
from orchestrator.errors import InvalidValue
from orchestrator.failpoints import failpoint
from orchestrator.service.services import Services
from orchestrator.service.submit import Place
from orchestrator.store.pruning import MOST_AT_ONCE, PruneStore, Tree, Wanted
from orchestrator.store.results import Expiry, ResultStore

MAX_AGE: Final = timedelta(days=36_525)
_PAGE: Final = 200  # trees
_ATTEMPTS: Final = "attempts"  # the artifacts of an attempt are in attempts/<execution>.<task>.<attempt>/


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneWish:
    """What is to go.

    Attributes:
        older_than: how long ago the root has to have ended.
        keeps_failed: whether trees stay whose root FAILED.
        limit: at most so many trees; None for all.
        dry_run: only count.
    """

    older_than: timedelta
    keeps_failed: bool = False
    limit: int | None = None
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """How much is gone, or would be.

    Attributes:
        roots: trees.
        executions: in those trees, roots included.
        artifact_bytes: of their artifacts.
        results: of plain Celery tasks, groups and chords.
    """

    roots: int = 0
    executions: int = 0
    artifact_bytes: int = 0
    results: int = 0


def prune(
    wish: PruneWish,
    services: Services,
    *,
    place: Place,
    expiry: Expiry | None,
    tell: Callable[[Pruned], object] = lambda _: None,
) -> Pruned:
    """Delete what ended long ago, while everything else goes on.

    Args:
        wish: what is to go.
        services: the stores.
        place: of which project and location.
        expiry: of the results of plain tasks; None if they are kept for ever.
        tell: gets what is gone so far, after each page.

    Raises:
        InvalidValue: no such age or limit; nothing was deleted.
        Unreachable: the database or the artifact store does not answer. What is gone is gone; the next prune goes on.
    """
    _check(wish)
    store, artifacts = PruneStore(services.store.database), Artifacts(services.surroundings.artifacts_url)
    before = store.ago(wish.older_than.total_seconds())
    wanted = Wanted(project=place.project, location=place.location, ended_before=before, keeps_failed=wish.keeps_failed)
    # Looked at after the clock: whatever an execution that ended before has stored is there by now.
    kept = _Kept(artifacts)
    done = Pruned()
    for page in _pages(store, wanted, limit=wish.limit):
        for batch in _batches(page):
            groups = store.members(batch)
            size = sum(kept.size(each) for group in groups for each in group)
            gone = groups if wish.dry_run else _delete(groups, store, kept)
            done = replace(
                done,
                roots=done.roots + len(gone),
                executions=done.executions + sum(map(len, gone)),
                artifact_bytes=done.artifact_bytes + size,
            )
        tell(done)
    if not wish.dry_run:
        store.delete_starts(before)
    if expiry is None:
        return done
    results = ResultStore(services.store.database)
    return replace(done, results=(results.count_expired if wish.dry_run else results.delete_expired)(expiry))


def _check(wish: PruneWish) -> None:
    if not timedelta(0) <= wish.older_than <= MAX_AGE:
        raise InvalidValue("age", str(wish.older_than), f"a time from 0 to {MAX_AGE.days:,} days")
    if wish.limit is not None and wish.limit < 1:
        raise InvalidValue("limit", str(wish.limit), "1 or more trees")


def _pages(store: PruneStore, wanted: Wanted, *, limit: int | None) -> Iterator[Sequence[Tree]]:
    after = None
    while page := store.trees(wanted, after=after, limit=_PAGE if limit is None else min(_PAGE, limit)):
        yield page
        after = page[-1]
        if limit is not None:
            limit -= len(page)


def _batches(trees: Iterable[Tree]) -> Iterator[list[Tree]]:
    """Trees that go in one transaction; one that is too large for that is alone."""
    batch: list[Tree] = []
    for tree in trees:
        if batch and sum(each.size for each in batch) + tree.size > MOST_AT_ONCE:
            yield batch
            batch = []
        batch.append(tree)
    if batch:
        yield batch


def _delete(groups: Sequence[Sequence[str]], store: PruneStore, kept: _Kept) -> Sequence[Sequence[str]]:
    """Delete the executions of some trees; those of the trees that went."""
    for each in (each for group in groups for each in group):
        kept.delete(each)
    failpoint("prune.artifacts")
    if len(groups) > 1:
        return [group for group, is_gone in zip(groups, store.delete(groups), strict=True) if is_gone]
    pieces = (groups[0][first : first + MOST_AT_ONCE] for first in range(0, len(groups[0]), MOST_AT_ONCE))
    return groups if all(store.delete([piece])[0] for piece in pieces) else ()  # up to the first that stays


class _Kept:
    """The artifacts of attempts, by execution: one look at the store, however many executions are asked for."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._folders: dict[str, list[str]] = defaultdict(list)
        for name in artifacts.folders(_ATTEMPTS):
            self._folders[name.partition(".")[0]].append(f"{_ATTEMPTS}/{name}")

    def size(self, execution_id: str) -> int:
        """How many bytes there are."""
        folders = self._folders.get(execution_id, ())
        return sum(artifact.size_bytes for folder in folders for artifact in self._artifacts.list(folder))

    def delete(self, execution_id: str) -> None:
        """Delete them."""
        for folder in self._folders.get(execution_id, ()):
            self._artifacts.delete_folder(folder)

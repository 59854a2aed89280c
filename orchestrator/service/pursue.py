"""The end of what was stopped (KILL, FATAL, a deadline): it obeys the marks, and ends what nobody runs.

``pursue`` goes through everything marked at and below an execution, the deepest first: a parent's join waits for its
children. What is over with one commit is written with its neighbours, a page at a time, so that ten thousand queued
sub-executions end within seconds; whatever is more than that - something runs, is to be undone, or changed meanwhile -
is ended by itself, as often as it takes. What a worker runs is ended by that worker (``runtime.guard``), whose commit
leads here again: it looks once a second, and at once when it is nudged.

It may be repeated at any time: a worker's periodic look does so for what a crash left. One execution that cannot be
ended must not keep the others from their end.

``start`` is ``service.apply.start_held``, which is above this module: what ends gives its slots to others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeAlias

from orchestrator.errors import Unreachable
from orchestrator.service.ends import OneCommitEnds, steps_to_end, stoppable
from orchestrator.service.limits import Start, admit_after
from orchestrator.service.services import Services
from orchestrator.service.standing import Standing, stand, to_standing, work_out
from orchestrator.service.start import join_message, to_message
from orchestrator.store.changes import Commit, Fired, Refusal
from orchestrator.store.rows import Found

log = logging.getLogger(__name__)

_AT_A_TIME: Final = 2  # pages

_Errors: TypeAlias = dict[str, Exception]  # by execution


def pursue(execution_id: str, services: Services, *, start: Start) -> None:
    """Bring everything marked at and below an execution as near to its end as is possible without its workers."""
    errors = _pursue([execution_id], services, start)
    if asked := services.signals.asked_to_stop(execution_id):
        services.publisher.nudge(asked)
    for error in errors.values():
        raise error


def pursue_marked(services: Services, *, start: Start) -> None:
    """The same for everything marked: what a crash has left."""
    for execution_id, error in _pursue(services.signals.marked(), services, start).items():
        log.error("execution not ended; it is tried again later", exc_info=error, extra={"execution_id": execution_id})


def follow_up(changes: Sequence[Commit], fired: Sequence[Fired], services: Services, *, start: Start) -> None:
    """What is to be done once changes that need no worker are written: messages, and the end of what they stop."""
    messages = [
        to_message(change.execution.id, each, services.types, priority=change.execution.priority)
        for change in changes
        for each in change.ready
    ]
    messages += map(join_message, fired)
    if messages:
        services.publisher.publish(messages)
    admit_after([change.execution for change in changes if change.outcome is not None], services, start=start)
    for change in changes:
        if change.revoked or change.asked_to_end or change.begins_to_stop:
            pursue(change.execution.id, services, start=start)


def end_one(standing: Standing, services: Services, *, start: Start) -> None:
    """Obey the mark of one execution, and end what nobody runs of it."""
    while _end(standing, services, start):
        standing = stand(standing.stored.id, services)


def _pursue(execution_ids: Sequence[str], services: Services, start: Start) -> _Errors:
    errors: _Errors = {}
    for pages in services.signals.marked_below(execution_ids):
        for others in _of_each(pages, lambda page: _end_together(page, services, start, errors), services):
            for found in others:
                with _kept(errors, found.stored.id):
                    end_one(to_standing(found, services), services, start=start)
    return errors


def _of_each(
    pages: Sequence[Sequence[str]], end: Callable[[Sequence[str]], list[Found]], services: Services
) -> Iterator[list[Found]]:
    """What is left of each page. Where there are several, one is decided while the server writes another one."""
    if len(pages) == 1 or services.store.database.is_sqlite:  # which has one writer at a time
        yield from map(end, pages)
        return
    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="pursue") as pool:
        yield from pool.map(end, pages)


@contextmanager
def _kept(errors: _Errors, execution_id: str) -> Iterator[None]:
    try:
        yield
    except Unreachable:  # nor would the others get through
        raise
    except Exception as error:
        errors[execution_id] = error


def _end_together(page: Sequence[str], services: Services, start: Start, errors: _Errors) -> list[Found]:
    """End those of a page that are over with one commit.

    Returns:
        The others, as they were found before that.
    """
    ends = OneCommitEnds(services)
    changes: list[Commit] = []
    others: list[Found] = []
    for found in services.store.find(page):
        with _kept(errors, found.stored.id):
            change = ends.of(found)
            if change is None:
                others.append(found)
            else:
                changes.append(change)
    if not changes:
        return others
    written = services.store.commit_many(changes)
    changes = [each for each in changes if each.execution.id not in written.refused]
    follow_up(changes, written.fired, services, start=start)
    return others + services.store.find(list(written.refused))


def _end(standing: Standing, services: Services, start: Start) -> bool:
    """Obey a KILL, end what no worker has claimed, and ask the others to end the rest. Whether to look again."""
    if steps := steps_to_end(standing):
        outcome = work_out(steps, standing)
        if outcome is None:  # it is being stopped already, and what stopped it first counts
            services.signals.settle(standing.stored)
            return True
        change, _ = outcome
        written = services.store.commit(change)
        if isinstance(written, Refusal):
            return True
        follow_up([change], written, services, start=start)
        return change.outcome is None
    # The commit that began to stop it has asked those that it saw; these were being claimed at that moment.
    for live in stoppable(standing):
        if live.worker is not None and live.stop_at is None:
            services.signals.ask_to_stop(live.key)
    return False

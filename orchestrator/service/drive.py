"""Driving an execution: claim an attempt, run it, decide, commit, publish, and go on with light tasks in line.

One ``drive`` is what one message causes. It holds the execution in memory from the claim to the last commit:

    claim -> perform -> decide -> (a light task is ready? that too, in the same batch) -> commit -> publish

A batch is bounded: it is written after ``BATCH_TASKS`` outcomes, or ``BATCH_S`` after its first, whichever is sooner. A
crash loses at most one batch of light tasks, which have no side effects and run again. A heavy task is always a
message and a claim of its own; if the process knows its next one (``service.ahead``), the commit claims it, too. If the
attempt is not this worker's any more, the whole batch is dropped.

While the database is away the worker waits with what it has (``patience``).
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from orchestrator.engine.canvas import Chord, Message
from orchestrator.engine.decisions import Dispatch
from orchestrator.errors import Unreachable
from orchestrator.failpoints import failpoint
from orchestrator.model.history import Entry, EntryKind
from orchestrator.model.timers import TimerKind
from orchestrator.service.ahead import AHEAD
from orchestrator.service.apply import start_held
from orchestrator.service.batch import Batch
from orchestrator.service.clock import CarriedClock
from orchestrator.service.limits import admit_after
from orchestrator.service.patience import patiently
from orchestrator.service.perform import Performer, Result
from orchestrator.service.pursue import pursue
from orchestrator.service.services import Services
from orchestrator.service.start import chunk_message, join_message, new_attempt, start_messages, to_message
from orchestrator.store.changes import Commit, Due, Fired, Refusal, Wait
from orchestrator.store.kinds import AttemptKey, Signal
from orchestrator.store.rows import Claimed

log = logging.getLogger(__name__)

BATCH_TASKS: Final = 250
BATCH_S: Final = 0.05


def drive(key: AttemptKey, *, worker: str, services: Services) -> bool:
    """Do what a message asks for.

    Returns:
        False if there was nothing to claim and the message was dropped.
    """
    if AHEAD.is_over(key):
        return True
    claimed = AHEAD.take(key) or _claim(key, worker=worker, services=services)
    if claimed is None:
        log.info("message dropped: claimed before, over, or of another attempt", extra={"key": key})
        return False
    failpoint("claim.committed")
    _Drive(claimed, services).run()
    return True


def _claim(key: AttemptKey, *, worker: str, services: Services) -> Claimed | None:
    is_in_doubt = AHEAD.is_in_doubt(key)
    return patiently(lambda is_again: services.store.claim(key, worker=worker, is_again=is_again or is_in_doubt))


def go_on(claimed: Claimed, services: Services, results: Sequence[Result] = ()) -> None:
    """Go on with an execution that this worker has claimed, and performed some tasks of."""
    _Drive(claimed, services).run(results)


def begin_again(claimed: Claimed, services: Services) -> None:
    """Run an execution that this worker has claimed a while ago, from where the database says that it stands."""
    _Drive(claimed, services).run_again()


class _Drive:
    """One claimed execution, in memory until the last commit."""

    def __init__(self, claimed: Claimed, services: Services) -> None:
        self._claimed, self._services = claimed, services
        clock = CarriedClock(claimed.now)
        self._plan = services.plans.get(claimed.execution.version_id, claimed.execution.trigger_id)
        self._batch = Batch(claimed, self._plan)
        self._performer = Performer(claimed, self._plan, services, clock=clock)
        self._first_result_at = 0.0

    def run(self, results: Sequence[Result] = ()) -> None:
        """``results``: of tasks that were performed already; the first is that of the task that was claimed."""
        key = self._claimed.key
        timeout_ms = self._plan.tasks[key.number].config.timeout_ms
        if timeout_ms is not None and key.round == 0:
            due = Due(kind=TimerKind.TIMEOUT, number=key.number, attempt=key.attempt, after_s=timeout_ms / 1000)
            patiently(lambda _: self._services.store.set_timer(key.execution_id, due))
        if not results:
            self._perform(key.number, key.attempt, key.round)
        for result in results:
            self._add(result)
        while True:
            ahead = self._batch.next_in_line()
            if ahead is None or self._is_due():
                if not self._commit():
                    return
                ahead = self._batch.next_in_line()
            if ahead is None:
                return
            self._perform(ahead.number, ahead.attempt)

    def run_again(self) -> None:
        """Nothing of it is written but its claim, and it may have been killed since."""
        execution_id = self._claimed.key.execution_id
        stored, parameters = patiently(lambda _: self._services.store.read(execution_id))
        if stored.signal not in (None, Signal.STOPPING):
            self._pursue()
            stored, parameters = patiently(lambda _: self._services.store.read(execution_id))
        if not stored.state.is_final:
            self._batch.rebase(stored, parameters)
            self.run()

    def _perform(self, number: int, attempt: int, round: int = 0) -> None:  # noqa: A002 - the word is ours
        is_rollback = self._batch.is_rolling_back(number)
        if self._batch.is_to_end(number):
            result = self._performer.stop(number, attempt, round)
        else:
            result = self._performer.perform(
                number, attempt, round, parameters=self._batch.parameters, is_rollback=is_rollback
            )
        self._add(result)

    def _add(self, result: Result) -> None:
        if not len(self._batch):
            self._first_result_at = time.monotonic()
        self._batch.add(result)

    def _is_due(self) -> bool:
        return len(self._batch) >= BATCH_TASKS or time.monotonic() - self._first_result_at >= BATCH_S

    def _commit(self) -> bool:
        """Write the batch, deciding again as often as somebody else was faster.

        Returns:
            False if there is nothing left to do: the execution is over, or the work was taken away.
        """
        store, key = self._services.store, self._claimed.key
        while True:
            change = self._batch.to_commit()
            written = patiently(functools.partial(self._write, change))
            if written is Refusal.FENCED:
                self._refuse(change, "the attempt is not this worker's any more")
                return False
            if written is not Refusal.STALE:
                break
            stored, parameters = patiently(lambda _: store.read(key.execution_id))
            if stored.signal not in (None, Signal.STOPPING):  # a KILL that came meanwhile is obeyed first
                self._pursue()
                continue
            if stored.state.is_final:
                self._refuse(change, "the execution is over")
                return False
            self._batch.rebase(stored, parameters)
        self._publish(change, written)
        if change.begins_to_stop:
            self._pursue()
        if change.outcome is not None:
            admit_after([change.execution], self._services, start=start_held)
            return False
        self._batch.stand_on(change)
        return True

    def _pursue(self) -> None:
        patiently(lambda _: pursue(self._claimed.key.execution_id, self._services, start=start_held))

    def _refuse(self, change: Commit, reason: str) -> None:
        """What comes too late changes nothing; that it came is noted."""
        key = self._claimed.key
        log.warning("result refused: %s", reason, extra={"key": key})
        for entry in change.entries:
            if entry.task_number == key.number and entry.attempt == key.attempt:
                late = replace(entry, kind=EntryKind.LATE, states={}, edges={}, parameters={})
                patiently(functools.partial(self._note, late))

    def _note(self, late: Entry, is_again: bool) -> None:  # noqa: ARG002 - noted twice is as good as once
        self._services.store.note(self._claimed.key.execution_id, late)

    def _write(self, change: Commit, is_again: bool) -> Sequence[Fired] | Refusal:
        """Write it, once: the answer to the first time may be all that was lost.

        Which joins it fired is not known then: they are published with what else has no message (``recovery``).
        """
        following = AHEAD.to_claim() if self._batch.next_in_line() is None else None
        if following is not None and not is_again:
            return self._write_and_claim(change, following)
        written = self._services.store.commit(change)
        if is_again and isinstance(written, Refusal):
            stored, _ = self._services.store.read(change.execution.id)
            if (
                stored.revision == change.execution.revision + len(change.entries)
                and stored.progress == change.progress
            ):
                return ()
        return written

    def _write_and_claim(self, change: Commit, following: AttemptKey) -> Sequence[Fired] | Refusal:
        store, worker = self._services.store, self._claimed.worker
        try:
            written, claimed = store.commit_and_claim(change, following, worker=worker)
        except Unreachable:
            AHEAD.note_doubt()
            raise
        AHEAD.hold([claimed] if claimed is not None else [])
        return written

    def _publish(self, change: Commit, fired: Sequence[Fired]) -> None:
        messages = [
            *_ready(change, self._services),
            *self._given_back(change),
            *_children(change, self._services),
            *map(join_message, fired),
        ]
        if messages:
            self._services.publisher.publish(messages)

    def _given_back(self, change: Commit) -> list[Message]:
        """Another worker is to take what this one has not ended."""
        claimed, messages = self._claimed, []
        for key in change.given_back:
            is_rollback = self._batch.is_rolling_back(key.number)
            dispatch = Dispatch(number=key.number, attempt=key.attempt, is_rollback=is_rollback)
            attempt = new_attempt(self._plan, dispatch, executor=claimed.execution.executor)
            message = to_message(key.execution_id, attempt, self._services.types, priority=claimed.execution.priority)
            messages.append(join_message(Fired(key=key, executor=claimed.executor)) if key.round else message)
        return messages


def _ready(change: Commit, services: Services) -> list[Message]:
    """The tasks that became ready and that this worker does not go on with itself."""
    stored = change.execution
    return [
        to_message(stored.id, each, services.types, priority=stored.priority)
        for each in change.ready
        if each.worker is None
    ]


def _children(change: Commit, services: Services) -> list[Message | Chord]:
    """A round of several messages is a chord; a single one, or those of children that nobody waits for, are plain."""
    messages: list[Message | Chord] = []
    for wait in change.waits:
        mine = [c for c in change.children if c.parent and c.parent.number == wait.number and c.parent.round]
        chunks = [chunk_message(each) for each in change.chunks if each.key.number == wait.number]
        header = [*start_messages(mine, services.types), *chunks]
        messages += [Chord(header=header, body=_awaited_join(change, wait))] if len(header) > 1 else header
    on_their_own = [child for child in change.children if child.parent and child.parent.round is None]
    return messages + list(start_messages(on_their_own, services.types))


def _awaited_join(change: Commit, wait: Wait) -> Message:
    key = AttemptKey(execution_id=change.execution.id, number=wait.number, attempt=wait.attempt, round=wait.round)
    return join_message(Fired(key=key, executor=wait.executor))

"""Parcels: how messages get from the worker's main process to its pool, as many at a time as are soon over.

Celery hands a process of the pool one message, and the next one when it has heard of the end of the first. For a task
of a millisecond that takes longer than the task. So messages that wait for a process stand in a line, and a process
that gets free takes as many off its head as are expected to be over within ``PARCEL_S``, or its share of them:

    broker --prefetch--> line --parcel--> process: claim, run, commit; claim, run, commit; ... --> results, together

Nothing else changes: each message has a request, a claim, a commit and an acknowledgement of its own.

Nobody waits behind a task that takes long. What is expected is what tasks of this type took lately, so a type that is
new, or slow, goes alone; and as long as tasks are slow the worker fetches no more than it has processes. Where the
expectation was wrong, what has waited for ``PATIENCE_S`` is given back: what of a parcel was not begun, and what stands
in the line. Both are found unclaimed, by this worker or another one.

What must not happen: that a message is begun here after it was given back. Where the two cross, its claim decides
(``runtime.parcel_runs``).

Without an event loop (the file broker), or a pool of processes, messages come and go one by one, as Celery has it.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from celery import bootsteps
from celery.bootsteps import CLOSE  # type: ignore[attr-defined]  # its types leave it out
from celery.worker import state as worker_state

from orchestrator.runtime.parcel_runs import BOARD, Ran, run_parcel
from orchestrator.runtime.redis_broker import await_answer, give_back
from orchestrator.runtime.requests import AttemptRequest

PARCEL_S: Final = 0.05
PATIENCE_S: Final = 0.1
MOST: Final = 16  # messages in a parcel
_SHARE: Final = 0.3  # of the last time in what is expected
_LONGEST_S: Final = 1.0  # that a time counts for: one that is longer is not to be remembered for longer


class Pace:
    """How long tasks take, in seconds: by type, and of all types. Of one that was never seen, the worst is expected."""

    def __init__(self) -> None:
        self._by_type: dict[str, float] = {}
        self._of_all = PARCEL_S

    def note(self, times: Iterable[tuple[str, float]]) -> None:
        """The tasks of a parcel have ended: their types, and how long each took."""
        by_type = defaultdict[str, list[float]](list)
        for name, seconds in times:
            by_type[name].append(seconds)
        for name, some in by_type.items():
            self._by_type[name] = _settled(self._by_type.get(name), some)
        self._of_all = _settled(self._of_all, [each for some in by_type.values() for each in some])

    def slow_down(self) -> None:
        """Something takes too long, and has not ended."""
        self._of_all = max(self._of_all, PARCEL_S)

    def of(self, name: str) -> float:
        """What to expect of a task of this type."""
        return self._by_type.get(name, PARCEL_S)

    @property
    def parcel(self) -> int:
        """How many tasks of any type a parcel may take: a power of two, so that it seldom changes."""
        fitting = int(min(MOST, PARCEL_S / max(self._of_all, 1e-6)))
        return 1 << max(fitting.bit_length() - 1, 0)


def _settled(expected: float | None, seconds: list[float]) -> float:
    """The mean of a parcel counts: tasks that run together end together."""
    mean = min(fmean(seconds), _LONGEST_S)
    return mean if expected is None else expected + _SHARE * (mean - expected)


@dataclass(kw_only=True, slots=True)
class _Parcel:
    """What a process has, or is about to get.

    Attributes:
        requests: in order; each is an ``AttemptRequest``, of which Celery's types say less than there is.
        place: on the board.
        settled: how many of them Celery knows to be over.
        taken_out: how many at the end were given back.
    """

    requests: list[Any]
    place: int
    sent_at: float
    pid: int = 0
    settled: int = 0
    taken_out: int = 0

    @property
    def kept(self) -> int:
        return len(self.requests) - self.taken_out

    @property
    def is_late(self) -> bool:
        return time.monotonic() - self.sent_at >= PATIENCE_S


class Line:
    """The messages of one consumer that wait for a process, and the parcels that processes have."""

    def __init__(self, consumer: Any, handle: Any) -> None:
        self._consumer, self._handle_foreign = consumer, handle
        self._waiting: deque[tuple[Any, float]] = deque()  # requests, and since when
        self._sent: list[_Parcel] = []
        self._is_asking = self._is_watching = False
        self._pace, self._fetched_ahead = Pace(), 0

    def begin(self) -> None:
        """With a connection, the first or another one: what nobody had begun comes again, and was all forgotten.

        The pool has dropped what no process has said to have, and will not speak of it. A process may have it all the
        same, so its place on the board is not for others.
        """
        self._waiting.clear()
        for parcel in self._sent:
            if not parcel.pid:
                BOARD.end(parcel.place)
        self._sent = [each for each in self._sent if each.pid]
        self._is_asking = False
        self._fetched_ahead = 0

    def close(self) -> None:
        """Begin nothing more."""
        self._is_asking = True

    def stop(self) -> None:
        """What has not begun is for others."""
        self._waiting, left = deque(), self._waiting
        _give_back(request for request, _ in left)
        for parcel in reversed(self._sent):
            self._take_out(parcel)

    def add(self, request: Any) -> None:
        """A message came. Those that are not for our tasks go Celery's way."""
        if not isinstance(request, AttemptRequest):
            self._handle_foreign(request)
            return
        self._waiting.append((request, time.monotonic()))
        self._ask()
        self._watch()

    def _ask(self) -> None:
        if self._waiting and not self._is_asking:
            self._is_asking = True
            self._consumer.controller.semaphore.acquire(self._send)

    def _send(self) -> None:
        """A process is free."""
        self._is_asking = False
        requests = self._next_parcel()
        if not requests:
            self._consumer.controller.semaphore.release()
            return
        parcel = _Parcel(requests=requests, place=BOARD.take(), sent_at=time.monotonic())
        self._sent.append(parcel)
        self._consumer.pool.apply_async(
            run_parcel,
            args=(parcel.place, [each.order() for each in requests]),
            accept_callback=lambda pid, at: self._begun(parcel, pid, at),
            callback=lambda ran: self._over(parcel, ran),
            error_callback=lambda failure: self._lost(parcel, failure),
            correlation_id=requests[0].id,
        )
        self._write()
        self._ask()

    def _write(self) -> None:
        """Hand over what is to go to a process at once; Celery would go round its event loop first."""
        pool = self._consumer.pool._pool
        if idle := pool._all_inqueues - pool._active_writes - pool._busy_workers:
            self._consumer.hub.consolidate_callback([*idle])

    def _next_parcel(self) -> list[Any]:
        share = -(-len(self._waiting) // self._consumer.pool.num_processes)
        requests: list[Any] = []
        seconds = 0.0
        while self._waiting and len(requests) < min(share, MOST):
            request = self._waiting[0][0]
            seconds += self._pace.of(request.name)
            if requests and seconds > PARCEL_S:
                break
            self._waiting.popleft()
            if not request.revoked():
                requests.append(request)
        return requests

    # -- what the pool says -----------------------------------------------------------------------------------------

    def _begun(self, parcel: _Parcel, pid: int, at: float) -> None:
        parcel.pid = pid
        for request in parcel.requests:
            request.worker_pid = pid  # who has to hear of a KILL, and may be lost
        if parcel.kept and parcel.requests[0].time_start is None:  # or it was seen on the board before
            parcel.requests[0].on_accepted(pid, at)

    def _over(self, parcel: _Parcel, ran: list[Ran]) -> None:
        for position, (request, each) in enumerate(zip(parcel.requests[: parcel.kept], ran, strict=False)):
            if position >= parcel.settled or each.result[0]:
                if request.time_start is None:
                    request.on_accepted(parcel.pid, each.began_at)
                request.on_success(each.result)
        _give_back(parcel.requests[len(ran) : parcel.kept])
        self._forget(parcel)
        if ran:
            self._pace.note((request.name, each.seconds) for request, each in zip(parcel.requests, ran, strict=False))
        self._fetch()

    def _lost(self, parcel: _Parcel, failure: Any) -> None:
        """The process is gone, or was ended. Which of the tasks it had claimed, the rows say."""
        for request in parcel.requests[parcel.kept :]:
            request.take_back(failure)
        for request in parcel.requests[parcel.settled : parcel.kept]:
            request.on_failure(failure)
        self._forget(parcel)

    def _forget(self, parcel: _Parcel) -> None:
        BOARD.free(parcel.place)
        self._sent.remove(parcel)

    # -- what takes too long ----------------------------------------------------------------------------------------

    def _watch(self) -> None:
        if not self._is_watching:
            self._is_watching = True
            self._consumer.hub.call_later(PATIENCE_S, self._look)

    def _look(self) -> None:
        """While something waits."""
        self._is_watching = False
        late, long_ago = [], time.monotonic() - PATIENCE_S
        while self._waiting and self._waiting[0][1] <= long_ago:
            late.append(self._waiting.popleft()[0])
        if late:
            self._pace.slow_down()
            self._fetch()
            _give_back(late)
        for parcel in reversed(self._sent):
            if parcel.kept > 1 and parcel.is_late:
                self._take_out(parcel)
        if self._waiting or any(parcel.kept > 1 for parcel in self._sent):
            self._watch()

    def _take_out(self, parcel: _Parcel) -> None:
        """What has not begun is given back, and of the others it is said how they stand."""
        begun = min(BOARD.end(parcel.place), parcel.kept)
        over, running = parcel.requests[parcel.settled : begun][:-1], parcel.requests[parcel.settled : begun][-1:]
        late = parcel.requests[begun : parcel.kept]
        parcel.settled, parcel.taken_out = parcel.settled + len(over), parcel.taken_out + len(late)
        for request in (*over, *running):
            if request.time_start is None:
                request.on_accepted(parcel.pid, parcel.sent_at)
        for request in over:
            request.on_success((False, "None", None))
        _give_back(late)

    def _fetch(self) -> None:
        """Have the broker send what is soon begun, beyond one message for each process."""
        processes, parcel = self._consumer.pool.num_processes, self._pace.parcel
        lively = processes - sum(each.is_late for each in self._sent)
        ahead = max(lively, 0) * parcel if parcel > 1 else 0
        qos = self._consumer.qos
        if ahead > self._fetched_ahead:
            qos.increment_eventually(ahead - self._fetched_ahead)
        elif ahead < self._fetched_ahead:
            qos.decrement_eventually(self._fetched_ahead - ahead)
            qos.value = max(qos.value, processes)  # Celery may have set it anew
        self._fetched_ahead = ahead


def _give_back(requests: Iterable[Any]) -> None:
    """Put messages back to where they came from, in their order: the last one first."""
    for request in reversed([*requests]):
        worker_state.task_ready(request)
        request.acknowledged = True
        give_back(request.message, request.connection_errors)


class Parcels(bootsteps.StartStopStep):
    """The consumer's boot step."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._line: Line | None = None
        if parent.hub is not None and parent.pool.uses_semaphore:
            self._line = Line(parent, parent.on_task_request)
            parent.on_task_request = self._line.add

    def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """There is a connection, and no message has come of it."""
        if self._line is not None:
            self._line.begin()

    def stop(self, parent: Any) -> None:
        """The worker ends, or, if not, the connection is lost: then everything goes on but what is in the line."""
        if self._line is not None and parent.blueprint.state == CLOSE:
            self._line.close()
            await_answer(parent.task_consumer.channel)  # it would hand out to us what is given back now
            self._line.stop()

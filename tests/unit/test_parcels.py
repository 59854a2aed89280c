"""Parcels: which messages go to the pool together, and that each ends once, whatever comes between."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from types import SimpleNamespace

import pytest
from celery.bootsteps import CLOSE, RUN
from celery.worker import state as worker_state
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kombu.asynchronous.semaphore import LaxBoundedSemaphore
from kombu.common import QoS

from orchestrator.engine.canvas import BUNDLE_TASK, CHUNK_TASK
from orchestrator.runtime import parcel_runs, parcels
from orchestrator.runtime.parcel_runs import Board, Order, Ran, run_parcel
from orchestrator.runtime.parcels import MOST, PARCEL_S, PATIENCE_S, Line, Parcels
from orchestrator.runtime.requests import AttemptRequest
from orchestrator.service.ahead import AHEAD
from orchestrator.store.kinds import AttemptKey

QUICK_S, SLOW_S = PARCEL_S / 100, PARCEL_S * 2
PID = 4711
NOTHING = (False, "None", 0.0)
BROKEN = SimpleNamespace(exception=RuntimeError("broken"))


class Asked(AttemptRequest):
    """A message, and what became of it. Celery's own, but for what needs a broker, an app or a database."""

    def __init__(self, name, number, books):
        self.name, self.id, self.books = name, str(uuid.uuid4()), books
        self.number, self.is_revoked, self.events = number, False, Counter()
        self._message, self._connection_errors = self, (OSError,)
        self._on_ack = lambda logger, errors: books.settle(self, "success")
        self._task = SimpleNamespace(acks_late=True)
        worker_state.task_reserved(self)

    def order(self):
        return self

    def revoked(self):
        if self.is_revoked:
            worker_state.task_ready(self)
            self.books.settle(self, "revoked")
        return self.is_revoked

    def send_event(self, type, **fields):  # noqa: A002 - Celery's name
        self.events[type] += 1

    def on_failure(self, exc_info, send_failed_event=True, return_ok=False):
        self.take_back(exc_info)
        worker_state.task_ready(self)
        if not self.acknowledged:
            self.acknowledged = True
            self.books.settle(self, "failure")

    def take_back(self, exc_info):
        self.books.taken_back.append(self.number)


class Books:
    """What became of each message, in order."""

    def __init__(self):
        self.settled, self.taken_back, self.asked = [], [], 0

    def settle(self, request, how):
        self.settled.append((request.number, how))

    def of(self, how):
        return [number for number, found in self.settled if found == how]


class Job:
    """A parcel in the pool, and the process that runs it; ``numbers`` are those of its messages."""

    def __init__(self, pool, args, on_accepted, on_result, on_loss):
        self.pool, self.place, self.numbers = pool, args[0], [each.number for each in args[1]]
        self.on_accepted, self.on_result, self.on_loss = on_accepted, on_result, on_loss
        self.ran, self.is_accepted = [], False

    def accept(self):
        self.is_accepted = True
        self.on_accepted(PID, time.monotonic())

    def run(self, count=MOST, seconds=QUICK_S, *, failing=()):
        """Begin so many, and end them."""
        for _ in range(count):
            if len(self.ran) == len(self.numbers) or not self.begin():
                break
            failed = self.numbers[len(self.ran)] in failing
            result = (True, BROKEN, seconds) if failed else NOTHING
            self.ran.append(Ran(result=result, began_at=time.monotonic(), seconds=seconds))
        return self

    def begin(self):
        return parcels.BOARD.begin(self.place, len(self.ran))

    def finish(self):
        """Have the main process read what the pool says, as billiard does."""
        if not self.is_accepted:
            self.accept()
        self._end()
        self.on_result(self.ran)

    def die(self):
        self._end()
        self.on_loss(BROKEN)

    def _end(self):
        self.pool.jobs.remove(self)
        self.pool.semaphore.release()


class Pool:
    """``jobs``: what it has not ended."""

    uses_semaphore = True

    def __init__(self, processes):
        self.num_processes, self.jobs, self.sent = processes, [], []
        self.semaphore = LaxBoundedSemaphore(processes)
        nobody = frozenset()
        self._pool = SimpleNamespace(_all_inqueues=nobody, _active_writes=nobody, _busy_workers=nobody)

    def apply_async(self, target, args, accept_callback, callback, error_callback, correlation_id):
        assert target is run_parcel
        assert correlation_id == args[1][0].id
        self.jobs.append(Job(self, args, accept_callback, callback, error_callback))
        self.sent.append(self.jobs[-1].numbers)


class World:
    """A line and what is around it. ``later`` is what the event loop is to call."""

    def __init__(self, processes=2):
        self.books, self.pool, self.later, self.offset_s = Books(), Pool(processes), [], 0.0
        self.foreign, self.number = [], 0
        self.consumer = SimpleNamespace(
            pool=self.pool,
            controller=SimpleNamespace(semaphore=self.pool.semaphore),
            hub=SimpleNamespace(call_later=lambda delay_s, callback: self.later.append((delay_s, callback))),
            qos=QoS(lambda prefetch_count: None, processes),
        )
        self.line = Line(self.consumer, self.foreign.append)
        self.line.begin()

    def monotonic(self):
        return time.monotonic() + self.offset_s

    def add(self, *names):
        """Messages come, each of such a type; their requests."""
        requests = []
        for name in names:
            self.number += 1
            requests.append(Asked(name, self.number, self.books))
            self.line.add(requests[-1])
        return requests

    def learn(self, name="quick", seconds=QUICK_S):
        """Have the line know how long a type takes."""
        for _ in range(20):
            self.add(name)
            while self.pool.jobs:
                self.pool.jobs[0].run(seconds=seconds).finish()
        self.forget()

    def forget(self):
        self.pool.sent.clear()
        self.books.settled.clear()
        self.number = 0

    def keep_busy(self):
        """Give each process a slow one; their jobs."""
        self.add(*["slow"] * self.pool.num_processes)
        jobs = [*self.pool.jobs]
        for each in jobs:
            each.accept()
            each.run(1, SLOW_S)
        self.forget()
        return jobs

    def wait(self, seconds=PATIENCE_S):
        """Time passes, and what the event loop is to call by then it calls."""
        self.offset_s += seconds
        due, self.later = self.later, []
        for _, callback in due:
            callback()

    def lose_connection(self):
        """What Celery does: the pool forgets what no process has accepted."""
        self.pool.semaphore.clear()
        worker_state.reserved_requests.clear()
        self.pool.jobs = [each for each in self.pool.jobs if each.is_accepted]
        self.consumer.qos = QoS(lambda prefetch_count: None, self.pool.num_processes)
        self.line.begin()

    @property
    def prefetch(self):
        return self.consumer.qos.value


@pytest.fixture
def patched(monkeypatch):
    """Nothing of it is seen by other tests."""
    patch(monkeypatch)
    yield monkeypatch
    AHEAD.forget()


def patch(monkeypatch):
    board = Board()
    for module in (parcels, parcel_runs):
        monkeypatch.setattr(module, "BOARD", board)
    for name in ("requests", "reserved_requests", "active_requests"):
        getattr(worker_state, name).clear()
    monkeypatch.setattr(parcels, "give_back", lambda message, errors: message.books.settle(message, "given back"))


def made(monkeypatch, processes=2):
    world = World(processes)
    monkeypatch.setattr(parcels, "time", world)
    return world


@pytest.fixture
def world(patched):
    return made(patched)


def free_places():
    return len(parcels.BOARD._free)


def running():
    """What Celery takes for running."""
    return [each.name for each in worker_state.active_requests]


# -- into parcels --------------------------------------------------------------------------------------------------


def test_a_message_goes_at_once_to_a_process_that_is_free_and_the_others_wait(world):
    world.add("new", "new", "new", "new")

    assert world.pool.sent == [[1], [2]]
    world.pool.jobs[0].run().finish()
    assert world.pool.sent == [[1], [2], [3]]


def test_who_gets_free_takes_its_share_of_what_waits(world):
    world.learn()
    first, _ = world.keep_busy()
    world.add(*["quick"] * 8)

    first.finish()

    assert world.pool.sent == [[1, 2, 3, 4]]


@pytest.mark.parametrize("name", ["new", "slow"])
def test_what_is_new_or_slow_goes_alone(world, name):
    world.learn()
    world.learn("slow", SLOW_S)
    first, second = world.keep_busy()
    world.add("quick", name, name, "quick", "quick", "quick")

    first.finish()
    second.finish()
    for _ in range(2):
        world.pool.jobs[0].run().finish()

    assert world.pool.sent[:3] == [[1], [2], [3]]


def test_as_many_go_together_as_are_over_in_time(patched):
    world = made(patched, processes=1)
    world.learn("quick", PARCEL_S / 4)
    (busy,) = world.keep_busy()
    world.add(*["quick"] * 10)

    busy.finish()

    (together,) = world.pool.sent
    assert len(together) in {3, 4}, "what is learnt is about right"


def test_there_is_a_most_that_goes_together(patched):
    world = made(patched, processes=1)
    world.learn("quick", PARCEL_S / 1000)
    (busy,) = world.keep_busy()
    world.add(*["quick"] * (MOST + 3))

    busy.finish()

    assert world.pool.sent == [[*range(1, MOST + 1)]]


def test_what_was_revoked_is_dropped_and_a_process_that_finds_nothing_is_free_again(world):
    first, second = world.keep_busy()
    for each in world.add("quick", "quick"):
        each.is_revoked = True

    first.finish()
    second.finish()

    assert world.pool.sent == []
    assert world.books.of("revoked") == [1, 2]
    assert world.pool.semaphore.value == 2
    world.add("quick")
    assert world.pool.sent == [[3]]


def test_what_is_not_for_our_tasks_goes_celerys_way(world):
    world.line.add("foreign")

    assert world.foreign == ["foreign"]
    assert world.pool.sent == []


# -- results -------------------------------------------------------------------------------------------------------


def test_each_message_of_a_parcel_is_begun_and_settled(world):
    world.learn()
    first, _ = world.keep_busy()
    requests = world.add(*["quick"] * 6)
    first.finish()

    world.pool.jobs[-1].run(failing={2}).finish()

    assert world.books.settled[-3:] == [(1, "success"), (2, "failure"), (3, "success")]
    assert [each.events for each in requests[:3:2]] == [{"task-started": 1, "task-succeeded": 1}] * 2
    assert {each.worker_pid for each in requests[:3]} == {PID}


def test_of_a_process_that_is_lost_everything_fails(world):
    world.learn()
    first, _ = world.keep_busy()
    world.add(*["quick"] * 6)
    first.finish()
    lost = world.pool.jobs[-1]
    lost.accept()
    lost.run(2)

    lost.die()

    assert world.books.of("failure") == [1, 2, 3]
    assert world.books.taken_back == [1, 2, 3]
    assert free_places() == parcel_runs.PLACES - len(world.pool.jobs)


def test_what_a_lost_process_may_have_begun_after_it_was_given_back_is_taken_back_too(world):
    parcel = sent_parcel(world)
    parcel.accept()
    parcel.run(2)
    world.wait()

    parcel.die()

    assert sorted(world.books.taken_back) == [2, 3, 4]
    assert world.books.of("failure") == [2]


# -- what is late --------------------------------------------------------------------------------------------------


def sent_parcel(world):
    """A parcel of four that is on its way to a process; the other one is busy, and four more wait."""
    world.learn()
    first, _ = world.keep_busy()
    world.requests = world.add(*["quick"] * 8)
    first.finish()
    parcel = world.pool.jobs[-1]
    assert parcel.numbers == [1, 2, 3, 4]
    world.books.settled.clear()
    return parcel


def test_what_waits_too_long_is_given_back_the_last_first(world):
    """Each goes to the head of its queue, so the first one is there in the end."""
    parcel = sent_parcel(world)
    parcel.accept()
    parcel.run(1)
    parcel.begin()

    world.wait()

    assert world.books.of("given back") == [8, 7, 6, 5, 4, 3]
    assert world.books.of("success") == [1]
    parcel.run().finish()
    assert world.books.of("success") == [1, 2]


def test_nothing_is_given_back_too_early(world):
    sent_parcel(world)

    world.wait(PATIENCE_S / 2)

    assert world.books.settled == []
    assert [delay_s for delay_s, _ in world.later] == [PATIENCE_S]


def test_of_several_late_parcels_the_last_one_is_given_back_first(world):
    world.learn()
    first, second = world.keep_busy()
    world.add(*["quick"] * 4)
    first.finish()
    second.finish()
    world.add(*["quick"] * 2)
    numbers = [number for parcel in world.pool.sent for number in parcel]
    assert len(world.pool.sent) == 2

    world.line.stop()

    waiting = [each for each in range(1, 7) if each not in numbers]
    assert world.books.of("given back") == [*reversed(numbers + waiting)]


def test_a_late_parcel_that_nobody_has_begun_is_given_back_whole(world):
    parcel = sent_parcel(world)

    world.wait()

    assert world.books.of("given back")[-4:] == [4, 3, 2, 1]
    parcel.run().finish()
    assert parcel.ran == []
    assert world.books.of("success") == []
    assert running() == ["slow"]


def test_a_single_task_that_takes_long_is_let_be(world):
    world.keep_busy()

    world.wait()
    world.wait()

    assert world.books.settled == []
    assert world.later == []


def test_one_that_was_begun_as_it_was_taken_out_is_settled_once(world):
    """Its claim decides whether it runs here."""
    parcel = sent_parcel(world)
    parcel.accept()
    parcel.run(1)
    begun = parcel.begin
    parcel.begin = lambda: True  # it has looked before, and writes after the main process has

    world.wait()
    parcel.run(2)
    parcel.begin = begun
    parcel.finish()

    assert len(parcel.ran) == 3
    assert sorted(world.books.settled) == [(1, "success")] + [(each, "given back") for each in range(2, 9)]


def test_what_is_told_of_a_begin_after_it_was_seen_is_no_news(world):
    """The event loop looks at what is late before it reads what the pool says."""
    parcel = sent_parcel(world)
    parcel.run()

    world.wait()
    parcel.accept()
    parcel.finish()

    assert world.books.of("success") == [1, 2, 3, 4]
    assert running() == ["slow"]
    assert {each.events["task-started"] for each in world.requests[:4]} == {1}


def test_what_begins_after_all_when_it_was_given_back_is_not_shown_as_running(world):
    parcel = sent_parcel(world)
    parcel.accept()
    parcel.run(1)
    world.wait()
    parcels.BOARD._memory[parcel.place * 4] = 2  # a process that looked before writes that the second one begins

    world.line.stop()

    assert [each.number for each in worker_state.active_requests if each.name == "quick"] == [1]
    parcel.finish()
    assert world.books.of("success") == [1]


# -- prefetch ------------------------------------------------------------------------------------------------------


def test_quick_tasks_have_the_broker_send_more_and_slow_ones_no_more_than_there_are_processes(world):
    assert world.prefetch == 2
    world.learn()
    much = world.prefetch
    assert much > 2 * 8

    world.learn("slow", SLOW_S)
    assert world.prefetch == 2
    world.learn()
    assert world.prefetch == much


def test_what_is_late_has_the_broker_send_no_more(world):
    sent_parcel(world)

    world.wait()

    assert world.prefetch == 2


def test_never_less_is_fetched_than_there_are_processes(world):
    world.learn()
    world.consumer.qos.value = 1  # Celery has set it anew

    world.learn("slow", SLOW_S)

    assert world.prefetch == 2


# -- the end, and connections --------------------------------------------------------------------------------------


def test_a_worker_that_ends_gives_back_what_has_not_begun(world):
    parcel = sent_parcel(world)
    parcel.accept()
    parcel.run(2)

    world.line.stop()

    assert world.books.of("given back") == [8, 7, 6, 5, 4, 3]
    parcel.finish()
    assert world.books.of("success") == [1, 2]
    for each in [*world.pool.jobs]:
        each.finish()
    assert world.pool.semaphore.value == 2
    assert free_places() == parcel_runs.PLACES


def test_with_another_connection_the_line_is_forgotten(world):
    parcel = sent_parcel(world)
    parcel.accept()

    world.lose_connection()
    world.add("quick")
    parcel.run().finish()

    assert world.pool.sent[-1] == [9]
    assert world.books.of("success") == [1, 2, 3, 4]
    assert world.books.of("given back") == []


def test_what_no_process_had_accepted_when_the_connection_was_lost_is_forgotten(world):
    """Celery's pool drops it and says nothing. It would count as late for ever, and nothing be fetched ahead."""
    world.learn()
    first, second = world.keep_busy()
    world.add(*["quick"] * 8)
    first.finish()
    second.finish()
    world.lose_connection()

    world.wait()
    for _ in range(10):
        world.add("quick")
        world.pool.jobs[0].run().finish()

    assert world.prefetch > 2 * 8
    assert world.books.of("given back") == []


@pytest.mark.parametrize(("state", "count"), [(CLOSE, 1), (RUN, 0)])
def test_the_boot_step_gives_back_at_the_end_of_the_worker_alone(world, state, count):
    parent = world.consumer
    parent.blueprint, parent.on_task_request = SimpleNamespace(state=state), world.foreign.append
    parent.task_consumer = SimpleNamespace(channel=None)  # of no Redis
    step = Parcels(parent)
    step.start(parent)
    world.line = SimpleNamespace(add=parent.on_task_request)
    world.add("new", "new", "new")

    step.stop(parent)

    assert len(world.books.of("given back")) == count + 2 * (state == CLOSE)
    assert world.foreign == []


@pytest.mark.parametrize("lacks", ["an event loop", "processes"])
def test_where_there_is_no_event_loop_or_no_pool_of_processes_celery_has_its_way(world, lacks):
    parent, way = world.consumer, world.foreign.append
    parent.on_task_request = way
    if lacks == "processes":
        parent.pool.uses_semaphore = False
    else:
        parent.hub = None

    step = Parcels(parent)
    step.start(parent)
    step.stop(parent)

    assert parent.on_task_request == way


# -- in a process ---------------------------------------------------------------------------------------------------


def order(number, *, name="Heavy", is_light=False):
    return Order(name=name, id=str(number), request={}, body=([str(number), number, 1, 0], {}, {}), is_light=is_light)


def key(number):
    return AttemptKey(execution_id=str(number), number=number, attempt=1)


@pytest.fixture
def ran(patched):
    """Run a parcel; what was offered at each task, whose code may do something."""

    def run(orders, **code):
        offered = []

        def trace(name, id, request, body, *_):  # noqa: A002 - Celery's names
            following, companions = AHEAD.to_claim(), AHEAD.take_companions()
            offered.append((int(id), following and following.number, [each.number for each in companions]))
            code.get(f"at_{id}", lambda: None)()
            return (0, "None", 0.0)

        patched.setattr(parcel_runs, "fast_trace_task", trace)
        run.place = parcel_runs.BOARD.take()
        found = run_parcel(run.place, orders)
        assert len(found) == len(offered)
        return offered

    return run


def test_each_task_knows_the_next_one(ran):
    assert ran([order(1), order(2), order(3)]) == [(1, 2, []), (2, 3, []), (3, None, [])]
    assert parcel_runs.BOARD.begun(ran.place) == 3
    assert AHEAD.to_claim() is None


def test_light_ones_know_those_that_follow_them(ran):
    orders = [order(1, is_light=True), order(2, is_light=True), order(3), order(4, is_light=True)]

    assert ran(orders) == [(1, None, [2]), (2, 3, []), (3, 4, []), (4, None, [])]


@pytest.mark.parametrize("name", [CHUNK_TASK, BUNDLE_TASK])
def test_what_is_no_single_attempt_is_claimed_by_itself(ran, name):
    assert ran([order(1), order(2, name=name), order(3)]) == [(1, None, []), (2, 3, []), (3, None, [])]


def test_what_is_taken_out_does_not_begin(ran):
    assert ran([order(1), order(2)], at_1=lambda: parcel_runs.BOARD.end(ran.place)) == [(1, 2, [])]


def test_what_is_taken_out_is_not_to_be_claimed(ran):
    seen = []

    def take_out():
        parcel_runs.BOARD.end(ran.place)
        seen.append(AHEAD.to_claim())

    ran([order(1), order(2)], at_1=take_out)

    assert seen == [None]


def claimed_and_taken_out(ran, number):
    AHEAD.hold([SimpleNamespace(key=key(number))])
    parcel_runs.BOARD.end(ran.place)


def test_what_is_claimed_is_run_all_the_same(ran):
    offered = ran([order(1), order(2), order(3)], at_1=lambda: claimed_and_taken_out(ran, 2))

    assert [number for number, _, _ in offered] == [1, 2]


def test_the_board_says_how_far_each_has_come():
    board = Board()
    first, second = board.take(), board.take()

    assert [board.begin(first, 0), board.begin(first, 1), board.begin(second, 0)] == [True] * 3
    assert board.end(first) == 2
    assert (board.begin(first, 2), board.may_begin(first, 2), board.begun(first)) == (False, False, 2)
    assert (board.begin(second, 1), board.begun(second)) == (True, 2)
    board.free(first)
    assert (board.take(), board.begun(first), board.may_begin(first, 15)) == (first, 0, True)


# -- whatever comes between ----------------------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Whatever the order of messages, processes and looks: each message ends once, and nothing is left."""

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        patch(self.patch)
        self.world = made(self.patch, processes=3)
        self.requests = []

    @rule(names=st.lists(st.sampled_from(["quick", "slow"]), min_size=1, max_size=12), revoked=st.booleans())
    def add(self, names, revoked):
        added = self.world.add(*names)
        waiting = {request for request, _ in self.world.line._waiting}
        if revoked and added[-1] in waiting:
            added[-1].is_revoked = True
        self.requests += added

    @precondition(lambda self: self.world.pool.jobs)
    @rule(data=st.data(), count=st.integers(0, 4), is_known=st.booleans(), failing=st.booleans())
    def run(self, data, count, is_known, failing):
        job = self.any_job(data)
        if is_known and not job.is_accepted:
            job.accept()
        job.run(count, QUICK_S if data.draw(st.booleans()) else SLOW_S, failing=job.numbers[1::2] if failing else ())

    @precondition(lambda self: self.world.pool.jobs)
    @rule(data=st.data(), dies=st.booleans())
    def end(self, data, dies):
        job = self.any_job(data)
        if dies:
            job.accept()
            job.die()
        else:
            job.run().finish()

    @rule(seconds=st.sampled_from([PATIENCE_S / 2, PATIENCE_S]))
    def look(self, seconds):
        self.world.wait(seconds)

    @rule()
    def stop(self):
        self.world.line.stop()

    @invariant()
    def nothing_is_settled_twice_and_the_semaphore_is_held_by_jobs(self):
        counts = Counter(number for number, _ in self.world.books.settled)
        assert not [number for number, count in counts.items() if count > 1]
        assert self.world.pool.semaphore.value == 3 - len(self.world.pool.jobs)
        assert free_places() == parcel_runs.PLACES - len(self.world.pool.jobs)
        assert self.world.prefetch >= 3

    def any_job(self, data):
        return data.draw(st.sampled_from(self.world.pool.jobs))

    def teardown(self):
        try:
            while self.world.pool.jobs:
                self.world.pool.jobs[0].run().finish()
            assert sorted(number for number, _ in self.world.books.settled) == [each.number for each in self.requests]
            assert [*worker_state.active_requests, *worker_state.requests] == []
            assert {count for each in self.requests for count in each.events.values()} <= {1}
            assert free_places() == parcel_runs.PLACES
            assert self.world.pool.semaphore.value == 3
        finally:
            self.patch.undo()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=50, stateful_step_count=25)

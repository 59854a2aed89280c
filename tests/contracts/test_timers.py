"""Timers, without workers: each fires once however many look, outlives who took it, and is dropped if it comes late."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState
from orchestrator.model.timers import TimerKind
from orchestrator.service.submit import Wishes
from orchestrator.service.timers import HARD_AFTER_S, fire_due_timers
from orchestrator.store.changes import Due
from orchestrator.store.executions import TAKEN_S
from orchestrator.store.kinds import Method
from orchestrator.store.tables import executions, timers
from tests.contracts.control_world import (
    LONG_AGO,
    ControlWorld,
    asks,
    break_down,
    nests,
    policy,
    restart,
    retry,
    undone,
)
from tests.contracts.stored import at_once, clock, rows_of
from tests.contracts.world import heavy
from tests.flows import flow

TIMEOUT = {"timeoutMs": 5000}
TOMORROW = timedelta(days=1)


@pytest.fixture
def world(database, tmp_path):
    return ControlWorld(database, tmp_path)


def schedule(world, *tasks, **wishes):
    version_id, _ = world.publish(flow("flow", *tasks))
    world.start_now(version_id, wishes=Wishes(**wishes))


def claim(world, key, *, worker="dead"):
    """Claim it as a worker does that dies at once."""
    claimed = world.services.store.claim(key, worker=worker)
    timeout = Due(kind=TimerKind.TIMEOUT, number=key.number, attempt=key.attempt, after_s=5.0)
    world.services.store.set_timer(key.execution_id, timeout)
    return claimed


# -- how each kind comes to be set ---------------------------------------------------------------------------------


def retry_set(world):
    (first,) = world.submit(heavy(1, **retry(3)))
    world.code[1] = break_down
    world.drive(first)


def restart_set(world):
    (first,) = world.submit(heavy(1, **restart(3)))
    world.code[1] = break_down
    world.drive(first)


def start_set(world):
    schedule(world, heavy(1), at=datetime.now(UTC) + TOMORROW)


def deadline_set(world):
    schedule(world, heavy(1), deadline_s=60.0)


def timeout_set(world):
    world.publish(flow("child", heavy(1)))
    (first,) = world.submit(nests(1, "child", **TIMEOUT))
    world.drive(first)


def queue_set(world):
    world.submit(heavy(1, queueTimeoutMs=5000))


def expire_set(world):
    world.asking = {"expire_after_s": 60.0}
    (first,) = world.submit(asks(1))
    world.drive(first)


def remind_set(world):
    world.asking = {"remind_after_s": 60.0, "who_may_resolve": ("ann",)}
    (first,) = world.submit(asks(1))
    world.drive(first)
    world.fire("NOTIFY")
    world.forget("NOTIFY")


FIRED = {  # the kind, how it is set, what its firing adds to the history, and where the execution stands then
    TimerKind.RETRY: (retry_set, "retry due", "PROCESSING"),
    TimerKind.RESTART: (restart_set, "execution restarted", "PROCESSING"),
    TimerKind.START: (start_set, "execution started", "PENDING"),
    TimerKind.DEADLINE: (deadline_set, "deadline passed", "FAILED"),
    TimerKind.TIMEOUT: (timeout_set, "task failed", "FAILED"),
    TimerKind.QUEUE: (queue_set, "task failed", "FAILED"),
    TimerKind.EXPIRE: (expire_set, "suspension rejected", "FAILED"),
}


@pytest.mark.parametrize("kind", FIRED)
def test_a_timer_fires_once_however_many_look_at_the_same_moment(world, kind):
    arrange, entry, state = FIRED[kind]
    arrange(world)
    assert [each for each, *_ in world.timers()] == [kind]
    before = len(world.history())
    world.make_due()

    at_once(*[partial(fire_due_timers, world.services)] * 4)

    assert world.kinds()[before] == entry
    assert world.kinds().count(entry) == 1
    assert world.execution.state == state
    assert world.timers() == []


@pytest.mark.parametrize("kind", FIRED)
def test_a_timer_that_was_taken_by_somebody_who_died_fires_later(world, kind):
    arrange, entry, _ = FIRED[kind]
    arrange(world)
    world.make_due()
    taken, _ = world.services.store.take_timers(limit=10)
    assert [each.kind for each in taken] == [kind]
    fire_due_timers(world.services)
    assert entry not in world.kinds()

    with world.database.begin() as connection:  # as if TAKEN_S had passed
        connection.execute(sa.update(timers).values(taken_until=LONG_AGO))
    fire_due_timers(world.services)

    assert world.kinds().count(entry) == 1


def test_a_timer_is_taken_for_a_while_and_not_for_good(world):
    retry_set(world)
    world.make_due()
    world.services.store.take_timers(limit=10)

    (row,) = world.rows(sa.select(timers))

    assert 0 < (row.taken_until - datetime.now(UTC)).total_seconds() < 2 * TAKEN_S


def test_a_timer_that_is_not_due_stays(world):
    retry_set(world)
    before = rows_of(world.database)

    next_in_s = fire_due_timers(world.services)

    assert 0 < next_in_s <= 60
    assert rows_of(world.database) == before


def test_no_timer_at_all_means_that_nothing_is_next(world):
    world.submit(heavy(1))

    assert fire_due_timers(world.services) is None


@pytest.mark.parametrize("kind", [kind for kind in TimerKind if kind is not TimerKind.NOTIFY])
@pytest.mark.parametrize("number", [0, 1])
def test_a_timer_of_what_is_over_is_dropped(world, kind, number):
    (first,) = world.submit(heavy(1, **retry(3), **TIMEOUT, queueTimeoutMs=5000))
    world.drive(first)
    before = rows_of(world.database)
    world.services.store.set_timer(world.id, Due(kind=kind, number=number, attempt=1, after_s=0.0))

    world.fire()

    assert rows_of(world.database) == before


@pytest.mark.parametrize(
    "kind", [kind for kind in TimerKind if kind not in (TimerKind.NOTIFY, TimerKind.DEADLINE, TimerKind.QUEUE)]
)
@pytest.mark.parametrize("attempt", [1, 2])
def test_a_timer_that_nothing_waits_for_is_dropped(world, kind, attempt):
    world.submit(heavy(1, **retry(3), **TIMEOUT))
    before = rows_of(world.database)
    world.services.store.set_timer(world.id, Due(kind=kind, number=1, attempt=attempt, after_s=0.0))

    world.fire()

    assert rows_of(world.database) == before


@pytest.mark.parametrize("kind", [TimerKind.RETRY, TimerKind.TIMEOUT, TimerKind.QUEUE])
def test_a_timer_of_an_attempt_before_is_dropped(world, kind):
    (first,) = world.submit(heavy(1, **retry(3), **TIMEOUT, queueTimeoutMs=5000))
    world.code[1] = break_down
    world.drive(first)
    world.fire("RETRY")
    world.forget()
    before = rows_of(world.database)
    world.services.store.set_timer(world.id, Due(kind=kind, number=1, attempt=1, after_s=0.0))

    world.fire()

    assert rows_of(world.database) == before


def test_a_timer_that_cannot_be_fired_does_not_keep_others_from_firing(world, caplog):
    """It is tried again and again; nothing that is due with it has to wait for that to end well."""
    retry_set(world)
    broken = world.id
    retry_set(world)
    with world.database.begin() as connection:
        connection.execute(sa.update(executions).where(executions.c.id == broken).values(progress="nonsense"))
        connection.execute(sa.update(timers).values(due_at=LONG_AGO + TOMORROW))
        connection.execute(sa.update(timers).where(timers.c.execution_id == broken).values(due_at=LONG_AGO))

    fire_due_timers(world.services)

    assert world.kinds()[-1] == "retry due"
    assert [row.execution_id for row in world.rows(sa.select(timers))] == [broken]
    assert [record.timer.key.execution_id for record in caplog.records] == [broken]


# -- RETRY ---------------------------------------------------------------------------------------------------------


def test_when_a_retry_is_due_is_in_the_row(world):
    (first,) = world.submit(heavy(1, **retry(3, interval="90s")))
    world.code[1] = break_down
    before = clock(world.database)
    world.drive(first)

    (row,) = world.rows(sa.select(timers))

    assert (row.kind, row.task_number, row.attempt) == ("RETRY", 1, 1)
    assert before <= row.due_at - timedelta(seconds=90) <= clock(world.database)


def test_of_two_retries_each_has_its_own_time(world):
    one, two = world.submit(heavy(1, **retry(3, interval="10s")), heavy(2, **retry(3, interval="20s")), starts=[1, 2])
    world.code[1] = world.code[2] = break_down
    world.drive(one)
    world.drive(two)
    with world.database.begin() as connection:
        connection.execute(sa.update(timers).where(timers.c.task_number == 1).values(due_at=LONG_AGO))

    fire_due_timers(world.services)

    assert [key.number for key in world.ready()] == [1]
    assert world.timers() == [("RETRY", 2, 1)]
    assert world.execution.state is ExecutionState.PROCESSING


# -- DEADLINE ------------------------------------------------------------------------------------------------------


def test_a_deadline_ends_whatever_is_there_and_undoes_it(world):
    seen = []
    world.publish(flow("child", heavy(11), starts=[11]))
    schedule(
        world,
        heavy(1, next=[2, 3, 4, 5], **undone()),
        heavy(2),
        heavy(3),
        asks(4),
        nests(5, "child"),
        deadline_s=60.0,
    )
    for number in (1, 4, 5):
        world.drive(world.key(number))

    def deadline_passes():
        world.fire("DEADLINE")
        seen.extend([world.states(), world.asked_to_stop(), world.execution.state])

    world.code[2] = deadline_passes
    world.drive(world.key(2), worker="me")

    assert seen == [
        {1: "SUCCEED", 2: "IN_PROCESS", 3: "SKIPPED", 4: "CANCELLED", 5: "CANCELLED"},
        [(2, "me")],
        ExecutionState.PROCESSING,
    ]
    world.drive_all()
    assert world.undone == [1]
    assert world.execution.state is ExecutionState.FAILED
    assert world.execution.error.code == "EXECUTION_TIMEOUT"
    assert "60 s" in world.execution.error.message
    assert world.tree_states() == ["FAILED", "CANCELLED"]
    world.assert_over()


@pytest.mark.parametrize("arrange", [retry_set, restart_set, expire_set])
def test_a_deadline_ends_an_execution_in_which_nothing_runs(world, arrange):
    arrange(world)
    world.services.store.set_timer(world.id, Due(kind=TimerKind.DEADLINE, number=0, attempt=0, after_s=0.0))

    world.fire("DEADLINE")

    assert world.execution.state is ExecutionState.FAILED
    assert world.execution.error.code == "EXECUTION_TIMEOUT"
    assert world.states() == {1: "CANCELLED"}
    assert world.timers() == []
    world.assert_over()


def test_a_scheduled_execution_has_its_deadline_after_its_start(world):
    at = datetime.now(UTC) + TOMORROW
    schedule(world, heavy(1), at=at, deadline_s=60.0)

    due_at = {row.kind: row.due_at for row in world.rows(sa.select(timers))}

    assert due_at.keys() == {"START", "DEADLINE"}
    assert due_at["DEADLINE"] - due_at["START"] == timedelta(seconds=60)


def test_a_deadline_that_comes_before_the_start_fails_what_has_not_begun(world):
    schedule(world, heavy(1), at=datetime.now(UTC) + TOMORROW, deadline_s=60.0)

    world.fire("DEADLINE")

    assert world.execution.state is ExecutionState.FAILED
    assert world.states() == {1: "SKIPPED"}
    assert world.timers() == []
    world.assert_over()


def test_the_end_of_an_execution_takes_its_deadline_away(world):
    schedule(world, heavy(1), deadline_s=60.0)

    world.drive(world.key(1))

    assert world.execution.state is ExecutionState.SUCCEEDED
    assert world.timers() == []


# -- START ---------------------------------------------------------------------------------------------------------


def test_a_scheduled_execution_begins_when_its_time_has_come(world):
    schedule(world, heavy(1, next=[2]), heavy(2), at=datetime.now(UTC) + TOMORROW)
    assert world.ready() == []
    assert world.sent() == []

    world.fire("START")

    assert world.sent() == [1]
    world.drive_all()
    assert world.execution.state is ExecutionState.SUCCEEDED
    assert world.execution.method == Method.SCHEDULE
    assert world.kinds() == ["execution started", "task succeeded", "task succeeded"]
    world.assert_over()


# -- TIMEOUT -------------------------------------------------------------------------------------------------------


def test_the_timeout_of_an_attempt_that_waits_for_children_kills_them_and_the_retry_starts_new_ones(world):
    world.publish(flow("child", heavy(1)))
    first, _ = world.submit(nests(1, "child", count=2, next=[2], **TIMEOUT, **retry(1)), heavy(2))
    world.drive(first)
    world.fire("TIMEOUT")

    assert world.tree_states() == ["RETRY_ON_HOLD", "CANCELLED", "CANCELLED"]
    assert world.states()[1] == "RETRY_ON_HOLD"
    (attempt,) = world.execution.task(1).attempts
    assert (attempt.error.code, attempt.error.message) == (
        "EXECUTION_TIMEOUT",
        "the attempt took longer than its timeout of 5 s",
    )
    world.fire("RETRY")
    world.drive_all()

    assert world.tree_states() == ["SUCCEEDED", "CANCELLED", "CANCELLED", "SUCCEEDED", "SUCCEEDED"]
    assert [each.attempt for each in world.execution.task(1).attempts] == [1, 2]
    world.assert_over()


def test_a_child_that_ends_after_the_timeout_of_who_waited_for_it_changes_nothing(world):
    world.publish(flow("child", heavy(11), starts=[11]))
    first, second = world.submit(nests(1, "child", **TIMEOUT), heavy(2), starts=[1, 2])
    world.drive(first)
    (child,) = world.children_of()
    world.code[11] = partial(world.fire, "TIMEOUT")

    world.drive(world.key(11, of=child))

    assert world.states()[1] == "FAILED"
    assert world.look(child).state is ExecutionState.CANCELLED
    assert [key.number for key in world.ready()] == [2]
    world.drive(second)
    assert world.execution.state is ExecutionState.FAILED
    world.assert_over()


def test_the_timeout_of_a_join_that_nobody_takes_fails_the_attempt(world):
    timeout_set(world)
    (child,) = world.children_of()
    world.drive(world.key(1, of=child))
    assert world.everything_live() == [(world.id, 1, "join")]

    world.fire("TIMEOUT")

    assert world.execution.state is ExecutionState.FAILED
    assert world.execution.error.code == "EXECUTION_TIMEOUT"
    world.assert_over()


def test_an_attempt_that_a_worker_runs_is_left_to_it_for_a_while_after_its_timeout(world):
    (first,) = world.submit(heavy(1, **TIMEOUT))
    claim(world, first)
    world.began_s_ago(6)

    world.fire("TIMEOUT")

    (row,) = world.rows(sa.select(timers))
    assert 0 < (row.due_at - datetime.now(UTC)).total_seconds() < HARD_AFTER_S
    assert row.taken_until is None
    assert world.live() == {1: "dead"}
    assert world.history() == []


def test_an_attempt_whose_worker_died_fails_some_time_after_its_timeout_and_is_retried(world):
    (first,) = world.submit(heavy(1, **TIMEOUT, **retry(1)))
    claim(world, first)
    world.began_s_ago(6 + HARD_AFTER_S)

    world.fire("TIMEOUT")

    assert world.execution.state is ExecutionState.RETRY_ON_HOLD
    (entry,) = world.history()
    assert (entry.kind, entry.worker, entry.error.code) == (EntryKind.FAILED, "dead", "EXECUTION_TIMEOUT")
    assert world.live() == {}
    world.fire("RETRY")
    world.drive_all()
    assert world.execution.state is ExecutionState.SUCCEEDED
    world.assert_over()


def test_what_a_worker_brings_after_its_attempt_was_taken_away_is_refused(world):
    (first,) = world.submit(heavy(1, **TIMEOUT, **retry(1)))

    def times_out():
        world.began_s_ago(6 + HARD_AFTER_S)
        world.fire("TIMEOUT")

    world.code[1] = times_out
    world.drive(first, worker="slow")

    assert world.execution.state is ExecutionState.RETRY_ON_HOLD
    assert world.kinds() == ["task failed", "late result refused"]
    assert world.live() == {}


# -- QUEUE ---------------------------------------------------------------------------------------------------------


def test_an_attempt_that_no_worker_takes_fails_and_its_retry_waits_as_long_again(world):
    (first,) = world.submit(heavy(1, queueTimeoutMs=5000, **retry(1)))
    world.fire("QUEUE")
    assert world.execution.state is ExecutionState.RETRY_ON_HOLD
    assert world.execution.task(1).attempts[0].error.code == "QUEUE_TIMEOUT"
    world.drive(first)
    assert world.live() == {}

    world.fire("RETRY")
    assert world.timers() == [("QUEUE", 1, 2)]
    world.fire("QUEUE")

    assert world.execution.state is ExecutionState.FAILED
    assert "no worker took it from executor 'default'" in world.execution.error.message
    world.assert_over()


def test_an_attempt_that_was_taken_has_no_queue_timeout_any_more(world):
    seen = []
    (first,) = world.submit(heavy(1, queueTimeoutMs=5000))

    def due_meanwhile():
        world.fire("QUEUE")
        seen.append(world.states())

    world.code[1] = due_meanwhile
    world.drive(first)

    assert seen == [{1: "IN_PROCESS"}]
    assert world.execution.state is ExecutionState.SUCCEEDED
    assert world.timers() == []


def test_a_claim_and_the_queue_timeout_at_the_same_time_have_one_winner(world):
    numbers = range(1, 7)
    keys = world.submit(*(heavy(number, queueTimeoutMs=5000) for number in numbers), starts=numbers)
    world.make_due("QUEUE")

    at_once(partial(fire_due_timers, world.services), *(partial(world.drive, key) for key in keys))
    world.fire()

    ends = [entry.task_number for entry in world.history()]
    assert sorted(ends) == list(numbers)
    assert set(world.states().values()) <= {"SUCCEED", "FAILED"}
    world.assert_over()


def test_a_rollback_that_no_worker_takes_is_a_rollback_that_failed(world):
    world.submit(heavy(1, next=[2], queueTimeoutMs=5000, **undone()), heavy(2))
    world.drive(world.key(1))
    world.kill(rolls_back=True)

    world.fire("QUEUE")

    (failed,) = [entry for entry in world.history() if entry.task_number == 1 and entry.attempt == 2]
    assert (failed.kind, failed.error.code) == (EntryKind.ROLLBACK_FAILED, "QUEUE_TIMEOUT")
    assert world.states() == {1: "ROLLEDBACK", 2: "SKIPPED"}
    assert world.execution.state is ExecutionState.CANCELLED
    world.assert_over()


def test_the_timeout_of_a_rollback_whose_worker_died_counts_as_its_failure(world):
    tries = policy("FIXED_INTERVAL", 1)
    world.submit(heavy(1, next=[2], **TIMEOUT, **undone(failurePolicy=tries)), heavy(2))
    world.drive(world.key(1))
    world.kill(rolls_back=True)
    claim(world, world.key(1, attempt=2))
    world.began_s_ago(6 + HARD_AFTER_S)

    world.fire("TIMEOUT")

    assert world.history()[-1].kind is EntryKind.ROLLBACK_FAILED
    assert world.states() == {1: "PENDING_ROLLBACK", 2: "SKIPPED"}
    world.fire("RETRY")
    world.drive_all()
    assert world.undone == [1]
    assert world.execution.state is ExecutionState.CANCELLED
    world.assert_over()


# -- REMIND --------------------------------------------------------------------------------------------------------


def test_of_many_that_look_at_a_due_reminder_one_reminds_and_sets_the_next_one(world):
    remind_set(world)
    world.make_due("REMIND")

    at_once(*[partial(fire_due_timers, world.services)] * 4)

    assert [each for each in world.timers() if each[0] == "REMIND"] == [("REMIND", 1, 1)]
    assert [row.due_at > datetime.now(UTC) for row in world.rows(sa.select(timers))].count(True) >= 1
    assert world.execution.state is ExecutionState.SUSPENDED

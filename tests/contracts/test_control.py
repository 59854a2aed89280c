"""KILL, without workers: what nobody runs is over at once, what somebody runs is told to end, and nothing starts."""

import random
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.errors import ExecutionNotFound
from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.service.control import ExecutionOver
from orchestrator.service.lost import Loss, give_up
from orchestrator.service.submit import Wishes
from orchestrator.service.suspensions import resolve
from orchestrator.store import commits
from orchestrator.store import executions as store_module
from orchestrator.store.direct import Direct
from orchestrator.store.kinds import Signal
from orchestrator.store.signals import Audit
from orchestrator.store.tables import executions, limit_holders, limit_waiters
from tests.contracts.control_world import (
    FATAL,
    ControlWorld,
    asks,
    break_down,
    nests,
    policy,
    restart,
    retry,
    spawns,
    undone,
)
from tests.contracts.stored import at_once, rows_of
from tests.contracts.world import heavy, light
from tests.flows import flow
from tests.integration.waiting import until

WAIT_S = 20


@pytest.fixture
def world(database, tmp_path):
    return ControlWorld(database, tmp_path)


def in_a_thread(call):
    """Run it; a call that never comes back is an error and not a test that hangs."""
    errors = []

    def run():
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return partial(_join, thread, errors)


def _join(thread, errors):
    thread.join(WAIT_S)
    assert not thread.is_alive(), "it never came back"
    if errors:
        raise errors[0]


# -- one execution, and nobody works on it -------------------------------------------------------------------------


def test_an_execution_that_is_killed_before_its_first_claim_has_run_nothing(world):
    first, _ = world.submit(heavy(1, next=[2]), heavy(2))

    world.kill()
    world.drive(first)

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.states() == {1: "SKIPPED", 2: "SKIPPED"}
    assert world.kinds() == ["execution killed", "task stopped"]
    world.assert_over()


def test_a_scheduled_execution_that_is_killed_never_begins(world):
    version_id, _ = world.publish(flow("flow", heavy(1)))
    world.start_now(version_id, wishes=Wishes(at=datetime.now(UTC) + timedelta(days=1), deadline_s=60))

    world.kill()
    world.fire()

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.states() == {1: "SKIPPED"}
    assert world.kinds() == ["execution killed"]
    assert world.sent() == []
    world.assert_over()


def test_a_task_that_waits_for_its_retry_is_cancelled_with_its_timer(world):
    first, _ = world.submit(heavy(1, next=[2], **retry(3)), heavy(2))
    world.code[1] = break_down
    world.drive(first)
    assert world.execution.state is ExecutionState.RETRY_ON_HOLD

    world.kill()

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.states() == {1: "CANCELLED", 2: "SKIPPED"}
    assert world.timers() == []
    world.assert_over()


def test_a_retry_that_is_due_and_not_claimed_is_cancelled(world):
    (first,) = world.submit(heavy(1, **retry(3)))
    world.code[1] = break_down
    world.drive(first)
    world.fire("RETRY")

    world.kill()

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.states() == {1: "CANCELLED"}
    world.assert_over()


def test_a_suspension_is_void_with_its_execution(world):
    world.asking = {"expire_after_s": 60.0, "remind_after_s": 30.0}
    first, _ = world.submit(asks(1, next=[2]), heavy(2))
    world.drive(first)
    assert world.execution.state is ExecutionState.SUSPENDED

    world.kill()

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.states() == {1: "CANCELLED", 2: "SKIPPED"}
    assert world.suspensions() == [(1, 1, "CANCELLED")]
    assert world.timers() == []
    world.assert_over()


def test_an_execution_that_waits_for_its_restart_is_killed(world):
    world.submit(heavy(1, next=[2]), heavy(2, **restart(3)))
    world.code[2] = break_down
    world.drive_all()
    assert world.execution.state is ExecutionState.RETRY_ON_HOLD

    world.kill()

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.states() == {1: "SUCCEED", 2: "CANCELLED"}
    assert world.timers() == []
    world.assert_over()


@pytest.mark.parametrize("how", ["succeeds", "fails", "killed"])
def test_an_execution_that_is_over_cannot_be_killed_and_stays_as_it_is(world, how):
    (first,) = world.submit(heavy(1))
    if how == "killed":
        world.kill()
    if how == "fails":
        world.code[1] = break_down
    world.drive(first)
    before = rows_of(world.database)

    with pytest.raises(ExecutionOver) as refused:
        world.kill()

    assert refused.value.state == world.execution.state
    assert rows_of(world.database) == before


def test_an_execution_that_never_was_cannot_be_killed(world):
    with pytest.raises(ExecutionNotFound):
        world.kill("nobody")


def test_who_killed_and_why_is_kept(world):
    world.submit(heavy(1))

    world.kill(audit=Audit(actor="bob", impersonator="ann", message="wrong month"), rolls_back=True)

    assert world.sent_signals() == [(world.id, "KILL_AND_ROLL_BACK", "bob", "wrong month")]
    assert world.services.signals.last(world.id) == Audit(actor="bob", impersonator="ann", message="wrong month")


def test_an_attempt_that_its_worker_gave_back_was_in_the_middle_of_its_work(world):
    first, _ = world.submit(heavy(1, next=[2]), heavy(2))
    world.services.store.claim(first, worker="dead")
    give_up(world.id, world.services, worker="dead", loss=Loss("kill -9"))

    world.kill()

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.states() == {1: "CANCELLED", 2: "SKIPPED"}
    world.assert_over()


def test_an_execution_that_waits_for_room_is_killed_and_the_one_behind_it_goes_on(world):
    version_id, _ = world.publish(flow("flow", heavy(1)) | {"limits": {"maxConcurrent": 1}})
    running, waiting, behind = (world.start_now(version_id) for _ in range(3))

    world.kill(waiting)
    assert world.look(waiting).state is ExecutionState.CANCELLED
    world.drive(world.key(1, of=running))

    assert [key.execution_id for key in world.ready()] == [behind]
    world.drive_all()
    assert world.look(behind).state is ExecutionState.SUCCEEDED
    assert world.rows(sa.select(limit_holders)) == world.rows(sa.select(limit_waiters)) == []
    world.assert_over()


# -- somebody works on it ------------------------------------------------------------------------------------------


def test_what_a_worker_runs_is_asked_to_stop_and_what_waits_is_skipped_at_once(world):
    seen = []
    first, _, _, queued = world.submit(heavy(1, next=[2]), heavy(2, next=[3]), heavy(3), heavy(4), starts=[1, 4])

    def killed_meanwhile():
        world.kill()
        seen.append((world.execution.state, world.states(), world.asked_to_stop()))

    world.code[1] = killed_meanwhile
    world.drive(first, worker="me")
    world.drive(queued)

    assert seen == [
        (
            ExecutionState.PROCESSING,
            {1: "IN_PROCESS", 2: "SKIPPED", 3: "SKIPPED", 4: "SKIPPED"},
            [(1, "me")],
        )
    ]
    assert world.states() == {1: "SUCCEED", 2: "SKIPPED", 3: "SKIPPED", 4: "SKIPPED"}
    assert world.execution.state is ExecutionState.CANCELLED
    world.assert_over()


def test_a_failure_that_comes_after_a_kill_is_not_retried_and_does_not_count(world):
    (first,) = world.submit(heavy(1, **retry(3)))

    def killed_meanwhile():
        world.kill()
        break_down()

    world.code[1] = killed_meanwhile
    world.drive(first)

    assert world.states() == {1: "FAILED"}
    assert world.execution.state is ExecutionState.CANCELLED
    assert world.execution.error is None
    world.assert_over()


def test_a_task_that_would_suspend_after_a_kill_is_cancelled(world):
    world.asking = {"expire_after_s": 60.0}
    (first,) = world.submit(asks(1))
    world.code[1] = world.kill

    world.drive(first)

    assert world.states() == {1: "CANCELLED"}
    assert world.execution.state is ExecutionState.CANCELLED
    assert world.suspensions() == []
    world.assert_over()


def test_results_in_a_worker_s_memory_are_decided_again_on_top_of_a_kill(world):
    """Light tasks that ran ahead of the commit never began."""
    first, *_ = world.submit(heavy(1, next=[2]), light(2, next=[3]), light(3, next=[4]), light(4, next=[5]), heavy(5))
    world.code[3] = world.kill

    world.drive(first)

    assert world.states() == {1: "SUCCEED", 2: "SKIPPED", 3: "SKIPPED", 4: "SKIPPED", 5: "SKIPPED"}
    assert world.execution.state is ExecutionState.CANCELLED
    assert [(number, kind) for number, kind, _ in world.entries()] == [(0, EntryKind.KILLED), (1, EntryKind.SUCCEEDED)]
    assert world.sent() == [1]
    world.assert_over()


def test_light_tasks_that_were_written_already_stay_and_those_kept_are_skipped(world, monkeypatch):
    monkeypatch.setattr("orchestrator.service.drive.BATCH_TASKS", 1)
    first, *_ = world.submit(light(1, next=[2]), light(2, next=[3, 4]), light(3), light(4))
    world.code[3] = world.kill

    world.drive(first)

    assert world.states() == {1: "SUCCEED", 2: "SUCCEED", 3: "SUCCEED", 4: "SKIPPED"}
    assert world.execution.state is ExecutionState.CANCELLED
    world.assert_over()


def test_an_execution_can_be_killed_again_and_again_while_it_ends(world):
    """Each is kept with who sent it; none of them keeps the worker's result from being written."""
    (first,) = world.submit(heavy(1))

    def killed_meanwhile():
        world.kill(audit=Audit(actor="ann"))
        world.kill(audit=Audit(actor="bob"), rolls_back=True)

    world.code[1] = killed_meanwhile
    in_a_thread(partial(world.drive, first))()

    assert world.execution.state is ExecutionState.CANCELLED
    assert [actor for _, _, actor, _ in world.sent_signals()] == ["ann", "bob"]
    assert world.kinds() == ["execution killed", "task succeeded"]
    world.assert_over()


def test_two_kills_at_the_same_time_are_one(world):
    first, *_ = world.submit(*(heavy(number) for number in range(1, 6)), starts=range(1, 6))

    def killed_meanwhile():
        at_once(*[world.kill] * 4)

    world.code[1] = killed_meanwhile
    in_a_thread(partial(world.drive, first))()

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.kinds().count("execution killed") == 1
    assert len(world.sent_signals()) == 4
    world.assert_over()


# -- the claim -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", [Signal.KILL, Signal.KILL_AND_ROLL_BACK])
def test_nothing_can_be_claimed_before_a_kill_is_obeyed(world, signal):
    ran = []
    (first,) = world.submit(heavy(1))
    world.code[1] = partial(ran.append, 1)
    world.mark(signal)
    before = rows_of(world.database)

    world.drive(first)

    assert ran == []
    assert rows_of(world.database) == before


def hold_at(monkeypatch, module, name, *, until_told):
    """The first call of a function waits, after it has done its work, until it is told to go on; others do not."""
    is_there, real = threading.Event(), getattr(module, name)

    def waiting(*arguments, **more):
        result = real(*arguments, **more)
        if not is_there.is_set():
            is_there.set()
            assert until_told.wait(WAIT_S)
        return result

    monkeypatch.setattr(module, name, waiting)
    return is_there


def hold_claim(monkeypatch, database, *, until_told):
    """The first claim waits, when it has read and written all that it will, and before that is there for others."""
    if database.is_sqlite:
        return hold_at(monkeypatch, store_module, "_parameters_of", until_told=until_told)
    is_there, statement_s_own = threading.Event(), database.autocommit

    @contextmanager
    def waiting():
        if is_there.is_set():
            with statement_s_own() as direct:
                yield direct
            return
        with database.begin() as connection:
            yield Direct(connection.connection.driver_connection)
            is_there.set()
            assert until_told.wait(WAIT_S)

    monkeypatch.setattr(database, "autocommit", waiting)
    return is_there


@pytest.mark.parametrize("is_first", [True, False])
def test_a_claim_that_is_on_its_way_when_a_kill_comes_is_stopped_too(world, monkeypatch, is_first):
    """The claim has read the execution before the kill and is written after it: its worker must be asked to end."""
    go_on, seen = threading.Event(), []
    one, two = world.submit(heavy(1, next=[2]), heavy(2))
    if not is_first:
        world.drive(one)
    key = one if is_first else two
    world.code[key.number] = lambda: (killed(), seen.extend(world.asked_to_stop()))
    claim_is_there = hold_claim(monkeypatch, world.database, until_told=go_on)

    driven = in_a_thread(partial(world.drive, key, worker="me"))
    assert claim_is_there.wait(WAIT_S)
    killed = in_a_thread(world.kill)
    if not world.database.is_sqlite:  # there the kill cannot even begin, nor on PostgreSQL where the claim has the row
        wait_until_it_waits(world)
    go_on.set()
    driven()

    assert seen == [(key.number, "me")]
    assert world.execution.state is ExecutionState.CANCELLED
    world.assert_over()


def wait_until_it_waits(world):
    """Until one transaction waits for another."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    until(lambda: world.rows(sa.text(waiting))[0].count > 0, what="a transaction that waits")


def test_claims_and_a_kill_at_the_same_time_leave_nothing_that_nobody_was_asked_to_stop(world):
    numbers = range(1, 9)
    keys = world.submit(*(heavy(number) for number in numbers), starts=numbers)
    killed = threading.Event()
    unasked = []

    def run(number):
        assert killed.wait(WAIT_S)
        unasked.append((number, f"worker {number}") not in world.asked_to_stop())

    for number in numbers:
        world.code[number] = partial(run, number)

    def kill():
        world.kill()
        killed.set()

    at_once(*(partial(world.drive, key, worker=f"worker {key.number}") for key in keys), kill)

    assert not any(unasked)
    assert world.execution.state is ExecutionState.CANCELLED
    world.assert_over()


# -- a kill that nobody has obeyed yet -----------------------------------------------------------------------------


def test_a_due_retry_does_not_make_a_kill_forgotten(world):
    (first,) = world.submit(heavy(1, **retry(3)))
    world.code[1] = break_down
    world.drive(first)
    world.mark(Signal.KILL)

    world.fire("RETRY")

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.states() == {1: "CANCELLED"}
    world.assert_over()


def test_an_answer_does_not_make_a_kill_forgotten(world):
    first, _ = world.submit(asks(1, next=[2]), heavy(2))
    world.drive(first)
    world.mark(Signal.KILL)

    with pytest.raises(Exception, match="CANCELLED"):
        resolve(world.id, world.services, is_lifted=True, actor="ann")

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.states() == {1: "CANCELLED", 2: "SKIPPED"}
    world.assert_over()


def test_a_scheduled_start_does_not_make_a_kill_forgotten(world):
    version_id, _ = world.publish(flow("flow", heavy(1)))
    world.start_now(version_id, wishes=Wishes(at=datetime.now(UTC) + timedelta(days=1)))
    world.mark(Signal.KILL)

    world.fire("START")

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.sent() == []
    world.assert_over()


# -- trees ---------------------------------------------------------------------------------------------------------


def grow(world, *leaves, below=1):
    """A tree of three: the root waits for the middle, and the middle for its leaves."""
    world.publish(flow("leaf", *leaves))
    world.publish(flow("middle", nests(1, "leaf", count=below, next=[2]), heavy(2)))
    (first, _) = world.submit(nests(1, "middle", next=[2]), heavy(2))
    world.drive(first)
    world.drive(world.key(1, of=world.children_of()[0]))
    (middle,) = world.children_of()
    return middle, world.children_of(middle)


def test_a_kill_reaches_everything_below_at_once_where_nobody_works(world):
    middle, leaves = grow(world, heavy(1), below=3)

    world.kill()

    assert world.tree_states() == ["CANCELLED"] * 5
    assert world.tasks_of() == {1: "CANCELLED", 2: "SKIPPED"}
    assert world.tasks_of(middle) == {1: "CANCELLED", 2: "SKIPPED"}
    assert [world.tasks_of(leaf) for leaf in leaves] == [{1: "SKIPPED"}] * 3
    world.assert_over()


def test_a_tree_is_cancelled_from_below_when_its_last_worker_has_ended(world):
    _, (leaf, other) = grow(world, heavy(1, next=[2]), heavy(2), below=2)
    seen = []

    def killed_meanwhile():
        world.kill()
        seen.extend([world.tree_states(), world.asked_to_stop()])

    world.code[1] = killed_meanwhile
    world.drive(world.key(1, of=leaf), worker="me")

    assert seen == [["PROCESSING", "PROCESSING", "PROCESSING", "CANCELLED"], [(1, "me")]]
    assert world.look(leaf).state is ExecutionState.CANCELLED
    assert world.look(other).state is ExecutionState.CANCELLED
    world.drive_all()  # the joins that this made due
    assert world.tree_states() == ["CANCELLED"] * 4
    assert world.tasks_of() == {1: "CANCELLED", 2: "SKIPPED"}
    world.assert_over()


def test_a_child_that_is_killed_alone_fails_the_task_that_waits_for_it(world):
    middle, (leaf,) = grow(world, heavy(1))

    world.kill(leaf)
    world.drive_all()

    assert world.tree_states() == ["FAILED", "FAILED", "CANCELLED"]
    assert "ended CANCELLED" in world.look(middle).error.message
    world.assert_over()


def test_a_kill_reaches_children_that_nobody_waits_for(world):
    world.publish(flow("child", heavy(1)))
    first, _ = world.submit(spawns(1, "child", next=[2]), heavy(2))
    world.drive(first)

    world.kill()

    assert world.tree_states() == ["CANCELLED", "CANCELLED"]
    world.assert_over()


def test_a_kill_reaches_a_child_that_waits_for_its_restart(world):
    _, (leaf,) = grow(world, heavy(1, **restart(3)))
    world.code[1] = break_down
    world.drive(world.key(1, of=leaf))
    assert world.look(leaf).state is ExecutionState.RETRY_ON_HOLD

    world.kill()

    assert world.tree_states() == ["CANCELLED"] * 3
    assert world.timers() == []
    world.assert_over()


def test_a_kill_reaches_children_in_every_state(world):
    world.publish(
        flow("child", heavy(1, next=[4], **retry(3)), asks(2, next=[4]), heavy(3, next=[4]), heavy(4), starts=[1, 2, 3])
    )
    first, _ = world.submit(nests(1, "child", count=4, next=[2]), heavy(2))
    world.drive(first)
    one, two, three, four = world.children_of()
    world.code[1] = break_down
    world.drive(world.key(1, of=one))
    world.drive(world.key(2, of=two))
    for number in (3, 4):
        world.code[1] = dict
        world.drive(world.key(number, of=three))

    world.kill()

    assert world.tree_states() == ["CANCELLED"] * 5
    assert world.tasks_of(one) == {1: "CANCELLED", 2: "SKIPPED", 3: "SKIPPED", 4: "SKIPPED"}
    assert world.tasks_of(two) == {1: "SKIPPED", 2: "CANCELLED", 3: "SKIPPED", 4: "SKIPPED"}
    assert world.tasks_of(three) == {1: "SKIPPED", 2: "SKIPPED", 3: "SUCCEED", 4: "SKIPPED"}
    assert world.tasks_of(four) == {1: "SKIPPED", 2: "SKIPPED", 3: "SKIPPED", 4: "SKIPPED"}
    world.assert_over()


@pytest.mark.parametrize("task", [nests, spawns])
def test_sub_executions_that_a_task_wants_to_start_after_a_kill_are_not_started(world, task):
    world.publish(flow("child", heavy(1)))
    first, _ = world.submit(task(1, "child", count=3, next=[2]), heavy(2))
    world.code[1] = world.kill

    world.drive(first)

    assert world.tree_states() == ["CANCELLED"]
    assert world.states() == {1: "CANCELLED", 2: "SKIPPED"}
    assert world.sent() == [1]
    world.assert_over()


@pytest.mark.parametrize("task", [nests, spawns])
@pytest.mark.parametrize("depth", [1, 2])
def test_sub_executions_whose_start_is_being_written_when_a_kill_comes_are_killed_too(world, monkeypatch, task, depth):
    """The kill cannot see them yet; when it is through, none of them can be claimed."""
    starting = task(1, "child", count=3, next=[2])
    world.publish(flow("child", heavy(1)))
    world.publish(flow("middle", starting, heavy(2)))
    (first, _) = world.submit(nests(1, "middle", next=[2]) if depth == 2 else starting, heavy(2))
    if depth == 2:
        world.drive(first)
    key = first if depth == 1 else world.key(1, of=world.children_of()[0])
    kill_during_commit(world, monkeypatch, key)

    assert world.tree_states() == ["CANCELLED"] * (depth + 3)
    world.assert_over()


def kill_during_commit(world, monkeypatch, key):
    """Drive, and kill the root when the commit has inserted sub-executions and is not through."""
    go_on = threading.Event()
    commit_is_there = hold_at(monkeypatch, commits, "insert_executions", until_told=go_on)
    driven = in_a_thread(partial(world.drive, key))
    assert commit_is_there.wait(WAIT_S)
    killed = in_a_thread(world.kill)
    if not world.database.is_sqlite:
        wait_until_it_waits(world)
    go_on.set()
    killed()
    driven()


def test_children_that_nobody_waits_for_are_killed_though_the_one_that_starts_them_ends_at_that_moment(
    world, monkeypatch
):
    world.publish(flow("child", heavy(1)))
    world.publish(flow("middle", spawns(1, "child", count=2)))
    (first, _) = world.submit(nests(1, "middle", next=[2]), heavy(2))
    world.drive(first)
    (middle,) = world.children_of()

    kill_during_commit(world, monkeypatch, world.key(1, of=middle))

    assert world.tree_states() == ["CANCELLED", "SUCCEEDED", "CANCELLED", "CANCELLED"]
    world.assert_over()


def test_kills_at_every_height_of_a_tree_and_workers_in_it_at_the_same_time(world):
    middle, leaves = grow(world, heavy(1, next=[2]), heavy(2), below=4)
    calls = [partial(world.kill, each) for each in (world.id, middle, *leaves[:2])]
    calls += [partial(world.drive, world.key(1, of=leaf)) for leaf in leaves]

    def tolerant(call):
        with suppress(ExecutionOver):
            call()

    at_once(*(partial(tolerant, call) for call in calls))
    world.drive_all()

    assert set(world.tree_states()) == {"CANCELLED"}
    world.assert_over()


@pytest.mark.parametrize("seed", range(2))
def test_kills_failures_timers_and_workers_all_at_once_come_to_an_end_with_nothing_left(world, seed):
    """Whoever waits for whom: no deadlock, no result lost, and no execution that nobody would ever end."""
    choice = random.Random(seed)
    soon = {"interval": "0.001s"}
    world.publish(
        flow("leaf", heavy(1, next=[2], **retry(1, **soon), **undone()), light(2, next=[3]), heavy(3, **FATAL))
        | {"limits": {"maxConcurrent": 4}}
    )
    world.publish(
        flow(
            "middle",
            nests(1, "leaf", count=3, next=[2], timeoutMs=60_000, **retry(1, **soon)),
            heavy(2, **restart(1, **soon)),
            spawns(3, "leaf"),
            starts=[1, 3],
        )
    )
    world.submit(nests(1, "middle", count=3, next=[2]), heavy(2, **undone()), spawns(3, "middle"), starts=[1, 3])
    for number in (1, 2, 3):
        world.code[number] = lambda: break_down() if choice.random() < 0.2 else None

    def work():
        for _ in range(30):
            if ready := world.ready():
                world.drive(choice.choice(ready), worker=threading.current_thread().name)

    def kill_some():
        wanted = sa.select(executions.c.id).where(executions.c.ended_at.is_(None), executions.c.parent_id.is_not(None))
        for _ in range(6):
            if live := world.rows(wanted):
                with suppress(ExecutionOver):
                    world.kill(choice.choice(live).id, rolls_back=choice.random() < 0.5)

    def let_time_pass():
        for _ in range(6):
            world.fire("TIMEOUT", "RETRY", "RESTART")

    for _ in range(2):  # so that there is something to kill
        world.drive(choice.choice(world.ready()))
    at_once(*[work] * 4, *[kill_some] * 2, *[let_time_pass] * 2)
    for row in world.rows(sa.select(executions.c.id)):
        with suppress(ExecutionOver):
            world.kill(row.id)
    world.drive_all()

    assert world.rows(sa.select(executions.c.id).where(executions.c.ended_at.is_(None))) == []
    assert world.rows(sa.select(limit_holders)) == world.rows(sa.select(limit_waiters)) == []
    world.assert_over()


# -- with rollback -------------------------------------------------------------------------------------------------


def test_a_kill_that_asks_for_it_undoes_what_was_done_in_reverse_order_and_is_cancelled_then(world):
    world.submit(
        heavy(1, next=[2], **undone()), heavy(2, next=[3], **undone()), heavy(3, next=[4]), heavy(4, **undone())
    )
    for number in (1, 2, 3):
        world.drive(world.key(number))

    world.kill(rolls_back=True)
    assert world.execution.state is ExecutionState.PROCESSING
    assert world.states() == {1: "PENDING_ROLLBACK", 2: "PENDING_ROLLBACK", 3: "SUCCEED", 4: "SKIPPED"}
    world.drive_all()

    assert world.undone == [2, 1]
    assert world.states() == {1: "ROLLEDBACK", 2: "ROLLEDBACK", 3: "SUCCEED", 4: "SKIPPED"}
    assert world.execution.state is ExecutionState.CANCELLED
    world.assert_over()


def test_a_plain_kill_undoes_nothing(world):
    first, _ = world.submit(heavy(1, next=[2], **undone()), heavy(2))
    world.drive(first)

    world.kill()

    assert world.states() == {1: "SUCCEED", 2: "SKIPPED"}
    assert world.undone == []


def test_a_kill_that_asks_for_it_undoes_the_whole_tree(world):
    _, (leaf,) = grow(world, heavy(1, next=[2], **undone()), heavy(2))
    world.drive(world.key(1, of=leaf))

    world.kill(rolls_back=True)
    assert world.tree_states() == ["PROCESSING"] * 3
    world.drive_all()

    assert world.undone == [1]
    assert world.tasks_of(leaf) == {1: "ROLLEDBACK", 2: "SKIPPED"}
    assert world.tree_states() == ["CANCELLED"] * 3
    world.assert_over()


@pytest.mark.parametrize("rolls_back", [True, False])
def test_a_kill_during_a_rollback_lets_it_go_on(world, rolls_back):
    """What stopped it first counts; half undone is worse than either end."""
    first, second = world.submit(heavy(1, next=[2], **undone()), heavy(2, **FATAL))
    world.code[2] = break_down
    world.drive(first)
    world.drive(second)
    assert world.states() == {1: "PENDING_ROLLBACK", 2: "FATAL"}

    world.kill(rolls_back=rolls_back)
    world.drive_all()

    assert world.undone == [1]
    assert world.states() == {1: "ROLLEDBACK", 2: "FATAL"}
    assert world.execution.state is ExecutionState.FAILED
    world.assert_over()


def test_a_rollback_that_is_running_is_not_asked_to_stop_by_a_kill(world):
    first, second = world.submit(heavy(1, next=[2], **undone()), heavy(2, **FATAL))
    seen = []

    def killed_meanwhile():
        world.kill()
        seen.append(world.asked_to_stop())

    world.code[2], world.undo[1] = break_down, killed_meanwhile
    world.drive(first)
    world.drive(second)
    in_a_thread(world.drive_all)()

    assert seen == [[]]
    assert world.states() == {1: "ROLLEDBACK", 2: "FATAL"}
    assert world.execution.state is ExecutionState.FAILED
    world.assert_over()


def test_a_kill_while_a_rollback_waits_for_its_second_try_lets_it_be_tried(world):
    tries = policy("FIXED_INTERVAL", 1)
    first, _ = world.submit(heavy(1, next=[2], **undone(failurePolicy=tries)), heavy(2))
    world.undo[1] = break_down
    world.drive(first)
    world.kill(rolls_back=True)
    world.drive_all()
    assert world.execution.state is ExecutionState.RETRY_ON_HOLD
    assert world.timers() == [("RETRY", 1, 2)]

    world.kill()
    world.undo[1] = dict
    world.fire("RETRY")
    world.drive_all()

    assert world.undone == [1, 1]
    assert world.execution.task(1).state is TaskState.ROLLEDBACK
    assert world.execution.state is ExecutionState.CANCELLED
    world.assert_over()

"""KILL of one task, without workers: it ends, whoever comes second decides again, and the execution goes on."""

import threading
from collections import deque
from contextlib import suppress
from functools import partial

import pytest

from orchestrator.errors import ExecutionNotFound
from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState
from orchestrator.runtime import requests
from orchestrator.service.apply import apply
from orchestrator.service.control import ExecutionOver
from orchestrator.service.lost import Loss, give_up
from orchestrator.service.query import with_live
from orchestrator.service.snapshots import TaskNotFound
from orchestrator.service.suspensions import SuspensionAnswered, resolve
from orchestrator.service.task_control import TaskNotKillable
from orchestrator.store.kinds import AttemptKey, Signal, Wish
from orchestrator.store.signals import Audit
from tests.contracts.control_world import FATAL, ControlWorld, asks, break_down, nests, restart, retry, undone
from tests.contracts.stored import at_once
from tests.contracts.world import heavy, light
from tests.flows import flow

WAIT_S = 20


@pytest.fixture
def world(database, tmp_path):
    return ControlWorld(database, tmp_path)


# -- nobody runs it ------------------------------------------------------------------------------------------------


def test_a_task_that_is_not_reached_is_skipped_at_once_and_with_it_its_branch(world):
    world.submit(heavy(1, next=[2, 4]), heavy(2, next=[3]), heavy(3), heavy(4))

    world.kill_task(2)

    assert world.states() == {1: "PENDING_EXECUTION", 2: "SKIPPED", 3: "SKIPPED", 4: "PENDING_EXECUTION"}
    world.drive_all()
    assert world.states() == {1: "SUCCEED", 2: "SKIPPED", 3: "SKIPPED", 4: "SUCCEED"}
    assert world.execution.state is ExecutionState.SUCCEEDED
    world.assert_over()


def test_a_ready_task_is_withdrawn_and_its_message_finds_nothing(world):
    first, second = world.submit(heavy(1), heavy(2), starts=[1, 2])

    world.kill_task(1)

    assert world.states() == {1: "SKIPPED", 2: "PENDING_EXECUTION"}
    assert world.live().keys() == {2}
    world.drive(first)
    assert world.states()[1] == "SKIPPED"
    world.drive(second)
    assert world.execution.state is ExecutionState.SUCCEEDED
    world.assert_over()


@pytest.mark.parametrize("is_due", [True, False])
def test_a_task_that_waits_for_its_retry_is_cancelled_with_its_timer(world, is_due):
    first, _ = world.submit(heavy(1, next=[2], **retry(3)), heavy(2))
    world.code[1] = break_down
    world.drive(first)
    if is_due:
        world.fire("RETRY")

    world.kill_task(1)

    assert world.states() == {1: "CANCELLED", 2: "SKIPPED"}
    assert world.execution.state is ExecutionState.FAILED
    world.assert_over()


def test_a_suspended_task_is_cancelled_and_nobody_can_answer_any_more(world):
    world.asking = {"expire_after_s": 60.0}
    first, _ = world.submit(asks(1, next=[2]), heavy(2))
    world.drive(first)

    world.kill_task(1)

    assert world.states() == {1: "CANCELLED", 2: "SKIPPED"}
    assert world.suspensions() == [(1, 1, "CANCELLED")]
    assert world.timers() == []
    with pytest.raises(SuspensionAnswered, match="was CANCELLED"):
        resolve(world.id, world.services, is_lifted=True, actor="bob", name="")
    world.assert_over()


def test_an_attempt_that_its_worker_gave_back_had_begun(world):
    first, _ = world.submit(heavy(1, next=[2]), heavy(2))
    world.lose(first)

    world.kill_task(1)

    assert world.states() == {1: "CANCELLED", 2: "SKIPPED"}
    world.assert_over()


def test_what_the_kill_lets_go_on_is_published(world):
    first, second, _ = world.submit(heavy(1, next=[3]), asks(2, next=[3]), heavy(3), starts=[1, 2])
    world.drive(first)
    world.drive(second)
    assert 3 not in world.sent()

    world.kill_task(2)

    assert world.sent().count(3) == 1
    world.drive_all()
    assert world.execution.state is ExecutionState.SUCCEEDED
    world.assert_over()


# -- a worker runs it ----------------------------------------------------------------------------------------------

ENDINGS = {
    "success": (heavy, lambda: {"x": 1}),
    "failure": (heavy, break_down),
    "suspension": (asks, dict),
    "sub-executions": (partial(nests, name="child", count=2), dict),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_a_kill_that_was_accepted_is_final_whatever_the_worker_brings(world, how):
    world.publish(flow("child", heavy(1)))
    make, end = ENDINGS[how]
    seen = []
    first, _, other = world.submit(make(1, next=[2], **retry(3)), heavy(2), heavy(3), starts=[1, 3])

    def killed_meanwhile():
        world.kill_task(1)
        seen.append((world.states(), world.asked_to_stop()))
        return end()

    world.code[1] = killed_meanwhile
    world.drive(first, worker="me")

    assert seen == [({1: "IN_PROCESS", 2: "PENDING_EXECUTION", 3: "PENDING_EXECUTION"}, [(1, "me")])]
    assert world.states() == {1: "CANCELLED", 2: "SKIPPED", 3: "PENDING_EXECUTION"}
    assert (world.suspensions(), world.timers(), world.children_of()) == ([], [], [])
    assert "x" not in world.services.store.read(world.id)[1]
    world.code[3] = None
    world.drive(other)
    assert world.execution.state is ExecutionState.FAILED
    world.assert_over()


def test_what_the_worker_brought_is_told_by_the_history(world):
    (first,) = world.submit(heavy(1))
    world.code[1] = lambda: world.kill_task(1)

    world.drive(first)

    killed, ended = world.history()
    assert (killed.kind, killed.actor, killed.details) == (EntryKind.TASK_KILLED, "ann", {"message": "enough"})
    assert (ended.kind, ended.details) == (EntryKind.STOPPED, {"outcome": "task succeeded"})
    error = world.execution.error
    assert (error.code, error.message, error.task_number) == ("CANCELLED", "task 1 was cancelled by ann: enough", 1)


def test_a_result_that_is_being_written_when_the_kill_comes_is_decided_again(world, monkeypatch):
    """The KILL is committed between the worker's decision and its commit."""
    (first,) = world.submit(heavy(1))
    commit = world.services.store.commit

    def killed_before(change):
        monkeypatch.setattr(world.services.store, "commit", commit)
        world.kill_task(1)
        return commit(change)

    world.code[1] = lambda: monkeypatch.setattr(world.services.store, "commit", killed_before)
    world.drive(first)

    assert world.states() == {1: "CANCELLED"}
    assert world.execution.state is ExecutionState.FAILED
    world.assert_over()


def test_a_result_that_was_written_first_stands(world, monkeypatch):
    first, _ = world.submit(heavy(1, next=[2]), heavy(2))
    commit = world.services.store.commit

    def driven_before(change):
        monkeypatch.setattr(world.services.store, "commit", commit)
        world.drive(first)
        return commit(change)

    monkeypatch.setattr(world.services.store, "commit", driven_before)
    with pytest.raises(TaskNotKillable, match="SUCCEED: it is over"):
        world.kill_task(1)

    assert world.states() == {1: "SUCCEED", 2: "PENDING_EXECUTION"}
    assert world.kinds() == ["task succeeded"]


def test_a_claim_that_is_through_when_the_kill_is_written_is_asked_to_stop(world, monkeypatch):
    """The KILL saw an attempt that nobody had."""
    (first,) = world.submit(heavy(1))
    commit = world.services.store.commit

    def claimed_before(change):
        monkeypatch.setattr(world.services.store, "commit", commit)
        assert world.services.store.claim(first, worker="me") is not None
        return commit(change)

    monkeypatch.setattr(world.services.store, "commit", claimed_before)
    world.kill_task(1)

    assert world.asked_to_stop() == [(1, "me")]
    assert world.services.store.wish(first, worker="me") is Wish.STOP
    assert with_live(world.look().tasks[0], None).state.value == "IN_PROCESS"


def test_a_claim_after_the_kill_runs_nothing(world, monkeypatch):
    """A process died after the mark, and before it withdrew what nobody had."""
    first, _ = world.submit(heavy(1, next=[2]), heavy(2))
    ran = []
    world.code[1] = lambda: ran.append(1)
    monkeypatch.setattr("orchestrator.service.task_control.apply", only_first(apply))
    world.kill_task(1)
    assert world.live() == {1: None}

    world.drive(first)

    assert ran == []
    assert world.states() == {1: "SKIPPED", 2: "SKIPPED"}
    world.assert_over()


def only_first(call):
    """The first call goes through, later ones do nothing."""
    calls = []

    def once(*arguments):
        calls.append(arguments)
        return call(*arguments) if len(calls) == 1 else None

    return once


def test_a_worker_that_dies_of_a_killed_task_has_ended_it(world):
    (first,) = world.submit(heavy(1))
    world.services.store.claim(first, worker="dead")
    world.kill_task(1)

    give_up(world.id, world.services, worker="dead", loss=Loss("signal 9 (SIGKILL)"))

    assert world.states() == {1: "CANCELLED"}
    assert world.kinds() == ["task killed", "task stopped"]
    world.assert_over()


def test_a_timeout_ends_a_killed_task_whose_worker_does_not(world):
    (first,) = world.submit(heavy(1, timeoutMs=1000, **retry(2)))
    world.code[1] = lambda: (world.kill_task(1), world.began_s_ago(100), world.fire("TIMEOUT"))

    world.drive(first)

    assert world.states() == {1: "CANCELLED"}
    assert world.kinds() == ["task killed", "task stopped", "late result refused"]
    world.assert_over()


def test_light_tasks_that_ran_ahead_of_the_commit_are_decided_again(world):
    first, *_ = world.submit(light(1, next=[2]), light(2, next=[3]), light(3))
    world.code[3] = lambda: world.kill_task(2)

    world.drive(first)

    assert world.states() == {1: "SUCCEED", 2: "SKIPPED", 3: "SKIPPED"}
    assert world.execution.state is ExecutionState.FAILED
    world.assert_over()


def test_a_light_task_that_a_worker_keeps_does_not_run_any_more(world, monkeypatch):
    monkeypatch.setattr("orchestrator.service.drive.BATCH_TASKS", 1)
    first, *_ = world.submit(light(1, next=[2, 3]), light(2), light(3))
    world.code[2] = lambda: world.kill_task(3)

    world.drive(first)

    assert world.states() == {1: "SUCCEED", 2: "SUCCEED", 3: "SKIPPED"}
    world.assert_over()


def test_a_light_task_that_was_claimed_is_told(world):
    (first,) = world.submit(light(1))
    seen = []

    def look():
        seen.append(world.services.store.is_stopping(first))
        world.kill_task(1)
        seen.append(world.services.store.is_stopping(first))

    world.code[1] = look
    world.drive(first)

    assert seen == [False, True]


# -- sub-executions ------------------------------------------------------------------------------------------------


def test_a_task_that_waits_for_sub_executions_ends_with_them_and_its_join_does_not_run(world):
    world.publish(flow("leaf", heavy(1)))
    world.publish(flow("middle", nests(1, "leaf")))
    first, _ = world.submit(nests(1, "middle", count=2, next=[2]), heavy(2))
    world.drive(first)
    for middle in world.children_of():
        world.drive(world.key(1, of=middle))

    world.kill_task(1)

    assert world.states() == {1: "CANCELLED", 2: "SKIPPED"}
    assert world.tree_states() == ["FAILED"] + ["CANCELLED"] * 4
    world.assert_over()


def test_it_waits_for_what_a_worker_runs_below_it(world):
    world.publish(flow("child", heavy(1)))
    first, *_ = world.submit(nests(1, "child", count=2, next=[2]), heavy(2), heavy(3), starts=[1, 3])
    world.drive(first)
    one, _ = world.children_of()
    world.services.store.claim(world.key(1, of=one), worker="me")

    world.kill_task(1)

    assert world.tree_states() == ["PROCESSING", "PROCESSING", "CANCELLED"]
    assert world.states()[1] == "IN_PROCESS"
    give_up(one, world.services, worker="me", loss=Loss("it ended"))
    world.drive_all()
    assert world.states() == {1: "CANCELLED", 2: "SKIPPED", 3: "SUCCEED"}
    assert world.execution.state is ExecutionState.SUCCEEDED
    world.assert_over()


def test_a_kill_while_sub_executions_are_started_reaches_them_or_prevents_them(world):
    world.publish(flow("child", heavy(1)))
    first, _ = world.submit(nests(1, "child", count=3, next=[2]), heavy(2))
    started = threading.Barrier(2)
    world.code[1] = lambda: started.wait(WAIT_S) and None

    def kill():
        started.wait(WAIT_S)
        world.kill_task(1)

    at_once(partial(world.drive, first), kill)
    world.drive_all()

    assert world.states() == {1: "CANCELLED", 2: "SKIPPED"}
    assert set(world.tree_states()) <= {"FAILED", "CANCELLED"}
    world.assert_over()


def test_children_that_a_killed_execution_would_join_meanwhile_join_once(world):
    """The last child arrives while the task is killed: the join is claimed, or withdrawn, and runs no code."""
    world.publish(flow("child", heavy(1)))
    first, _ = world.submit(nests(1, "child", next=[2]), heavy(2))
    world.drive(first)
    (child,) = world.children_of()

    def tolerant():
        with suppress(TaskNotKillable):
            world.kill_task(1)

    at_once(partial(world.drive, world.key(1, of=child)), tolerant)
    world.drive_all()

    assert world.states() in ({1: "CANCELLED", 2: "SKIPPED"}, {1: "SUCCEED", 2: "SUCCEED"})
    world.assert_over()


# -- many at once --------------------------------------------------------------------------------------------------


def test_of_many_kills_at_once_one_is_accepted(world):
    (first,) = world.submit(heavy(1))
    world.services.store.claim(first, worker="me")
    refused = []

    def kill():
        try:
            world.kill_task(1)
        except TaskNotKillable as error:
            refused.append(error.reason)

    at_once(*[kill] * 4)

    assert refused == ["it is being ended already"] * 3
    assert world.kinds() == ["task killed"]


def test_a_kill_of_the_task_and_one_of_the_execution_both_count(world):
    first, _ = world.submit(heavy(1, next=[2]), heavy(2))
    world.services.store.claim(first, worker="me")
    world.kill_task(1)

    world.kill()
    give_up(world.id, world.services, worker="me", loss=Loss("it ended"))

    assert world.states() == {1: "CANCELLED", 2: "SKIPPED"}
    assert world.execution.state is ExecutionState.CANCELLED
    world.assert_over()


def test_task_kills_results_deaths_and_retries_all_at_once_come_to_an_end(world):
    world.publish(flow("child", heavy(1, **retry(1)), light(2), starts=[1, 2]))
    tasks = [heavy(n, next=[n + 3], **retry(1)) for n in (1, 2, 3)]
    world.submit(*tasks, nests(4, "child", count=2), light(5), asks(6), starts=[1, 2, 3])
    failing = threading.local()

    def sometimes():
        failing.count = getattr(failing, "count", 0) + 1
        return break_down() if failing.count % 3 == 0 else None

    world.code.update(dict.fromkeys(range(1, 7), sometimes))

    def work():
        name = threading.current_thread().name
        for turn in range(20):
            for key in world.ready()[:2]:
                if turn % 5 == 4:
                    world.services.store.claim(key, worker=name)
                    give_up(key.execution_id, world.services, worker=name, loss=Loss("signal 9"))
                else:
                    world.drive(key, worker=name)

    def kill_some():
        for number in (4, 2, 6, 1, 5, 3):
            with suppress(TaskNotKillable, ExecutionOver):
                world.kill_task(number)

    at_once(*[work] * 3, kill_some, lambda: [world.fire("RETRY") for _ in range(5)])
    for _ in range(5):
        world.fire("RETRY")
        world.drive_all()
    for number in range(1, 7):
        with suppress(TaskNotKillable, ExecutionOver):
            world.kill_task(number)

    assert world.look().state.is_final
    world.assert_over()


# -- what is refused -----------------------------------------------------------------------------------------------


def test_a_task_that_is_over_stays_as_it_is(world):
    first, _ = world.submit(heavy(1, next=[2]), heavy(2))
    world.drive(first)
    before = world.tree()

    with pytest.raises(TaskNotKillable, match=f"cannot kill task 1 of execution {world.id}, SUCCEED: it is over"):
        world.kill_task(1)

    assert world.tree() == before


def test_a_task_of_an_execution_that_is_being_stopped_is_refused(world):
    first, _ = world.submit(heavy(1), heavy(2), starts=[1, 2])
    world.services.store.claim(first, worker="me")
    world.kill()

    with pytest.raises(TaskNotKillable, match="IN_PROCESS: the execution is being stopped"):
        world.kill_task(1)


def test_a_kill_of_the_execution_that_is_not_obeyed_yet_comes_first(world):
    world.submit(heavy(1))
    world.mark(Signal.KILL)

    with pytest.raises(ExecutionOver, match="is CANCELLED, which is final: nothing is left to kill"):
        world.kill_task(1)


def test_a_task_of_an_execution_that_begins_again_is_refused(world):
    (first,) = world.submit(heavy(1, **restart(2)))
    world.code[1] = break_down
    world.drive(first)

    with pytest.raises(TaskNotKillable, match="about to begin again; kill the whole execution, or wait"):
        world.kill_task(1)


def test_a_task_of_an_execution_that_has_not_begun_is_refused(world):
    version_id, _ = world.publish(flow("flow", heavy(1)) | {"limits": {"maxConcurrent": 1}})
    world.start_now(version_id)
    world.start_now(version_id)

    with pytest.raises(TaskNotKillable, match="has not begun; kill the whole execution, or wait"):
        world.kill_task(1)


def test_a_task_that_is_being_undone_is_refused(world):
    first, second = world.submit(heavy(1, next=[2], **undone()), heavy(2, **FATAL))
    world.code[2] = break_down
    world.drive(first)
    world.drive(second)

    with pytest.raises(TaskNotKillable, match="what undoes a task is not stopped"):
        world.kill_task(1)


@pytest.mark.parametrize("number", [0, -1, 7])
def test_what_is_not_there_is_said_so(world, number):
    world.submit(heavy(1))

    with pytest.raises(TaskNotFound):
        world.kill_task(number)
    with pytest.raises(ExecutionNotFound):
        world.kill_task(1, of="nowhere")


def test_who_killed_on_whose_behalf_and_why_is_kept(world):
    world.submit(heavy(1))

    world.kill_task(1, audit=Audit(actor="bob", impersonator="ann", message="wrong month"))

    killed, _ = world.history()
    assert (killed.actor, killed.details) == ("bob", {"message": "wrong month", "impersonator": "ann"})
    assert world.sent_signals() == []


def test_a_revoke_of_what_is_not_there_keeps_no_other_from_being_obeyed(world, monkeypatch):
    """The message may be of another database, or of an execution that was pruned."""
    world.submit(heavy(1))
    places = [("nowhere", 1), (world.id, 7), (world.id, 1)]
    keys = [AttemptKey(execution_id=each, number=number, attempt=1) for each, number in places]
    revoked = deque((each, False) for each in keys)
    monkeypatch.setattr(requests, "_REVOKED", revoked)

    requests.obey_revokes(world.services)

    assert not revoked
    assert world.states() == {1: "SKIPPED"}

"""What comes from outside of a claim, without workers: it is decided on what is there, and wins or loses as a whole."""

from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.engine.events import Lifted, RetryDue
from orchestrator.errors import ExecutionNotFound
from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState
from orchestrator.model.task_types import Done, TaskType
from orchestrator.service.apply import apply, start_held
from orchestrator.service.pursue import pursue, pursue_marked
from orchestrator.service.standing import Step
from orchestrator.service.submit import Wishes
from orchestrator.service.suspensions import resolve
from orchestrator.store.changes import Refusal
from orchestrator.store.kinds import Method, Signal
from orchestrator.store.tables import executions
from tests.contracts.control_world import (
    FATAL,
    IGNORE,
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
from tests.contracts.stored import at_once, make_commit, rows_of
from tests.contracts.world import heavy, light
from tests.flows import flow, parameter, task

ANY = {"taskExecutionStrategy": "WHEN_ANY_SUCCEED"}


@pytest.fixture
def world(database, tmp_path):
    return ControlWorld(database, tmp_path)


def breaks(world, *numbers):
    for number in numbers:
        world.code[number] = partial(break_down, f"task {number} is broken")


# -- apply itself --------------------------------------------------------------------------------------------------


def test_no_step_changes_nothing(world):
    world.submit(heavy(1))
    before = rows_of(world.database)

    assert apply(world.id, world.services, lambda standing: None) is None
    assert rows_of(world.database) == before


def test_a_step_that_comes_too_late_changes_nothing(world):
    world.submit(heavy(1))
    before = rows_of(world.database)
    step = Step(event=RetryDue(number=1, attempt=1), kind=EntryKind.RETRY_DUE, number=1, attempt=1)

    assert apply(world.id, world.services, lambda standing: step) is None
    assert rows_of(world.database) == before


def test_nothing_can_be_applied_to_what_never_was(world):
    with pytest.raises(ExecutionNotFound):
        apply("nobody", world.services, lambda standing: None)


def test_what_is_applied_is_recorded_with_its_actor_and_publishes_what_it_made_ready(world):
    first, _ = world.submit(asks(1, next=[2]), heavy(2))
    world.drive(first)
    event = Lifted(number=1, attempt=1)
    step = Step(event=event, kind=EntryKind.LIFTED, number=1, attempt=1, actor="ann")

    standing, decision = apply(world.id, world.services, lambda standing: step)

    entry = world.history()[-1]
    assert (entry.kind, entry.actor, entry.worker) == (EntryKind.LIFTED, "ann", "")
    assert standing.stored.state is ExecutionState.SUSPENDED
    assert [each.number for each in decision.dispatch] == [2]
    assert world.sent() == [1, 2]


def test_of_many_that_want_the_same_at_once_one_gets_it(world):
    (first,) = world.submit(heavy(1, **retry(3)))
    breaks(world, 1)
    world.drive(first)
    step = Step(event=RetryDue(number=1, attempt=1), kind=EntryKind.RETRY_DUE, number=1, attempt=1)

    done = at_once(*[partial(apply, world.id, world.services, lambda standing: step)] * 4)

    assert [each is None for each in done].count(False) == 1
    assert world.kinds().count("retry due") == 1
    assert [message.attempt for message in world.services.publisher.sent] == [1, 2]


def test_of_many_that_want_different_things_at_once_each_gets_its_own(world):
    numbers = range(1, 7)
    keys = world.submit(*(asks(number, next=[7]) for number in numbers), heavy(7), starts=numbers)
    for key in keys[:-1]:
        world.drive(key)

    def lift(number):
        resolve(world.id, world.services, is_lifted=True, actor=f"ann {number}", name=str(number))

    at_once(*(partial(lift, number) for number in numbers))

    assert sorted(entry.actor for entry in world.history() if entry.kind is EntryKind.LIFTED) == [
        f"ann {number}" for number in numbers
    ]
    assert world.states() == dict.fromkeys(numbers, "SUCCEED") | {7: "PENDING_EXECUTION"}
    assert world.sent() == [1, 2, 3, 4, 5, 6, 7]


def test_who_loses_the_race_is_asked_again_about_what_is_there_now(world, monkeypatch):
    first, second, _ = world.submit(asks(1), heavy(2, next=[3]), heavy(3), starts=[1, 2])
    world.drive(first)
    seen = []

    def next_step(standing):
        seen.append(standing.progress.status(2).state.value)
        if len(seen) == 1:
            world.drive(second)
        return Step(event=Lifted(number=1, attempt=1), kind=EntryKind.LIFTED, number=1, attempt=1)

    apply(world.id, world.services, next_step)

    assert seen == ["PENDING_EXECUTION", "SUCCEED"]
    assert world.states() == {1: "SUCCEED", 2: "SUCCEED", 3: "PENDING_EXECUTION"}
    assert world.revisions() == [1, 2, 3]


def test_an_answer_during_a_drive_and_its_commit_both_count(world):
    first, second, _ = world.submit(asks(1, next=[3]), heavy(2, next=[3]), heavy(3), starts=[1, 2])
    world.drive(first)

    def answered_meanwhile():
        resolve(world.id, world.services, is_lifted=True, actor="ann")

    world.code[2] = answered_meanwhile
    world.drive(second)

    assert world.states() == {1: "SUCCEED", 2: "SUCCEED", 3: "PENDING_EXECUTION"}
    assert world.sent() == [1, 2, 3]
    assert world.live() == {3: None}


def test_an_answer_and_commits_at_the_same_time_lose_nothing(world):
    numbers = range(2, 8)
    first, *keys, _ = world.submit(
        asks(1, next=[8]), *(heavy(number, next=[8]) for number in numbers), light(8), starts=range(1, 8)
    )
    world.drive(first)

    def lift():
        resolve(world.id, world.services, is_lifted=True, actor="ann")

    at_once(lift, *(partial(world.drive, key, worker=f"worker {key.number}") for key in keys))
    world.drive_all()

    assert set(world.states().values()) == {"SUCCEED"}
    assert world.execution.state is ExecutionState.SUCCEEDED
    assert world.revisions() == list(range(1, len(world.revisions()) + 1))
    world.assert_over()


def test_a_task_after_a_suspension_is_told_that_it_runs_asynchronously(world):
    seen = []
    world.services.types.add(TaskType(name="Look", run=lambda context: seen.append(context.is_sync) or Done()))
    version_id, _ = world.publish(flow("flow", task(1, "Look", next=[2]), asks(2, next=[3]), task(3, "Look")))
    world.start_now(version_id, wishes=Wishes(method=Method.POST))
    world.drive_all()

    resolve(world.id, world.services, is_lifted=True, actor="ann")
    world.drive_all()

    assert seen == [True, False]


def test_pursuing_what_nobody_stops_changes_nothing(world):
    world.submit(heavy(1))
    before = rows_of(world.database)

    pursue(world.id, world.services, start=start_held)

    assert rows_of(world.database) == before


def test_pursuing_again_does_what_a_crash_prevented(world):
    """The commit that stops an execution is written, and whoever wrote it died before the rest."""
    world.publish(flow("child", heavy(1)))
    _, call, *_ = world.submit(
        heavy(1, **FATAL), nests(2, "child", next=[3]), heavy(3), heavy(4, **undone()), starts=[1, 2, 4]
    )
    world.drive(call)
    world.mark(Signal.KILL)  # and no more

    pursue(world.id, world.services, start=start_held)

    assert world.tree_states() == ["CANCELLED", "CANCELLED"]
    assert world.states() == {1: "SKIPPED", 2: "CANCELLED", 3: "SKIPPED", 4: "SKIPPED"}
    world.assert_over()


def begin_to_stop(world):
    """A new execution, killed while a worker runs it: it is asked to end, and nothing else is left to do."""
    (first,) = world.submit(heavy(1))
    world.services.store.claim(first, worker="busy")
    world.kill()


def test_only_what_something_can_be_done_about_is_looked_after(world):
    begin_to_stop(world)
    assert world.services.signals.marked() == []

    world.submit(heavy(1))
    world.mark(Signal.KILL)
    assert world.services.signals.marked() == [world.id]

    pursue_marked(world.services, start=start_held)
    assert world.execution.state is ExecutionState.CANCELLED
    assert world.services.signals.marked() == []


def test_what_a_stopping_execution_has_left_to_claim_is_looked_after(world):
    """The commit of a fatal failure is written, and whoever wrote it died before the rest."""
    fatal, _ = world.submit(heavy(1, **FATAL), heavy(2), starts=[1, 2])
    breaks(world, 1)
    world.drive_without_pursuing(fatal)
    assert world.services.signals.marked() == [world.id]

    pursue_marked(world.services, start=start_held)

    assert world.execution.state is ExecutionState.FAILED
    assert world.states() == {1: "FATAL", 2: "SKIPPED"}
    world.assert_over()


def test_one_that_cannot_be_ended_does_not_keep_others_from_their_end(world, caplog):
    marked = []
    for _ in range(4):
        world.submit(heavy(1))
        world.mark(Signal.KILL)
        marked.append(world.id)
    broken = marked.pop(1)
    with world.database.begin() as connection:
        connection.execute(sa.update(executions).where(executions.c.id == broken).values(progress="nonsense"))

    pursue_marked(world.services, start=start_held)

    assert [world.look(each).state for each in marked] == [ExecutionState.CANCELLED] * 3
    assert world.services.signals.marked() == [broken]
    assert [record.execution_id for record in caplog.records] == [broken]


# -- FATAL ---------------------------------------------------------------------------------------------------------


def test_a_fatal_failure_ends_whatever_waits_and_asks_what_runs_to_end(world):
    seen = []
    fatal, running, queued, held, asking, *_ = world.submit(
        heavy(1, **FATAL),
        heavy(2, next=[6]),
        heavy(3),
        heavy(4, **retry(3)),
        asks(5),
        heavy(6),
        starts=[1, 2, 3, 4, 5],
    )
    breaks(world, 1, 4)
    world.drive(held)
    world.drive(asking)

    def sibling_fails():
        world.drive(fatal)
        seen.append((world.states(), world.asked_to_stop(), world.execution.state))

    world.code[2] = sibling_fails
    world.drive(running, worker="me")
    world.drive(queued)

    assert seen == [
        (
            {1: "FATAL", 2: "IN_PROCESS", 3: "SKIPPED", 4: "CANCELLED", 5: "CANCELLED", 6: "SKIPPED"},
            [(2, "me")],
            ExecutionState.PROCESSING,
        )
    ]
    assert world.states()[2] == "SUCCEED"
    assert world.execution.state is ExecutionState.FAILED
    assert (world.execution.error.message, world.execution.error.task_number) == ("task 1 is broken", 1)
    assert world.suspensions() == [(5, 1, "CANCELLED")]
    assert world.timers() == []
    world.assert_over()


def test_a_fatal_failure_kills_what_its_siblings_wait_for_however_deep(world):
    world.publish(flow("leaf", heavy(1)))
    world.publish(flow("middle", nests(1, "leaf", count=2)))
    fatal, call = world.submit(heavy(1, **FATAL), nests(2, "middle"), starts=[1, 2])
    world.drive(call)
    world.drive(world.key(1, of=world.children_of()[0]))
    breaks(world, 1)

    world.drive(fatal)

    assert world.tree_states() == ["FAILED", "CANCELLED", "CANCELLED", "CANCELLED"]
    assert world.states() == {1: "FATAL", 2: "CANCELLED"}
    world.assert_over()


def test_a_fatal_failure_lets_go_on_what_nobody_waits_for(world):
    world.publish(flow("child", heavy(1)))
    spawn, fatal = world.submit(spawns(1, "child", next=[2]), heavy(2, **FATAL))
    breaks(world, 2)
    world.drive(spawn)
    world.drive(fatal)
    world.drive_all()

    assert world.tree_states() == ["FAILED", "SUCCEEDED"]
    world.assert_over()


def test_a_sibling_s_child_that_a_worker_runs_is_asked_to_end_and_the_execution_waits_for_it(world):
    seen = []
    world.publish(flow("child", heavy(11)) | {"triggerConfigs": [{"triggerId": "api_trigger/child"}]})
    fatal, call = world.submit(heavy(1, **FATAL), nests(2, "child"), starts=[1, 2])
    breaks(world, 1)
    world.drive(call)
    (child,) = world.children_of()

    def sibling_fails():
        world.drive(fatal)
        seen.extend([world.asked_to_stop(), world.tree_states()])

    world.code[11] = sibling_fails
    world.drive(world.key(11, of=child), worker="me")
    world.drive_all()

    assert seen == [[(11, "me")], ["PROCESSING", "PROCESSING"]]
    assert world.tree_states() == ["FAILED", "CANCELLED"]
    assert world.states() == {1: "FATAL", 2: "CANCELLED"}
    world.assert_over()


def test_two_fatal_failures_at_once_are_one_and_the_first_counts(world):
    keys = world.submit(*(heavy(number, **FATAL) for number in range(1, 5)), starts=range(1, 5))
    breaks(world, *range(1, 5))

    at_once(*(partial(world.drive, key, worker=f"worker {key.number}") for key in keys))

    execution, first = world.execution, world.history()[0]
    assert execution.state is ExecutionState.FAILED
    assert execution.error.task_number == first.task_number
    assert world.states()[first.task_number] == "FATAL"
    assert set(world.states().values()) <= {"FATAL", "SKIPPED"}
    world.assert_over()


# -- rollback ------------------------------------------------------------------------------------------------------


def chain_that_fails(world, **last):
    """1, 2 and 3 SUCCEED and can be undone, 4 SUCCEEDs and cannot, 5 fails."""
    world.submit(
        heavy(1, next=[2], **undone()),
        heavy(2, next=[3], **undone(**last)),
        heavy(3, next=[4], **undone()),
        heavy(4, next=[5]),
        heavy(5, **FATAL),
    )
    breaks(world, 5)
    for number in range(1, 6):
        world.drive(world.key(number))


def test_after_a_fatal_failure_what_succeeded_is_undone_in_reverse_order(world):
    chain_that_fails(world)
    assert world.states() == {
        1: "PENDING_ROLLBACK",
        2: "PENDING_ROLLBACK",
        3: "PENDING_ROLLBACK",
        4: "SUCCEED",
        5: "FATAL",
    }
    assert world.execution.state is ExecutionState.PROCESSING

    world.drive_all()

    assert world.undone == [3, 2, 1]
    assert world.states() == {1: "ROLLEDBACK", 2: "ROLLEDBACK", 3: "ROLLEDBACK", 4: "SUCCEED", 5: "FATAL"}
    assert world.execution.state is ExecutionState.FAILED
    assert world.execution.error.message == "task 5 is broken"
    assert world.kinds()[-3:] == ["task rolled back"] * 3
    world.assert_over()


def test_branches_are_undone_side_by_side_and_before_what_they_follow(world):
    world.submit(
        heavy(1, next=[2, 3], **undone()),
        heavy(2, next=[4], **undone()),
        heavy(3, next=[4], **undone()),
        heavy(4, **FATAL),
    )
    breaks(world, 4)
    for number in range(1, 5):
        world.drive(world.key(number))

    assert sorted(key.number for key in world.ready()) == [2, 3]
    world.drive_all()
    assert sorted(world.undone[:2]) == [2, 3]
    assert world.undone[2:] == [1]
    world.assert_over()


def test_a_rollback_that_fails_is_tried_again_and_what_waits_for_it_waits(world):
    failures = iter([True, False])
    world.undo[2] = lambda: break_down() if next(failures) else None
    chain_that_fails(world, failurePolicy=policy("FIXED_INTERVAL", 1))

    world.drive_all()
    assert world.execution.state is ExecutionState.RETRY_ON_HOLD
    assert world.states()[1] == "PENDING_ROLLBACK"
    assert world.timers() == [("RETRY", 2, 2)]
    world.fire("RETRY")
    world.drive_all()

    assert world.undone == [3, 2, 2, 1]
    assert world.kinds()[-5:] == [
        "task rolled back",
        "rollback failed",
        "retry due",
        "task rolled back",
        "task rolled back",
    ]
    assert world.execution.state is ExecutionState.FAILED
    world.assert_over()


def test_a_rollback_that_fails_for_good_is_recorded_and_the_next_one_runs(world):
    world.undo[2] = partial(break_down, "cannot be undone")
    chain_that_fails(world)

    world.drive_all()

    assert world.undone == [3, 2, 1]
    assert world.states()[2] == "ROLLEDBACK"
    (failed,) = [entry for entry in world.history() if entry.kind is EntryKind.ROLLBACK_FAILED]
    assert (failed.task_number, failed.error.message) == (2, "cannot be undone")
    assert world.execution.error.message == "task 5 is broken"
    world.assert_over()


@pytest.mark.parametrize("how", ["Nest", "Spawn", "Ask"])
def test_a_rollback_that_would_wait_or_start_something_fails_and_says_so(world, how):
    world.publish(flow("child", heavy(1)))
    takes = {"name": {"stringValue": "child"}, "count": {"intValue": "1"}}
    world.submit(heavy(1, next=[2], rollback={"task": how, "parameters": takes}), heavy(2, **FATAL))
    breaks(world, 2)
    world.drive(world.key(1))
    world.drive(world.key(2))

    world.code[1] = dict
    world.drive_all()

    (failed,) = [entry for entry in world.history() if entry.kind is EntryKind.ROLLBACK_FAILED]
    assert "a rollback cannot" in failed.error.message
    assert world.execution.children == ()
    assert world.states() == {1: "ROLLEDBACK", 2: "FATAL"}
    world.assert_over()


def test_what_is_left_to_undo_when_a_worker_is_gone_is_in_the_rows_and_another_goes_on(world):
    chain_that_fails(world)
    world.drive(world.ready()[0])
    assert [key.number for key in world.ready()] == [2]
    assert world.states() == {
        1: "PENDING_ROLLBACK",
        2: "PENDING_ROLLBACK",
        3: "ROLLEDBACK",
        4: "SUCCEED",
        5: "FATAL",
    }

    world.drive_all(worker="another")

    assert world.undone == [3, 2, 1]
    assert [entry.worker for entry in world.history()[-2:]] == ["another"] * 2
    world.assert_over()


# -- restart -------------------------------------------------------------------------------------------------------


def test_an_execution_begins_again_with_the_parameters_of_the_beginning(world):
    seen = []
    first, second = world.submit(
        heavy(1, next=[2]), heavy(2, **restart(2)), parameters=[parameter("x", default="initial", direction="OUT")]
    )
    outcomes = iter([{"x": "changed"}, {}])
    world.code[1] = lambda: next(outcomes)
    world.code[2] = lambda: (seen.append(world.execution.snapshots[-1].parameters["x"].data), break_down())
    world.drive(first)
    world.drive(second)
    assert world.execution.state is ExecutionState.RETRY_ON_HOLD
    assert world.timers() == [("RESTART", 2, 1)]

    world.fire("RESTART")
    assert world.execution.state is ExecutionState.PROCESSING
    assert world.states() == {1: "PENDING_EXECUTION", 2: "PENDING_EXECUTION"}
    world.drive(world.key(1, attempt=2))
    world.code[2] = dict
    world.drive(world.key(2, attempt=2))

    assert seen == ["changed"]
    assert world.execution.state is ExecutionState.SUCCEEDED
    assert world.execution.outputs == {"x": "initial"}
    assert [each.attempt for each in world.execution.task(1).attempts] == [1, 2]
    world.assert_over()


def test_restarts_that_are_used_up_fail_the_execution(world):
    world.submit(heavy(1, next=[2]), heavy(2, **restart(2)))
    breaks(world, 2)

    for _ in range(3):
        world.drive_all()
        world.fire()

    assert world.kinds().count("execution restarted") == 2
    assert world.execution.state is ExecutionState.FAILED
    assert world.states() == {1: "SUCCEED", 2: "FAILED"}
    world.assert_over()


def test_a_restart_waits_until_its_siblings_have_ended_and_takes_every_state_back(world):
    seen = []
    world.publish(flow("child", heavy(11)) | {"triggerConfigs": [{"triggerId": "api_trigger/child"}]})
    failing, running, queued, held, asking, ignored, calling, *_ = world.submit(
        heavy(1, **restart(1)),
        heavy(2, next=[8]),
        heavy(3),
        heavy(4, **retry(3)),
        asks(5),
        heavy(6, **IGNORE),
        nests(7, "child"),
        heavy(8),
        starts=[1, 2, 3, 4, 5, 6, 7],
    )
    breaks(world, 1, 4, 6)
    for key in (held, asking, ignored, calling):
        world.drive(key)

    def sibling_fails():
        world.drive(failing)
        seen.extend([world.states(), world.asked_to_stop(), world.execution.state, world.timers()])

    world.code[2] = sibling_fails
    world.drive(running, worker="me")

    assert seen == [
        {
            1: "RETRY_ON_HOLD",
            2: "IN_PROCESS",
            3: "SKIPPED",
            4: "CANCELLED",
            5: "CANCELLED",
            6: "FAILED",
            7: "CANCELLED",
            8: "PENDING_EXECUTION",
        },
        [(2, "me")],
        ExecutionState.PROCESSING,
        [],
    ]
    assert world.execution.state is ExecutionState.RETRY_ON_HOLD
    assert world.states()[8] == "SKIPPED"
    assert world.timers() == [("RESTART", 1, 1)]
    assert world.marks() == ["STOPPING"]
    assert [child.state for child in world.execution.children] == [ExecutionState.CANCELLED]
    world.drive(queued)
    world.fire("RESTART")

    assert world.states() == dict.fromkeys(range(1, 9), "PENDING_EXECUTION")
    assert world.marks() == []
    assert sorted((key.number, key.attempt) for key in world.ready()) == [
        (1, 2),
        (2, 2),
        (3, 2),
        (4, 2),
        (5, 2),
        (6, 2),
        (7, 2),
    ]
    for number in (1, 2, 4, 6):
        world.code[number] = dict
    world.drive_all()
    resolve(world.id, world.services, is_lifted=True, actor="ann")
    world.drive_all()

    assert world.execution.state is ExecutionState.SUCCEEDED
    assert world.suspensions() == [(5, 1, "CANCELLED"), (5, 2, "LIFTED")]
    assert [child.state.value for child in world.execution.children] == ["CANCELLED", "SUCCEEDED"]
    world.assert_over()


def test_a_result_of_the_run_before_is_refused_after_a_restart(world):
    """Its attempt was skipped with the execution; the number is never used again."""
    failing, queued = world.submit(heavy(1, **restart(1)), heavy(2), starts=[1, 2])
    breaks(world, 1)
    world.drive(failing)
    world.fire("RESTART")

    world.drive(queued)

    assert world.states() == {1: "PENDING_EXECUTION", 2: "PENDING_EXECUTION"}
    assert sorted((key.number, key.attempt) for key in world.ready()) == [(1, 2), (2, 2)]


def test_a_fatal_failure_while_a_restart_is_waited_for_ends_the_execution(world):
    failing, fatal = world.submit(heavy(1, **restart(1)), heavy(2, **FATAL), starts=[1, 2])
    breaks(world, 1)
    world.code[2] = lambda: (world.drive(failing), break_down("fatally"))

    world.drive(fatal)

    assert world.execution.state is ExecutionState.FAILED
    assert world.execution.error.message == "fatally"
    assert world.states() == {1: "CANCELLED", 2: "FATAL"}
    assert world.timers() == []
    world.assert_over()


# -- what the store refuses ----------------------------------------------------------------------------------------


def test_a_commit_that_has_not_seen_a_mark_is_stale(world):
    (first,) = world.submit(heavy(1))
    claimed = world.services.store.claim(first, worker="me")
    world.mark(Signal.KILL)
    before = rows_of(world.database)

    written = world.services.store.commit(make_commit(claimed, progress=claimed.execution.progress))

    assert written is Refusal.STALE
    assert rows_of(world.database) == before

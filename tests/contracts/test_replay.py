"""Replays on both databases, driven by hand: what is stored, what runs, what is reused, and what a preview says."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.engine.progress import pack
from orchestrator.engine.replay import Reason, ReplayMode
from orchestrator.errors import (
    ExecutionNotFound,
    IntegrationNotFound,
    InvalidValue,
    MissingParameter,
    UnknownParameter,
    UnknownTrigger,
)
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import from_python
from orchestrator.service.apply import start_held
from orchestrator.service.query import TreeReader
from orchestrator.service.replay import (
    NoFailurePoint,
    NotOver,
    ReplayVersion,
    ReplayWish,
    executors_for,
    prepare,
    replay,
    version_for,
)
from orchestrator.service.replay_preview import preview
from orchestrator.service.submit import Place, Wishes, submit
from orchestrator.store.kinds import Hold, Method
from orchestrator.store.queries import ExecutionQueries
from tests.contracts.control_world import (
    FATAL,
    IGNORE,
    ControlWorld,
    asks,
    break_down,
    nests,
    restart,
    undone,
)
from tests.contracts.stored import PLACE, clock, rows_of
from tests.contracts.world import heavy, light
from tests.flows import flow, parameter, task

FAILURE = ReplayMode.POINT_OF_FAILURE
A_AND_B = [
    parameter("a", "INT_VALUE", direction="IN_OUT", default=1),
    parameter("b", "INT_VALUE", direction="OUT"),
    parameter("c", "INT_VALUE", direction="OUT"),
]


class ReplayWorld(ControlWorld):
    """Counts which tasks ran, over all executions, and keeps what they saw of parameter ``a`` and ``b``."""

    def __init__(self, database, folder):
        super().__init__(database, folder)
        self.ran, self.saw = [], []

    def run(self, context):
        self.ran.append(context.task_number)
        self.saw.append(tuple(context.parameters[key].python if key in context.parameters else None for key in "abc"))
        return super().run(context)

    def start_flow(self, *tasks, given=None, wishes=None, **more):
        """Publish, start and drive until nothing can be claimed."""
        version_id, _ = self.publish(flow("flow", *tasks, parameters=A_AND_B, **more))
        values = {key: from_python(data, key) for key, data in (given or {}).items()}
        self.id = submit(version_id, values, self.services, place=Place(**PLACE), wishes=wishes or Wishes())
        self.drive_all()
        return self.id

    def replay(self, execution_id=None, **wish):
        """The id of the replay, once nothing of it can be claimed; what ran is counted from its beginning."""
        self.ran.clear()
        self.saw.clear()
        self.replayed = replay(ReplayWish(execution_id=execution_id or self.id, **wish), self.services)
        self.drive_all()
        return self.replayed

    def preview(self, **wish):
        return preview(ReplayWish(execution_id=self.id, **wish), self.services)

    def outputs(self, execution_id):
        return self.look(execution_id).outputs


@pytest.fixture
def world(database, tmp_path):
    return ReplayWorld(database, tmp_path)


def mended(world, *numbers, **outputs):
    """From now on these tasks succeed."""
    for number in numbers:
        world.code[number] = lambda: outputs


def broken_chain(world, **more):
    """1, 2 and 3 in a row; 1 puts out a=10 and b=1, and 2 has failed."""
    world.code = {1: lambda: {"a": 10, "b": 1}, 2: break_down, 3: lambda: {"c": 3}}
    return world.start_flow(heavy(1, next=[2]), heavy(2, next=[3]), heavy(3), **more)


# -- from the beginning --------------------------------------------------------------------------------------------


def test_from_the_beginning_everything_runs_again_with_the_same_request(world):
    first = broken_chain(world, given={"a": 7})
    mended(world, 2)

    second = world.replay()

    assert world.ran == [1, 2, 3]
    assert world.saw == [(7, None, None), (10, 1, None), (10, 1, None)]
    assert second != first
    assert world.look(second).state is ExecutionState.SUCCEEDED
    assert world.look(second).request == world.look(first).request


def test_a_succeeded_execution_can_be_replayed_from_the_beginning(world):
    world.start_flow(heavy(1))

    world.replay(parameters={"a": 2})

    assert world.saw == [(2, None, None)]


def test_what_is_handed_in_stands_over_the_original_request(world):
    broken_chain(world, given={"a": 7, "b": 8})

    second = world.replay(parameters={"a": "9"})

    assert {key: value.python for key, value in world.look(second).request.items()} == {"a": 9, "b": 8}


def test_only_what_is_handed_in_leaves_the_original_request_out(world):
    broken_chain(world, given={"a": 7, "b": 8})

    second = world.replay(parameters={"b": 9}, only=True)

    assert {key: value.python for key, value in world.look(second).request.items()} == {"a": 1, "b": 9}


def test_both_executions_know_of_each_other(world):
    first = broken_chain(world)

    second, third = world.replay(reason="once more"), world.replay(mode=FAILURE)

    original = world.look(first)
    assert (original.replay_of, original.replays) == (None, (second, third))
    assert original.to_document()["replayInfo"] == {"replayedExecutionInfoIds": [second, third]}
    assert world.look(second).to_document()["replayInfo"] == {
        "originalExecutionInfoId": first,
        "replayMode": "REPLAY_MODE_FROM_BEGINNING",
        "replayReason": "once more",
    }
    assert world.look(third).replay_mode == "REPLAY_MODE_POINT_OF_FAILURE"


def test_an_execution_that_is_not_replayed_says_nothing_of_replays(world):
    first = broken_chain(world)

    assert "replayInfo" not in world.look(first).to_document()


def test_the_history_begins_with_who_replayed_what(world):
    first = broken_chain(world)

    second = world.replay(actor="ann")

    entry = world.history(second)[0]
    assert (entry.kind.value, entry.actor) == ("execution replayed", "ann")
    assert world.look(second).submitted_by == "ann"
    assert entry.details == {"of": first, "mode": "REPLAY_MODE_FROM_BEGINNING"}


def test_a_replay_runs_as_the_original_did(world):
    wishes = Wishes(method=Method.POST, executor="ingest", priority=7, deadline_s=90.0)
    first = broken_chain(world, wishes=wishes)
    before = clock(world.database)

    world.replay()

    (one, other) = (ExecutionQueries(world.database).one(each) for each in (first, world.replayed))
    assert (other.method, other.executor, other.priority) == (Method.POST, "ingest", 7)
    assert (one.version_id, one.trigger_id) == (other.version_id, other.trigger_id)
    assert before <= other.deadline_at - timedelta(seconds=90) <= clock(world.database)


def test_a_replay_of_a_sub_execution_is_a_root_of_its_own(world):
    world.publish(flow("child", heavy(9), starts=[9]))
    world.code[9] = break_down
    world.start_flow(nests(1, "child"))
    (child,) = world.children_of()
    mended(world, 9)

    second = world.replay(child)

    assert world.look(second).state is ExecutionState.SUCCEEDED
    assert world.look(second).parent_id is None
    assert world.look().state is ExecutionState.FAILED
    assert world.children_of() == [child]


# -- from the failure points ---------------------------------------------------------------------------------------


def test_from_its_failure_points_only_what_failed_and_what_follows_runs(world):
    first = broken_chain(world)
    mended(world, 2)

    second = world.replay(mode=FAILURE)

    assert world.ran == [2, 3]
    assert world.look(second).state is ExecutionState.SUCCEEDED
    assert world.tasks_of(second) == {1: "SUCCEED", 2: "SUCCEED", 3: "SUCCEED"}
    assert world.tasks_of(first) == {1: "SUCCEED", 2: "FAILED", 3: "SKIPPED"}


def test_what_reused_tasks_put_out_is_there(world):
    broken_chain(world)
    mended(world, 2)

    second = world.replay(mode=FAILURE)

    assert world.saw == [(10, 1, None), (10, 1, None)]
    assert world.outputs(second) == {"a": 10, "b": 1, "c": 3}


def test_a_task_that_runs_again_does_not_see_what_it_put_out_before(world):
    world.code = {1: dict, 2: lambda: {"b": 2}, 3: break_down}
    world.start_flow(
        *(
            heavy(1, next=[3]),
            heavy(2, next=[4]),
            heavy(3, next=[4]),
            heavy(4, taskExecutionStrategy="WHEN_ANY_SUCCEED"),
        ),
        starts=[1, 2],
    )
    world.code[4] = lambda: {"c": 4}
    assert world.tasks_of() == {1: "SUCCEED", 2: "SUCCEED", 3: "FAILED", 4: "SUCCEED"}
    mended(world, 3)

    world.replay(mode=FAILURE)

    assert sorted(zip(world.ran, world.saw, strict=True)) == [(3, (1, 2, None)), (4, (1, 2, None))]


def test_what_is_handed_in_stands_over_the_result_of_a_reused_task(world):
    broken_chain(world)
    mended(world, 2)

    second = world.replay(mode=FAILURE, parameters={"a": 11})

    assert world.saw == [(11, 1, None), (11, 1, None)]
    assert world.outputs(second) == {"a": 11, "b": 1, "c": 3}


def test_reused_tasks_are_shown_as_such_and_without_attempts(world):
    broken_chain(world)
    mended(world, 2)

    second = world.look(world.replay(mode=FAILURE))

    assert [(each.number, each.is_reused, len(each.attempts)) for each in second.tasks] == [
        (1, True, 0),
        (2, False, 1),
        (3, False, 1),
    ]
    assert [each.attempt for each in second.task(2).attempts] == [1]
    assert second.task(1).to_document()["isReused"] is True


def test_a_replay_reads_the_same_at_once_and_step_by_step(world):
    broken_chain(world)
    mended(world, 2)
    patient = TreeReader(ExecutionQueries(world.database), world.services.plans)
    world.replayed = replay(ReplayWish(execution_id=world.id, mode=FAILURE), world.services)
    begun = patient.read(world.replayed)

    world.drive_all()

    assert [each.state.value for each in begun.tasks] == ["SUCCEED", "PENDING_EXECUTION", "PENDING_EXECUTION"]
    assert patient.read(world.replayed) == world.look(world.replayed)
    assert {key: value.python for key, value in patient.read(world.replayed).snapshots[-1].parameters.items()} == {
        **{"a": 10, "b": 1, "c": 3},
    }


def test_the_results_of_sub_executions_are_reused_without_the_sub_executions(world):
    world.publish(flow("child", heavy(9), starts=[9]))
    world.code[2] = break_down
    world.start_flow(nests(1, "child", next=[2]), heavy(2))
    mended(world, 2)

    second = world.replay(mode=FAILURE)

    assert world.ran == [2]
    assert world.look(second).children == ()


def test_a_task_whose_sub_execution_failed_starts_it_anew(world):
    world.publish(flow("child", heavy(9), starts=[9]))
    world.code[9] = break_down
    world.start_flow(heavy(1, next=[2]), nests(2, "child"))
    mended(world, 9)

    second = world.replay(mode=FAILURE)

    assert world.ran == [2, 9]
    assert [child.state.value for child in world.look(second).children] == ["SUCCEEDED"]


def test_a_failure_that_was_ignored_stays_so(world):
    world.code = {1: break_down, 2: break_down}
    world.start_flow(heavy(1, next=[2], **IGNORE), heavy(2))
    mended(world, 2)

    second = world.replay(mode=FAILURE)

    assert world.ran == [2]
    assert world.look(second).state is ExecutionState.SUCCEEDED
    assert world.look(second).task(1).state.value == "FAILED"


def test_a_killed_execution_goes_on_where_it_was(world):
    world.start_flow(heavy(1, next=[2]), asks(2, next=[3]), heavy(3))
    world.kill()

    second = world.replay(mode=FAILURE)

    assert world.ran == [2]
    assert world.look(second).state is ExecutionState.SUSPENDED


def test_what_was_rolled_back_runs_again(world):
    world.code = {3: break_down}
    world.start_flow(heavy(1, next=[2]), heavy(2, next=[3], **undone()), heavy(3, **FATAL))
    assert world.tasks_of()[2] == "ROLLEDBACK"
    mended(world, 3)

    world.replay(mode=FAILURE)

    assert world.ran == [2, 3]


def test_a_rollback_in_a_replay_undoes_what_it_reused(world):
    world.code = {2: break_down}
    world.start_flow(heavy(1, next=[2], **undone()), heavy(2))

    second = world.replay(mode=FAILURE)
    assert world.undone == []
    world.publish(flow("flow", heavy(1, next=[2], **undone()), heavy(2, **FATAL), parameters=A_AND_B))
    third = world.replay(second, mode=FAILURE, version=ReplayVersion.PUBLISHED)

    assert world.undone == [1]
    assert world.tasks_of(third) == {1: "ROLLEDBACK", 2: "FATAL"}
    assert world.look(third).task(1).is_reused is False


def test_a_restart_in_a_replay_begins_with_the_request_again(world):
    world.code = {1: lambda: {"b": 1}, 2: break_down}
    world.start_flow(heavy(1, next=[2]), heavy(2, **restart(1)))
    world.fire()
    world.drive_all()
    world.code[1] = dict

    second = world.replay(mode=FAILURE)
    assert world.saw == [(1, 1, None)]
    world.fire()
    world.drive_all()

    assert world.ran == [2, 1, 2]
    assert world.saw[1:] == [(1, None, None), (1, None, None)]
    assert world.look(second).task(1).is_reused is False
    assert [each.attempt for each in world.look(second).task(1).attempts] == [1]


def test_a_replay_of_a_replay_goes_on_where_that_one_failed(world):
    broken_chain(world)
    mended(world, 2, b=2)
    world.code[3] = break_down
    second = world.replay(mode=FAILURE, parameters={"a": 5})
    mended(world, 3)

    third = world.replay(second, mode=FAILURE)

    assert (world.ran, world.saw) == ([3], [(5, 2, None)])
    assert world.look(third).replay_of == second
    assert world.look(second).replays == (third,)


def test_a_replay_of_a_replay_takes_back_what_a_task_put_out_over_another_ones_result(world):
    """Task 1 put out b=1, task 2 b=2; both were reused once, then task 2 is another one."""
    tasks = [heavy(1, next=[2]), heavy(2, next=[3]), heavy(3)]
    world.code = {1: lambda: {"b": 1}, 2: lambda: {"b": 2}, 3: break_down}
    world.start_flow(*tasks)
    second = world.replay(mode=FAILURE)
    assert world.saw == [(1, 2, None)]
    world.publish(flow("flow", tasks[0], heavy(2, next=[3], timeoutMs=60_000), tasks[2], parameters=A_AND_B))

    world.replay(second, mode=FAILURE, version="published")

    assert world.ran == [2, 3]
    assert world.saw == [(1, 1, None), (1, 2, None)]


def test_a_replay_in_which_nothing_is_left_to_do_is_over_at_once(world):
    """The kill came while the last task ran."""
    world.code[1] = lambda: world.kill() or {"b": 4}
    world.start_flow(heavy(1))
    assert (world.look().state, world.tasks_of()) == (ExecutionState.CANCELLED, {1: "SUCCEED"})

    second = world.replay(mode=FAILURE)

    assert world.ran == []
    assert world.look(second).state is ExecutionState.SUCCEEDED
    assert world.outputs(second) == {"a": 1, "b": 4}
    assert world.look(second).task(1).is_reused


def test_an_execution_that_was_killed_before_its_time_came_runs_when_it_is_replayed(world):
    broken_chain(world)
    version_id = ExecutionQueries(world.database).one(world.id).version_id
    at = ExecutionQueries(world.database).one(world.id).created_at.replace(year=2100)
    world.start_now(version_id, wishes=Wishes(at=at))
    world.kill()
    mended(world, 2)

    second = world.replay(mode=FAILURE)

    assert world.ran == [1, 2, 3]
    assert world.look(second).method == "POST_TO_QUEUE"
    assert world.look(second).state is ExecutionState.SUCCEEDED


def test_a_replay_whose_start_is_put_off_begins_with_what_it_takes_over(world):
    """As one that has to wait for a limit: what is not decided yet is only the start."""
    broken_chain(world)
    mended(world, 2)
    ready = prepare(ReplayWish(execution_id=world.id, mode=FAILURE), world.services)
    held = replace(
        ready.new, hold=Hold.LIMITED, ready=(), progress=pack(ready.plan, ready.reuse.progress), outcome=None
    )
    world.services.store.create([held])
    world.ran.clear()
    before = world.tasks_of(held.id)

    start_held([held.id], world.services)
    world.drive_all()

    assert before == {1: "SUCCEED", 2: "PENDING_EXECUTION", 3: "PENDING_EXECUTION"}
    assert world.ran == [2, 3]
    assert world.outputs(held.id) == {"a": 10, "b": 1, "c": 3}
    assert world.look(held.id).state is ExecutionState.SUCCEEDED
    assert world.look(held.id).task(1).is_reused


def test_a_replay_waits_for_a_limit_like_any_execution(world):
    tasks = [heavy(1, next=[2]), heavy(2, next=[3]), asks(3)]
    world.code = {1: lambda: {"b": 1}, 2: break_down}
    version_id, _ = world.publish(flow("flow", *tasks, parameters=A_AND_B) | {"limits": {"maxConcurrent": 1}})
    first = world.start_now(version_id)
    world.drive_all()
    mended(world, 2)
    other = world.start_now(version_id)
    world.drive_all()

    second = world.replay(first, mode=FAILURE)
    waiting, ran = world.tasks_of(second), list(world.ran)
    world.kill(other)
    world.drive_all()

    assert waiting == {1: "SUCCEED", 2: "PENDING_EXECUTION", 3: "PENDING_EXECUTION"}
    assert ran == []
    assert world.ran == [2, 3]
    assert world.saw[0] == (1, 1, None)
    assert world.look(second).state is ExecutionState.SUSPENDED


# -- another version -----------------------------------------------------------------------------------------------


def test_a_replay_runs_the_version_of_the_original_unless_the_published_one_is_wanted(world):
    broken_chain(world)
    mended(world, 2)
    world.publish(flow("flow", heavy(1), parameters=A_AND_B))

    pinned, published = world.replay(), world.replay(version="published")

    assert set(world.tasks_of(pinned)) == {1, 2, 3}
    assert set(world.tasks_of(published)) == {1}
    assert version_for(world.id, world.services, version=ReplayVersion.PUBLISHED).task(1).next_tasks == ()


def test_with_the_published_version_only_tasks_that_are_the_same_are_reused(world):
    broken_chain(world)
    mended(world, 2)
    world.publish(flow("flow", heavy(1, next=[2, 4]), heavy(2, next=[3]), heavy(3), heavy(4), parameters=A_AND_B))

    world.replay(mode=FAILURE, version=ReplayVersion.PUBLISHED)

    assert sorted(world.ran) == [1, 2, 3, 4]  # an edge more is another task


def test_parameters_that_the_published_version_does_not_declare_are_left_out(world):
    world.start_flow(heavy(1), given={"a": 7, "b": 8})
    world.publish(flow("flow", heavy(1), parameters=A_AND_B[1:]))

    second = world.replay(version="published")

    assert {key: value.python for key, value in world.look(second).request.items()} == {"b": 8}
    assert world.preview(version="published").inputs.keys() == {"a"}


def test_a_default_of_the_original_that_breaks_its_schema_is_no_obstacle(world):
    """Publishing warns of it, and executions begin with it."""
    declared = parameter("a", "STRING_VALUE", direction="IN", default="x") | {"jsonSchema": '{"minLength": 5}'}
    version_id, _ = world.publish(flow("flow", heavy(1), parameters=[declared]))
    world.start_now(version_id)
    world.drive_all()

    second = world.replay()

    assert world.look(second).request == world.look().request


def test_an_input_that_python_takes_for_the_default_is_repeated_as_it_was(world):
    """Within a document true is 1 for Python, and for nobody else."""
    declared = parameter("a", "JSON_VALUE", direction="IN", default={"n": 1})
    version_id, _ = world.publish(flow("flow", heavy(1), parameters=[declared]))
    given = {"a": from_python({"n": True}, "a")}
    world.id = submit(version_id, given, world.services, place=Place(**PLACE))
    world.drive_all()

    second = world.replay()

    assert world.look(second).request["a"].data["n"] is True
    assert world.preview(parameters={"a": {"n": 1}}).inputs.keys() == {"a"}


def test_an_input_that_does_not_fit_the_published_version_is_refused(world):
    world.start_flow(heavy(1), given={"b": 8})
    world.publish(flow("flow", heavy(1), parameters=[A_AND_B[0], parameter("b", "BOOLEAN_VALUE")]))

    with pytest.raises(InvalidValue, match="'b'"):
        world.preview(version="published")
    assert world.preview(version="published", parameters={"b": True}).inputs["b"][1].data is True


# -- previews ------------------------------------------------------------------------------------------------------


def test_a_preview_says_what_runs_again_and_what_is_reused(world):
    broken_chain(world)

    seen = world.preview(mode=FAILURE)

    assert [(each.number, each.state.value, each.again, each.is_first) for each in seen.tasks] == [
        (1, "SUCCEED", None, False),
        (2, "FAILED", Reason.FAILED, True),
        (3, "SKIPPED", Reason.FOLLOWS, False),
    ]
    assert [each.number for each in seen.reused] == [1]
    assert [each.number for each in seen.again] == [2, 3]
    assert {key: value.python for key, value in seen.results.items()} == {"a": 10, "b": 1}
    assert seen.differences.are_none
    assert seen.inputs == {}


def test_a_preview_says_what_differs(world):
    broken_chain(world, given={"a": 7})
    a_text = parameter("a", "STRING_VALUE", direction="IN", default="one")
    world.publish(
        flow("flow", heavy(1, next=[2]), task(2, "Light", next=[4]), heavy(4), starts=[1], parameters=[a_text])
    )

    seen = world.preview(version="published", parameters={"a": "seven"})

    assert seen.snapshot_numbers == (1, 2)
    assert (seen.differences.added, seen.differences.removed) == ((4,), (3,))
    assert seen.differences.changed == {2: ("task", "nextTasks")}
    assert seen.differences.others == (
        "parameter 'a' is declared otherwise: dataType INT_VALUE -> STRING_VALUE, defaultValue 1 -> \"one\", "
        "inputOutputType IN_OUT -> IN",
        "parameter 'b' is removed",
        "parameter 'c' is removed",
    )
    assert [(before.python, after.python) for before, after in seen.inputs.values()] == [(7, "seven")]
    assert seen.tasks[-1].state is None


def test_a_preview_is_json_data(world):
    broken_chain(world)

    document = world.preview(mode=FAILURE, parameters={"a": 3, "c": 4}).to_document()

    assert document["tasks"][1] == {
        "taskNumber": "2",
        "task": "Heavy",
        "taskLabel": "Heavy",
        "taskExecutionState": "FAILED",
        "isReused": False,
        "isFirst": True,
        "reason": "it failed",
    }
    assert document["inputs"] == {
        "a": {"before": {"intValue": "1"}, "after": {"intValue": "3"}},
        "c": {"before": None, "after": {"intValue": "4"}},
    }
    assert document["results"] == {"b": {"intValue": "1"}}
    assert document["definition"] == {"added": [], "removed": [], "changed": {}, "others": []}


def test_a_preview_stores_nothing(world):
    broken_chain(world)
    before = rows_of(world.database)

    world.preview(mode=FAILURE, parameters={"a": 5})

    assert rows_of(world.database) == before


def test_a_replay_needs_workers_of_every_executor_that_it_may_come_to(world):
    """Of the integrations that it names too, whether the original had come so far or not; a name made of a parameter is
    known when the task runs."""
    world.publish(flow("grandchild", heavy(8, executorId="deep"), starts=[8]))
    world.publish(flow("child", task(9, "Call", takes={"workflowName": "grandchild"}, executorId="wide"), starts=[9]))
    world.code[1] = break_down
    world.start_flow(
        heavy(1, next=[2, 3]),
        task(2, "Call", takes={"workflowName": "child"}),
        task(3, "Call", takes={"workflowName": "$named$"}, executorId="third"),
        wishes=Wishes(executor="mine"),
    )

    found = executors_for(ReplayWish(execution_id=world.id), world.services)

    assert found == {"mine", "wide", "deep", "third"}


# -- what cannot be ------------------------------------------------------------------------------------------------


def refused(world, error, **wish):
    """Neither the replay nor its preview is possible, and nothing was stored or sent."""
    before, sent = rows_of(world.database), len(world.services.publisher.sent)
    wanted = ReplayWish(**({"execution_id": world.id} | wish))
    with pytest.raises(error) as raised:
        replay(wanted, world.services)
    with pytest.raises(error):
        preview(wanted, world.services)
    assert rows_of(world.database) == before
    assert len(world.services.publisher.sent) == sent
    assert type(raised.value)(*raised.value.args).args == raised.value.args
    return str(raised.value)


@pytest.mark.parametrize("mode", ReplayMode)
def test_an_execution_that_goes_on_is_not_replayed(world, mode):
    world.start_flow(asks(1))

    message = refused(world, NotOver, mode=mode)

    assert f"{world.id} is SUSPENDED" in message
    assert f"orchestrator kill {world.id}" in message


def test_where_nothing_failed_there_is_no_failure_point(world):
    world.start_flow(light(1))

    assert "from the beginning" in refused(world, NoFailurePoint, mode=FAILURE)


@pytest.mark.parametrize(
    ("error", "wish"),
    [
        (ExecutionNotFound, {"execution_id": "nobody"}),
        (UnknownParameter, {"parameters": {"d": 1}}),
        (UnknownParameter, {"parameters": {"d": 1}, "only": True}),
        (InvalidValue, {"parameters": {"a": "many"}}),
        (InvalidValue, {"parameters": {"a": [1]}}),
        (InvalidValue, {"reason": "because\x00"}),
        (InvalidValue, {"reason": "why" * 10_000}),
        (InvalidValue, {"actor": "\ud800"}),
        (InvalidValue, {"version": "latest"}),
        (InvalidValue, {"mode": "REPLAY_MODE_UNSPECIFIED"}),
    ],
)
def test_what_does_not_fit_is_refused(world, error, wish):
    broken_chain(world)

    refused(world, error, **({"mode": FAILURE} | wish))


def test_a_required_parameter_must_be_there_if_the_original_request_is_left_out(world):
    version_id, _ = world.publish(flow("flow", heavy(1), parameters=[parameter("name", direction="IN")]))
    given = {"name": from_python("Ada", "name")}
    world.id = submit(version_id, given, world.services, place=Place(**PLACE))
    world.drive_all()

    assert "'name'" in refused(world, MissingParameter, only=True)


def test_the_published_version_must_have_the_trigger(world):
    broken_chain(world)
    other = flow("flow", heavy(1), parameters=A_AND_B)
    other["triggerConfigs"][0]["triggerId"] = "api_trigger/other"
    world.publish(other)

    assert "api_trigger/other" in refused(world, UnknownTrigger, version="published")


def test_there_must_be_a_published_version(world):
    broken_chain(world)
    with world.database.begin() as connection:
        connection.exec_driver_sql("UPDATE versions SET state = 'SNAPSHOT'")

    refused(world, IntegrationNotFound, version="published")

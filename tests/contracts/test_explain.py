"""Why an execution and its tasks stand as they do: every reason there is, run into for real, without workers."""

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.errors import ExecutionNotFound
from orchestrator.model.explanation import Reason
from orchestrator.model.policies import FailurePolicy
from orchestrator.service.control import kill
from orchestrator.service.explaining.explain import explain
from orchestrator.service.replay import ReplayMode, ReplayWish, replay
from orchestrator.service.snapshots import TaskNotFound
from orchestrator.service.submit import Wishes
from orchestrator.service.suspensions import resolve
from orchestrator.store.kinds import Signal
from orchestrator.store.signals import Audit
from orchestrator.store.tables import executions, live_attempts
from orchestrator.store.workers import Boot, WorkerStore
from tests.contracts.control_world import (
    AUDIT,
    FATAL,
    IGNORE,
    ControlWorld,
    asks,
    break_down,
    nests,
    policy,
    restart,
    retry,
    undone,
)
from tests.contracts.world import heavy, light
from tests.flows import flow, parameter

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
IN_AN_HOUR = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
FIRST_MATCH = {"nextTasksExecutionPolicy": "RUN_FIRST_MATCH"}
ALL_CONDITIONS = {"taskExecutionStrategy": "WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED"}


@pytest.fixture
def world(database, tmp_path):
    return ControlWorld(database, tmp_path)


def why(world, number=None, *, of=None):
    """The explanation of one task, or of the whole."""
    if number is not None:
        (found,) = explain(of or world.id, world.services, task=number)
        return found
    return explain(of or world.id, world.services)[0]


def assert_why(found, reason, sentence):
    assert found.reason is reason, found
    assert re.fullmatch(sentence, found.sentence), found.sentence


def fails(world, *numbers, message="broken"):
    for number in numbers:
        world.code[number] = partial(break_down, message)


def caught(*tasks, **more):
    """A definition whose first task names an error catcher, which leads to the last."""
    document = flow("flow", *tasks, **more)
    document["taskConfigs"][0]["errorCatcherId"] = "rescue"
    last = document["taskConfigs"][-1]["taskId"]
    document["errorCatcherConfigs"] = [
        {"errorCatcherId": "rescue", "errorCatcherNumber": "1", "startErrorTasks": [{"taskId": last}]}
    ]
    return document


def start(world, document, **more):
    version_id, _ = world.publish(document)
    return world.start_now(version_id, **more)


def has_worker(world, executor="default"):
    boot = Boot(id="boot", name="default@host", machine="host", pid=7, began=1)
    WorkerStore(world.database).beat(boot, [f"executor.{executor}"])


# -- it has not begun ----------------------------------------------------------------------------------------------


def test_a_scheduled_execution_says_when_it_begins(world):
    start(world, flow("flow", light(1)), wishes=Wishes(at=IN_AN_HOUR))

    assert_why(why(world), Reason.SCHEDULED, rf"the execution is scheduled to begin at {TIME}")
    assert_why(
        why(world, 1),
        Reason.SCHEDULED,
        rf"task 1 'Light' waits for the execution, which is scheduled to begin at {TIME}",
    )
    assert why(world).facts == {"at": IN_AN_HOUR.isoformat().replace("+00:00", "Z")}


def test_a_scheduled_execution_that_is_late_says_that_nobody_saw_to_it(world):
    start(world, flow("flow", light(1)), wishes=Wishes(at=IN_AN_HOUR))
    with world.database.begin() as connection:
        connection.execute(sa.update(executions).values(scheduled_at=datetime.now(UTC) - timedelta(minutes=2)))

    assert_why(
        why(world),
        Reason.SCHEDULED,
        rf"the execution is scheduled to begin at {TIME}, 12\d s ago, and no worker is alive to see to it",
    )

    has_worker(world)

    assert why(world).sentence.endswith("s ago")


def limited(**limits):
    return flow("flow", heavy(1)) | {"limits": limits}


def start_many(world, document, count):
    version_id, _ = world.publish(document)
    return [world.start_now(version_id) for _ in range(count)]


def test_an_execution_that_waits_for_a_limit_names_it_and_who_holds_it(world):
    first, second, third = start_many(world, limited(maxConcurrent=1), 3)

    found = why(world, of=third)

    assert_why(
        found,
        Reason.LIMIT_FULL,
        "the execution waits for the limit 'integration/default/local/flow', which is full: "
        rf"1 of 1 run \({first}\); 1 is before it in line",
    )
    assert (found.facts["holders"], found.facts["running"], found.facts["maxRunning"]) == ([first], 1, 1)
    assert why(world, of=second).facts["ahead"] == 0
    assert why(world, 1, of=second).reason is Reason.LIMIT_FULL


def test_an_execution_that_waits_for_a_rate_says_what_it_lets_start(world):
    *_, last = start_many(world, limited(rate={"count": 6, "perSeconds": 60}), 7)

    found = why(world, of=last)

    assert "which lets 6 start in 60 s: 6 run (" in found.sentence
    assert found.sentence.endswith(" and 1 more); 0 are before it in line")
    assert found.facts["rate"] == "6 in 60 s"


def test_an_execution_that_a_limit_let_in_is_about_to_start(world):
    """What a process leaves that dies between the admission and the start."""
    _, second = start_many(world, limited(maxConcurrent=1), 2)
    with world.database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM limit_waiters")

    assert_why(
        why(world, of=second),
        Reason.ADMITTED,
        "the execution was let in by its limits, and is about to start",
    )


# -- it waits for others, or for a worker --------------------------------------------------------------------------


def test_a_task_that_waits_names_what_it_waits_for(world):
    world.submit(heavy(1, next=[3], displayName="Price"), heavy(2, next=[3]), heavy(3), starts=[1, 2])

    found = why(world, 3)

    assert_why(
        found,
        Reason.WAITS_FOR_TASKS,
        r"task 3 'Heavy' waits for task 1 'Price' \(PENDING_EXECUTION\) and task 2 'Heavy' \(PENDING_EXECUTION\)",
    )
    assert found.facts == {"tasks": [1, 2]}


def test_a_task_that_waits_for_many_names_a_few(world):
    numbers = range(2, 10)
    world.submit(*(heavy(number, next=[1]) for number in numbers), heavy(1), starts=list(numbers))

    assert why(world, 1).sentence.endswith("task 6 'Heavy' (PENDING_EXECUTION) and 3 more")


def test_a_task_of_an_error_catcher_waits_for_a_failure(world):
    start(world, caught(heavy(1), light(2)))

    assert_why(
        why(world, 2),
        Reason.CATCHER_NOT_CALLED,
        "task 2 'Light' runs if error catcher 'rescue' is called; nothing has called it yet",
    )


def test_what_is_ready_says_that_no_worker_is_there_for_its_queue(world):
    world.submit(heavy(1, executorId="gpu"))
    has_worker(world, "default")

    found = why(world, 1)

    assert_why(
        found,
        Reason.NO_LIVE_WORKER,
        r"task 1 'Heavy' is ready, and queue executor.gpu has no live worker, for \d s now",
    )
    assert (found.facts["queue"], found.facts["workers"]) == ("executor.gpu", 0)
    assert_why(why(world), Reason.NO_LIVE_WORKER, "the execution has not begun: task 1 'Heavy' is ready, and .*")


def test_what_is_ready_says_how_long_no_worker_has_taken_it(world):
    world.submit(heavy(1))
    has_worker(world)
    with world.database.begin() as connection:
        long_ago = datetime.now(UTC) - timedelta(seconds=90)
        connection.execute(sa.update(live_attempts).values(queued_at=long_ago, losses=2))

    found = why(world, 1)

    assert_why(
        found,
        Reason.NOT_TAKEN_YET,
        r"task 1 'Heavy' is ready, and no worker has taken it for (89|9\d) s \(1 live worker on queue "
        r"executor\.default\); it has lost 2 workers already",
    )
    assert (found.facts["workers"], found.facts["losses"]) == (1, 2)


# -- it runs -------------------------------------------------------------------------------------------------------


def test_what_runs_says_since_when_and_where(world):
    world.submit(heavy(1), heavy(2), starts=[1, 2])
    has_worker(world)
    seen = []
    world.code[1] = lambda: seen.append((why(world), why(world, 1)))

    world.drive(world.key(1), worker="default@host/8/boot")

    ((whole, one),) = seen
    assert_why(one, Reason.RUNNING, rf"task 1 'Heavy' is running since {TIME} on worker default@host/8/boot")
    assert_why(
        whole,
        Reason.RUNNING,
        rf"the execution goes on: task 1 .* is running since {TIME} on worker default@host/8/boot; task 2 .* is .+",
    )
    assert whole.facts["tasks"] == [1, 2]


def test_what_runs_says_if_its_worker_has_no_heartbeat(world):
    world.submit(heavy(1))
    seen = []
    world.code[1] = lambda: seen.append(why(world, 1))

    world.drive(world.key(1), worker="default@host/8/boot")

    assert seen[0].sentence.endswith("on worker default@host/8/boot, which has no heartbeat")


def test_a_task_that_waits_for_sub_executions_says_how_many_are_over(world):
    world.publish(flow("child", heavy(1)))
    world.submit(nests(1, "child", count=3))
    world.drive(world.key(1))
    first, *_ = world.children_of()
    world.drive(world.key(1, of=first))

    found = why(world, 1)

    assert_why(
        found,
        Reason.WAITS_FOR_CHILDREN,
        r"task 1 'Nest' waits for its sub-executions: 1 of 3 are over \(2 PENDING\)",
    )
    assert found.facts == {"total": 3, "over": 1, "states": {"SUCCEEDED": 1, "PENDING": 2}}
    assert why(world).reason is Reason.WAITS_FOR_CHILDREN


def test_a_join_that_no_worker_has_taken_is_ready(world):
    world.publish(flow("child", light(1)))
    world.submit(nests(1, "child", count=2))
    world.drive(world.key(1))
    for child in world.children_of():
        world.drive(world.key(1, of=child))

    assert_why(
        why(world, 1),
        Reason.NO_LIVE_WORKER,
        "task 1 'Nest' has seen 2 sub-executions end, its join is ready, and queue executor.default has no live .*",
    )


def test_what_is_being_ended_says_why(world):
    world.submit(heavy(1))
    seen = []

    def look():
        kill(world.id, world.services, audit=AUDIT)
        seen.append((why(world), why(world, 1)))

    world.code[1] = look
    world.drive(world.key(1))

    ((whole, one),) = seen
    assert_why(
        one,
        Reason.BEING_ENDED,
        rf"task 1 'Heavy' is being ended since {TIME}, on worker .*: ann killed it at {TIME}: enough",
    )
    assert_why(
        whole,
        Reason.KILLED,
        rf"the execution is being stopped: ann killed it at {TIME}: enough; still under way: task 1 .* is being .*",
    )


def test_a_task_that_was_killed_says_by_whom_while_it_ends_and_then(world):
    world.submit(heavy(1, next=[2]), heavy(2))
    seen = []

    def look():
        world.kill_task(1)
        seen.append(why(world, 1))

    world.code[1] = look
    world.drive(world.key(1))

    assert_why(
        seen[0],
        Reason.BEING_ENDED,
        rf"task 1 'Heavy' is being ended since {TIME}, on worker .*: ann killed it at {TIME}: enough",
    )
    found = why(world, 1)
    assert_why(found, Reason.TASK_KILLED, rf"task 1 'Heavy' was cancelled: ann killed it at {TIME}: enough")
    assert (found.facts["actor"], found.facts["message"]) == ("ann", "enough")
    assert_why(why(world, 2), Reason.SOURCE_CANCELLED, r"task 2 'Heavy' was skipped: task 1 'Heavy' was cancelled")
    assert_why(
        why(world),
        Reason.NO_LAST_TASK_SUCCEEDED,
        rf"the execution failed: task 1 'Heavy' was cancelled: ann killed it at {TIME}: enough, "
        r"and no task that nothing follows succeeded",
    )


def test_a_last_task_that_was_killed_says_so_for_the_execution(world):
    world.submit(asks(1), heavy(2), starts=[1, 2])
    world.drive(world.key(1))
    world.drive(world.key(2))

    world.kill_task(1, audit=Audit(actor="bob", impersonator="ann"))

    assert_why(
        why(world),
        Reason.LAST_TASK_FAILED,
        rf"the execution failed: task 1 'Ask', which nothing follows, was cancelled: bob for ann killed it at {TIME}",
    )


def test_a_task_that_was_killed_before_it_began_says_so(world):
    world.submit(heavy(1))

    world.kill_task(1)

    assert_why(why(world, 1), Reason.TASK_KILLED, rf"task 1 'Heavy' was skipped: ann killed it at {TIME}: enough")


def test_a_task_that_was_killed_while_it_waits_for_sub_executions_names_both(world):
    world.publish(flow("child", heavy(1)))
    world.submit(nests(1, "child", count=2))
    world.drive(world.key(1))
    one, two = world.children_of()
    world.services.store.claim(world.key(1, of=one), worker="me")

    world.kill_task(1)

    assert_why(
        why(world, 1),
        Reason.BEING_ENDED,
        rf"task 1 'Nest' waits for its sub-executions: 1 of 2 are over \(1 PROCESSING\), and ends then: "
        rf"ann killed it at {TIME}: enough",
    )
    assert_why(
        why(world, of=two),
        Reason.KILLED,
        rf"the execution was cancelled: ann killed task 1 'Nest' of execution {world.id} above it at {TIME}: enough",
    )


# -- it was skipped ------------------------------------------------------------------------------------------------


def test_a_skipped_task_says_why_its_condition_was_false(world):
    """By the parameters of that time: the last task changes what the condition read."""
    world.submit(
        light(1, next=[(2, "$total$ > 100"), 3], displayName="Price"),
        light(2),
        light(3),
        parameters=[parameter("total", "INT_VALUE", default=0)],
    )
    world.code |= {1: lambda: {"total": 80}, 3: lambda: {"total": 500}}

    world.drive_all()

    found = why(world, 2)
    assert_why(
        found,
        Reason.CONDITION_FALSE,
        r"task 2 'Light' was skipped: the edge from task 1 'Price' was false because `\$total\$ = 80` is not > 100",
    )
    assert found.facts["edges"] == [
        {
            "source": 1,
            "reason": "CONDITION_FALSE",
            "condition": "$total$ > 100",
            "because": "`$total$ = 80` is not > 100",
        }
    ]


def test_a_start_task_that_was_skipped_says_why(world):
    world.submit(light(1), light(2), starts=[1, (2, "$`ExecutionMode`$ = SYNC")])

    assert_why(
        why(world, 2),
        Reason.CONDITION_FALSE,
        r"task 2 'Light' was skipped: the edge from the trigger was false because `\$`ExecutionMode`\$ = \"ASYNC\"` .*",
    )


def test_a_task_that_lost_to_a_first_match_names_the_edge_that_was_taken(world):
    world.submit(light(1, next=[2, 3], **FIRST_MATCH), light(2), light(3))

    world.drive_all()

    found = why(world, 3)
    assert_why(
        found,
        Reason.OTHER_EDGE_TAKEN,
        "task 3 'Light' was skipped: task 1 'Light' led to task 2 'Light' instead, its first match",
    )
    assert found.facts["edges"] == [{"source": 1, "reason": "OTHER_EDGE_TAKEN", "taken": 2}]


def test_what_follows_a_failure_or_a_skipped_task_says_so(world):
    world.submit(light(1, next=[2]), light(2, next=[3]), light(3))
    fails(world, 1)

    world.drive_all()

    assert_why(why(world, 2), Reason.SOURCE_FAILED, "task 2 'Light' was skipped: task 1 'Light' failed")
    assert_why(why(world, 3), Reason.SOURCE_SKIPPED, "task 3 'Light' was skipped: task 2 'Light' was skipped")


def test_a_join_that_needs_all_names_only_the_edges_that_were_false(world):
    world.submit(light(1, next=[(3, "$absent$ = 1")]), light(2, next=[3]), light(3, **ALL_CONDITIONS), starts=[1, 2])

    world.drive_all()

    found = why(world, 3)
    assert [each["source"] for each in found.facts["edges"]] == [1]
    assert found.sentence.endswith("because `$absent$` (no value) is not = 1")


def test_a_join_whose_edges_were_false_for_several_reasons_names_them(world):
    sources = [light(number, next=[9]) for number in (3, 4, 5)]
    world.submit(light(1, next=[(9, "$absent$ = 1")]), light(2, next=[9]), *sources, light(9), starts=[1, 2, 3, 4, 5])
    fails(world, 2, 3, 4, 5)

    world.drive_all()

    found = why(world, 9)
    assert_why(
        found,
        Reason.NO_EDGE_TRUE,
        r"task 9 'Light' was skipped: the edge from task 1 'Light' was false because .* is not = 1; "
        r"task 2 'Light' failed; task 3 'Light' failed; 2 more edges that lead here were false",
    )
    assert len(found.facts["edges"]) == 5


def test_a_task_of_an_error_catcher_that_nothing_called_says_so(world):
    start(world, caught(light(1), light(2)))

    world.drive_all()

    assert_why(
        why(world, 2),
        Reason.CATCHER_NOT_CALLED,
        "task 2 'Light' was skipped: nothing called error catcher 'rescue'",
    )


def test_what_was_not_reached_before_a_fatal_failure_says_so(world):
    world.submit(light(1, next=[2], **FATAL), light(2), heavy(3, next=[4]), heavy(4), starts=[1, 3])
    fails(world, 1, message="card declined")

    world.drive_all()

    fatal = r"task 1 'Light' failed fatally: card declined \(INTERNAL_ERROR\)"
    assert_why(why(world, 2), Reason.FATAL, f"task 2 'Light' was skipped: {fatal}")
    assert_why(why(world, 4), Reason.FATAL, f"task 4 'Heavy' was skipped: {fatal}")
    assert_why(why(world), Reason.FATAL, f"the execution failed: {fatal}")
    assert why(world).facts["task"] == 1


# -- it waits for the clock or for a person ------------------------------------------------------------------------


def test_a_task_that_is_tried_again_says_when_and_after_what(world):
    world.submit(light(1, **retry(3)))
    fails(world, 1, message="no answer")
    world.drive_all()
    world.fire("RETRY")
    world.drive_all()

    found = why(world, 1)

    assert_why(
        found,
        Reason.RETRY_TO_COME,
        rf"task 1 'Light' failed at attempt 2 of 4: no answer \(INTERNAL_ERROR\); the next is due at {TIME}",
    )
    assert found.facts["error"] == {"message": "no answer", "code": "INTERNAL_ERROR", "type": "Broken"}
    assert_why(why(world), Reason.RETRY_TO_COME, "the execution waits: task 1 'Light' failed at attempt 2 of 4: .*")


def test_a_retry_that_is_due_and_not_taken_is_ready(world):
    world.submit(light(1, **retry(3)))
    fails(world, 1)
    world.drive_all()
    world.fire("RETRY")

    assert_why(why(world, 1), Reason.NO_LIVE_WORKER, "task 1 'Light' is ready for its next attempt, and queue .*")


def test_a_task_in_quarantine_says_how_its_worker_died_and_how_to_release_it(world):
    world.submit(heavy(1))
    world.lose(world.key(1), times=3)

    found = why(world, 1)

    quarantined = (
        rf"task 1 'Heavy' is in quarantine since {TIME}: it killed 3 workers; the last one, dead, died: "
        rf"signal 9 \(SIGKILL\) \(WORKER_LOST\); `orchestrator release {world.id} 1` lets it run again"
    )
    assert_why(found, Reason.QUARANTINED, quarantined)
    assert found.facts["error"]["code"] == "WORKER_LOST"
    assert_why(why(world), Reason.QUARANTINED, f"the execution waits: {quarantined}")


def test_a_rollback_in_quarantine_says_so_and_what_becomes_of_it_when_it_is_given_up(world):
    world.submit(heavy(1, next=[2], **undone()), heavy(2, **FATAL))
    fails(world, 2)
    world.drive(world.key(1))
    world.drive(world.key(2))
    world.lose(world.key(1, attempt=2), times=3)

    found = why(world, 1)
    world.kill_task(1)

    assert_why(found, Reason.QUARANTINED, r"task 1 'Heavy' is in quarantine since .*")
    assert_why(
        why(world, 1),
        Reason.ROLLBACK_FAILED,
        r"task 1 'Heavy' could not be undone, and its effects remain: it killed 3 workers; .*",
    )


def test_a_restart_says_when_and_because_of_what(world):
    world.submit(light(1, next=[2]), light(2, **restart(2)), heavy(3), starts=[1, 3])
    fails(world, 2, message="not yet")
    seen = []

    def look_while_the_other_fails():
        world.drive(world.key(1))
        seen.append(why(world))

    world.code[3] = look_while_the_other_fails
    world.drive(world.key(3))
    late = why(world), why(world, 2)

    because = r"for run 2 of 3, because task 2 'Light' failed: not yet \(INTERNAL_ERROR\)"
    assert_why(
        seen[0], Reason.RESTART_TO_COME, f"the execution begins again once nothing of it runs any more, {because}"
    )
    assert_why(late[0], Reason.RESTART_TO_COME, f"the execution begins again at {TIME}, {because}")
    assert_why(
        late[1], Reason.RESTART_TO_COME, f"task 2 'Light' failed, and the execution begins again at {TIME}, {because}"
    )
    assert (late[0].facts["run"], late[0].facts["runs"]) == (2, 3)


def test_what_a_restart_will_reach_says_so(world):
    world.submit(light(1, next=[2], **restart(1)), light(2), asks(3), starts=[1, 3])
    fails(world, 1)
    world.drive(world.key(3))
    world.drive_all()

    assert why(world, 2).sentence.startswith("task 2 'Light' runs when the execution begins again at ")
    assert_why(
        why(world, 3),
        Reason.RESTART_TO_COME,
        "task 3 'Ask' was cancelled: task 1 'Light' failed, and the execution begins again: broken .*",
    )


def test_a_suspended_task_says_who_may_answer_and_until_when(world):
    world.submit(asks(1))
    world.asking = {"who_may_resolve": ["ann", "bob"], "expire_after_s": 60.0}
    world.drive_all()

    found = why(world, 1)

    assert_why(
        found,
        Reason.WAITS_FOR_ANSWER,
        rf"task 1 'Ask' waits for the answer of ann and bob since {TIME}, to 'may it\?'; it is rejected at {TIME}",
    )
    assert (found.facts["suspension"], found.facts["whoMayResolve"]) == ("1-1", ["ann", "bob"])
    assert_why(why(world), Reason.WAITS_FOR_ANSWER, "the execution waits: task 1 'Ask' waits for the answer of .*")


def test_a_suspended_task_that_anybody_may_lift_says_so(world):
    world.submit(asks(1), asks(2), asks(3), asks(4), asks(5), starts=[1, 2, 3, 4, 5])
    world.asking = {"expire_after_s": 60.0, "lift_when_expired": True}
    world.drive_all()

    assert_why(
        why(world, 1),
        Reason.WAITS_FOR_ANSWER,
        rf"task 1 'Ask' waits for the answer of anybody since {TIME}, to 'may it\?'; it is lifted at {TIME}",
    )
    assert why(world).sentence.endswith("; and 2 more tasks")


def test_a_task_that_waits_for_a_time_says_which(world):
    world.submit(asks(1))
    world.asking = {"is_timer": True, "expire_after_s": 60.0, "lift_when_expired": True}
    world.drive_all()

    assert_why(why(world, 1), Reason.WAITS_FOR_TIME, rf"task 1 'Ask' waits for a time, at {TIME}")


# -- it is over ----------------------------------------------------------------------------------------------------


def test_a_task_that_succeeded_says_when_and_where(world):
    world.submit(light(1))

    world.drive_all(worker="default@host/3/boot")

    assert_why(
        why(world, 1),
        Reason.SUCCEEDED,
        rf"task 1 'Light' succeeded at {TIME} on worker default@host/3/boot, at attempt 1",
    )
    assert_why(
        why(world), Reason.ALL_DONE, "the execution succeeded: its 1 task came to their end, and no failure counts"
    )


def test_an_answer_says_who_gave_it(world):
    world.submit(asks(1, next=[2]), asks(2))
    world.drive_all()
    resolve(world.id, world.services, is_lifted=True, actor="ann")
    world.drive_all()
    resolve(world.id, world.services, is_lifted=False, actor="bob")

    assert_why(why(world, 1), Reason.LIFTED, rf"task 1 'Ask' was lifted by ann at {TIME}")
    assert_why(why(world, 2), Reason.REJECTED, rf"task 2 'Ask' was rejected by bob at {TIME}")
    assert why(world, 2).facts["actor"] == "bob"


def test_a_failure_that_no_policy_mends_says_so(world):
    world.submit(light(1, displayName="Charge"))
    fails(world, 1, message="card declined")

    world.drive_all()

    failed = r"failed at attempt 1 of 1: card declined \(INTERNAL_ERROR\)"
    assert_why(why(world, 1), Reason.FAILED, f"task 1 'Charge' {failed}; no policy tries it again")
    assert_why(
        why(world),
        Reason.LAST_TASK_FAILED,
        r"the execution failed: task 1 'Charge', which nothing follows, failed: card declined \(INTERNAL_ERROR\)",
    )


def test_retries_that_are_used_up_say_how_many_there_were(world):
    world.submit(light(1, next=[2], **retry(1)), light(2))
    fails(world, 1)
    world.drive_all()
    world.fire("RETRY")
    world.drive_all()

    assert_why(
        why(world, 1),
        Reason.RETRIES_USED_UP,
        r"task 1 'Light' failed at attempt 2 of 2: broken \(INTERNAL_ERROR\); its policy FIXED_INTERVAL is used up",
    )
    assert_why(
        why(world),
        Reason.NO_LAST_TASK_SUCCEEDED,
        r"the execution failed: task 1 'Light' failed \(broken \(INTERNAL_ERROR\)\), and no task that nothing "
        "follows succeeded",
    )


def test_the_policy_that_counted_is_told_by_the_error_that_chose_it(world):
    policies = {
        "failurePolicies": [policy("FIXED_INTERVAL", 5, condition="$`ErrorInfo.message`$ = other")],
        "defaultFailurePolicy": {"retryStrategy": "NONE"},
    }
    world.submit(light(1, conditionalFailurePolicies=policies, **retry(3)))
    fails(world, 1)

    world.drive_all()

    assert why(world, 1).reason is Reason.FAILED
    assert why(world, 1).facts["attempts"] == FailurePolicy().max_retries + 1


def test_a_failure_while_the_execution_stops_is_not_tried_again(world):
    world.submit(light(1, **FATAL), heavy(2, **retry(5)), starts=[1, 2])
    fails(world, 1, 2)
    claimed = world.code[2]

    def fail_after_the_other():
        world.drive(world.key(1))
        claimed()

    world.code[2] = fail_after_the_other
    world.drive(world.key(2))

    assert_why(
        why(world, 2),
        Reason.NOT_RETRIED,
        r"task 2 .* failed at attempt 1 of 6: broken .*; it is not tried again, because the execution was stopping",
    )


def test_a_fatal_task_an_ignored_one_and_a_caught_one_say_what_their_failure_led_to(world):
    start(world, caught(light(1), light(2, **IGNORE), light(3, **FATAL), light(4), starts=[1, 2, 3]))
    fails(world, 1, 2, 3)

    for number in (1, 2, 3):
        world.drive(world.key(number))

    assert_why(why(world, 1), Reason.CAUGHT, r"task 1 .* failed at attempt 1 of 1: .*; error catcher 'rescue' took it")
    assert_why(why(world, 2), Reason.IGNORED, r"task 2 .*; its policy IGNORE goes on as after success")
    assert_why(why(world, 3), Reason.FATAL, r"task 3 .*; its policy FATAL stops the execution")
    assert why(world, 1).facts["catcher"] == "rescue"


def test_an_execution_that_succeeded_all_the_same_names_the_failures_that_do_not_count(world):
    world.submit(light(1, next=[2], **IGNORE), light(2))
    fails(world, 1)

    world.drive_all()

    assert why(world).sentence.startswith(
        "the execution succeeded: its 2 tasks came to their end, and no failure counts: task 1 'Light' failed at "
    )


# -- it was stopped ------------------------------------------------------------------------------------------------


def test_a_killed_execution_says_by_whom_and_why(world):
    world.submit(asks(1, next=[2]), light(2))
    world.drive_all()
    world.kill(audit=Audit(actor="ann", impersonator="root", message="wrong\ncustomer"))

    killed = rf"ann for root killed it at {TIME}: wrong customer"
    assert_why(why(world), Reason.KILLED, f"the execution was cancelled: {killed}")
    assert_why(why(world, 1), Reason.KILLED, f"task 1 'Ask' was cancelled: {killed}")
    assert_why(why(world, 2), Reason.KILLED, f"task 2 'Light' was skipped: {killed}")
    assert why(world).facts | {"at": ""} == {
        "execution": world.id,
        "actor": "ann",
        "impersonator": "root",
        "message": "wrong\ncustomer",
        "at": "",
    }


def test_an_execution_that_was_told_to_end_and_has_not_obeyed_yet_says_so(world):
    world.submit(heavy(1, next=[2]), heavy(2))
    world.mark(Signal.KILL)

    assert_why(why(world), Reason.KILLED, "the execution is about to be cancelled: ann killed it: enough")
    assert_why(why(world, 1), Reason.KILLED, "task 1 'Heavy' does not run any more: ann killed it: enough")


def test_what_is_below_a_killed_execution_names_that(world):
    world.publish(flow("leaf", heavy(1)))
    world.publish(flow("middle", nests(1, "leaf")))
    world.submit(nests(1, "middle"))
    world.drive(world.key(1))
    (middle,) = world.children_of()
    world.drive(world.key(1, of=middle))
    (leaf,) = world.children_of(middle)

    world.kill()

    for each in (middle, leaf):
        assert_why(
            why(world, of=each),
            Reason.KILLED,
            rf"the execution was cancelled: ann killed execution {world.id} above it at {TIME}: enough",
        )


def test_what_is_below_an_execution_that_failed_names_the_failure(world):
    world.publish(flow("child", heavy(1)))
    world.submit(nests(1, "child"), light(2, **FATAL), starts=[1, 2])
    fails(world, 2, message="no more")
    world.drive(world.key(1))
    (child,) = world.children_of()
    world.drive(world.key(2))

    found = why(world, of=child)

    assert_why(
        found,
        Reason.PARENT_STOPPED,
        rf"the execution was cancelled: execution {world.id} above it was stopped: "
        r"task 2 'Light' failed fatally: no more \(INTERNAL_ERROR\)",
    )
    assert (found.facts["because"], found.facts["execution"]) == ("FATAL", world.id)


def test_what_is_below_a_task_that_took_too_long_says_so(world):
    world.publish(flow("child", heavy(1)))
    world.submit(nests(1, "child", timeoutMs=1000))
    world.drive(world.key(1))
    (child,) = world.children_of()
    world.began_s_ago(60)
    world.fire("TIMEOUT")

    assert_why(
        why(world, of=child),
        Reason.PARENT_GAVE_UP,
        rf"the execution was cancelled: task 1 'Nest' of execution {world.id}, which had started it, does not wait for "
        r"it any more: the attempt took longer than its timeout of 1 s \(EXECUTION_TIMEOUT\)",
    )


def test_a_deadline_says_what_it_was(world):
    start(world, flow("flow", asks(1, next=[2]), light(2)), wishes=Wishes(deadline_s=30.0))
    world.drive_all()
    world.fire("DEADLINE")

    passed = r"the execution was not over .* s after it began \(EXECUTION_TIMEOUT\)"
    assert_why(why(world), Reason.DEADLINE_PASSED, f"the execution failed: {passed}")
    assert_why(why(world, 1), Reason.DEADLINE_PASSED, f"task 1 'Ask' was cancelled: {passed}")
    assert_why(why(world, 2), Reason.DEADLINE_PASSED, f"task 2 'Light' was skipped: {passed}")


# -- it is undone --------------------------------------------------------------------------------------------------


def undoing(world):
    """Two tasks to be undone, the second first, after a third was FATAL."""
    rollback = undone(failurePolicy=policy("FIXED_INTERVAL", 1))
    world.submit(
        light(1, next=[2], **rollback), light(2, next=[3], **rollback), light(3, **FATAL), parameters=[parameter("x")]
    )
    fails(world, 3, message="sold out")
    world.drive(world.key(1))


def test_what_is_to_be_undone_says_what_goes_first(world):
    undoing(world)

    assert_why(
        why(world, 1),
        Reason.WAITS_FOR_ROLLBACKS,
        r"task 1 'Light' is undone after task 2 'Light' \(PENDING_ROLLBACK\)",
    )
    assert_why(why(world, 2), Reason.NO_LIVE_WORKER, "task 2 'Light' is ready to be undone, and queue .*")
    assert_why(
        why(world),
        Reason.FATAL,
        "the execution is being undone: task 3 'Light' failed fatally: sold out .*; still under way: task 2 .*",
    )


def test_a_rollback_that_runs_says_since_when_and_where(world):
    undoing(world)
    has_worker(world)
    seen = []
    world.undo[2] = lambda: seen.append(why(world, 2))

    world.drive(world.key(2, attempt=2), worker="default@host/5/boot")

    assert_why(seen[0], Reason.RUNNING, rf"task 2 'Light' is being undone since {TIME} on worker default@host/5/boot")


def test_a_rollback_that_is_tried_again_says_when(world):
    undoing(world)
    world.undo[2] = partial(break_down, "still in use")
    world.drive_all()

    assert_why(
        why(world, 2),
        Reason.RETRY_TO_COME,
        r"task 2 'Light' could not be undone at attempt 1 of 2: still in use \(INTERNAL_ERROR\); the next is due at .*",
    )
    assert why(world).sentence.startswith("the execution is being undone: task 2 'Light' could not be undone")


def test_what_was_undone_says_whether_that_worked(world):
    undoing(world)
    world.undo[2] = partial(break_down, "still in use")
    world.drive_all()
    world.fire("RETRY")
    world.drive_all(worker="default@host/5/boot")

    assert_why(why(world, 1), Reason.ROLLED_BACK, rf"task 1 'Light' was undone at {TIME} on worker default@host/5/boot")
    assert_why(
        why(world, 2),
        Reason.ROLLBACK_FAILED,
        r"task 2 'Light' could not be undone, and its effects remain: still in use \(INTERNAL_ERROR\)",
    )
    assert_why(
        why(world),
        Reason.FATAL,
        r"the execution failed: task 3 .* failed fatally: .*; 1 of 2 tasks were undone; task 2 'Light' could not be .*",
    )


# -- it is a replay ------------------------------------------------------------------------------------------------


def test_what_a_replay_has_taken_over_names_the_execution_that_it_repeats(world):
    world.submit(
        light(1, next=[2, (3, "$absent$ = 1"), 4]), light(2, **IGNORE), light(3), light(4), parameters=[parameter("x")]
    )
    fails(world, 2, 4)
    world.drive_all()
    first = world.id
    world.code.clear()

    world.id = replay(ReplayWish(execution_id=first, mode=ReplayMode.POINT_OF_FAILURE), world.services)
    world.drive_all()

    repeats = f"in execution {first}, which this one repeats"
    assert_why(why(world, 1), Reason.REPLAYED, f"task 1 'Light' succeeded {repeats}")
    assert_why(why(world, 2), Reason.REPLAYED, f"task 2 'Light' failed {repeats}")
    assert_why(why(world, 3), Reason.REPLAYED, f"task 3 'Light' was skipped: so it was {repeats}")
    assert why(world, 4).reason is Reason.SUCCEEDED


# -- the whole -----------------------------------------------------------------------------------------------------


def test_the_execution_comes_first_and_then_every_task(world):
    world.submit(heavy(2, next=[1]), heavy(1), starts=[2])

    found = explain(world.id, world.services)

    assert [each.task_number for each in found] == [0, 1, 2]
    assert [each.state for each in found] == ["PENDING", "PENDING_EXECUTION", "PENDING_EXECUTION"]
    assert found[1].to_document() == {
        "taskNumber": 1,
        "state": "PENDING_EXECUTION",
        "reason": "WAITS_FOR_TASKS",
        "sentence": "task 1 'Heavy' waits for task 2 'Heavy' (PENDING_EXECUTION)",
        "facts": {"tasks": [2]},
    }


def test_what_is_not_there_is_said_so(world):
    world.submit(heavy(1))

    with pytest.raises(TaskNotFound):
        explain(world.id, world.services, task=7)
    with pytest.raises(ExecutionNotFound):
        explain("nowhere", world.services)


def test_every_reason_has_a_test_that_runs_into_it():
    asserted = set(re.findall(r"Reason\.([A-Z]\w+)", Path(__file__).read_text()))

    assert set(Reason.__members__) == asserted

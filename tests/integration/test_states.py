"""Every arrow of the two state machines, taken by real workers.

Each scenario is a small flow and what a person does to it. It names the arrows that it is about, and its test asserts
that the database saw them; a last test asserts that together they are both tables.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.model.states import EXECUTION_ARROWS, TASK_ARROWS, ExecutionState
from orchestrator.model.states import ExecutionEvent as E
from orchestrator.model.states import ExecutionState as X
from orchestrator.model.states import TaskEvent as V
from orchestrator.model.states import TaskState as T
from orchestrator.store.kinds import Method
from tests.flows import flow, parameter, task
from tests.integration.arrows import execution_arrows, task_arrows, write_arrows_down
from tests.integration.steering import FATAL, IGNORE, INCLUDE, NEVER_S, Steering, restart, retry
from tests.integration.system import running_system
from tests.services import redis_url

pytestmark = pytest.mark.services

TOMORROW = timedelta(days=1)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def system(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    with running_system(
        folder, database=request.param, broker_url=redis_url(), include=INCLUDE, concurrency=4
    ) as running:
        write_arrows_down(running.database)
        yield running
        assert running.live() == [], "a test left something going on"


@dataclass
class Scenario:
    """``run`` does it and returns the execution's id; ``arrows`` are those it is about, ``ends`` how it ends."""

    run: Callable[[Steering], str]
    arrows: set
    ends: ExecutionState


SCENARIOS: dict[str, Scenario] = {}


def scenario(*arrows, ends):
    def add(run):
        SCENARIOS[run.__name__.replace("_", " ")] = Scenario(run, set(arrows), ends)
        return run

    return add


def asks(number, **more):
    return task(number, "SuspensionTask", **more)


# -- work ----------------------------------------------------------------------------------------------------------


@scenario(
    (X.PENDING, E.STARTED),
    (X.PROCESSING, E.WORKING),
    (X.PROCESSING, E.SUCCEEDED),
    (T.PENDING_EXECUTION, V.CLAIMED),
    (T.IN_PROCESS, V.SUCCEEDED),
    ends=X.SUCCEEDED,
)
def tasks_that_succeed(steering):
    execution_id = steering.system.submit(flow("work", steering.task(1, "hold", next=[2]), steering.task(2)))
    steering.wait_for(1)
    seen = steering.system.client.get(execution_id)
    assert (seen.state, seen.task(1).state, seen.task(2).state) == (X.PROCESSING, T.IN_PROCESS, T.PENDING_EXECUTION)
    steering.go(1)
    return execution_id


@scenario((T.PENDING_EXECUTION, V.SKIPPED), ends=X.SUCCEEDED)
def a_condition_that_is_false(steering):
    definition = flow(
        "condition",
        steering.task(1, next=[(2, '$go$ = "yes"')]),
        steering.task(2),
        parameters=[parameter("go", default="no")],
    )
    return steering.system.submit(definition)


@scenario((X.PROCESSING, E.FAILED), (T.IN_PROCESS, V.FAILED), ends=X.FAILED)
def a_task_that_fails(steering):
    return steering.system.submit(flow("failure", steering.task(1, "fail")))


@scenario(
    (X.PROCESSING, E.HELD),
    (X.RETRY_ON_HOLD, E.WORKING),
    (T.IN_PROCESS, V.HELD),
    (T.RETRY_ON_HOLD, V.CLAIMED),
    ends=X.SUCCEEDED,
)
def a_task_that_is_tried_again(steering):
    execution_id = steering.system.submit(flow("retry", steering.task(1, "fail hold", **retry(1, interval=NEVER_S))))
    assert steering.wait_for_state(execution_id, X.RETRY_ON_HOLD).task(1).state is T.RETRY_ON_HOLD
    steering.make_due(execution_id, "RETRY")
    steering.wait_for(1, tries=2)
    assert steering.system.client.get(execution_id).task(1).state is T.IN_PROCESS
    steering.go(1)
    return execution_id


@scenario((T.IN_PROCESS, V.FAILED_FATALLY), (T.IN_PROCESS, V.CANCELLED), ends=X.FAILED)
def a_fatal_failure_beside_a_running_task(steering):
    definition = flow("fatal", steering.task(1, "hold:fail", **FATAL), steering.task(2, "hold"), starts=[1, 2])
    execution_id = steering.system.submit(definition)
    steering.wait_for(2)
    steering.go(1)
    return execution_id


@scenario((T.IN_PROCESS, V.RETURNED), ends=X.SUCCEEDED)
def a_process_that_dies(steering):
    return steering.system.submit(flow("death", steering.task(1, "die ok")))


# -- suspensions ---------------------------------------------------------------------------------------------------


@scenario(
    (X.PROCESSING, E.SUSPENDED),
    (X.SUSPENDED, E.SUCCEEDED),
    (T.IN_PROCESS, V.SUSPENDED),
    (T.SUSPENDED, V.LIFTED),
    ends=X.SUCCEEDED,
)
def a_suspension_that_is_lifted_at_the_end(steering):
    execution_id = steering.system.submit(flow("ask", asks(1)))
    steering.wait_for_state(execution_id, X.SUSPENDED)
    steering.system.client.suspensions.lift(execution_id)
    return execution_id


@scenario((X.SUSPENDED, E.WORKING), ends=X.SUCCEEDED)
def a_suspension_that_is_lifted_and_something_follows(steering):
    execution_id = steering.system.submit(flow("ask-on", asks(1, next=[2]), steering.task(2)))
    steering.wait_for_state(execution_id, X.SUSPENDED)
    steering.system.client.suspensions.lift(execution_id)
    return execution_id


@scenario((X.SUSPENDED, E.SUSPENDED), ends=X.SUCCEEDED)
def one_of_two_suspensions_is_lifted(steering):
    execution_id = steering.system.submit(flow("ask-twice", asks(1), asks(2), starts=[1, 2]))
    for number in (1, 2):
        steering.wait_for_task(execution_id, number, T.SUSPENDED)
    for name in ("1", "2"):
        steering.system.client.suspensions.lift(execution_id, name=name)
    return execution_id


@scenario((X.SUSPENDED, E.HELD), ends=X.SUCCEEDED)
def a_suspension_is_lifted_while_a_retry_is_waited_for(steering):
    definition = flow("ask-or-wait", asks(1), steering.task(2, "fail ok", **retry(1, interval=NEVER_S)), starts=[1, 2])
    execution_id = steering.system.submit(definition)
    steering.wait_for_task(execution_id, 2, T.RETRY_ON_HOLD)
    steering.wait_for_state(execution_id, X.SUSPENDED)
    steering.system.client.suspensions.lift(execution_id)
    assert steering.system.client.get(execution_id).state is X.RETRY_ON_HOLD
    steering.make_due(execution_id, "RETRY")
    return execution_id


@scenario((X.SUSPENDED, E.FAILED), (T.SUSPENDED, V.REJECTED), ends=X.FAILED)
def a_suspension_that_is_rejected(steering):
    execution_id = steering.system.submit(flow("ask-in-vain", asks(1, next=[2]), steering.task(2)))
    steering.wait_for_state(execution_id, X.SUSPENDED)
    steering.system.client.suspensions.resolve(execution_id, approve=False)
    return execution_id


# -- kills and deadlines -------------------------------------------------------------------------------------------


@scenario((X.PENDING, E.CANCELLED), (T.PENDING_EXECUTION, V.SKIPPED), ends=X.CANCELLED)
def a_scheduled_execution_that_is_killed(steering):
    execution_id = steering.system.submit(flow("later", steering.task(1)), at=datetime.now(UTC) + TOMORROW)
    steering.system.client.kill(execution_id)
    return execution_id


@scenario((X.PROCESSING, E.CANCELLED), (T.IN_PROCESS, V.CANCELLED), ends=X.CANCELLED)
def a_running_task_that_is_killed(steering):
    execution_id = steering.system.submit(flow("long", steering.task(1, "hold", next=[2]), steering.task(2)))
    steering.wait_for(1)
    steering.system.client.kill(execution_id)
    return execution_id


@scenario((X.RETRY_ON_HOLD, E.CANCELLED), (T.RETRY_ON_HOLD, V.CANCELLED), ends=X.CANCELLED)
def a_retry_that_is_killed(steering):
    execution_id = steering.system.submit(flow("held", steering.task(1, "fail", **retry(1, interval=NEVER_S))))
    steering.wait_for_state(execution_id, X.RETRY_ON_HOLD)
    steering.system.client.kill(execution_id)
    return execution_id


@scenario((X.RETRY_ON_HOLD, E.HELD), (T.RETRY_ON_HOLD, V.CANCELLED), ends=X.SUCCEEDED)
def one_of_two_held_tasks_is_killed(steering):
    waits = retry(1, interval=NEVER_S)
    definition = flow(
        "held-twice",
        steering.task(1, "fail", next=[3], **waits),
        steering.task(2, "fail ok", **waits),
        steering.task(3),
        starts=[1, 2],
    )
    execution_id = steering.system.submit(definition)
    for number in (1, 2):
        steering.wait_for_task(execution_id, number, T.RETRY_ON_HOLD)
    steering.wait_for_state(execution_id, X.RETRY_ON_HOLD)
    assert steering.system.client.kill(execution_id, task=1).state is X.RETRY_ON_HOLD
    steering.make_due(execution_id, "RETRY")
    return execution_id


@scenario((X.SUSPENDED, E.CANCELLED), (T.SUSPENDED, V.CANCELLED), ends=X.CANCELLED)
def a_suspension_that_is_killed(steering):
    execution_id = steering.system.submit(flow("asked", asks(1)))
    steering.wait_for_state(execution_id, X.SUSPENDED)
    steering.system.client.kill(execution_id)
    return execution_id


@scenario((X.RETRY_ON_HOLD, E.FAILED), (T.RETRY_ON_HOLD, V.CANCELLED), ends=X.FAILED)
def a_deadline_while_a_retry_is_waited_for(steering):
    definition = flow("too-late", steering.task(1, "fail", **retry(1, interval=NEVER_S)))
    execution_id = steering.system.submit(definition, deadline_s=3600)
    steering.wait_for_state(execution_id, X.RETRY_ON_HOLD)
    steering.make_due(execution_id, "DEADLINE")
    return execution_id


@scenario((X.PENDING, E.FAILED), ends=X.FAILED)
def a_deadline_before_there_is_room(steering):
    definition = flow("one-at-a-time", steering.task(1, "hold")) | {"limits": {"maxConcurrent": 1}}
    running = steering.system.submit(definition)
    steering.wait_for(1)
    execution_id = steering.system.submit(definition, deadline_s=3600)
    assert steering.system.client.get(execution_id).state is X.PENDING
    steering.make_due(execution_id, "DEADLINE")
    steering.wait_for_state(execution_id, X.FAILED)
    steering.go(1)
    assert steering.system.wait(running).state is X.SUCCEEDED
    return execution_id


# -- undoing and beginning again -----------------------------------------------------------------------------------


@scenario(
    (T.SUCCEED, V.ROLLBACK_WANTED),
    (T.PENDING_ROLLBACK, V.ROLLBACK_STARTED),
    (T.ROLLBACK_IN_PROCESS, V.HELD),
    (T.ROLLBACK_IN_PROCESS, V.ROLLED_BACK),
    ends=X.FAILED,
)
def a_rollback_that_is_tried_again(steering):
    undone = steering.rollback("undo", "fail hold", **{"failurePolicy": retry(1, interval=NEVER_S)["failurePolicy"]})
    definition = flow("undone", steering.task(1, next=[2], **undone), steering.task(2, "fail", **FATAL))
    execution_id = steering.system.submit(definition)
    assert steering.wait_for_state(execution_id, X.RETRY_ON_HOLD).task(1).state is T.PENDING_ROLLBACK
    steering.make_due(execution_id, "RETRY")
    steering.wait_for("undo", tries=2)
    assert steering.system.client.get(execution_id).task(1).state is T.ROLLBACK_IN_PROCESS
    steering.go("undo")
    return execution_id


@scenario(
    (T.SUCCEED, V.RESTARTED),
    (T.FAILED, V.RESTARTED),
    (T.SKIPPED, V.RESTARTED),
    (T.CANCELLED, V.RESTARTED),
    (T.RETRY_ON_HOLD, V.RESTARTED),
    ends=X.SUCCEEDED,
)
def an_execution_that_begins_again(steering):
    definition = flow(
        "again",
        steering.task(1, next=[(3, '$go$ = "yes"')]),
        steering.task(2, "fail", **IGNORE),
        steering.task(3),
        asks(4),
        steering.task(5, "hold:fail ok", **restart(1)),
        starts=[1, 2, 4, 5],
        parameters=[parameter("go", default="no")],
    )
    execution_id = steering.system.submit(definition)
    for number, state in ((1, T.SUCCEED), (2, T.FAILED), (3, T.SKIPPED), (4, T.SUSPENDED)):
        steering.wait_for_task(execution_id, number, state)
    steering.go(5)
    steering.wait_for(5, tries=2)
    steering.wait_for_state(execution_id, X.SUSPENDED)
    steering.system.client.suspensions.lift(execution_id)
    return execution_id


@scenario((X.RETRY_ON_HOLD, E.SUCCEEDED), ends=X.SUCCEEDED)
def an_execution_that_has_nothing_to_do_when_it_begins_again(steering):
    """Since its suspension it is asynchronous, and starts with a task for synchronous runs only."""
    definition = flow(
        "not-again",
        asks(1, next=[2]),
        steering.task(2, "fail", **restart(1)),
        starts=[(1, "$`ExecutionMode`$ = SYNC")],
    )
    execution_id = steering.system.submit(definition, method=Method.POST)
    steering.wait_for_state(execution_id, X.SUSPENDED)
    steering.system.client.suspensions.lift(execution_id)
    return execution_id


# -- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_takes_the_arrows_that_it_names(system, tmp_path, name):
    wanted = SCENARIOS[name]
    execution_id = wanted.run(Steering(system, tmp_path))
    execution = system.client.wait(execution_id, timeout_s=60)

    seen = execution_arrows(system.database, execution_id) | task_arrows(system.database, execution_id)
    assert execution.state is wanted.ends
    assert wanted.arrows - seen == set()


def test_the_scenarios_together_take_every_arrow():
    named = set().union(*(each.arrows for each in SCENARIOS.values()))

    assert named == EXECUTION_ARROWS.keys() | TASK_ARROWS.keys()

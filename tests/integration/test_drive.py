"""Executions on real worker processes: what one message causes, and what many at once do to each other."""

import os
import sys
from collections import Counter
from dataclasses import replace

import pytest
import sqlalchemy as sa

from orchestrator.engine.canvas import Message
from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.runtime.children import start, stop
from orchestrator.store.kinds import Method
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.tables import history, live_attempts
from tests.flows import calls, flow, mapping, parameter, task
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.services import redis_url

pytestmark = pytest.mark.services

CONCURRENCY = 8
INCLUDE = ["tests.integration.drive_tasks"]
FATAL = {"failurePolicy": {"retryStrategy": "FATAL"}}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def system(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    broker_url = redis_url()
    with running_system(
        folder, database=request.param, broker_url=broker_url, include=INCLUDE, concurrency=CONCURRENCY
    ) as running:
        yield running
        assert running.live() == [], "a test left something going on"


class Gate:
    """Where tasks of the type tests.gate wait, in worker processes."""

    def __init__(self, folder):
        self.folder = folder
        os.mkfifo(folder / "gate")
        self._handle = None

    def task(self, number, **more):
        return task(number, "tests.gate", takes={"folder": str(self.folder)}, **more)

    def wait_for(self, count):
        arrived = self.folder / "arrived"
        until(lambda: arrived.exists() and len(arrived.read_text().split()) >= count, what=f"{count} tasks at the gate")

    def open(self):
        """For those that wait, and those that come later."""
        self._handle = os.open(self.folder / "gate", os.O_RDWR)

    def close(self):
        if self._handle is None:
            self.open()
        os.close(self._handle)


@pytest.fixture
def gate(tmp_path):
    gate = Gate(tmp_path)
    yield gate
    gate.close()


def chain(name, count, task_type):
    return flow(name, *(task(n, task_type, next=[n + 1] if n < count else []) for n in range(1, count + 1)))


def states(execution):
    return {each.number: each.state.value for each in execution.tasks}


def entries(system, execution_id):
    return ExecutionQueries(system.database).entries({execution_id: 0})[execution_id]


def worker_names(execution):
    return {attempt.worker.split("@")[0] for each in execution.tasks for attempt in each.attempts}


# -- a user's task types -------------------------------------------------------------------------------------------


def test_a_function_of_a_user_is_a_task_type_and_what_it_returns_are_parameters(system):
    definition = flow(
        "export",
        task(1, "billing.export", next=[2], takes={"month": "$month$", "limit": 7}),
        task(2, "billing.round", takes={"amount": 2.675, "digits": "$exported$"}),
        parameters=[
            parameter("month", direction="IN"),
            parameter("file", direction="OUT"),
            parameter("exported", "INT_VALUE", direction="OUT"),
            parameter("rounded", "DOUBLE_VALUE", direction="OUT"),
        ],
    )

    execution = system.execute(definition, {"month": "2026-01"})

    assert execution.outputs == {"file": "2026-01.csv", "exported": 7, "rounded": 2.675}
    assert states(execution) == {1: "SUCCEED", 2: "SUCCEED"}
    assert worker_names(execution) == {system.executor}
    assert execution.task(1).duration_s is not None


def test_what_a_user_s_function_raises_fails_its_task_and_is_kept(system):
    execution = system.execute(flow("failing", task(1, "billing.fail", takes={"reason": "out of paper"})))

    assert execution.state is ExecutionState.FAILED
    assert (execution.error.message, execution.error.type, execution.error.task_number) == (
        "out of paper",
        "ValueError",
        1,
    )
    assert "raise ValueError(reason)" in execution.task(1).attempts[0].error.traceback


def test_an_argument_that_does_not_fit_the_annotation_fails_the_task(system):
    execution = system.execute(
        flow(
            "misfit",
            task(1, "billing.export", takes={"month": "m", "limit": "$limit$"}),
            parameters=[parameter("limit", default="many")],
        )
    )

    assert execution.state is ExecutionState.FAILED
    assert "parameter 'limit'" in execution.error.message


def test_an_output_that_postgresql_cannot_name_fails_the_task_and_not_the_worker(system):
    """The task behind it would read the parameters."""
    definition = flow(
        "names",
        task(1, "billing.names", next=[2], takes={"key": "$key$"}),
        task(2),
        parameters=[parameter("key", "JSON_VALUE", direction="IN")],
    )

    execution = system.execute(definition, {"key": "a\0b"})

    assert execution.state is ExecutionState.FAILED
    assert "without NUL" in execution.error.message


# -- messages ------------------------------------------------------------------------------------------------------


def test_a_message_that_is_delivered_ten_times_has_one_effect(system, tmp_path):
    ledger = tmp_path / "ledger"
    definition = flow("twice", task(1, "tests.nothing", next=[2]), task(2, "tests.note", takes={"ledger": str(ledger)}))
    execution_id = system.submit(definition)
    message = Message(
        name="tests.note", execution_id=execution_id, number=2, attempt=1, round=0, executor=system.executor
    )
    publish = system.client._open().services.publisher.publish
    log_file, before = system.services.workers[0].log_file, system.services.workers[0].log_file.read_text()

    publish([message] * 5)
    system.wait(execution_id)
    publish([message] * 5)
    publish([replace(message, attempt=2), replace(message, round=1), replace(message, number=1, name="tests.nothing")])
    until(lambda: log_file.read_text()[len(before) :].count("message dropped") == 13, what="the drop of 13 messages")

    assert ledger.read_text() == f"{execution_id} 2 1\n"
    assert [entry.kind for entry in entries(system, execution_id)] == [EntryKind.SUCCEEDED] * 2


def test_a_task_goes_to_the_workers_of_its_executor(system):
    there = f"{system.executor}-there"
    definition = flow(
        "routed",
        task(1, "tests.nothing", next=[2]),
        task(2, "tests.nothing", executorId=there, next=[3]),
        task(3, "tests.nothing"),
    )
    execution_id = system.submit(definition)
    until(lambda: system.client.get(execution_id).task(1).state is TaskState.SUCCEED, what="the first task")
    assert system.client.get(execution_id).task(2).state is TaskState.PENDING_EXECUTION

    system.start_worker(there, concurrency=1)
    execution = system.wait(execution_id)

    assert [each.attempts[0].worker.split("@")[0] for each in execution.tasks] == [
        system.executor,
        there,
        system.executor,
    ]


@pytest.mark.slow
def test_celery_s_own_command_starts_the_same_worker(system, tmp_path):
    """Same tasks, same queue, same configuration; only the flags have to be written out."""
    celery, ours = f"{system.executor}-celery", f"{system.executor}-ours"
    command = f"-m celery -A orchestrator worker -Q executor.{celery} -n {celery}@%h -c 1".split()
    process = start([sys.executable, *command], tmp_path / "log", environment=system.settings.to_environment())
    try:
        system.start_worker(ours, concurrency=1)
        executions = [
            system.wait(system.client.submit(chain("same", 3, "tests.nothing"), executor=executor))
            for executor in (celery, ours)
        ]
        names = [f"{each}@{os.uname().nodename}" for each in (celery, ours)]
        inspect = system.client._open().app.control.inspect(names, timeout=60, limit=len(names))
        registered, configured = inspect.registered(), inspect.conf()
    finally:
        stop([process], grace_s=10)

    assert [worker_names(each) for each in executions] == [{celery}, {ours}]
    assert len(registered) == len(configured) == 2
    assert len({str(sorted(tasks)) for tasks in registered.values()}) == 1
    first, second = configured.values()
    written_down = {"include", "worker_concurrency", "worker_disable_prefetch"}  # by Celery's command, a default too
    assert {key for key in first | second if first.get(key) != second.get(key)} <= written_down


# -- many at once --------------------------------------------------------------------------------------------------


def test_forty_tasks_of_one_execution_that_end_at_the_same_time_are_all_recorded(system, gate):
    numbers = range(1, 41)
    execution_id = system.submit(
        flow("wide", *(gate.task(n, next=[41]) for n in numbers), task(41, "tests.light"), starts=numbers)
    )
    gate.wait_for(CONCURRENCY)

    gate.open()
    execution = system.wait(execution_id)

    assert Counter(states(execution).values()) == {"SUCCEED": 41}
    found = entries(system, execution_id)
    assert sorted(entry.task_number for entry in found) == list(range(1, 42))
    assert {entry.kind for entry in found} == {EntryKind.SUCCEEDED}
    assert [len(each.attempts) for each in execution.tasks] == [1] * 41
    revisions = system.rows(
        sa.select(history.c.revision).where(history.c.execution_id == execution_id).order_by("revision")
    )
    assert [each.revision for each in revisions] == list(range(1, 42))


def test_a_fatal_failure_ends_what_runs_and_skips_what_waits(system, gate):
    tasks = [
        gate.task(1, next=[3]),
        task(2, "billing.fail", takes={"reason": "fatal"}, **FATAL),
        task(3, "tests.nothing"),
        task(4, "tests.nothing", executorId=f"{system.executor}-nobody"),
    ]
    execution_id = system.submit(flow("fatal", *tasks, starts=[1, 2, 4]))
    gate.wait_for(1)

    execution = system.wait(execution_id)

    assert states(execution) == {1: "CANCELLED", 2: "FATAL", 3: "SKIPPED", 4: "SKIPPED"}
    assert (execution.state, execution.error.message) == (ExecutionState.FAILED, "fatal")


def test_a_join_on_any_parent_starts_with_the_first_and_runs_once(system, gate):
    tasks = [
        gate.task(1, next=[3]),
        task(2, "tests.nothing", next=[3]),
        task(3, "tests.nothing", taskExecutionStrategy="WHEN_ANY_SUCCEED"),
    ]
    execution_id = system.submit(flow("any", *tasks, starts=[1, 2]))
    until(lambda: system.client.get(execution_id).task(3).state is TaskState.SUCCEED, what="the join")
    assert system.client.get(execution_id).task(1).state is not TaskState.SUCCEED

    gate.open()
    execution = system.wait(execution_id)

    assert set(states(execution).values()) == {"SUCCEED"}
    assert len(execution.task(3).attempts) == 1


# -- light and heavy -----------------------------------------------------------------------------------------------


def test_two_hundred_light_tasks_in_a_row_are_one_message_and_few_commits(system):
    execution = system.execute(chain("light", 200, "tests.light"))

    assert Counter(states(execution).values()) == {"SUCCEED": 200}
    assert len({attempt.worker for each in execution.tasks for attempt in each.attempts}) == 1
    if not system.database.is_sqlite:  # PostgreSQL keeps with each row the transaction that wrote it
        (transactions,) = system.rows(
            sa.text("SELECT count(DISTINCT xmin::text) AS number FROM history WHERE execution_id = :id").bindparams(
                id=execution.id
            )
        )
        assert transactions.number <= 20


def test_heavy_tasks_in_a_row_are_a_message_each(system):
    execution = system.execute(chain("heavy", 20, "tests.nothing"))

    assert Counter(states(execution).values()) == {"SUCCEED": 20}
    starts = [each.attempts[0].started_at for each in execution.tasks]
    assert starts == sorted(starts)


# -- sub-executions ------------------------------------------------------------------------------------------------

ITEM = flow(
    "item",
    task(1, "tests.append", takes={"before": "$before$", "item": "$item$"}),
    parameters=[
        parameter("before", direction="IN", default=""),
        parameter("item", direction="IN_OUT", default=""),
        parameter("after", direction="OUT"),
    ],
)


def test_a_loop_over_a_list_runs_one_after_the_other_and_hands_on_what_it_overrides(system):
    system.client.publish(ITEM)
    loop = calls(
        "item",
        listToIterate=["a", "b", "c"],
        iterationElementMapping="item",
        requestParameterMapping=mapping({"text": "before"}),
        overrideParameterMapping=mapping({"after": "text"}),
        aggregatorParameterMapping=mapping({"item": "items"}),
    )
    definition = flow(
        "each",
        task(1, "SubWorkflowForEachLoopV2Task", takes=loop),
        parameters=[
            parameter("text", direction="OUT", default=""),
            parameter("items", "STRING_ARRAY", direction="OUT"),
        ],
    )

    execution = system.execute(definition)

    assert execution.outputs == {"text": "abc", "items": ["A", "B", "C"]}
    assert [child.outputs["after"] for child in execution.children] == ["a", "ab", "abc"]
    ends = [(child.created_at, child.ended_at) for child in execution.children]
    assert [moment for pair in ends for moment in pair] == sorted(moment for pair in ends for moment in pair)
    assert len(execution.task(1).attempts) == 1


def test_a_while_loop_goes_on_as_long_as_its_condition_holds(system):
    system.client.publish(
        flow(
            "count",
            task(1, "tests.count", takes={"before": "$before$"}),
            parameters=[
                parameter("before", "INT_VALUE", direction="IN", default=0),
                parameter("after", "INT_VALUE", direction="OUT"),
            ],
        )
    )
    loop = calls(
        "count",
        whileCondition="$number$ < 5",
        requestParameterMapping=mapping({"number": "before"}),
        overrideParameterMapping=mapping({"after": "number"}),
        loopMetadata="$told$",
    )
    definition = flow(
        "while",
        task(1, "SubWorkflowWhileLoopV2Task", takes=loop),
        parameters=[parameter("number", "INT_VALUE", direction="OUT", default=2), parameter("told", "JSON_VALUE")],
    )

    execution = system.execute(definition)

    assert execution.outputs == {"number": 5}
    assert [child.outputs for child in execution.children] == [{"after": 3}, {"after": 4}, {"after": 5}]
    assert execution.snapshots[-1].parameters["told"].python["current_iteration_count"] == 3


def test_a_parallel_loop_collects_in_the_order_of_its_list(system):
    system.client.publish(ITEM)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    loop = calls(
        "item",
        listToIterate=letters,
        iterationElementMapping="item",
        aggregatorParameterMapping=mapping({"item": "items"}),
    )
    definition = flow(
        "parallel",
        task(1, "ForEachParallelTask", takes=loop, next=[2]),
        task(2, "tests.nothing"),
        parameters=[parameter("items", "STRING_ARRAY", direction="OUT")],
    )

    execution = system.execute(definition)

    assert execution.outputs == {"items": [letter.upper() for letter in letters]}
    assert [child.request["item"].data for child in execution.children] == letters


def test_a_child_that_fails_fails_the_loop_after_the_others_have_ended(system):
    system.client.publish(
        flow(
            "moody",
            task(1, "tests.light", next=[(2, '$item$ = "b"')]),
            task(2, "billing.fail", takes={"reason": "I am b"}),
            parameters=[parameter("item", direction="IN", default="")],
        )
    )
    loop = calls("moody", listToIterate=["a", "b", "c"], iterationElementMapping="item")

    execution = system.execute(flow("moods", task(1, "ForEachParallelTask", takes=loop)))

    assert [child.state.value for child in execution.children] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert execution.state is ExecutionState.FAILED
    assert "I am b" in execution.error.message


def test_an_integration_that_is_called_asynchronously_is_not_waited_for(system, gate):
    system.client.publish(flow("slow", gate.task(1)))
    definition = flow(
        "caller",
        task(1, "SubWorkflowExecutorV2Task", takes=calls("slow", executionMethod="ASYNC"), next=[2]),
        task(2, "tests.nothing"),
    )

    execution = system.execute(definition)
    assert execution.state is ExecutionState.SUCCEEDED
    (child,) = execution.children
    assert not child.state.is_final
    assert child.method == Method.POST_TO_QUEUE
    gate.open()
    system.wait(child.id)

    after = system.client.get(execution.id)
    assert after.children[0].state is ExecutionState.SUCCEEDED
    assert after.updated_at == execution.updated_at


def test_an_integration_that_is_called_synchronously_answers_its_caller(system):
    system.client.publish(ITEM)
    call = calls(
        "item",
        requestParameterMapping=mapping({"text": "before", "word": "item"}),
        responseParameterMapping=mapping({"after": "text"}),
    )
    definition = flow(
        "asker",
        task(1, "SubWorkflowExecutorV2Task", takes=call),
        parameters=[parameter("text", direction="IN_OUT", default=""), parameter("word", default="!")],
    )

    execution = system.execute(definition, {"text": "hello"})

    assert execution.outputs == {"text": "hello!"}
    assert execution.children[0].method == Method.POST


def test_a_suspension_rests_until_somebody_decides(system):
    definition = flow("approval", task(1, "tests.nothing", next=[2]), task(2, "SuspensionTask", next=[3]), task(3))

    execution = system.execute(definition)

    assert execution.state is ExecutionState.SUSPENDED
    assert states(execution) == {1: "SUCCEED", 2: "SUSPENDED", 3: "PENDING_EXECUTION"}
    assert system.rows(sa.select(live_attempts).where(live_attempts.c.execution_id == execution.id)) == []

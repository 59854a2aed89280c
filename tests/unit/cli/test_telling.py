"""How snapshots, the history and reasons are put into lines."""

from datetime import UTC, datetime, timedelta

from orchestrator.cli.telling import difference_lines, explanation_lines, log_lines, snapshot_lines
from orchestrator.model.execution import Execution
from orchestrator.model.explanation import Explanation, Reason
from orchestrator.model.history import Entry, EntryKind, ErrorInfo
from orchestrator.model.snapshots import Snapshot, TaskView, difference
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.values import from_python

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def make_task(number, state=TaskState.SUCCEED, name="Map"):
    return TaskView(number=number, type="Noop", name=name, state=state)


def make_snapshot(index=0, *tasks, parameters=None, run=1, edges=None, number=1):
    return Snapshot(
        index=index,
        kind=EntryKind.SUCCEEDED,
        integration="flow",
        task_number=number,
        task_type="Noop",
        task_name="Map",
        execution_attempt=run,
        task_attempt=2,
        taken_at=START,
        parameters={key: from_python(data, key) for key, data in (parameters or {}).items()},
        tasks=tasks,
        edges=edges or {},
    )


def make_entry(kind=EntryKind.SUCCEEDED, *, seconds=1, number=1, **more):
    at = START + timedelta(seconds=seconds)
    return Entry(kind=kind, task_number=number, attempt=1, started_at=at, ended_at=at, **more)


def make_execution(state=ExecutionState.FAILED, **more):
    is_over = state.is_final
    return Execution(
        id="e1",
        project="default",
        location="local",
        integration="order",
        trigger_id="api_trigger/order",
        method="POST",
        state=state,
        created_at=START,
        updated_at=START,
        ended_at=START + timedelta(seconds=9) if is_over else None,
        request={},
        response={},
        error=ErrorInfo(message="no\nmoney") if is_over else None,
        snapshot_number=1,
        tasks=(make_task(1, name="Charge\x1b[2J"), make_task(2)),
        **more,
    )


def logged(*entries, state=ExecutionState.FAILED, tracebacks=False):
    return list(log_lines(make_execution(state), entries, tracebacks=tracebacks))


def test_a_snapshot_is_a_line_and_what_it_holds():
    tasks = (make_task(1), make_task(2), make_task(3, TaskState.SKIPPED))
    snapshot = make_snapshot(4, *tasks, parameters={"name": "Ada", "list": [1, 2]})

    assert list(snapshot_lines([snapshot])) == [
        "4  2026-01-31 12:00:00.000  task succeeded  task 1 'Map' attempt 2",
        "    tasks: 2 SUCCEED, 1 SKIPPED",
        '    name = "Ada"',
        "    list = [1, 2]",
    ]


def test_a_snapshot_of_a_later_run_says_so_and_a_long_value_is_cut():
    first, *_, value = snapshot_lines([make_snapshot(run=2, parameters={"text": "x" * 1000})])

    assert first.endswith("task 1 'Map' attempt 2, run 2")
    assert value.endswith("xxx... (1,002 characters)")


def test_a_difference_has_a_line_for_each_change():
    one = make_snapshot(0, make_task(2, TaskState.PENDING_EXECUTION), parameters={"a": 1, "b": 1})
    other = make_snapshot(
        1, make_task(2), parameters={"a": 2, "c": None}, edges={(1, 2): True, (1, 3): False}, number=2
    )

    assert list(difference_lines(difference(one, other))) == [
        "from snapshot 0, task 1 'Map' attempt 2",
        "to snapshot 1, task 2 'Map' attempt 2",
        "+ c = null",
        "- b = 1",
        "~ a: 1 -> 2",
        "task 2 'Map': PENDING_EXECUTION -> SUCCEED",
        "edge from task 1 to task 2: true",
        "edge from task 1 to task 3: false",
    ]


def test_a_log_begins_with_the_creation_and_ends_with_the_end():
    assert logged() == [
        "2026-01-31 12:00:00.000  execution created       of 'order'",
        "2026-01-31 12:00:09.000  execution over          FAILED, no money",
    ]
    assert len(logged(state=ExecutionState.PROCESSING)) == 1


def test_a_log_says_who_wanted_the_execution():
    first, *_ = log_lines(make_execution(submitted_by="key:ci\x1b[2J"), [], tracebacks=False)

    assert first == "2026-01-31 12:00:00.000  execution created       of 'order', by key:ci?[2J"


def test_a_log_line_says_who_what_and_why_and_nothing_that_moves_the_cursor():
    error = ErrorInfo(message="card\tdeclined", code=402, type="TaskError")
    failed = make_entry(EntryKind.FAILED, worker="default@host/7", error=error, states={1: TaskState.FAILED})
    killed = make_entry(EntryKind.KILLED, number=0, seconds=2, actor="ann", details={"message": "enough"})

    assert logged(failed, killed)[1:3] == [
        "2026-01-31 12:00:01.000  task failed             task 1 'Charge?[2J' attempt 1, on default@host/7, "
        "TaskError: card declined (402)",
        "2026-01-31 12:00:02.000  execution killed        by ann, message: enough",
    ]


def test_a_log_line_says_what_else_changed():
    others = dict.fromkeys(range(2, 9), TaskState.SKIPPED)
    entry = make_entry(states={1: TaskState.SUCCEED, **others})

    assert logged(entry)[1].endswith(", so task 2 SKIPPED, task 3 SKIPPED, task 4 SKIPPED, task 5 SKIPPED, "
                                     "task 6 SKIPPED, 2 more")  # fmt: skip


def test_tracebacks_come_on_demand():
    error = ErrorInfo(message="no", type="ValueError", traceback="Traceback:\n  File x\x07\nValueError: no\n")
    entry = make_entry(EntryKind.FAILED, error=error)

    assert len(logged(entry)) == 3
    assert logged(entry, tracebacks=True)[2:5] == ["    Traceback:", "      File x?", "    ValueError: no"]


def test_a_reason_stands_beside_the_state():
    found = Explanation(
        task_number=1, state="SKIPPED", reason=Reason.SOURCE_FAILED, sentence="task 1 'a\nb' was skipped"
    )

    assert list(explanation_lines([found])) == ["SKIPPED              task 1 'a b' was skipped"]

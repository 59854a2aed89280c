from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from rich.console import Console

from orchestrator.cli.render import PlainLog, clean, rows, to_line, to_outcome, to_table, to_tabs, to_tree
from orchestrator.model.execution import Execution
from orchestrator.model.history import ErrorInfo
from orchestrator.model.snapshots import AttemptView, TaskView
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.values import from_python

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(seconds):
    return START + timedelta(seconds=seconds)


def make_view(number=1, state=TaskState.SUCCEED, *, name="Map", attempt=1, start=0.0, end=0.03, error=None):
    """A task after, or with an ``end`` of None in, its latest attempt; attempt 0 is none yet."""
    attempts = (
        AttemptView(attempt=attempt, started_at=at(start), ended_at=None if end is None else at(end), error=error),
    )
    return TaskView(number=number, type="Noop", name=name, state=state, attempts=attempts if attempt else ())


def make_execution(*tasks, state=ExecutionState.SUCCEEDED, children=(), execution_id="e1", **more):
    return Execution(
        **{
            "id": execution_id,
            "project": "default",
            "location": "local",
            "integration": "order",
            "trigger_id": "api_trigger/order",
            "method": "POST",
            "state": state,
            "created_at": START,
            "updated_at": START,
            "ended_at": at(1.5) if state.is_final else None,
            "request": {},
            "response": {},
            "error": None,
            "snapshot_number": 1,
            "tasks": tasks,
            "children": tuple(children),
            **more,
        }
    )


def make_children(count, state=ExecutionState.SUCCEEDED, *, task=1, start=0):
    return [
        make_execution(make_view(), state=state, execution_id=f"c{start + i}", parent_task=task) for i in range(count)
    ]


def waiting(number, name="Wait"):
    return make_view(number, TaskState.PENDING_EXECUTION, name=name, attempt=0)


def drawn(renderable, *, width=120):
    console = Console(file=StringIO(), width=width, markup=False, highlight=False, emoji=False)
    console.print(renderable)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def lines(execution, **options):
    return [to_line(row) for row in rows(execution, **options)]


# -- rows ----------------------------------------------------------------------------------------------------------


def test_a_task_is_shown_with_state_attempt_and_duration():
    execution = make_execution(make_view(3, name="Charge card", attempt=2))

    assert lines(execution) == [
        "execution of 'order' SUCCEEDED (1.50 s, e1)",
        "task 3 'Charge card' SUCCEED (attempt 2, 0.03 s)",
    ]


def test_what_runs_shows_its_time_so_far_only_where_a_clock_is_handed_in():
    execution = make_execution(make_view(1, TaskState.IN_PROCESS, end=None), state=ExecutionState.PROCESSING)

    assert lines(execution, now=at(75))[1] == "task 1 'Map' IN_PROCESS (attempt 1, 1 min 15 s)"
    assert lines(execution)[1] == "task 1 'Map' IN_PROCESS (attempt 1)"


def test_a_failed_task_says_why():
    failed = make_view(1, TaskState.FAILED, error=ErrorInfo(message="no\n\nanswer"))

    assert lines(make_execution(failed))[1] == "task 1 'Map' FAILED (attempt 1, 0.03 s): no answer"


def test_tasks_stand_in_the_order_of_their_numbers():
    assert [line[:6] for line in lines(make_execution(make_view(2), make_view(1)))[1:]] == ["task 1", "task 2"]


def test_sub_executions_stand_below_the_task_that_started_them():
    execution = make_execution(make_view(1), make_view(2), children=make_children(1, task=1))

    assert [to_line(row)[:34].rstrip() for row in rows(execution)][1:] == [
        "task 1 'Map' SUCCEED (attempt 1, 0",
        "task 1 > sub-execution 1 of 'order",
        "task 1 > sub-execution 1 > task 1",
        "task 2 'Map' SUCCEED (attempt 1, 0",
    ]


def test_a_big_fan_out_is_summed_up_after_its_first_ten():
    children = [*make_children(810), *make_children(190, ExecutionState.PROCESSING, start=810)]

    walked = lines(make_execution(make_view(1), children=children))

    assert sum("> sub-execution" in line and "task 1 'Map'" not in line for line in walked) == 10
    assert walked[-1] == "task 1 > ... and 990 more: 800 SUCCEEDED, 190 PROCESSING"


def test_of_too_many_tasks_those_that_run_or_failed_are_shown_first():
    tasks = [make_view(number) for number in range(1, 100)]
    tasks[89] = make_view(90, TaskState.IN_PROCESS, end=None)

    walked = lines(make_execution(*tasks), max_tasks=3)

    assert [line.split("'")[0] for line in walked[1:4]] == ["task 1 ", "task 2 ", "task 90 "]
    assert walked[4] == "... and 96 more tasks: 96 SUCCEED"


def test_the_depth_of_what_is_shown_is_bounded():
    execution = make_execution(make_view())
    for _ in range(60):
        execution = make_execution(make_view(), children=[execution], parent_task=1)

    assert len(lines(execution)) == 2 * 51 + 1
    assert lines(execution, levels=1)[-1].endswith("1 sub-executions: 1 SUCCEEDED")


# -- the plain log -------------------------------------------------------------------------------------------------


def test_a_log_has_one_line_for_each_change():
    log = PlainLog()
    pending = make_execution(waiting(1), waiting(2), state=ExecutionState.PENDING)
    running = make_execution(make_view(1), waiting(2), state=ExecutionState.PROCESSING)
    done = make_execution(make_view(1), make_view(2))

    assert list(log.news(pending)) == ["execution of 'order' PENDING (e1)"]
    assert list(log.news(pending)) == []
    assert list(log.news(running)) == [
        "execution of 'order' PROCESSING (e1)",
        "task 1 'Map' SUCCEED (attempt 1, 0.03 s)",
    ]
    assert list(log.news(done)) == [
        "task 2 'Map' SUCCEED (attempt 1, 0.03 s)",
        "execution of 'order' SUCCEEDED (1.50 s, e1)",
    ]


def test_a_second_attempt_is_a_change():
    log = PlainLog()
    for attempt in (1, 2):
        news = list(log.news(make_execution(make_view(1, TaskState.IN_PROCESS, attempt=attempt, end=None))))

    assert news == ["task 1 'Map' IN_PROCESS (attempt 2)"]


def test_the_end_of_a_sub_execution_comes_after_its_tasks_and_before_the_next():
    news = list(PlainLog().news(make_execution(make_view(), children=make_children(2))))

    assert [line.split(" (")[0] for line in news] == [
        "task 1 'Map' SUCCEED",
        "task 1 > sub-execution 1 > task 1 'Map' SUCCEED",
        "task 1 > sub-execution 1 of 'order' SUCCEEDED",
        "task 1 > sub-execution 2 > task 1 'Map' SUCCEED",
        "task 1 > sub-execution 2 of 'order' SUCCEEDED",
        "execution of 'order' SUCCEEDED",
    ]


def test_a_fan_out_of_a_thousand_adds_at_most_eleven_lines_for_those_summed_up():
    log, news = PlainLog(), []
    for done in range(0, 1001, 10):
        children = [*make_children(done), *make_children(1000 - done, ExecutionState.PROCESSING, start=done)]
        news += log.news(make_execution(make_view(), children=children))

    summed_up = [line for line in news if "... and" in line]
    assert len(summed_up) == 11
    assert summed_up[-1] == "task 1 > ... and 990 more: 990 SUCCEEDED"


# -- the tree ------------------------------------------------------------------------------------------------------


def test_a_tree_nests_sub_executions_below_tasks():
    execution = make_execution(make_view(1, name="Loop"), make_view(2), children=make_children(1))

    assert drawn(to_tree(execution)) == [
        "execution of 'order' SUCCEEDED (1.50 s, e1)",
        "├── task 1 'Loop' SUCCEED (attempt 1, 0.03 s)",
        "│   └── sub-execution 1 of 'order' SUCCEEDED (1.50 s)",
        "│       └── task 1 'Map' SUCCEED (attempt 1, 0.03 s)",
        "└── task 2 'Map' SUCCEED (attempt 1, 0.03 s)",
    ]


def test_a_tree_shows_as_many_levels_as_fit():
    execution = make_execution(make_view(1), children=make_children(8))

    assert drawn(to_tree(execution, max_rows=10)) == [
        "execution of 'order' SUCCEEDED (1.50 s, e1)",
        "└── task 1 'Map' SUCCEED (attempt 1, 0.03 s)",
        "    └── 8 sub-executions: 8 SUCCEEDED",
    ]
    assert len(drawn(to_tree(execution, max_rows=30))) == 2 + 8 * 2


@pytest.mark.parametrize("state", TaskState)
def test_every_state_of_a_task_can_be_drawn(state):
    assert f"task 1 'Map' {state}" in drawn(to_tree(make_execution(make_view(1, state))))[1]


@pytest.mark.parametrize("state", ExecutionState)
def test_every_state_of_an_execution_can_be_drawn(state):
    assert f"execution of 'order' {state}" in drawn(to_tree(make_execution(state=state)))[0]


def test_names_are_never_markup_and_move_no_cursor():
    execution = make_execution(make_view(1, name="[red]x[/red]\x1b[2J\r\n:smile:"))

    assert drawn(to_tree(execution))[1] == "└── task 1 '[red]x[/red]?[2J :smile:' SUCCEED (attempt 1, 0.03 s)"


# -- lists ---------------------------------------------------------------------------------------------------------


def test_a_list_has_a_line_for_each_execution():
    over, running = make_execution(), make_execution(state=ExecutionState.PROCESSING, execution_id="e2")

    assert list(to_tabs([over, running])) == [
        "e1\tSUCCEEDED\t2026-01-31 12:00:00\t1.50 s\torder\tapi_trigger/order",
        "e2\tPROCESSING\t2026-01-31 12:00:00\t-\torder\tapi_trigger/order",
    ]
    assert [line.split() for line in drawn(to_table([over]))] == [
        ["EXECUTION", "STATE", "CREATED", "DURATION", "INTEGRATION", "TRIGGER"],
        ["e1", "SUCCEEDED", "2026-01-31", "12:00:00", "1.50", "s", "order", "api_trigger/order"],
    ]


# -- the end -------------------------------------------------------------------------------------------------------


def test_the_outcome_lists_the_response_parameters_as_json():
    response = {"total": from_python(12.5, "x"), "note": from_python("ä\n", "x")}

    assert list(to_outcome(make_execution(response=response))) == ["total = 12.5", r'note = "ä\n"']


def test_a_long_response_parameter_is_cut():
    (line,) = to_outcome(make_execution(response={"text": from_python("x" * 5000, "x")}))

    assert len(line) < 2100
    assert line.endswith("(5,002 characters; --json has them all)")


def test_a_failure_is_followed_down_to_where_it_came_from():
    def failed(number, message, **more):
        error = ErrorInfo(message=message, code=503, task_number=number)
        task = make_view(number, TaskState.FAILED, name="Call", error=error)
        return make_execution(task, state=ExecutionState.FAILED, error=error, **more)

    children = [*make_children(1, task=4), failed(6, "refused", execution_id="c", parent_task=4)]

    assert list(to_outcome(failed(4, "iteration 2 failed", children=children))) == [
        "task 4 'Call' FAILED: iteration 2 failed (503)",
        "task 4 > sub-execution 2 > task 6 'Call' FAILED: refused (503)",
    ]


def test_a_failure_without_a_task_is_the_executions_own():
    error = ErrorInfo(message="no leaf succeeded", code="NO_LEAF")

    assert list(to_outcome(make_execution(state=ExecutionState.FAILED, error=error))) == [
        "the execution FAILED: no leaf succeeded (NO_LEAF)"
    ]


def test_a_suspended_execution_says_what_is_waited_for():
    execution = make_execution(make_view(2, TaskState.SUSPENDED, name="Approval"), state=ExecutionState.SUSPENDED)

    assert list(to_outcome(execution)) == ["task 2 'Approval' waits for a person or an outside system"]


def test_text_of_others_is_one_harmless_line():
    assert clean("a\tb\n\x1b]0;c\x07\u202e") == "a b ?]0;c??"

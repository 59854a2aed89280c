"""``docs/states.md`` says what the tables of ``model.states`` say."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.model.state_drawings import DRAWINGS, EXECUTION, TASK, draw_diagram, draw_table, ordered, redraw
from orchestrator.model.states import (
    EXECUTION_ARROWS,
    TASK_ARROWS,
    ExecutionEvent,
    ExecutionState,
    TaskEvent,
    TaskState,
)

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "states.md").read_text()
COMMAND = "python -m orchestrator.model.state_drawings docs/states.md"
BLOCK = re.compile(r"<!-- drawn from orchestrator\.model\.states: (.+?) -->\n\n(.*?)\n\n<!-- end -->", re.DOTALL)
MACHINES = pytest.mark.parametrize(
    ("machine", "table"), [(EXECUTION, EXECUTION_ARROWS), (TASK, TASK_ARROWS)], ids=["execution", "task"]
)


def rows(page: str, header: str) -> list[list[str]]:
    """The cells of every row below a table head."""
    lines = page.partition(f"{header}\n")[2].splitlines()[1:]  # without the line of dashes
    end = next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[:end]]


def test_the_page_has_every_drawing_once():
    assert sorted(name for name, _ in BLOCK.findall(PAGE)) == sorted(DRAWINGS)
    assert PAGE.count("<!--") == 2 * len(DRAWINGS)


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_on_the_page_is_what_the_tables_draw(name):
    assert dict(BLOCK.findall(PAGE))[name] == DRAWINGS[name], f"docs/states.md is out of date; run: {COMMAND}"


@MACHINES
def test_the_diagram_can_be_read_back_to_the_table(machine, table):
    lines = re.findall(r"^    (\w+) --> (\w+) : (.+)$", draw_diagram(machine), re.MULTILINE)

    assert len({(state, target) for state, target, _ in lines}) == len(lines)
    assert {(state, event): target for state, target, events in lines for event in events.split(", ")} == table


@MACHINES
def test_the_diagram_marks_where_everything_begins_and_what_is_final(machine, table):
    diagram = draw_diagram(machine)
    states = type(machine.first)

    assert re.findall(r"\[\*\] --> (\w+)$", diagram, re.MULTILINE) == [machine.first]
    assert re.findall(r"(\w+) --> \[\*\]$", diagram, re.MULTILINE) == [state for state in states if state.is_final]


@MACHINES
def test_the_table_of_arrows_can_be_read_back_to_the_table(machine, table):
    cells = rows(draw_table(machine), "| State | Event | Next state |")

    assert len(cells) == len(table)
    assert {(state, event): target for state, event, target in cells} == table


@MACHINES
def test_arrows_are_drawn_in_one_order_however_the_table_is_written(machine, table):
    assert ordered(dict(reversed(table.items()))) == machine.arrows


@pytest.mark.parametrize(("machine", "events"), [(EXECUTION, ExecutionEvent), (TASK, TaskEvent)])
def test_every_state_and_every_event_is_drawn(machine, events):
    words = set(re.findall(r"\w+", draw_diagram(machine)))
    labels = {
        label for line in re.findall(r" : (.+)$", draw_diagram(machine), re.MULTILINE) for label in line.split(", ")
    }

    assert {state.value for state in type(machine.first)} <= words
    assert labels == {event.value for event in events}


@pytest.mark.parametrize(
    ("header", "members"),
    [
        ("| Event of an execution | Meaning |", ExecutionEvent),
        ("| Event of a task | Meaning |", TaskEvent),
        ("| State of an execution | Final | Meaning |", ExecutionState),
        ("| State of a task | Final | Meaning |", TaskState),
    ],
)
def test_every_state_and_every_event_is_explained_in_one_line(header, members):
    explained = rows(PAGE, header)

    assert [row[0] for row in explained] == [f"`{member}`" for member in members]
    assert all(row[-1] for row in explained)


@pytest.mark.parametrize(
    ("header", "states"),
    [
        ("| State of an execution | Final | Meaning |", ExecutionState),
        ("| State of a task | Final | Meaning |", TaskState),
    ],
)
def test_the_page_calls_final_what_is_final(header, states):
    final = {row[0]: row[1] for row in rows(PAGE, header)}

    assert final == {f"`{state}`": "yes" if state.is_final else "no" for state in states}


def test_the_command_on_the_page_draws_every_block_again(tmp_path):
    page = tmp_path / "docs" / "states.md"
    page.parent.mkdir()
    page.write_text(BLOCK.sub(r"<!-- drawn from orchestrator.model.states: \1 -->\n<!-- end -->", PAGE))
    _, *arguments = shlex.split(COMMAND)

    subprocess.run([sys.executable, *arguments], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True)

    assert f"```sh\n{COMMAND}\n```" in PAGE
    assert page.read_text() == redraw(PAGE)


def test_a_block_that_lost_its_end_does_not_swallow_what_follows():
    broken = redraw(PAGE).replace("<!-- end -->", "", 1)

    assert redraw(broken) == broken


@pytest.mark.parametrize(("page", "anchor"), re.findall(r"\]\(([\w-]+\.md)?(?:#([\w-]+))?\)", PAGE))
def test_every_link_leads_to_a_heading(page, anchor):
    text = (ROOT / "docs" / page).read_text() if page else PAGE
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)

    assert not anchor or anchor in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in headings}

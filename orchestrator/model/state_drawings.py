"""Drawings of the two state machines, made from their tables of arrows: the blocks of ``docs/states.md``.

After a change of ``model.states``::

    python -m orchestrator.model.state_drawings docs/states.md

The order is that of the enums' members, so the same arrows always give the same text, and a new arrow is one new line.
What must not happen: an import of this module by anything that runs executions. It is for people alone, and lies here
because it draws what its neighbour says.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from orchestrator.model.states import (
    EXECUTION_ARROWS,
    FINAL_EXECUTION_STATES,
    FINAL_TASK_STATES,
    TASK_ARROWS,
    ExecutionState,
    TaskState,
)

Arrow: TypeAlias = tuple[StrEnum, StrEnum, StrEnum]
"""A state, an event, and the state that it leads to."""

_State = TypeVar("_State", bound=StrEnum)
_Event = TypeVar("_Event", bound=StrEnum)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What is drawn. ``arrows`` and ``final`` are in the order of the enums' members."""

    first: StrEnum
    final: tuple[StrEnum, ...]
    arrows: tuple[Arrow, ...]


def ordered(table: Mapping[tuple[_State, _Event], _State]) -> tuple[Arrow, ...]:
    """The arrows of a table, however it is written, by state and then by event."""
    arrows = ((state, event, target) for (state, event), target in table.items())
    return tuple(sorted(arrows, key=lambda arrow: (_place(arrow[0]), _place(arrow[1]))))


def _place(member: StrEnum) -> int:
    return list(type(member)).index(member)


EXECUTION: Final = Machine(
    first=ExecutionState.PENDING,
    final=tuple(sorted(FINAL_EXECUTION_STATES, key=_place)),
    arrows=ordered(EXECUTION_ARROWS),
)
TASK: Final = Machine(
    first=TaskState.PENDING_EXECUTION,
    final=tuple(sorted(FINAL_TASK_STATES, key=_place)),
    arrows=ordered(TASK_ARROWS),
)


def draw_diagram(machine: Machine) -> str:
    """A Mermaid block. Two states are joined by one line, which names every event that leads along it."""
    events: dict[tuple[StrEnum, StrEnum], list[str]] = {}
    for state, event, target in machine.arrows:
        events.setdefault((state, target), []).append(event.value)
    lines = [
        f"[*] --> {machine.first}",
        *(f"{state} --> {target} : {', '.join(names)}" for (state, target), names in events.items()),
        *(f"{state} --> [*]" for state in machine.final),
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *(f"    {line}" for line in lines), "```"])


def draw_table(machine: Machine) -> str:
    """A Markdown table, one row an arrow: a grid of all states and events would be wide and mostly empty."""
    rows = (f"| {state} | {event} | {target} |" for state, event, target in machine.arrows)
    return "\n".join(["| State | Event | Next state |", "|---|---|---|", *rows])


DRAWINGS: Final[Mapping[str, str]] = {
    "execution diagram": draw_diagram(EXECUTION),
    "execution arrows": draw_table(EXECUTION),
    "task diagram": draw_diagram(TASK),
    "task arrows": draw_table(TASK),
}

# A block never reaches over another comment: one whose end was lost is left alone, and does not swallow what follows.
_BLOCK: Final = re.compile(
    rf"(?P<head><!-- drawn from orchestrator\.model\.states: (?P<name>{'|'.join(DRAWINGS)}) -->\n)"
    r"(?:(?!<!--).)*(?P<end><!-- end -->)",
    re.DOTALL,
)


def redraw(page: str) -> str:
    """The page with what the tables say now in each of its blocks."""
    return _BLOCK.sub(lambda block: f"{block['head']}\n{DRAWINGS[block['name']]}\n\n{block['end']}", page)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(redraw(path.read_text()))

"""What the measured executions are made of: tasks that do nothing, so that only the way to them and back is measured.

A heavy one is one message and one claim; its light twin runs in line. Workers load this module, so it is also where the
count of their statements begins, if one is asked for.
"""

from __future__ import annotations

from benchmarks.payload import turned
from benchmarks.statements import count_if_asked
from orchestrator import task_type

count_if_asked()


@task_type("bench.noop")
def noop() -> None:
    pass


@task_type("bench.noop_light", light=True)
def noop_light() -> None:
    pass


@task_type("bench.carry")
def carry(text: str) -> dict[str, str]:
    return {"text": turned(text)}


@task_type("bench.carry_light", light=True)
def carry_light(text: str) -> dict[str, str]:
    return {"text": turned(text)}

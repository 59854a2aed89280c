"""What the measured executions are made of: tasks that do nothing, so that only the way to them and back is measured.

A heavy one is one message and one claim; its light twin runs in line.
"""

from __future__ import annotations

from orchestrator import task_type


@task_type("bench.noop")
def noop() -> None:
    pass


@task_type("bench.noop_light", light=True)
def noop_light() -> None:
    pass

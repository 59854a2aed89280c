"""Task types of a user, as a module of his own registers them, and some that wait until a test lets them go."""

import os
from pathlib import Path

from orchestrator import TaskContext, task_type


@task_type("billing.export")
def export(month: str, limit: int = 100) -> dict[str, object]:
    return {"exported": limit, "file": f"{month}.csv"}


@task_type("billing.round", light=True)
def round_off(amount: float, digits: int = 0) -> dict[str, float]:
    return {"rounded": round(amount, digits)}


@task_type("billing.fail")
def fail(reason: str) -> None:
    raise ValueError(reason)


@task_type("billing.names")
def names(key: str) -> dict[str, str]:
    return {key: "x"}


@task_type("tests.nothing")
def nothing() -> None:
    pass


@task_type("tests.light", light=True)
def light() -> None:
    pass


@task_type("tests.note")
def note(ledger: str, context: TaskContext) -> None:
    """One line for each time that it runs."""
    with Path(ledger).open("a") as file:
        file.write(f"{context.execution_id} {context.task_number} {context.attempt}\n")


@task_type("tests.gate")
def gate(folder: str, context: TaskContext) -> None:
    """Say that it is here, and wait until the test opens the gate."""
    with Path(folder, "arrived").open("a") as file:
        file.write(f"{context.task_number}\n")
    os.close(os.open(Path(folder, "gate"), os.O_RDONLY))  # waits for a writer


@task_type("tests.append", light=True)
def append(before: str, item: str) -> dict[str, str]:
    return {"after": f"{before}{item}", "item": item.upper()}


@task_type("tests.count", light=True)
def count(before: int) -> dict[str, int]:
    return {"after": before + 1}


@task_type("tests.begun")
def begun(ledger: str, context: TaskContext) -> None:
    """Note when it was claimed, by the database's clock. One write: lines of several processes do not mix."""
    with Path(ledger).open("a") as file:
        file.write(f"{context.execution_id} {context.now.isoformat()}\n")

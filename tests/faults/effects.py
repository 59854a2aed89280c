"""Task types with an effect outside: a line in a ledger, written as one append before anything else is done.

After it the task does as it is told:

    hold            waits until the test lets its label go
    sleep:0.2       takes so many seconds
    fail:2          fails the first two tries, with code 503
    die:2           its process ends at the first two tries, as by kill -9
    late            waits like hold, whatever is raised in it, and is done then
    memory          takes all memory that its process may have, which is little

A try is a line of the ledger with the same execution and task number: what was lost counts as well.
"""

import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path

from orchestrator import TaskContext, task_type
from orchestrator.errors import TaskError
from tests.faults.ledger import Line, read_lines, write_line

PAUSE_S = 0.02
MEMORY_BYTES = 64 * 1024 * 1024


@task_type("faults.effect")
def effect(folder: str, context: TaskContext, label: str = "", does: str = "") -> dict[str, int]:
    line = Line(context.execution_id, context.task_number, context.attempt, os.getpid(), label or "-")
    write_line(Path(folder), line)
    word, _, detail = does.partition(":")
    tries = sum(each.task == line.task for each in read_lines(Path(folder)))
    match word:
        case "hold":
            _wait_for(Path(folder, f"{label}.go"))
        case "sleep":
            time.sleep(float(detail))
        case "fail" if tries <= int(detail):
            raise TaskError(f"try {tries} fails", 503)
        case "die" if tries <= int(detail):
            os.kill(os.getpid(), signal.SIGKILL)
        case "late":
            _wait_whatever_is_raised(Path(folder, f"{label}.go"))
        case "memory":
            _use_up_memory()
    return {"tries": tries}


@task_type("faults.light", light=True)
def light(folder: str, item: int, context: TaskContext, label: str = "", does: str = "") -> dict[str, int]:
    """``die:7:3``: the process ends at the first three tries of item 7. A ledger of its own keeps those."""
    word, *numbers = does.split(":")
    if word == "die" and item == int(numbers[0]):
        tries = Path(folder, f"{label}.died")
        with tries.open("a") as file:
            file.write(f"{context.execution_id}\n")
        if len(tries.read_text().splitlines()) <= int(numbers[1]):
            os.kill(os.getpid(), signal.SIGKILL)
    return {"tries": item}


def _wait_whatever_is_raised(file: Path) -> None:
    while True:
        with suppress(BaseException):
            _wait_for(file)
            return


def _use_up_memory() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY_BYTES, before[1]))
    try:
        bytearray(2 * MEMORY_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _address_space() -> int:
    """Of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(PAUSE_S)

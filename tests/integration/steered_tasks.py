"""Task types that do as a test tells them: one word a try, the last one for all tries after it.

    ok          it is done
    fail        it fails with code 503; ``fail:404`` with another one
    hold        it waits until the test lets it go, and is done then; ``hold:fail`` fails then
    die         its process ends at once, as by kill -9
    deaf        it keeps the interpreter to itself: nothing can be raised in it
    ask         it waits as well, and notes in ``LABEL.told`` that it is cancelled when it asks for that
    stubborn    whatever is raised in it, it goes on

Tries are counted in the file ``LABEL`` of the folder, one line each, however often the attempt itself was counted.
"""

import itertools
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from orchestrator import TaskContext, task_type
from orchestrator.errors import TaskError

PAUSE_S = 0.02


@task_type("tests.steered")
def steered(folder: str, label: str, words: str, context: TaskContext) -> dict[str, int]:
    tries = _note(Path(folder), label, context)
    known = words.split()
    word, _, detail = known[min(tries, len(known)) - 1].partition(":")
    if word == "hold":
        while not Path(folder, f"{label}.go").exists():
            time.sleep(PAUSE_S)
        word, detail = detail or "ok", ""
    match word:
        case "fail":
            raise TaskError(f"try {tries} of {label} fails", int(detail) if detail.isdigit() else detail or 503)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "deaf":
            all(itertools.repeat(True))
        case "ask":
            _wait_and_ask(Path(folder, f"{label}.told"), context)
        case "stubborn":
            _go_on()
    return {"tries": tries}


@task_type("tests.square", light=True)
def square(item: int, hold: int, folder: str) -> dict[str, int]:
    """One item waits until it is let go; no light task should."""
    if item == hold:
        Path(folder, "held").touch()
        while not Path(folder, "go").exists():
            time.sleep(PAUSE_S)
    return {"square": item * item}


def _wait_and_ask(told: Path, context: TaskContext) -> None:
    try:
        while True:
            time.sleep(PAUSE_S)
    finally:
        if context.cancelled():
            told.touch()


def _go_on() -> None:
    while True:
        with suppress(BaseException):
            time.sleep(60)


def _note(folder: Path, label: str, context: TaskContext) -> int:
    path = folder / label
    with path.open("a") as file:
        file.write(f"{context.execution_id} {context.task_number} {context.attempt} {os.getpid()}\n")
    with (folder / "all").open("a") as file:
        file.write(f"{label}\n")
    return len(path.read_text().splitlines())

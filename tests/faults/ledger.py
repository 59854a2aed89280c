"""The ledger of a fault test: a file with a line for every effect that a task had, however the attempt ended.

It is what the database cannot know: whether code ran, in which process, how often. Lines are appended by one write
each, so they are whole whoever dies. The tasks of ``effects`` write it, tests read it and let tasks go.
"""

import os
from pathlib import Path
from typing import NamedTuple

from tests.flows import task
from tests.integration.waiting import until


class Line(NamedTuple):
    execution_id: str
    number: int
    attempt: int
    pid: int
    label: str

    @property
    def task(self):
        """Which task of which execution."""
        return self.execution_id, self.number


def write_line(folder, line):
    handle = os.open(folder / "ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, f"{' '.join(map(str, line))}\n".encode())
    finally:
        os.close(handle)


def read_lines(folder):
    path = folder / "ledger"
    found = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [Line(execution_id, *map(int, numbers), label) for execution_id, *numbers, label in found]


class Ledger:
    """The test's side of it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def task(self, number, does="", *, label="", **more):
        """A task config with an effect; ``label`` is what the test calls it by."""
        return task(number, "faults.effect", takes={"folder": str(self.folder), "label": label, "does": does}, **more)

    def lines(self, label=None):
        return [each for each in read_lines(self.folder) if label in (None, each.label)]

    def wait_for(self, label, tries=1, *, within_s=60.0):
        """The line of this try of the labelled task."""
        found = until(lambda: self.lines(label)[tries - 1 :], within_s=within_s, what=f"try {tries} of {label}")
        return found[0]

    def let_go(self, label):
        """What holds, and what will."""
        (self.folder / f"{label}.go").touch()

    def tries_of_light(self, label):
        """How often the one light task of this label ran that ends its process."""
        path = self.folder / f"{label}.died"
        return len(path.read_text().splitlines()) if path.exists() else 0

"""Running commands in tests: with folders of their own, and trees whose processes are known."""

import os
import sys
import threading
import uuid
from contextlib import suppress
from pathlib import Path

from orchestrator.artifacts import Artifacts
from orchestrator.processes import cgroup
from orchestrator.processes.run import run_command
from orchestrator.processes.spec import Command
from tests.integration.processes import Pipe, python, tagged

TREE = Path(__file__).with_name("tree_stand_in.py")
ENVIRONMENT = {"PATH": os.environ["PATH"]}


class Commands:
    """Runs commands for one attempt, whose name no other test has."""

    def __init__(self, folder):
        self.folder, self.runs = folder, folder / "runs"
        self.artifacts = Artifacts(str(folder / "artifacts"))
        self.attempt = f"{uuid.uuid4()}.1.1"
        self.pipe = Pipe(folder / "pipe")

    def run(self, *arguments, cancelled=bool, record=bool, with_cgroup=True, **options):
        """Run a command; ``options`` are those of ``Command``."""
        command = Command(tuple(map(str, arguments)), **{"environment": ENVIRONMENT, **options})
        return run_command(
            command,
            self.attempt,
            runs=self.runs,
            artifacts=self.artifacts,
            cancelled=cancelled,
            record=record,
            with_cgroup=with_cgroup,
        )

    def python(self, code, **options):
        """Run a piece of Python."""
        return self.run(sys.executable, "-I", "-S", "-c", code, **options)

    def tree(self, kind):
        """The command that leaves processes behind, see ``tree_stand_in``."""
        return python("-I", "-S", TREE, kind, self.pipe.path)

    def start(self, *arguments, **options):
        """Run a command in a thread until it is told to stop."""
        return Running(self, arguments, options)

    def pids(self, count):
        """The first processes of a tree that have said theirs."""
        return [int(self.pipe.line()) for _ in range(count)]

    def left(self):
        """What is left of it anywhere: processes, folders of runs, control groups."""
        folders = [each.name for each in self.runs.iterdir() if each.is_dir()]
        groups = [each.name for each in cgroup.left_groups() if each.name in folders]
        return tagged(self.attempt), folders, groups


class Running:
    """A command that runs in a thread."""

    def __init__(self, commands, arguments, options):
        self._stopped, self._outcomes = threading.Event(), []
        self._thread = threading.Thread(target=self._run, args=(commands, arguments, options))
        self._thread.start()

    def _run(self, commands, arguments, options):
        with suppress(SystemExit):
            self._outcomes.append(commands.run(*arguments, cancelled=self._stopped.is_set, **options))

    def stop(self):
        """Have it stopped; returns at once."""
        self._stopped.set()

    def outcome(self):
        self._thread.join()
        return self._outcomes[0]


def said(outcome, stream="stdout"):
    """What a command said."""
    return outcome.outputs[stream].kept.text

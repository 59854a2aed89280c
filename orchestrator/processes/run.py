"""Run one command so that nothing it started outlives it, whatever dies: the command, the runner, the shim.

    run (a worker's process)          the runner: starts the shim, waits, keeps what came out
     └─ shim                          supervises; ends all of it when the runner dies
         └─ command                   killed by the kernel when the shim dies
             └─ what it started       the shim's if it gets away from the command

    dies             then
    the command      the shim ends what is left of it, and reports
    the runner       the shim ends everything; a sweeper keeps what came out
    the shim         the kernel kills the command; the runner ends what has its tag
    both at once     the kernel kills the command; a sweeper ends what has its tag, and keeps what came out

An exception that comes up in the runner while it waits - the guard's, Ctrl-C - stops the command first and goes on
then: after ``run_command``, in whichever way it ends, the command is no more. (At a second exception the shim is left
to see to it alone.)

Linux only. Call it from a thread that stays: the kernel takes the end of the thread that started the shim for the end
of the runner.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from orchestrator.artifacts import Artifacts
from orchestrator.errors import InvalidValue
from orchestrator.processes.folders import RunFolder, new_run_folder
from orchestrator.processes.outputs import Output, store_outputs
from orchestrator.processes.spec import TAG, Command, Ending, Report, parse_report, to_json, to_line
from orchestrator.processes.sweep import sweep_tag

ASK_EVERY_S: Final = 0.25  # how often it is asked whether to stop
_SHIM: Final = Path(__file__).with_name("shim.py")
_CHUNK: Final = 65_536


class Outcome(NamedTuple):
    """How a command ended, and what it said, by stream."""

    report: Report
    outputs: Mapping[str, Output]

    def to_details(self) -> dict[str, Any]:
        """The facts as a JSON document, for the history of an attempt."""
        report = self.report
        facts = {
            "ending": report.ending.value,
            "pid": report.pid,
            "exitCode": report.exit_code,
            "signal": None if report.signal is None else _signal_name(report.signal),
            "seconds": report.seconds,
            "terminated": report.terminated,
            "killed": report.killed,
            "reaped": report.reaped,
            "limit": report.limit,
        }
        outputs = {name: _to_details(output) for name, output in self.outputs.items()}
        return {key: fact for key, fact in (facts | outputs).items() if fact not in (None, {})}


def run_command(
    command: Command,
    attempt: str,
    *,
    runs: Path,
    artifacts: Artifacts,
    cancelled: Callable[[], bool] = bool,
    record: Callable[[Mapping[str, Any]], object] = bool,
    with_cgroup: bool = True,
) -> Outcome:
    """Run a command to its end, and to the end of everything it started.

    Args:
        command: what to run.
        attempt: whose it is, ``<execution>.<task>.<attempt>``.
        runs: where the folders of runs are, absolute.
        artifacts: the store that takes the output.
        cancelled: asked now and then; the command is stopped when it says so.
        record: told the pid at the start, and all facts at the end, in whichever way that comes.
        with_cgroup: whether a control group is used where there may be one.

    Raises:
        InvalidValue: this is no command that can be run.
        OSError: there is no room for a run's folder, or no process to be had.
    """
    _check(command)
    folder, label = new_run_folder(runs, attempt, most_output_bytes=command.most_output_bytes)
    command = command._replace(folder=command.folder or str(folder.work))
    shim = None
    try:
        shim = _Shim(folder, label.tag)

        def finish() -> Outcome:
            report = shim.wait(record=record)
            outcome = Outcome(report, store_outputs(folder.path, label, artifacts, report=report))
            record(outcome.to_details())
            return outcome

        try:
            shim.begin(command, with_cgroup=with_cgroup)
            shim.wait(cancelled, record=record)
            return finish()
        except BaseException:
            shim.stop()
            finish()
            raise
    finally:
        if shim is not None:
            shim.close()
        folder.remove()


class _Shim:
    """The runner's side of a shim. Each method may be interrupted by an exception and called again."""

    def __init__(self, folder: RunFolder, tag: str) -> None:
        self._folder, self._tag = folder, tag
        self._pid: int | None = None
        self._report: Report | None = None
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", "-X", "utf8", str(_SHIM), str(os.getpid()), tag],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # What an interpreter may need to be loaded at all; no other module reads the environment.
                env={name: path for name, path in os.environ.items() if name == "LD_LIBRARY_PATH"},
                cwd="/",
                umask=0o077,
                start_new_session=True,
                pass_fds=(folder.lock,),
            )

    def begin(self, command: Command, *, with_cgroup: bool) -> None:
        """Have the command started."""
        orders = {
            "command": to_json(command),
            "folder": str(self._folder.path),
            "lock": self._folder.lock,
            "withCgroup": with_cgroup,
        }
        with suppress(BrokenPipeError, ConnectionResetError):  # it has died: wait says so
            self._socket.sendall(to_line(orders))

    def stop(self) -> None:
        """Have it end everything; it goes on to tell how that went."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def wait(
        self, cancelled: Callable[[], bool] | None = None, *, record: Callable[[Mapping[str, Any]], object]
    ) -> Report:
        """Until nothing of the command is left; ``cancelled`` is asked until it says so once."""
        while self._report is None:
            if select.select([self._socket], [], [], ASK_EVERY_S)[0]:
                self._hear(record)
            elif cancelled is not None and cancelled():
                self.stop()
                cancelled = None
        return self._report

    def close(self) -> None:
        """Let go of it. One that is still there ends everything by itself."""
        self._socket.close()
        self._process.poll()

    def _hear(self, record: Callable[[Mapping[str, Any]], object]) -> None:
        try:
            said = self._socket.recv(_CHUNK)
        except ConnectionResetError:
            said = b""
        if not said:
            self._process.wait()
            # What it said may have been lost with an exception that came up just here.
            self._report = self._folder.report or self._end_without_it()
        for line in said.splitlines():
            match _parse(line):
                case {"started": int(pid)}:
                    self._pid = pid
                    record({"pid": pid})
                case {"report": dict(report)}:
                    self._process.wait()
                    self._report = parse_report(report)
                case {"failed": str(reason)}:
                    self._process.wait()
                    self._report = Report(Ending.SHIM_DIED, pid=self._pid, reason=reason)

    def _end_without_it(self) -> Report:
        killed = sweep_tag(self._tag)
        return Report(
            Ending.SHIM_DIED, pid=self._pid, killed=killed, reason="the process that supervised it was killed"
        )


def _parse(line: bytes) -> object:
    with suppress(ValueError):  # the rest of a line whose beginning was lost
        return json.loads(line)
    return None


def _check(command: Command) -> None:
    if not command.arguments or not command.arguments[0]:
        raise InvalidValue("command", repr(command.arguments)[:60], "a program and its arguments")
    for name, text in [("argument", each) for each in command.arguments] + list(command.environment.items()):
        if "\0" in text or not _is_encodable(text):
            raise InvalidValue(name, repr(text)[:60], "text without NUL and lone surrogates")
    for name in command.environment:
        if not name or "=" in name or "\0" in name or not _is_encodable(name) or name == TAG:
            raise InvalidValue("environment", repr(name)[:60], f"the name of a variable, and not {TAG}")
    if command.folder is not None and not os.path.isabs(command.folder):
        raise InvalidValue("working directory", repr(command.folder)[:60], "an absolute path")


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")  # as the system's own strings are
    except UnicodeEncodeError:
        return False
    return True


def _to_details(output: Output) -> dict[str, Any]:
    facts = {"artifact": output.artifact, "bytes": output.size_bytes, "error": output.error}
    if output.kept.left_out:
        facts["leftOut"] = output.kept.left_out
    return {key: fact for key, fact in facts.items() if fact}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"

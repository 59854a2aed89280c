"""What a command is and how it ended: the values that the runner and the shim hand to each other, as JSON.

Named tuples and not dataclasses, because the shim imports this at its start, and ``dataclasses`` alone would take it a
quarter of that time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

TAG: Final = "ORCHESTRATOR_ATTEMPT"
"""The environment variable that says whose a process is: ``<execution>.<task>.<attempt>/<random>``."""

GRACE_S: Final = 5.0
MOST_OUTPUT_BYTES: Final = 1024 * 1024
STREAMS: Final = ("stdout", "stderr")
REPORT: Final = "report.json"  # in the run's folder, for the sweeper if the runner is gone


class Limits(NamedTuple):
    """What each process of a command may use (``setrlimit``); None is what its worker may.

    Attributes:
        memory_bytes: of address space. More is refused: programs fail to allocate, most end by that.
        cpu_s: of processor time. SIGXCPU ends who has used it up.
        open_files: at a time.
        file_bytes: of one file. SIGXFSZ ends who writes past it.
        processes: of the worker's *user*, on the whole machine. It does not bind root.
    """

    memory_bytes: int | None = None
    cpu_s: int | None = None
    open_files: int | None = None
    file_bytes: int | None = None
    processes: int | None = None


class Command(NamedTuple):
    """One command, as it is to be run.

    Attributes:
        arguments: the program, looked up in PATH, and its arguments; no shell reads them.
        environment: all of it. The tag is added.
        folder: the working directory, absolute; None for a new one that is gone afterwards.
        timeout_s: how long it may take; None for as long as it likes.
        grace_s: between SIGTERM and SIGKILL.
        limits: what its processes may use.
        most_output_bytes: what is kept of stdout, and of stderr: the beginning and the newest.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str | None = None
    timeout_s: float | None = None
    grace_s: float = GRACE_S
    limits: Limits = Limits()
    most_output_bytes: int = MOST_OUTPUT_BYTES


class Ending(StrEnum):
    """Why the processes of a command were ended."""

    FINISHED = "finished"  # the command ended by itself
    TIMEOUT = "timeout"
    STOPPED = "stopped"
    PARENT_DIED = "parent died"
    SHIM_DIED = "shim died"
    NOT_STARTED = "not started"


class Report(NamedTuple):
    """How a command ended. By the time that there is a report, nothing that the command started is alive.

    Attributes:
        ending: why it ended.
        pid: of the command.
        exit_code: of the command; None if a signal ended it.
        signal: that ended the command; None if it exited.
        seconds: from the start to the end of the last process.
        terminated: how many processes were sent SIGTERM, to end them.
        killed: how many were sent SIGKILL, because that did not help.
        reaped: how many ended processes were taken note of: the command, and what it had left without a parent.
        limit: what it ran into, where that can be known: "cpu", "file size", or "oom" for the kernel's out-of-memory
            killer.
        output_bytes: what came out of stdout and stderr, kept or not.
        output_errors: why some of it could not be kept on its way here, by stream.
        reason: why it was not started.
    """

    ending: Ending
    pid: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    seconds: float = 0.0
    terminated: int = 0
    killed: int = 0
    reaped: int = 0
    limit: str | None = None
    output_bytes: Mapping[str, int] = {}
    output_errors: Mapping[str, str] = {}
    reason: str | None = None


def to_json(item: Command | Report) -> dict[str, Any]:
    """The inverse of ``parse_command`` and ``parse_report``."""
    document = item._asdict()
    if isinstance(item, Command):
        document |= {"limits": item.limits._asdict(), "environment": dict(item.environment)}
    return document


def parse_command(document: Mapping[str, Any]) -> Command:
    """A command as ``to_json`` writes it."""
    limits = Limits(**document["limits"])
    return Command(**{**document, "arguments": tuple(document["arguments"]), "limits": limits})


def parse_report(document: Mapping[str, Any]) -> Report:
    """A report as ``to_json`` writes it."""
    return Report(**{**document, "ending": Ending(document["ending"])})


def to_line(message: Mapping[str, Any]) -> bytes:
    """A message between runner and shim: one line of JSON."""
    return json.dumps(message).encode() + b"\n"

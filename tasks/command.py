"""Command: one program on the worker's machine, and the end of everything that it starts.

What it takes from the task: ``command`` (a list: the program and its arguments), ``environment``,
``workingDirectory``, ``timeoutMs``, ``graceMs``, ``limits``, ``successExitCodes``. What it gives: ``exitCode``,
``stdoutTail``, ``stderrTail`` and ``artifacts``, each into the parameter that the task names. The type and its
parameters are ours.

How the program is run, and why nothing of it outlives the attempt, is in ``orchestrator.processes``. A report of that
is noted in the attempt's history in whichever way it ends.

What must not happen: a shell that reads a parameter; something left out because a reference leads to nothing; or an end
of the worker's process before the program has had its grace.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from orchestrator.artifacts import Artifacts
from orchestrator.errors import InvalidValue, TaskError
from orchestrator.model.json_text import Json, parse_json_text, shown
from orchestrator.model.parameters import references_in
from orchestrator.model.task_types import TASK_TYPES, Done, TaskContext, TaskType
from orchestrator.model.values import DataType, Value, text_of
from orchestrator.processes.run import Outcome, run_command
from orchestrator.processes.spec import GRACE_S, MOST_OUTPUT_BYTES, Command, Ending, Limits, Report
from orchestrator.processes.spool import Kept
from tasks.parameter_map import parse_pairs

MAX_GRACE_MS: Final = 3_600_000
MAX_TIMEOUT_MS: Final = 365 * 86_400_000
MAX_OUTPUT_BYTES: Final = 64 * 1024 * 1024
TAIL_BYTES: Final = 10_000  # of what a stream said last, in a parameter
LAST_WORDS_CHARS: Final = 2_000  # likewise, in an error's message
AFTER_GRACE_S: Final = 10.0  # from SIGKILL until the output is in the store
LIMITS: Final = {
    "memoryBytes": "memory_bytes",
    "cpuSeconds": "cpu_s",
    "openFiles": "open_files",
    "fileBytes": "file_bytes",
    "processes": "processes",
}
_OUTPUT_LIMIT: Final = "outputBytes"


def run(context: TaskContext) -> Done:
    """Run the program to its end.

    Raises:
        TaskError: INVALID_ARGUMENT for what the task asks; how the program ended, if that was not well.
    """
    if not sys.platform.startswith("linux"):
        raise TaskError("commands run on Linux only; give the task an executor there", "FAILED_PRECONDITION")
    try:
        command, exit_codes = _command(context), _exit_codes(context.value("successExitCodes"))
        context.set_grace(command.grace_s + AFTER_GRACE_S)
        outcome = run_command(
            command,
            f"{context.execution_id}.{context.task_number}.{context.attempt}",
            runs=context.surroundings.runs,
            artifacts=Artifacts(context.surroundings.artifacts_url),
            cancelled=context.cancelled,
            record=context.record,
        )
    except InvalidValue as error:
        raise TaskError(str(error), "INVALID_ARGUMENT") from error
    except OSError as error:
        raise TaskError(f"no command can be run here: {error}", "RESOURCE_EXHAUSTED") from error
    _check_end(outcome, command, exit_codes)
    return _done(context, outcome)


# -- how it ended --------------------------------------------------------------------------------------------------


def _check_end(outcome: Outcome, command: Command, exit_codes: frozenset[int]) -> None:
    report, name = outcome.report, os.path.basename(command.arguments[0])  # noqa: PTH119 - any text
    if report.ending is Ending.FINISHED and report.exit_code in exit_codes:
        return
    what, code = _failure(report, command)
    words = _last_words(outcome)
    raise TaskError(f"{name} {what}{f'; it said last: {words}' if words else ''}", code)


def _failure(report: Report, command: Command) -> tuple[str, str]:
    """What happened, and the code that a retry policy sees."""
    match report.ending:
        case Ending.NOT_STARTED:
            return f"could not be started ({report.reason})", "COMMAND_NOT_STARTED"
        case Ending.TIMEOUT:
            return f"took longer than its timeout of {command.timeout_s:g} s", "COMMAND_TIMEOUT"
        case Ending.FINISHED if report.limit is not None:
            return f"ran into a limit: {report.limit}", "RESOURCE_EXHAUSTED"
        case Ending.FINISHED if report.exit_code is not None:
            return f"ended with exit code {report.exit_code}", f"EXIT_CODE_{report.exit_code}"
        case Ending.FINISHED:
            return f"was ended by signal {report.signal}", f"SIGNAL_{report.signal}"
        case Ending.SHIM_DIED:
            return f"was lost: {report.reason}", "COMMAND_LOST"
        case _:
            return "was stopped", "CANCELLED"


def _last_words(outcome: Outcome) -> str:
    """The last lines of stderr; of stdout, if there are none."""
    texts = [_tail(outcome.outputs[stream].kept) for stream in ("stderr", "stdout")]
    return next((text.strip()[-LAST_WORDS_CHARS:] for text in texts if text.strip()), "")


def _done(context: TaskContext, outcome: Outcome) -> Done:
    outputs = outcome.outputs
    artifacts: Json = {stream: each.artifact for stream, each in outputs.items() if each.artifact is not None}
    values = {
        "exitCode": Value(DataType.INT, outcome.report.exit_code),
        "stdoutTail": Value(DataType.STRING, _tail(outputs["stdout"].kept)),
        "stderrTail": Value(DataType.STRING, _tail(outputs["stderr"].kept)),
        "artifacts": Value(DataType.JSON, artifacts),
    }
    names = {key: context.output_name(key) for key in values}
    return Done(outputs={name: values[key] for key, name in names.items() if name})


def _tail(kept: Kept) -> str:
    """What a stream said last, as text; it begins with a whole line if it is not all."""
    newest = kept.last(TAIL_BYTES)
    if kept.left_out or len(newest) < len(kept.head) + len(kept.tail):
        newest = newest[newest.find(b"\n") + 1 :] or newest
    return newest.decode("utf-8", "replace").replace("\0", "\ufffd")  # which no database takes


# -- what is asked for ---------------------------------------------------------------------------------------------


def _command(context: TaskContext) -> Command:
    given = {key: _given(context, key) for key in context.config}
    limits, most_output_bytes = _limits(given.get("limits"))
    return Command(
        arguments=_arguments(given.get("command")),
        environment={**context.surroundings.environment, **_environment(given.get("environment"))},
        folder=context.text("workingDirectory") or None,
        timeout_s=_timeout_s(given.get("timeoutMs")),
        grace_s=_grace_s(given.get("graceMs")),
        limits=limits,
        most_output_bytes=most_output_bytes,
    )


def _given(context: TaskContext, key: str) -> Value | None:
    value = context.value(key)
    if value is None and key in READERS:
        raise InvalidValue(key, "a reference to nothing", "a value")
    return value


def check(config: Mapping[str, Value]) -> Iterable[str]:
    """The command is there and a list, numbers are numbers; what holds a reference is left to the run."""
    if "command" not in config:
        yield "command is missing: a list of the program and its arguments"
    for key, read in READERS.items():
        written = config.get(key)
        if written is not None and not references_in(text_of(written)):
            try:
                read(written)
            except InvalidValue as error:
                yield str(error)


def _arguments(value: Value | None) -> tuple[str, ...]:
    found = None if value is None else value.python
    if not isinstance(found, list) or not found:
        raise InvalidValue("command", shown(found), 'a list such as ["ls", "-l"]: no shell takes a line apart')
    return tuple(_text(item, f"command[{position}]") for position, item in enumerate(found))


def _environment(value: Value | None) -> dict[str, str]:
    return {name: _text(item, f"environment {name!r}") for name, item in parse_pairs(value, "environment")}


def _text(item: Json, place: str) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, int | float) and not isinstance(item, bool):
        return str(item)
    found = "a reference to nothing" if item is None else shown(item)
    raise InvalidValue(place, found, "a text or a number")


def _limits(value: Value | None) -> tuple[Limits, int]:
    """The limits of the processes, and the cap of what is kept of a stream."""
    document: Json = None if value is None else value.python
    if isinstance(document, str):
        document = parse_json_text(document, "limits")
    if not isinstance(document, dict | None):
        raise InvalidValue("limits", shown(document), "a JSON object")
    found = dict(document or {})
    most = _whole(found.pop(_OUTPUT_LIMIT, MOST_OUTPUT_BYTES), f"limits.{_OUTPUT_LIMIT}", MAX_OUTPUT_BYTES)
    for key in found:
        if key not in LIMITS:
            raise InvalidValue(f"limits.{key}", "an unknown limit", f"one of {', '.join([*LIMITS, _OUTPUT_LIMIT])}")
    return Limits(**{LIMITS[key]: _whole(each, f"limits.{key}", 2**62) for key, each in found.items()}), most


def _exit_codes(value: Value | None) -> frozenset[int]:
    found = [0] if value is None else value.python
    items = found if isinstance(found, list) else [found]
    return frozenset(_whole(item, "successExitCodes", 255, least=0) for item in items)


def _timeout_s(value: Value | None) -> float | None:
    return None if value is None else _whole(value.python, "timeoutMs", MAX_TIMEOUT_MS) / 1000


def _grace_s(value: Value | None) -> float:
    return GRACE_S if value is None else _whole(value.python, "graceMs", MAX_GRACE_MS, least=0) / 1000


def _whole(found: Json, place: str, most: int, *, least: int = 1) -> int:
    """A whole number, or the digits of one (int64 in JSON)."""
    number = int(found) if isinstance(found, str) and re.fullmatch(r"[0-9]{1,19}", found) else found
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, int) and not isinstance(number, bool) and least <= number <= most:
        return number
    raise InvalidValue(place, shown(found), f"a whole number from {least} to {most}")


READERS: Final[Mapping[str, Callable[[Value], object]]] = {
    "command": _arguments,
    "environment": _environment,
    "timeoutMs": _timeout_s,
    "graceMs": _grace_s,
    "limits": _limits,
    "successExitCodes": _exit_codes,
}

TASK_TYPES.add(TaskType(name="CommandTask", run=run, celery_name="tasks.command", check=check))

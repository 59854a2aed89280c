"""The command line: each command parses its arguments, calls one service and prints what it answers.

Exit codes: 0 SUCCEEDED (or: done, nothing is broken); 1 FAILED, or something did not answer, was not found or took too
long; 2 usage, a setting, a definition or an input that cannot be used, with nothing started or stored; 3 CANCELLED;
4 SUSPENDED; 130 Ctrl-C; 143 SIGTERM. Errors are one message on stderr; a traceback is a bug of ours.

Everything that takes time to import is imported inside the command that needs it: ``--help`` has to be quick.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from orchestrator.errors import (
    DefinitionError,
    ExecutionNotFound,
    InputError,
    InvalidValue,
    OrchestratorError,
    SchemaOutdated,
    SettingsError,
    UnreadableDefinition,
)
from orchestrator.model.states import ExecutionState

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.client import Orchestrator
    from orchestrator.model.execution import Execution
    from orchestrator.model.integration import IntegrationVersion
    from orchestrator.model.values import Value
    from orchestrator.runtime.doctor import Finding
    from orchestrator.settings import Settings

EXIT_CODES: Final = {
    ExecutionState.SUCCEEDED: 0,
    ExecutionState.FAILED: 1,
    ExecutionState.CANCELLED: 3,
    ExecutionState.SUSPENDED: 4,
}
EXIT_PROBLEM: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
_EXECUTOR_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")  # as for executorId in a definition: it names a queue
_OVERRIDE: Final = re.compile(r"(.+?)=([A-Za-z][A-Za-z0-9+.-]*://.*)")  # the prefix itself may hold an equals sign


class _Commands(TyperGroup):
    """The commands, with one place where errors become a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except (DefinitionError, InputError, SettingsError) as error:
            _fail(error, EXIT_USAGE)
        except OrchestratorError as error:
            _fail(error, EXIT_PROBLEM)
        except BrokenPipeError:
            raise  # typer ends quietly: whoever read our output has enough
        except OSError as error:  # a folder that cannot be written, a disk that is full
            _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error), EXIT_PROBLEM)
        except KeyboardInterrupt:
            _fail("interrupted", EXIT_INTERRUPTED)


def _fail(reason: object, code: int) -> NoReturn:
    _say(f"error: {reason}")
    raise typer.Exit(code)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _print_json(document: Mapping[str, object]) -> None:
    typer.echo(json.dumps(document, indent=2, allow_nan=False))  # ASCII: any terminal and any locale can take it


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
database_commands = typer.Typer(no_args_is_help=True, help="Look after the database.")
app.add_typer(database_commands, name="db")


def main() -> None:
    """Where the command ``orchestrator`` begins."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a locale without a letter is no reason to fail
    app(prog_name="orchestrator")


# -- arguments that several commands take --------------------------------------------------------------------------


def _checked_executor(name: str) -> str:
    if not _EXECUTOR_ID.fullmatch(name):
        raise typer.BadParameter("1 to 200 letters, digits, '_', '.' and '-'")
    return name


File = Annotated[Path, typer.Argument(metavar="FILE", help="A definition, JSON or YAML.", show_default=False)]
Home = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="Folder of the database and everything local; ORCHESTRATOR_HOME."),
]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", metavar="MODULE", help="Module that registers task types; may be repeated."),
]
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the integration, if not the file's own.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, all else on stderr.")]
Executor = Annotated[
    str, typer.Option("--executor", metavar="NAME", callback=_checked_executor, help="A named pool of workers.")
]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", metavar="N", min=1, help="Processes of one worker; 4 if nothing says so.")
]


def _settings(home: Path | None = None, include: Iterable[str] | None = None, **more: object) -> Settings:
    """The environment's settings, and over them what the command line names."""
    from orchestrator.settings import Settings, unknown_variables

    for variable in unknown_variables():
        _say(f"warning: no setting reads {variable}; is it misspelt?")
    given = {"home": home, "include": tuple(include or ()) or None, **more}
    return Settings(**{key: value for key, value in given.items() if value is not None})


def _show_version(*, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"orchestrator {version('orchestrator')}")
        raise typer.Exit


@app.callback()
def _orchestrator(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=lambda wanted: _show_version(wanted=wanted))
    ] = False,
) -> None:
    """Durable, inspectable, killable executions of task graphs on Celery."""


# -- definitions ---------------------------------------------------------------------------------------------------


@app.command()
def validate(file: File, include: Include = None, name: Name = "") -> None:
    """Check a definition without running it. Exit code 0 if it can run, 2 if not."""
    from orchestrator.client import Orchestrator

    orchestrator = Orchestrator(_settings(include=include))
    version = orchestrator.read(file, name=name)
    for warning in orchestrator.check(version):
        _say(f"warning: {warning}")
    tasks, triggers = len(version.tasks), ", ".join(trigger.id for trigger in version.triggers) or "none"
    typer.echo(f"{file}: integration {version.name!r} is valid ({tasks} tasks; triggers: {triggers})")


@app.command()
def run(
    file: File,
    *,
    trigger: Annotated[
        str | None,
        typer.Option("--trigger", metavar="T", help="Which trigger; not needed if there is one API trigger."),
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="K=V", help="An input parameter; may be repeated.")
    ] = None,
    params: Annotated[
        Path | None, typer.Option("--params", metavar="FILE", help="Input parameters: a JSON or YAML object.")
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="FILE", help="A definition that this one calls, FILE or NAME=FILE; repeatable."),
    ] = None,
    name: Name = "",
    as_json: AsJson = False,
    include: Include = None,
    override_url: Annotated[
        list[str] | None,
        typer.Option("--override-url", metavar="PREFIX=URL", help="Send REST calls elsewhere; may be repeated."),
    ] = None,
    executor: Executor = "default",
    concurrency: Concurrency = None,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", metavar="S", min=0, help="Give up waiting after so many seconds.")
    ] = None,
    home: Home = None,
) -> None:
    """Run a definition and wait for its end, with a broker and workers of its own if none are configured.

    Exit code 0 SUCCEEDED, 1 FAILED, 2 invalid definition or input, 3 CANCELLED, 4 SUSPENDED.
    """
    from orchestrator.client import Orchestrator
    from orchestrator.runtime.children import signals_as_exit

    settings = _settings(home, include, concurrency=concurrency)
    settings = settings.replaced(url_overrides=settings.url_overrides | dict(map(_parse_override, override_url or ())))
    if not settings.is_embedded and (override_url or concurrency):
        _say("warning: --override-url and --concurrency do nothing here: the broker's workers have their own settings")
    orchestrator = Orchestrator(settings, say=_say)
    version = orchestrator.read(file, name=name)
    called = [_read_other(text, orchestrator) for text in others or ()]
    given = {**_read_params(params), **_parse_params(param or (), version)}
    _check(orchestrator, version, called, given, trigger=trigger)
    with signals_as_exit(), orchestrator:
        for other in called:
            orchestrator.publish(other)
        execution = _execute(
            orchestrator, version, given, trigger=trigger, executor=executor, timeout_s=timeout_s, as_json=as_json
        )
    raise typer.Exit(EXIT_CODES[execution.state])


def _execute(
    orchestrator: Orchestrator,
    version: IntegrationVersion,
    given: Mapping[str, object],
    *,
    trigger: str | None,
    executor: str,
    timeout_s: float | None,
    as_json: bool,
) -> Execution:
    """Start it, show it until it rests, and print the result at once: workers take a while to stop."""
    from orchestrator.store.rows import Method

    execution_id = orchestrator.submit(version, given, trigger=trigger, executor=executor, method=Method.POST)
    try:
        execution = _follow(orchestrator.watch(execution_id, timeout_s=timeout_s), _console(stderr=as_json))
    except KeyboardInterrupt:
        _say(f"stopping; execution {execution_id} stays as it is")
        raise
    if as_json:
        _print_json(execution.to_document())
    else:
        _print_outcome(execution)
    return execution


def _parse_override(text: str) -> tuple[str, str]:
    parts = _OVERRIDE.fullmatch(text)
    if parts is None:
        raise typer.BadParameter(f"found {text!r}, expected PREFIX=URL", param_hint="--override-url")
    return parts[1], parts[2]


def _read_other(text: str, orchestrator: Orchestrator) -> IntegrationVersion:
    """A definition of ``--with``: a file, or ``NAME=FILE``."""
    name, equals, file = text.partition("=")
    if not equals or Path(text).exists():  # a file's name may hold an equals sign
        name, file = "", text
    return orchestrator.read(Path(file), name=name)


def _read_params(file: Path | None) -> dict[str, object]:
    if file is None:
        return {}
    from orchestrator.model.definition_text import read_document

    place = f"parameters file {file}"
    try:
        return read_document(file.read_bytes(), str(file))
    except UnreadableDefinition as error:
        reason = error.reason.replace("an object with taskConfigs", "an object")  # what a definition would have been
        raise InvalidValue(place, reason, "parameters as a JSON or YAML object") from None
    except OSError as error:
        raise InvalidValue(place, f"nothing to read ({error.strerror})", "a JSON or YAML file") from None


def _parse_params(assignments: Iterable[str], version: IntegrationVersion) -> dict[str, Value]:
    from orchestrator.engine.inputs import parse_assignment

    return dict(parse_assignment(text, version) for text in assignments)


def _check(
    orchestrator: Orchestrator,
    version: IntegrationVersion,
    called: Iterable[IntegrationVersion],
    given: Mapping[str, object],
    *,
    trigger: str | None,
) -> None:
    """Everything that can be known beforehand, before anything is started or stored."""
    names = {version.name}
    for other in called:
        orchestrator.check(other)
        if other.name in names:
            raise typer.BadParameter(f"{other.name!r} is there twice: write NAME=FILE", param_hint="--with")
        names.add(other.name)
    orchestrator.check(version, given, trigger=trigger)


# -- executions ----------------------------------------------------------------------------------------------------


@app.command()
def get(
    execution_id: Annotated[str, typer.Argument(metavar="EXECUTION", help="Its id.", show_default=False)],
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Show an execution as it is now, with everything below it."""
    from orchestrator.client import Orchestrator

    settings = _settings(home)
    if _is_unused(settings):
        raise ExecutionNotFound(execution_id)
    with Orchestrator(settings, say=_say) as orchestrator:
        execution = orchestrator.get(execution_id)
    if as_json:
        _print_json(execution.to_document())
    else:
        _follow(iter([execution]), _console())
        _print_outcome(execution)


@app.command("list")
def list_executions(
    *,
    integration: Annotated[str | None, typer.Option("--integration", metavar="I", help="Only of this one.")] = None,
    state: Annotated[ExecutionState | None, typer.Option("--state", help="Only in this state.")] = None,
    children: Annotated[bool, typer.Option("--children", help="Sub-executions as well.")] = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """List the newest executions: a table on a terminal, lines with tabs elsewhere."""
    from orchestrator.client import Orchestrator

    settings, found = _settings(home), []
    if not _is_unused(settings):
        with Orchestrator(settings, say=_say) as orchestrator:
            found = orchestrator.list(integration=integration, state=state, with_children=children, limit=limit)
    if as_json:
        _print_json({"executions": [execution.to_document() for execution in found]})
    elif found:
        _print_list(found)
    else:
        _say("there is no such execution" if integration or state else f"nothing was executed in {settings.home} yet")


def _is_unused(settings: Settings) -> bool:
    """Whether the home has no database yet. To look into it would make one, in a folder that may be the wrong one."""
    return settings.database_url is None and not (settings.home / "orchestrator.db").exists()


# -- printing ------------------------------------------------------------------------------------------------------


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def _follow(executions: Iterator[Execution], console: Console) -> Execution:
    """Show an execution as it changes, to the end; returns what was seen last."""
    from orchestrator.render import PlainLog, to_tree

    if not console.is_terminal:
        log = PlainLog()
        for latest in executions:
            for line in log.news(latest):
                typer.echo(line, err=console.stderr)
        return latest

    from rich.live import Live

    latest = next(executions)
    rows = [max(10, console.height - 2)]  # what fits while it runs; at the end the rest may scroll

    def draw() -> Any:
        return to_tree(latest, now=datetime.now(UTC), max_rows=rows[0])

    with Live(get_renderable=draw, console=console, refresh_per_second=8):
        for latest in executions:  # noqa: B007 - draw() reads it, from the thread that refreshes
            pass
        rows[0] = 200
    return latest


def _print_outcome(execution: Execution) -> None:
    from orchestrator.render import to_outcome

    for line in to_outcome(execution):
        typer.echo(line)


def _print_list(executions: list[Execution]) -> None:
    from orchestrator.render import to_table, to_tabs

    console = _console()
    if console.is_terminal:
        console.print(to_table(executions))
        return
    for line in to_tabs(executions):
        typer.echo(line)


# -- running and looking after the system --------------------------------------------------------------------------


@app.command()
def worker(
    executor: Executor = "default",
    concurrency: Concurrency = None,
    include: Include = None,
    home: Home = None,
    log_level: Annotated[str, typer.Option("--log-level", metavar="LEVEL", help="As Celery has them.")] = "INFO",
) -> None:
    """Work for an executor until told to stop. Needs a configured broker."""
    from orchestrator.runtime.worker import run_worker

    settings = _settings(home, include, concurrency=concurrency)
    os.environ.update(settings.to_environment())  # Celery loads the app by itself, and that reads the environment
    run_worker(executor, concurrency=settings.concurrency, log_level=log_level)


@app.command()
def doctor(include: Include = None, home: Home = None) -> None:
    """Say what is reachable, what is not and what to do. Exit code 0 if nothing is broken, else 1."""
    from orchestrator.runtime.app import make_app
    from orchestrator.runtime.doctor import examine

    settings = _settings(home, include)
    findings = examine(
        settings,
        app=None if settings.is_embedded else make_app(settings),
        schema_check=lambda: _schema_problem(settings),
        task_type_count=_count_task_types(settings),
    )
    for finding in findings:
        _print_finding(finding)
    raise typer.Exit(EXIT_PROBLEM if any(finding.ok is False for finding in findings) else 0)


def _schema_problem(settings: Settings) -> str | None:
    from orchestrator.store.database import Database

    database = Database(settings.resolved_database_url)
    try:
        database.check_schema()
    except SchemaOutdated as error:
        return f"is {error.found}, this version needs {error.expected}"
    finally:
        database.close()
    return None


def _count_task_types(settings: Settings) -> int:
    """How many task types there are; none if a module of ``include`` cannot be imported."""
    from orchestrator.runtime.app import load_task_types

    try:
        return sum(1 for _ in load_task_types(settings.include))
    except SettingsError as error:
        _say(f"error: {error}")  # and go on: this is the command that looks at everything
        return 0


def _print_finding(finding: Finding) -> None:
    word, colour = {True: ("ok", "green"), None: ("warning", "yellow"), False: ("broken", "red")}[finding.ok]
    typer.echo(f"{typer.style(f'{word:8}', fg=colour)} {finding.name}: {finding.message}")
    if finding.remedy:
        typer.echo(f"{'':8} -> {finding.remedy}")


@database_commands.command()
def upgrade(home: Home = None) -> None:
    """Bring the database's schema to this version; safe at any time."""
    from orchestrator.settings import masked_url
    from orchestrator.store.database import Database

    url = _settings(home).resolved_database_url
    database = Database(url)
    try:
        database.upgrade()
        typer.echo(f"{masked_url(url)}: schema is {database.schema_version()}")
    finally:
        database.close()


@app.command()
def flower(
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=1, max=65535, help="Where it listens.")] = 5555,
    address: Annotated[str, typer.Option("--address", metavar="ADDRESS", help="Where it listens.")] = "127.0.0.1",
) -> None:
    """Run Flower for the configured broker, behind a login; one is made up and shown if none is configured."""
    from orchestrator.runtime.flower import USER, flower_command

    command = flower_command(_settings(), port=port, address=address)
    _say(f"Flower: http://{address}:{port}")
    if command.generated_password:
        _say(f"user {USER}, password {command.generated_password} (made up for this run)")
    sys.stderr.flush()
    os.execve(command.arguments[0], command.arguments, command.environment)  # noqa: S606 - Flower gets our signals

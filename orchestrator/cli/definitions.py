"""Commands that take a definition: validate, run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator.cli.app import EXIT_CODES, app, print_json, say
from orchestrator.cli.arguments import AsJson, Concurrency, Executor, File, Home, Include, Name, read_settings
from orchestrator.cli.executions import is_unused
from orchestrator.cli.printing import follow, make_console, print_outcome
from orchestrator.errors import ExecutionNotFound, InvalidValue, UnreadableDefinition
from orchestrator.model.states import ExecutionState

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.client import Orchestrator
    from orchestrator.model.execution import Execution
    from orchestrator.model.integration import IntegrationVersion
    from orchestrator.model.values import Value
    from orchestrator.settings import Settings

Trigger = Annotated[
    str | None,
    typer.Option("--trigger", metavar="T", help="Which trigger; not needed if there is one API trigger."),
]
Param = Annotated[list[str] | None, typer.Option("--param", metavar="K=V", help="An input parameter; may be repeated.")]
Params = Annotated[
    Path | None, typer.Option("--params", metavar="FILE", help="Input parameters: a JSON or YAML object.")
]
_OVERRIDE: Final = re.compile(r"(.+?)=([A-Za-z][A-Za-z0-9+.-]*://.*)")  # the prefix itself may hold an equals sign


@app.command()
def validate(file: File, include: Include = None, name: Name = "") -> None:
    """Check a definition without running it. Exit code 0 if it can run, 2 if not."""
    from orchestrator.client import Orchestrator

    orchestrator = Orchestrator(read_settings(include=include))
    version = orchestrator.read(file, name=name)
    for warning in orchestrator.check(version):
        say(f"warning: {warning}")
    tasks, triggers = len(version.tasks), ", ".join(trigger.id for trigger in version.triggers) or "none"
    typer.echo(f"{file}: integration {version.name!r} is valid ({tasks} tasks; triggers: {triggers})")


@app.command()
def run(
    file: File,
    *,
    trigger: Trigger = None,
    param: Param = None,
    params: Params = None,
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

    Exit code 0 SUCCEEDED, 1 FAILED, 2 invalid definition or input, 3 CANCELLED, 4 SUSPENDED or in quarantine.
    """
    from orchestrator.client import Orchestrator
    from orchestrator.runtime.children import signals_as_exit

    settings = read_settings(home, include, concurrency=concurrency)
    settings = settings.replaced(url_overrides=settings.url_overrides | dict(map(_parse_override, override_url or ())))
    if not settings.is_embedded and (override_url or concurrency):
        say("warning: --override-url and --concurrency do nothing here: the broker's workers have their own settings")
    orchestrator = Orchestrator(settings, say=say)
    version = orchestrator.read(file, name=name)
    called = [_read_other(text, orchestrator) for text in others or ()]
    given = read_parameters(params, param or (), version)
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
    from orchestrator.store.kinds import Method

    execution_id = orchestrator.submit(version, given, trigger=trigger, executor=executor, method=Method.POST)
    return show_to_the_end(execution_id, orchestrator, timeout_s=timeout_s, as_json=as_json)


def show_to_the_end(
    execution_id: str, orchestrator: Orchestrator, *, timeout_s: float | None, as_json: bool
) -> Execution:
    """Show an execution until it rests, and print the result at once: workers take a while to stop."""
    try:
        execution = follow(orchestrator.watch(execution_id, timeout_s=timeout_s), make_console(stderr=as_json))
    except KeyboardInterrupt:
        say(f"stopping; execution {execution_id} stays as it is")
        raise
    if as_json:
        print_json(execution.to_document())
    else:
        print_outcome(execution)
    if execution.state is ExecutionState.SUSPENDED:
        say(f"to answer: orchestrator lift {execution.id}, or orchestrator resolve --reject {execution.id}")
    elif execution.state is ExecutionState.RETRY_ON_HOLD:
        say(orchestrator.explain(execution.id)[0].sentence)
    return execution


def act_and_go_on(
    execution_id: str,
    settings: Settings,
    act: Callable[[Orchestrator], str],
    *,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Do something to an execution, then go on with it if nobody else will, and with what waits for it.

    Args:
        execution_id: of which execution.
        settings: where it is.
        act: does it, and says what was done.
        timeout_s: how long to go on.
        as_json: print the execution as a document.
    """
    from orchestrator.client import Orchestrator
    from orchestrator.runtime.children import signals_as_exit

    if is_unused(settings):
        raise ExecutionNotFound(execution_id)
    with signals_as_exit(), Orchestrator(settings, say=say) as orchestrator:
        say(act(orchestrator))
        if not settings.is_embedded:
            if as_json:
                print_json(orchestrator.get(execution_id).to_document())
            return
        top = orchestrator.suspensions.top_of(execution_id)
        execution = show_to_the_end(top, orchestrator, timeout_s=timeout_s, as_json=as_json)
    raise typer.Exit(EXIT_CODES[execution.state])


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


def read_parameters(file: Path | None, assignments: Iterable[str], version: IntegrationVersion) -> dict[str, object]:
    """Input parameters: those of a file, and over them what the command line names."""
    return {**_read_params(file), **_parse_params(assignments, version)}


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

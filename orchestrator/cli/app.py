"""The typer application: where errors become one message and an exit code, and how commands say things."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from orchestrator.errors import DefinitionError, InputError, OrchestratorError, QueueFull, SettingsError
from orchestrator.model.states import ExecutionState

EXIT_CODES: Final = {
    ExecutionState.SUCCEEDED: 0,
    ExecutionState.FAILED: 1,
    ExecutionState.CANCELLED: 3,
    ExecutionState.SUSPENDED: 4,
    ExecutionState.RETRY_ON_HOLD: 4,  # somebody's turn as well: a task is in quarantine
}
EXIT_PROBLEM: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130


class _Commands(TyperGroup):
    """The commands, with one place where errors become a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except (DefinitionError, InputError, QueueFull, SettingsError) as error:
            fail(error, EXIT_USAGE)
        except OrchestratorError as error:
            fail(error, EXIT_PROBLEM)
        except BrokenPipeError:
            raise  # typer ends quietly: whoever read our output has enough
        except OSError as error:  # a folder that cannot be written, a disk that is full
            fail(f"{error.strerror}: {error.filename}" if error.filename else str(error), EXIT_PROBLEM)
        except KeyboardInterrupt:
            fail("interrupted", EXIT_INTERRUPTED)


def fail(reason: object, code: int) -> NoReturn:
    """End the command with one message."""
    say(f"error: {reason}")
    raise typer.Exit(code)


def say(line: str) -> None:
    """A line for the person, on stderr: stdout is for what was asked for."""
    typer.echo(line, err=True)


def print_json(document: Mapping[str, object]) -> None:
    """One document on stdout."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))  # ASCII: any terminal and any locale can take it


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def main() -> None:
    """Where the command ``orchestrator`` begins."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a locale without a letter is no reason to fail
    app(prog_name="orchestrator")


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

"""Arguments that several commands take, and the settings that they amount to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.app import say

if TYPE_CHECKING:
    from orchestrator.settings import Settings


def _checked_executor(name: str) -> str:
    from orchestrator.model.integration import EXECUTOR_ID

    if not EXECUTOR_ID.fullmatch(name):
        raise typer.BadParameter("1 to 128 letters, digits, '_', '.' and '-'")
    return name


File = Annotated[Path, typer.Argument(metavar="FILE", help="A definition, JSON or YAML.", show_default=False)]
ExecutionId = Annotated[str, typer.Argument(metavar="EXECUTION", help="Its id.", show_default=False)]
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
Timeout = Annotated[
    float | None, typer.Option("--timeout", metavar="S", min=0, help="Give up waiting after so many seconds.")
]


def read_settings(home: Path | None = None, include: Iterable[str] | None = None, **more: object) -> Settings:
    """The environment's settings, and over them what the command line names."""
    from orchestrator.settings import Settings, unknown_variables

    for variable in unknown_variables():
        say(f"warning: no setting reads {variable}; is it misspelt?")
    given = {"home": home, "include": tuple(include or ()) or None, **more}
    return Settings(**{key: value for key, value in given.items() if value is not None})

"""Commands that look at executions: get, list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.app import app, print_json, say
from orchestrator.cli.arguments import AsJson, Home, read_settings
from orchestrator.cli.printing import follow, make_console, print_list, print_outcome
from orchestrator.errors import ExecutionNotFound
from orchestrator.model.states import ExecutionState

if TYPE_CHECKING:
    from orchestrator.settings import Settings


@app.command()
def get(
    execution_id: Annotated[str, typer.Argument(metavar="EXECUTION", help="Its id.", show_default=False)],
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Show an execution as it is now, with everything below it."""
    from orchestrator.client import Orchestrator

    settings = read_settings(home)
    if is_unused(settings):
        raise ExecutionNotFound(execution_id)
    with Orchestrator(settings, say=say) as orchestrator:
        execution = orchestrator.get(execution_id)
    if as_json:
        print_json(execution.to_document())
    else:
        follow(iter([execution]), make_console())
        print_outcome(execution)


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

    settings, found = read_settings(home), []
    if not is_unused(settings):
        with Orchestrator(settings, say=say) as orchestrator:
            found = orchestrator.list(integration=integration, state=state, with_children=children, limit=limit)
    if as_json:
        print_json({"executions": [execution.to_document() for execution in found]})
    elif found:
        print_list(found)
    else:
        say("there is no such execution" if integration or state else f"nothing was executed in {settings.home} yet")


def is_unused(settings: Settings) -> bool:
    """Whether the home has no database yet. To look into it would make one, in a folder that may be the wrong one."""
    return settings.database_url is None and not (settings.home / "orchestrator.db").exists()

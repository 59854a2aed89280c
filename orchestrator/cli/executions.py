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
    wanted: Annotated[
        str, typer.Option("--filter", metavar="EXPR", help="Such as 'state = FAILED AND priority > 4'.")
    ] = "",
    order_by: Annotated[
        str, typer.Option("--order-by", metavar="FIELD", help="Such as 'update_time desc'; default: newest first.")
    ] = "",
    integration: Annotated[str | None, typer.Option("--integration", metavar="I", help="Only of this one.")] = None,
    state: Annotated[ExecutionState | None, typer.Option("--state", help="Only in this state.")] = None,
    children: Annotated[
        bool | None,
        typer.Option("--children/--no-children", help="Sub-executions as well.", show_default="with a filter"),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 50,
    page_token: Annotated[
        str, typer.Option("--page-token", metavar="TOKEN", help="Go on where a list of the same kind has ended.")
    ] = "",
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """List executions: a table on a terminal, lines with tabs elsewhere."""
    from orchestrator.client import Orchestrator
    from orchestrator.client.looking import Page
    from orchestrator.model.filters import parse_filter
    from orchestrator.model.listing import parse_order

    parse_filter(wanted)  # a wrong one is refused also where there is no database to look into
    parse_order(order_by)
    settings, found = read_settings(home), Page(executions=())
    if not is_unused(settings):
        with Orchestrator(settings, say=say) as orchestrator:
            found = orchestrator.page(
                wanted,
                order_by=order_by,
                integration=integration,
                state=state,
                with_children=children,
                page_size=limit,
                page_token=page_token,
            )
    if as_json:
        document: dict[str, object] = {"executions": [execution.to_document() for execution in found.executions]}
        print_json(document | ({"nextPageToken": found.next_token} if found.next_token else {}))
    elif found.executions:
        print_list([*found.executions])
        if found.next_token:
            say(f"there are more: --page-token {found.next_token}")
    else:
        is_narrowed = wanted or integration or state
        say("there is no such execution" if is_narrowed else f"nothing was executed in {settings.home} yet")


def is_unused(settings: Settings) -> bool:
    """Whether the home has no database yet. To look into it would make one, in a folder that may be the wrong one."""
    return settings.database_url is None and not (settings.home / "orchestrator.db").exists()

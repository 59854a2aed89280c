"""Commands about schedules: when the cron triggers of published integrations fire next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.app import app, print_json
from orchestrator.cli.arguments import AsJson, Home, read_settings

if TYPE_CHECKING:
    from orchestrator.store.schedules import Schedule

schedules = typer.Typer(help="When the cron triggers of published integrations fire.", no_args_is_help=False)
app.add_typer(schedules, name="schedules")

Integration = Annotated[str, typer.Argument(metavar="INTEGRATION", help="Its name.", show_default=False)]
TriggerId = Annotated[str, typer.Argument(metavar="TRIGGER", help="The trigger's id.", show_default=False)]


@schedules.callback(invoke_without_command=True)
def list_schedules(context: typer.Context, as_json: AsJson = False, home: Home = None) -> None:
    """List them all: integration, trigger, state, next time, cron expression and time zone."""
    from orchestrator.client import Orchestrator

    if context.invoked_subcommand is not None:
        return
    with Orchestrator(read_settings(home)) as orchestrator:
        found = orchestrator.schedules.list()
    if as_json:
        print_json({"schedules": [_to_document(each) for each in found]})
        return
    for each in found:
        when = each.next_at.isoformat(timespec="seconds") if each.next_at else "never"
        typer.echo("\t".join([each.integration, each.trigger_id, each.state, when, each.cron, each.time_zone]))


@schedules.command()
def pause(integration: Integration, trigger_id: TriggerId, home: Home = None) -> None:
    """Let a schedule fire no more until it is resumed."""
    from orchestrator.client import Orchestrator

    with Orchestrator(read_settings(home)) as orchestrator:
        orchestrator.schedules.pause(integration, trigger_id)


@schedules.command()
def resume(integration: Integration, trigger_id: TriggerId, home: Home = None) -> None:
    """Let a schedule fire again, from its next time on; what it missed is not caught up."""
    from orchestrator.client import Orchestrator

    with Orchestrator(read_settings(home)) as orchestrator:
        orchestrator.schedules.resume(integration, trigger_id)


def _to_document(each: Schedule) -> dict[str, object]:
    return {
        "integration": each.integration,
        "triggerId": each.trigger_id,
        "cronTab": each.cron,
        "timeZone": each.time_zone,
        "state": each.state,
        "nextTime": each.next_at.isoformat() if each.next_at else None,
        "lastTime": each.last_at.isoformat() if each.last_at else None,
        "lastExecutionId": each.last_execution_id,
    }

"""Commands about limits: how many executions may run at once, and how many may start in a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.app import EXIT_PROBLEM, app, fail, print_json
from orchestrator.cli.arguments import AsJson, Home, read_settings

if TYPE_CHECKING:
    from orchestrator.store.limit_terms import LimitView

limits = typer.Typer(help="How many executions may run at once, which do, and which wait.")
app.add_typer(limits, name="limits")

LimitName = Annotated[
    str,
    typer.Argument(
        metavar="LIMIT", help="executor/E, or integration/PROJECT/LOCATION/NAME[/key[/KEY]].", show_default=False
    ),
]


@limits.callback(invoke_without_command=True)
def list_limits(context: typer.Context, as_json: AsJson = False, home: Home = None) -> None:
    """List them: name, most at once, starts in a time, how many run, how many wait."""
    from orchestrator.client import Orchestrator

    if context.invoked_subcommand is not None:
        return
    with Orchestrator(read_settings(home)) as orchestrator:
        found = orchestrator.limits.list()
    if as_json:
        print_json({"limits": [_to_document(each) for each in found]})
        return
    for each in found:
        rate = each.terms.rate
        starts = "-" if rate is None else f"{rate.count} in {rate.period_s:g} s"
        most = "-" if each.terms.max_running is None else str(each.terms.max_running)
        typer.echo("\t".join([each.name, most, starts, f"{each.running} run", f"{each.waiting} wait"]))


@limits.command("set")
def set_limit(
    name: LimitName,
    *,
    most: Annotated[int | None, typer.Option("--max", metavar="N", help="So many may run at once.")] = None,
    rate: Annotated[str | None, typer.Option("--rate", metavar="N/S", help="So many may start in S seconds.")] = None,
    home: Home = None,
) -> None:
    """Set or change a limit; it stands in place of what a definition says."""
    from orchestrator.client import Orchestrator
    from orchestrator.model.limits import Rate

    parsed = None
    if rate is not None:
        count, _, period = rate.partition("/")
        if not (count.isdecimal() and period.isdecimal()):
            raise typer.BadParameter(f"found {rate!r}, expected N/S, such as 100/60", param_hint="--rate")
        parsed = Rate(count=int(count), period_s=int(period))
    with Orchestrator(read_settings(home)) as orchestrator:
        orchestrator.limits.set_limit(name, max_running=most, rate=parsed)


@limits.command()
def remove(name: LimitName, home: Home = None) -> None:
    """Take an operator's limit away; what the published definition says holds again."""
    from orchestrator.client import Orchestrator

    with Orchestrator(read_settings(home)) as orchestrator:
        if not orchestrator.limits.remove_limit(name):
            fail(
                f"there is no limit {name!r} that was set by a command; `orchestrator limits` lists them", EXIT_PROBLEM
            )


def _to_document(each: LimitView) -> dict[str, object]:
    rate = each.terms.rate
    return {
        "name": each.name,
        "maxRunning": each.terms.max_running,
        "rate": None if rate is None else {"count": rate.count, "perSeconds": rate.period_s},
        "source": each.source,
        "running": each.running,
        "waiting": each.waiting,
    }

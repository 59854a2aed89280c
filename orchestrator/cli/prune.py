"""The command that deletes what ended long ago: prune."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.app import app, print_json, say
from orchestrator.cli.arguments import AsJson, Home, read_settings
from orchestrator.cli.executions import is_unused
from orchestrator.errors import InvalidValue

if TYPE_CHECKING:
    from orchestrator.service.prune import Pruned


@app.command()
def prune(
    *,
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than", metavar="AGE", help="What ended longer ago: 90s, 15m, 2h, 30d.", show_default=False
        ),
    ],
    keep_failed: Annotated[bool, typer.Option("--keep-failed", help="But not what FAILED.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many, with all below them.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing, only count.")] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Delete executions that ended long ago, with everything below them, their history and their artifacts.

    What has anything below it that is not over stays whole. Everything else may go on meanwhile, and the command may be
    ended at any moment: the next one goes on.
    """
    from orchestrator.client import Orchestrator
    from orchestrator.service.prune import Pruned

    age, settings, done = _parse_age(older_than), read_settings(home), Pruned()
    if not is_unused(settings):
        with Orchestrator(settings, say=say) as orchestrator:
            done = orchestrator.prune(
                age,
                keeps_failed=keep_failed,
                limit=limit,
                dry_run=dry_run,
                tell=lambda so_far: say(f"so far: {_counted(so_far)}"),
            )
    if as_json:
        print_json(
            {
                "dryRun": dry_run,
                "roots": done.roots,
                "executions": done.executions,
                "artifactBytes": done.artifact_bytes,
                "results": done.results,
            }
        )
    else:
        typer.echo(f"{'would be deleted' if dry_run else 'deleted'}: {_counted(done)}")


def _parse_age(text: str) -> timedelta:
    from orchestrator.model.filter_fields import Unfit, parse_duration

    try:
        return parse_duration(text)
    except Unfit as unfit:
        raise InvalidValue("--older-than", repr(text), str(unfit)) from None


def _counted(done: Pruned) -> str:
    parts = [
        f"{done.executions:,} executions in {done.roots:,} trees",
        f"{done.artifact_bytes:,} bytes of artifacts",
        f"{done.results:,} expired results of plain tasks",
    ]
    return ", ".join(parts)

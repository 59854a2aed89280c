"""``kill --filter``: what would be killed, the question whether it is to be, and what became of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from orchestrator.cli.app import EXIT_PROBLEM, print_json, say
from orchestrator.cli.arguments import read_settings
from orchestrator.cli.executions import is_unused
from orchestrator.cli.render import clean
from orchestrator.model.snapshots import to_timestamp

if TYPE_CHECKING:
    from orchestrator.model.json_text import Json
    from orchestrator.service.control import KillReport
    from orchestrator.store.rows import Match

_SHOWN: Final = 20  # of what would be killed, or has failed; --json has all


def kill_by_filter(
    wanted: str,
    *,
    message: str | None,
    actor: str | None,
    rolls_back: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    home: Path | None,
) -> None:
    """Kill what fits, and say what became of it; on a terminal it asks first, unless ``yes``."""
    from orchestrator.client import Orchestrator
    from orchestrator.service.control import KillReport, check_filter

    check_filter(wanted)
    settings, report = read_settings(home), KillReport()
    if not is_unused(settings):
        with Orchestrator(settings, say=say) as orchestrator:
            report = orchestrator.kill_many(
                wanted,
                message=message,
                actor=actor,
                rolls_back=rolls_back,
                dry_run=dry_run,
                confirm=None if yes or not sys.stdin.isatty() else _ask,
            )
    if as_json:
        print_json(to_document(report, dry_run=dry_run))
    else:
        for line in to_lines(report, dry_run=dry_run):
            typer.echo(line)
    if report.failed:
        raise typer.Exit(EXIT_PROBLEM)


def _ask(found: Sequence[Match]) -> bool:
    for line in _match_lines(found):
        say(line)
    # Not typer.confirm, which writes a blank to stdout: that is for what was asked for.
    typer.echo(f"Kill {_counted(found)}, with everything below? [y/N] ", nl=False, err=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def to_lines(report: KillReport, *, dry_run: bool) -> Iterator[str]:
    """What a person wants to know."""
    if dry_run:
        yield from _match_lines(report.matches)
        yield f"{_counted(report.matches)} would be killed, with everything below"
        return
    yield f"{len(report.killed)} killed, {len(report.over)} over already, {len(report.failed)} failed"
    for execution_id, reason in list(report.failed.items())[:_SHOWN]:
        yield f"{execution_id}\t{clean(reason)}"
    if len(report.failed) > _SHOWN:
        yield f"... and {len(report.failed) - _SHOWN} more; --json has all"


def to_document(report: KillReport, *, dry_run: bool) -> dict[str, Json]:
    """The same for programs, complete."""
    return {
        "dryRun": dry_run,
        "matches": [
            {
                "executionId": each.id,
                "state": each.state.value,
                "createTime": to_timestamp(each.created_at),
                "integration": each.integration,
            }
            for each in report.matches
        ],
        "killed": list(report.killed),
        "over": list(report.over),
        "failed": [{"executionId": execution_id, "reason": reason} for execution_id, reason in report.failed.items()],
    }


def _counted(found: Sequence[Match]) -> str:
    return "1 execution" if len(found) == 1 else f"{len(found)} executions"


def _match_lines(found: Sequence[Match]) -> Iterator[str]:
    for each in found[:_SHOWN]:
        created = each.created_at.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
        yield "\t".join([each.id, each.state.value, created, clean(each.integration)])
    if len(found) > _SHOWN:
        yield f"... and {len(found) - _SHOWN} more; --json has all"

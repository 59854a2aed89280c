"""Printing executions: a live tree on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.model.execution import Execution


def make_console(*, stderr: bool = False) -> Console:
    """A console that takes names as they are: no markup, no emoji."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def follow(executions: Iterator[Execution], console: Console) -> Execution:
    """Show an execution as it changes, to the end; returns what was seen last."""
    from orchestrator.cli.render import PlainLog, to_tree

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


def print_outcome(execution: Execution) -> None:
    """What it answered, and why if it FAILED."""
    from orchestrator.cli.render import to_outcome

    for line in to_outcome(execution):
        typer.echo(line)


def print_list(executions: list[Execution]) -> None:
    """A table on a terminal, lines with tabs elsewhere."""
    from orchestrator.cli.render import to_table, to_tabs

    console = make_console()
    if console.is_terminal:
        console.print(to_table(executions))
        return
    for line in to_tabs(executions):
        typer.echo(line)


def print_ids(ids: Iterable[str]) -> None:
    """One a line."""
    for each in ids:
        typer.echo(each)

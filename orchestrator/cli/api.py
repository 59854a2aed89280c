"""The command that starts the HTTP server: api."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.app import EXIT_PROBLEM, app, say
from orchestrator.cli.arguments import Home, Include, read_settings
from orchestrator.errors import CutOff

Host = Annotated[str, typer.Option("--host", metavar="HOST", help="Where the API listens.")]
Port = Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="Where the API listens; 0: any.")]
NoAuth = Annotated[bool, typer.Option("--no-auth", help="Ask nobody for a key; only on the loopback.")]


@app.command()
def api(
    host: Host = "127.0.0.1",
    port: Port = 8080,
    no_auth: NoAuth = False,
    include: Include = None,
    home: Home = None,
) -> None:
    """Serve the HTTP API until told to stop; then answer everybody, and end. Needs a configured broker."""
    from orchestrator.web.server import leave_now, run_api

    try:
        run_api(read_settings(home, include), host=host, port=port, authenticate=not no_auth)
    except CutOff as error:
        say(f"error: {error}")
        leave_now(EXIT_PROBLEM)

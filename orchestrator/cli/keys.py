"""Commands about API keys: making one, listing and revoking them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.app import app, print_json, say
from orchestrator.cli.arguments import AsJson, Home, read_settings
from orchestrator.errors import InvalidValue
from orchestrator.model.keys import Scope

if TYPE_CHECKING:
    from orchestrator.store.keys import StoredKey

keys = typer.Typer(no_args_is_help=True, help="API keys: who may ask over the network, and for what.")
app.add_typer(keys, name="keys")


@keys.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.", show_default="its id")] = "",
    *,
    scope: Annotated[list[Scope], typer.Option("--scope", help="What it allows; may be repeated.", show_default=False)],
    executor: Annotated[
        str | None, typer.Option("--executor", metavar="NAME", help="The only executor that it may use.")
    ] = None,
    actor: Annotated[
        str,
        typer.Option("--actor", metavar="NAME", help="Who acts with it, for the trail.", show_default="key:NAME"),
    ] = "",
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="30d, 12h, or 2027-01-31T12:00:00Z.", show_default="never"),
    ] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Make a key, and print it on stdout: this once."""
    from orchestrator.client import Orchestrator

    end = _parse_end(expires)
    with Orchestrator(read_settings(home)) as orchestrator:
        made = orchestrator.keys.create(name, scopes=scope, executor=executor, actor=actor, expires=end)
    if as_json:
        print_json({"key": made.text, **_to_document(made.key)})
    else:
        typer.echo(made.text)
    say(f"made {_described(made.key)}; this is the only time that it is shown")


@keys.command("list")
def list_keys(as_json: AsJson = False, home: Home = None) -> None:
    """List them, revoked and expired ones too: id, name, state, scopes, executor, end, last use."""
    from orchestrator.client import Orchestrator

    with Orchestrator(read_settings(home)) as orchestrator:
        found = orchestrator.keys.list()
    if as_json:
        print_json({"keys": [_to_document(each) for each in found]})
        return
    for each in found:
        end, use = _moment(each.expires_at, "never expires"), _moment(each.last_used_at, "never used")
        scopes = ",".join(sorted(each.scopes))
        typer.echo("\t".join([each.id, each.name, each.state.value, scopes, each.executor or "-", end, use]))


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Its id, or the key itself.", show_default=False)],
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Let a key be used no more, from the next request on."""
    from orchestrator.client import Orchestrator

    with Orchestrator(read_settings(home)) as orchestrator:
        revoked = orchestrator.keys.revoke(key_id)
    if as_json:
        print_json(_to_document(revoked))
    say(f"revoked {_described(revoked)}, at {_moment(revoked.revoked_at, '')} by {revoked.revoked_by}")


def _parse_end(text: str | None) -> timedelta | datetime | None:
    from orchestrator.model.filter_fields import Unfit, parse_duration

    if text is None:
        return None
    try:
        return parse_duration(text)
    except Unfit:
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue(
            "--expires", repr(text), "so long from now, as 30d or 12h, or a time, as 2027-01-31T12:00:00Z"
        ) from None


def _described(key: StoredKey) -> str:
    bound = "" if key.executor is None else f", executor {key.executor}"
    end = "" if key.expires_at is None else f", expires {_moment(key.expires_at, '')}"
    return f"key {key.id} {key.name!r} ({', '.join(sorted(key.scopes))}{bound}{end})"


def _moment(at: datetime | None, otherwise: str) -> str:
    return otherwise if at is None else at.isoformat(timespec="seconds")


def _to_document(key: StoredKey) -> dict[str, object]:
    times = {
        "createTime": key.created_at,
        "expireTime": key.expires_at,
        "revokeTime": key.revoked_at,
        "lastUseTime": key.last_used_at,
    }
    return {
        "id": key.id,
        "name": key.name,
        "state": key.state.value,
        "scopes": sorted(key.scopes),
        "executor": key.executor,
        "actor": key.actor,
        "createdBy": key.created_by,
        "revokedBy": key.revoked_by,
        **{name: None if at is None else at.isoformat() for name, at in times.items()},
    }

"""How Flower is started: never without a password, and on this machine alone unless someone says otherwise.

Flower 2.2 by itself listens on every interface and shows its pages without a login; its API can send any task. The
login also opens the API to those who have it. ``/metrics`` and ``/healthcheck`` are open even then, which is one more
reason for the loopback. It shows what it hears on the event queue: a hint, never the truth.

Must not: start anything, or put the password where ``ps`` shows it.
"""

from __future__ import annotations

import ipaddress
import secrets
import sys
from dataclasses import dataclass, field
from typing import Final

from orchestrator.errors import InvalidSetting
from orchestrator.settings import Settings, is_basic_auth

CELERY_APP: Final = "orchestrator"
USER: Final = "orchestrator"


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowerCommand:
    """What to start.

    ``generated_password`` is to be shown once, to whoever started it, if there is one; the user is ``USER``.
    """

    arguments: list[str]
    environment: dict[str, str] = field(repr=False)
    generated_password: str | None = field(default=None, repr=False)


def flower_command(
    settings: Settings,
    *,
    port: int = 5555,
    address: str = "127.0.0.1",
    basic_auth: str | None = None,
    read_only: bool = False,
) -> FlowerCommand:
    """The command that runs Flower for this broker.

    Args:
        settings: with a broker.
        port: where it listens.
        address: where it listens; other than the loopback only with a login that was chosen.
        basic_auth: ``user:password``; default: the settings' one, else one that is made up.
        read_only: whether Flower's buttons and its changing API calls (revoke, shutdown, send) are refused.

    Raises:
        InvalidSetting: no broker; a login that is none; an open address without a login.
    """
    if settings.is_embedded:
        raise InvalidSetting("ORCHESTRATOR_BROKER_URL", "nothing", "the broker whose workers Flower is to show")
    chosen = basic_auth or (settings.flower_basic_auth.get_secret_value() if settings.flower_basic_auth else None)
    if chosen is not None and not is_basic_auth(chosen):
        raise InvalidSetting("basic_auth", "a secret that is not shown", "user:password without a comma")
    if chosen is None and not is_loopback(address):
        raise InvalidSetting(
            "address", repr(address), "127.0.0.1, or any other together with ORCHESTRATOR_FLOWER_BASIC_AUTH"
        )
    generated = None if chosen else secrets.token_urlsafe(18)
    return FlowerCommand(
        arguments=_arguments(port=port, address=address, read_only=read_only),
        environment=_environment(settings, chosen or f"{USER}:{generated}"),
        generated_password=generated,
    )


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach it. An empty address means every interface to Flower."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _arguments(*, port: int, address: str, read_only: bool) -> list[str]:
    command = [sys.executable, "-m", "celery", "-A", CELERY_APP, "flower", f"--port={port}", f"--address={address}"]
    return [*command, "--read_only=True"] if read_only else command


def _environment(settings: Settings, basic_auth: str) -> dict[str, str]:
    # Of Flower's own variables only these: FLOWER_UNAUTHENTICATED_API or FLOWER_ADDRESS of the environment would undo
    # what is decided here. FLOWER_BASIC_AUTH is --basic_auth, but for ``ps``.
    inherited = {key: value for key, value in settings.to_environment().items() if not key.startswith("FLOWER_")}
    return inherited | {"FLOWER_BASIC_AUTH": basic_auth, "FLOWER_UNAUTHENTICATED_API": "false"}

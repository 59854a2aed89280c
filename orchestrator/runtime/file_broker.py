"""Messages as files in a folder, for a machine without a redis-server: kombu's filesystem transport, made safe.

As released (kombu 5.7.0) it writes a message into the file that readers already see, and a reader takes no lock: about
one message in a thousand was read while still empty, lost, and its JSONDecodeError ended the consumer. Its exchange
tables are created in the same way. Here both appear complete or not at all, each connection makes sure of its bindings,
and messages sort by the time they were sent.

Must not: be anyone's first choice. Each reader lists the whole folder, so it is slow, and it is for one machine.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from kombu.transport import filesystem, virtual

from orchestrator.settings import scheme_of

POLLING_INTERVAL_S: Final = 0.1  # kombu's 1.0 would show in every task


def to_url(folder: Path) -> str:
    """The broker URL of a folder."""
    return f"filesystem://{quote(str(folder))}"


def celery_settings(broker_url: str) -> dict[str, object]:
    """What Celery has to be told besides a ``filesystem:///folder`` URL; nothing for other URLs.

    Every process works it out of the same URL. Makes the folders.
    """
    if scheme_of(broker_url) != "filesystem":
        return {}
    return {
        "broker_transport": f"{__name__}:Transport",
        "broker_transport_options": _transport_options(Path(unquote(urlsplit(broker_url).path))),
    }


def _transport_options(folder: Path) -> dict[str, object]:
    for name in ("messages", "control", "processed"):
        (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    return {
        "data_folder_in": str(folder / "messages"),
        "data_folder_out": str(folder / "messages"),
        "control_folder": str(folder / "control"),
        # Without store_processed kombu moves each message through the machine's temporary folder to read it.
        "store_processed": True,
        "processed_folder": str(folder / "processed"),
        "polling_interval": POLLING_INTERVAL_S,
    }


class Channel(filesystem.Channel):
    """kombu's, with files that appear complete."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]  # as kombu's own
        # kombu finds the queue's name between the first dot and ".msg"; the part's name ends differently, so that no
        # reader takes it.
        name = f"{time.monotonic_ns():020d}_{uuid.uuid4()}.{queue}.msg"
        part = Path(self.data_folder_out, f"{name}.part")
        part.write_text(json.dumps(payload))
        part.rename(Path(self.data_folder_out, name))

    def _queue_bind(self, exchange: str, routing_key: Any, pattern: Any, queue: str) -> None:
        table: Path = self._exchange_file(exchange)  # type: ignore[attr-defined]  # the stubs are older than kombu 5.7
        if not table.exists():
            part = table.with_name(f"{uuid.uuid4()}.part")
            part.write_text("[]")
            with suppress(FileExistsError):  # another process was quicker; a rename would undo what it bound
                os.link(part, table)
            part.unlink()
        super()._queue_bind(exchange, routing_key, pattern, queue)  # from here on it locks


class Transport(filesystem.Transport):
    """kombu's, with our channel."""

    Channel = Channel

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        # kombu remembers what is bound once for the whole process, before it is written, and whatever the folder: a
        # second folder, or a second thread, then sends to a queue that is not bound and the message is dropped.
        self.state = virtual.BrokerState()

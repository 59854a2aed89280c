"""Suspension: wait until somebody approves, rejects, or the time is up.

What it takes from the task: ``customMessage``, ``isApproved`` (names the parameter that takes the answer),
``suspensionResult`` (names the parameter that takes what the suspension is lifted with), ``suspensionExpiration``
``{"remindAfterMs", "expireAfterMs", "liftWhenExpired"}``, and ``notifications``, whose e-mail addresses are those who
may decide. They get a mail when it begins and with every reminder. The answer itself comes from outside.

What must not happen: addresses that are asked for and come to nothing, such as a reference to a parameter without a
value. Then anybody could answer; so it is a failure.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from orchestrator.errors import InvalidValue, TaskError
from orchestrator.model.json_text import Json, parse_json_text
from orchestrator.model.parameters import name_in, references_in
from orchestrator.model.task_types import MAX_WAIT_S, TASK_TYPES, Notice, Suspend, TaskContext, TaskType
from orchestrator.model.values import Value, text_of
from tasks.mail import encodable, is_address, send

log = logging.getLogger(__name__)

_MILLISECONDS: Final = re.compile(r"[0-9]{1,15}")
_NOBODY: Final = "nobody (an empty text, or a reference to nothing), which would let anybody answer"


def run(context: TaskContext) -> Suspend:
    """Describe the suspension; nothing waits here."""
    try:
        expiration = _document(context.value("suspensionExpiration"), "suspensionExpiration")
        notifications = _document(context.value("notifications"), "notifications")
        return Suspend(
            message=context.text("customMessage"),
            result_name=_name(context.config, "isApproved"),
            payload_name=_name(context.config, "suspensionResult"),
            who_may_resolve=_addresses(notifications),
            remind_after_s=_seconds(expiration, "remindAfterMs"),
            expire_after_s=_seconds(expiration, "expireAfterMs"),
            lift_when_expired=expiration.get("liftWhenExpired") is True,
        )
    except InvalidValue as error:
        raise TaskError(str(error), "INVALID_ARGUMENT") from error


def check(config: Mapping[str, Value]) -> Iterable[str]:
    """Names are references, times whole milliseconds, both settings JSON objects; the rest is left to the run."""
    written = {key: value for key, value in config.items() if not references_in(text_of(value))}
    try:
        _name(config, "isApproved")
        _name(config, "suspensionResult")
        expiration = _document(written.get("suspensionExpiration"), "suspensionExpiration")
        _seconds(expiration, "remindAfterMs")
        _seconds(expiration, "expireAfterMs")
        _addresses(_document(written.get("notifications"), "notifications"))
    except InvalidValue as error:
        yield str(error)


def _name(config: Mapping[str, Value], key: str) -> str | None:
    """The parameter that an answer goes to. One that cannot be read must not turn a question into a wait."""
    written = config.get(key)
    if written is None or written.data in ("", (), []):
        return None
    name = name_in(written)
    if name is None:
        raise InvalidValue(key, text_of(written)[:60], "a reference such as $approved$, or a list of one")
    return name


def _document(value: Value | None, place: str) -> dict[str, Json]:
    document: Json = None if value is None else value.python
    if isinstance(document, str):
        document = parse_json_text(document, place) if document.strip() else None
    if isinstance(document, list):
        document = {"protoValues": document}
    if document is not None and not isinstance(document, dict):
        raise InvalidValue(place, repr(document)[:60], "a JSON object")
    return document or {}


def _seconds(expiration: Mapping[str, Json], key: str) -> float | None:
    """Milliseconds, as a number or (int64 in JSON) as digits; none and 0 mean no limit."""
    found = expiration.get(key)
    text = str(found).removesuffix(".0")
    if found is None or text == "0":
        return None
    is_whole = not isinstance(found, bool) and _MILLISECONDS.fullmatch(text)
    if not is_whole or int(text) / 1000 > MAX_WAIT_S:
        expected = f"milliseconds, as a whole number up to {MAX_WAIT_S * 1000:.0f}"
        raise InvalidValue(f"suspensionExpiration.{key}", repr(found)[:60], expected)
    return int(text) / 1000


# -- who may answer ------------------------------------------------------------------------------------------------


def _addresses(notifications: Mapping[str, Json]) -> tuple[str, ...]:
    """The e-mail addresses among the notifications; the other kinds (queues, tickets) name nobody."""
    entries = notifications.get("protoValues", [notifications])
    if not isinstance(entries, list):
        raise InvalidValue("notifications.protoValues", repr(entries)[:60], "a list")
    return tuple(dict.fromkeys(address for entry in entries for address in _addresses_of(entry)))


def _addresses_of(entry: Json | Mapping[str, Json]) -> Iterator[str]:
    """Those of one notification: an address, several with commas between, or a list of either."""
    named = entry.get("emailAddress", []) if isinstance(entry, Mapping) else entry
    named = named.get("email") if isinstance(named, Mapping) else named
    for text in named if isinstance(named, list) else [named]:
        if not isinstance(text, str | None):
            raise InvalidValue("notifications", repr(text)[:60], "an e-mail address")
        found = [part.strip() for part in (text or "").split(",")]
        if not all(found):
            raise InvalidValue("notifications", _NOBODY, "an e-mail address")
        yield from found


# -- telling them --------------------------------------------------------------------------------------------------


def notify(context: TaskContext, notice: Notice) -> None:
    """Mail to those who may answer what they are asked, and how to answer.

    Raises:
        TaskError: the mail server does not take it.
    """
    addresses = [each for each in notice.addressees if is_address(each)]
    if len(addresses) < len(notice.addressees):
        log.warning("no mail to what is no address", extra={"addressees": list(notice.addressees)})
    if not addresses:
        return
    server = context.surroundings.mail
    message = EmailMessage()
    message["From"] = server.sender
    message["To"] = ", ".join(addresses)
    message["Subject"] = _subject(context, notice)
    message["Date"] = format_datetime(context.now)
    message.set_content(encodable(_body(context, notice)))
    name = f"{context.execution_id}-{notice.name}-notice{notice.reminder}"
    send(message, addresses, server, name=name)


def _subject(context: TaskContext, notice: Notice) -> str:
    again = "Reminder: " if notice.reminder else ""
    return encodable(f"{again}{' '.join(context.integration.split())} waits for your answer")


def _body(context: TaskContext, notice: Notice) -> str:
    """Lines that can be copied: mail breaks longer ones than 78 characters."""
    until = f"\nWithout an answer it ends at {notice.expires_at:%Y-%m-%d %H:%M} UTC." if notice.expires_at else ""
    return f"""\
{notice.message or "An answer is asked for."}

Execution {context.execution_id}
of {context.integration!r} waits at task {context.task_number}.{until}
To answer, with the address that this mail came to:

yes:
    orchestrator lift {context.execution_id} \\
        --task {notice.name} --actor ADDRESS
no:
    orchestrator resolve --reject {context.execution_id} \\
        --task {notice.name} --actor ADDRESS
"""


TASK_TYPES.add(
    TaskType(
        name="SuspensionTask",
        run=run,
        light=True,
        suspends=True,
        celery_name="tasks.suspension",
        check=check,
        notify=notify,
    )
)

"""Suspension: wait until somebody approves, rejects, or the time is up.

What it takes from the task: ``customMessage``, ``isApproved`` (names the parameter that takes the answer),
``suspensionExpiration`` ``{"remindAfterMs", "expireAfterMs", "liftWhenExpired"}``, and ``notifications``, whose e-mail
addresses are those who may decide. The answer itself comes through the suspensions API.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from orchestrator.errors import InvalidValue, TaskError
from orchestrator.model.json_text import Json, parse_json_text
from orchestrator.model.parameters import references_in
from orchestrator.model.task_types import TASK_TYPES, Suspend, TaskContext, TaskType
from orchestrator.model.values import Value, text_of

_MILLISECONDS: Final = re.compile(r"[0-9]{1,15}")  # 15 digits are 30,000 years


def run(context: TaskContext) -> Suspend:
    """Describe the suspension; nothing waits here."""
    try:
        expiration = _document(context.value("suspensionExpiration"), "suspensionExpiration")
        notifications = _document(context.value("notifications"), "notifications")
        return Suspend(
            message=context.text("customMessage"),
            result_name=context.output_name("isApproved"),
            who_may_resolve=_addresses(notifications),
            remind_after_s=_seconds(expiration, "remindAfterMs"),
            expire_after_s=_seconds(expiration, "expireAfterMs"),
            lift_when_expired=expiration.get("liftWhenExpired") is True,
        )
    except InvalidValue as error:
        raise TaskError(str(error), "INVALID_ARGUMENT") from error


def check(config: Mapping[str, Value]) -> Iterable[str]:
    """Times must be whole milliseconds, and both settings JSON objects; references are left to the run."""
    written = {key: value for key, value in config.items() if not references_in(text_of(value))}
    try:
        expiration = _document(written.get("suspensionExpiration"), "suspensionExpiration")
        _seconds(expiration, "remindAfterMs")
        _seconds(expiration, "expireAfterMs")
        _addresses(_document(written.get("notifications"), "notifications"))
    except InvalidValue as error:
        yield str(error)


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
    if isinstance(found, bool) or not _MILLISECONDS.fullmatch(text):
        raise InvalidValue(f"suspensionExpiration.{key}", repr(found)[:60], "milliseconds, as a whole number")
    return int(text) / 1000


def _addresses(notifications: Mapping[str, Json]) -> tuple[str, ...]:
    """The e-mail addresses among the notifications; the other kinds (queues, tickets) name nobody."""
    entries = notifications.get("protoValues", [notifications])
    if not isinstance(entries, list):
        raise InvalidValue("notifications.protoValues", repr(entries)[:60], "a list")
    found = (_address(entry) for entry in entries if isinstance(entry, dict))
    return tuple(dict.fromkeys(address for address in found if address))


def _address(entry: Mapping[str, Json]) -> str | None:
    match entry.get("emailAddress"):
        case {"email": str(email)}:
            return email.strip()
        case str(email):
            return email.strip()
        case _:
            return None


TASK_TYPES.add(TaskType(name="SuspensionTask", run=run, light=True, celery_name="tasks.suspension", check=check))

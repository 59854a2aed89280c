"""Send Email: one message, by SMTP, or as an .eml file where no mail server is set.

What it takes from the task: ``To``, ``Cc``, ``Bcc`` (each item an address, several with commas between, or a reference
to either or to an array), ``Subject``, ``TextBody``, ``BodyFormat`` (``text`` or ``html``). ``AttachmentPath`` must be
empty: it names files in the product's own storage, and a message without what it promises is worse than none.

Delivery is at least once. A repeated attempt writes the same file again, and sends the same Message-ID again, by which
most mail systems drop the copy.

What must not happen: a line break from a parameter that becomes a header or a recipient of its own.
"""

from __future__ import annotations

import logging
import os
import smtplib
import ssl
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, formataddr, getaddresses
from pathlib import Path
from typing import Final
from urllib.parse import quote

from orchestrator.errors import TaskError
from orchestrator.model.parameters import resolve
from orchestrator.model.task_types import TASK_TYPES, Done, MailServer, TaskContext, TaskType
from orchestrator.model.values import DataType, Value, text_of

SMTP_TIMEOUT_S: Final = 30.0
BODY_FORMATS: Final = {"": "plain", "text": "plain", "html": "html"}  # BodyFormat -> MIME subtype of text/

log = logging.getLogger(__name__)


def run(context: TaskContext) -> Done:
    """Send one message, or write it to the outbox.

    Raises:
        TaskError: INVALID_ARGUMENT for what the task asks, 503 for a mail server that cannot take it now.
    """
    server = context.surroundings.mail
    recipients = _recipients(context)
    message = _message(context, recipients)
    if server.host is None:
        if not recipients.all:
            message["X-Orchestrator-Note"] = "no recipients: a mail server would refuse this message"
    elif not recipients.all:
        raise TaskError("To, Cc and Bcc name nobody: give at least one address", "INVALID_ARGUMENT")
    send(message, recipients.all, server, name=_attempt_name(context))
    return Done()


# -- recipients ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipients:
    """Who gets the message: pairs of display name and address."""

    to: list[tuple[str, str]]
    cc: list[tuple[str, str]]
    bcc: list[tuple[str, str]]

    @property
    def all(self) -> list[str]:
        """Every address once."""
        return list(dict.fromkeys(address for _, address in self.to + self.cc + self.bcc))


def _recipients(context: TaskContext) -> Recipients:
    return Recipients(to=_addresses(context, "To"), cc=_addresses(context, "Cc"), bcc=_addresses(context, "Bcc"))


def _addresses(context: TaskContext, key: str) -> list[tuple[str, str]]:
    texts = [text.strip() for text in _texts(context, key)]
    for text in texts:
        _refuse_line_breaks(text, key)
    return [pair for text in texts if text for pair in _parse_addresses(text, key)]


def _texts(context: TaskContext, key: str) -> list[str]:
    """The items, each resolved by itself: one may stand for a whole array."""
    written = context.config.get(key)
    if written is None:
        return []
    items = written.data if isinstance(written.data, list | tuple) else [written.data]
    resolved = [resolve(Value(DataType.STRING, str(item)), context.parameters) for item in items if item is not None]
    return [text for value in resolved if value is not None for text in _flat(value)]


def _flat(value: Value) -> list[str]:
    python = value.python
    return [str(item) for item in python] if isinstance(python, list) else [text_of(value)]


def _parse_addresses(text: str, key: str) -> list[tuple[str, str]]:
    pairs = getaddresses([text])
    for _, address in pairs:
        if not is_address(address):
            raise TaskError(f"{key}: {text!r} is not an e-mail address", "INVALID_ARGUMENT")
    return pairs


def is_address(text: str) -> bool:
    """Whether a mail server could take this for an address."""
    name, _, domain = text.rpartition("@")
    return bool(name and domain) and text.isascii() and text.isprintable() and " " not in text


def _refuse_line_breaks(text: str, key: str) -> None:
    if len(text.splitlines()) > 1 or "\0" in text:
        raise TaskError(f"{key} has a line break in it, which could add headers", "INVALID_ARGUMENT")


# -- the message ---------------------------------------------------------------------------------------------------


def _message(context: TaskContext, recipients: Recipients) -> EmailMessage:
    _refuse_attachments(context)
    subject = context.text("Subject").strip()
    _refuse_line_breaks(subject, "Subject")
    sender = context.surroundings.mail.sender
    message = EmailMessage()
    message["From"] = sender
    for header, pairs in (("To", recipients.to), ("Cc", recipients.cc), ("Bcc", recipients.bcc)):
        if pairs:
            message[header] = ", ".join(formataddr(pair) for pair in pairs)
    message["Subject"] = encodable(subject)
    message["Date"] = format_datetime(context.now)
    message["Message-ID"] = f"<{_attempt_name(context)}@{sender.rpartition('@')[2].strip('>') or 'localhost'}>"
    message.set_content(encodable(context.text("TextBody")), subtype=_subtype(context))
    return message


def _refuse_attachments(context: TaskContext) -> None:
    if any(text.strip() for text in _texts(context, "AttachmentPath")):
        raise TaskError("AttachmentPath is not supported: leave it empty and link the file instead", "INVALID_ARGUMENT")


def _subtype(context: TaskContext) -> str:
    found = context.text("BodyFormat").strip().lower()
    if found not in BODY_FORMATS:
        raise TaskError(f"BodyFormat is {found!r}; it can be text or html", "INVALID_ARGUMENT")
    return BODY_FORMATS[found]


def encodable(text: str) -> str:
    """The text without lone surrogates, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def _attempt_name(context: TaskContext) -> str:
    return f"{quote(context.execution_id, safe='')}-{context.task_number}-{context.attempt}"


# -- on its way ----------------------------------------------------------------------------------------------------


def send(message: EmailMessage, recipients: list[str], server: MailServer, *, name: str) -> None:
    """Send a message, or where no mail server is set, write it to the outbox as the file ``name``.

    Raises:
        TaskError: INVALID_ARGUMENT for refused recipients, 503 for a mail server that cannot take it now.
    """
    if server.host is None:
        _write(message, server.outbox, name)
    else:
        _deliver(message, server, recipients, host=server.host)


def _write(message: EmailMessage, outbox: Path, name: str) -> None:
    path = outbox / f"{name}.eml"
    try:
        outbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Beside its place, then renamed: a reader sees a whole message or none. mkstemp makes it private.
        handle, name = tempfile.mkstemp(dir=outbox, prefix=".", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(message.as_bytes())
        Path(name).replace(path)
    except OSError as error:
        raise TaskError(f"the mail outbox {outbox} cannot be written: {error.strerror or error}", 503) from error
    log.info("mail written to the outbox: no mail server is set", extra={"path": str(path)})


def _deliver(message: EmailMessage, server: MailServer, recipients: list[str], *, host: str) -> None:
    try:
        with smtplib.SMTP(host, server.port, timeout=SMTP_TIMEOUT_S) as smtp:
            if server.starttls:
                smtp.starttls(context=ssl.create_default_context())
            if server.user is not None:
                smtp.login(server.user, server.password or "")
            refused = smtp.send_message(message, to_addrs=recipients)  # it leaves Bcc out of the headers
    except smtplib.SMTPRecipientsRefused as error:
        raise TaskError(f"{host} refused every recipient: {_reasons(error.recipients)}", "INVALID_ARGUMENT") from error
    except (smtplib.SMTPException, OSError) as error:
        raise TaskError(f"mail server {host}:{server.port} did not take the message: {error}", 503) from error
    if refused:
        # No failure: the others have it, and another attempt would send it to them again.
        log.warning("mail refused for some recipients", extra={"refused": _reasons(refused)})


def _reasons(refused: Mapping[str, tuple[int, bytes]]) -> str:
    return "; ".join(
        f"{address}: {code} {reason.decode('utf-8', 'replace')}" for address, (code, reason) in refused.items()
    )


def check(config: Mapping[str, Value]) -> Iterable[str]:
    """What cannot be sent whatever the parameters are."""
    attachments = config.get("AttachmentPath")
    if attachments is not None and any(_flat(attachments)):
        yield "AttachmentPath is not supported: leave it empty and link the file instead"
    written = config.get("BodyFormat")
    body_format = text_of(written).strip().lower() if written is not None else ""
    if "$" not in body_format and body_format not in BODY_FORMATS:
        yield f"BodyFormat is {body_format!r}; it can be text or html"


TASK_TYPES.add(TaskType(name="EmailTask", run=run, celery_name="tasks.email", check=check))

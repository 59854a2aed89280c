"""API keys: making one, listing and revoking them, and finding out who asks with one.

A key is shown once, to whoever makes it. Rotating one means to make another of the same name, to hand that over, and to
revoke the first: both are good meanwhile, and the trail shows the same actor.

Why a key was refused - nobody made it, it was revoked, it has expired - is for our log. Whoever sent it is told the
same sentence for all of them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from orchestrator.errors import InvalidValue, KeyRefused, Unreachable
from orchestrator.model.integration import EXECUTOR_ID
from orchestrator.model.keys import ID_BYTES, SECRET_BYTES, Caller, Scope, hash_key, is_hash_of, make_key, parse_key
from orchestrator.service.services import Services
from orchestrator.store.keys import KeyState, NewKey, StoredKey

log = logging.getLogger(__name__)

MAX_NAME: Final = 128  # characters
MAX_ACTOR: Final = 256
MAX_LIFE: Final = timedelta(days=36_525)  # a century


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyWish:
    """The key that is wanted.

    Attributes:
        name: what it is for; empty is its id.
        scopes: what it allows.
        executor: the only executor that it may use; None is any.
        actor: who did what is done with it, as the trail says; empty is ``key:NAME``.
        expires: when it is good no more: so long from now, or at an aware time; None is never.
        created_by: who makes it; kept.
    """

    name: str = ""
    scopes: Collection[Scope]
    executor: str | None = None
    actor: str = ""
    expires: timedelta | datetime | None = None
    created_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedKey:
    """A key that was made. ``text`` is the key itself, which nobody is shown again; it is not in the ``repr``."""

    key: StoredKey
    text: str

    def __repr__(self) -> str:
        return f"CreatedKey(key={self.key!r})"


def create_key(wish: KeyWish, services: Services) -> CreatedKey:
    """Make a key.

    Raises:
        InvalidValue: no scope, a name, actor or executor of another form, an end that is not to come; nothing was
            stored.
    """
    key = make_key(os.urandom(ID_BYTES + SECRET_BYTES))
    name = wish.name or key.id
    actor = wish.actor or f"key:{name}"
    for place, text, longest in (("name", name, MAX_NAME), ("actor", actor, MAX_ACTOR)):
        if len(text) > longest or not text.isprintable():
            raise InvalidValue(f"{place} of the key", repr(text)[:60], f"1 to {longest} printable characters")
    if not wish.scopes:
        raise InvalidValue("scopes of the key", "none", f"at least one of {', '.join(Scope)}")
    if wish.executor is not None and not EXECUTOR_ID.fullmatch(wish.executor):
        expected = "1 to 128 letters, digits, '_', '.' and '-'"
        raise InvalidValue("executor of the key", repr(wish.executor)[:60], expected)
    expires_at, expire_after_s = _end(wish.expires, services)
    new = NewKey(
        id=key.id,
        name=name,
        hash=hash_key(key.text),
        scopes=frozenset(wish.scopes),
        executor=wish.executor,
        actor=actor,
        created_by=wish.created_by,
        expires_at=expires_at,
        expire_after_s=expire_after_s,
    )
    return CreatedKey(key=services.keys.create(new), text=key.text)


def _end(expires: timedelta | datetime | None, services: Services) -> tuple[datetime | None, float | None]:
    if isinstance(expires, timedelta):
        if not timedelta() < expires <= MAX_LIFE:
            raise InvalidValue("end of the key", str(expires), "a time from now, at most a century")
        return None, expires.total_seconds()
    if expires is not None:
        if expires.tzinfo is None:
            expected = "a time with its zone, such as 2026-01-31T12:00:00Z"
            raise InvalidValue("end of the key", expires.isoformat(), expected)
        if expires <= services.keys.now():
            raise InvalidValue("end of the key", expires.isoformat(), "a time to come")
    return expires, None


def list_keys(services: Services) -> list[StoredKey]:
    """All keys, those that are revoked or expired too, the oldest first; without the keys themselves."""
    return services.keys.list()


def revoke_key(key_id: str, services: Services, *, by: str) -> StoredKey:
    """Let a key be used no more, from the next request on. Revoking one twice is revoking it once.

    Args:
        key_id: the part of the key between its first two underscores, which a list of keys has; or the whole key.
        services: the stores.
        by: who wants it; kept.

    Raises:
        KeyNotFound: there is none of this id.
    """
    key = parse_key(key_id)
    return services.keys.revoke(key_id if key is None else key.id, by=by)


def authenticate(text: str, services: Services) -> Caller:
    """Who it is that sends a key.

    Raises:
        KeyRefused: it is no key, or none that is good; ``reason`` says which, and is not for whoever sent it.
        Unreachable: the database does not answer.
    """
    key = parse_key(text)
    if key is None:
        raise KeyRefused("of another form")
    found = services.keys.find(key.id)
    if found is None:
        raise KeyRefused("unknown", key.id)
    if not is_hash_of(found.hash, text):
        raise KeyRefused("another secret", key.id)
    if found.key.state is not KeyState.VALID:
        raise KeyRefused(found.key.state.value.lower(), key.id)
    if not found.is_use_noted:
        _note_use(key.id, services)
    return Caller(actor=found.key.actor, scopes=found.key.scopes, executor=found.key.executor)


def _note_use(key_id: str, services: Services) -> None:
    try:
        services.keys.note_use(key_id)
    except Unreachable as error:  # a full disk is no reason to let nobody look any more
        log.warning("use of a key not noted", extra={"key_id": key_id, "reason": str(error)})

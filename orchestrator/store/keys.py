"""API keys: who may ask over the network, by the id that is a part of the key.

Looking one up is one read by the primary key, which takes 0.2 ms on either database, and normally all: that a key was
used is written once a minute at most, and a crash may lose that. So nothing remembers keys between two requests, and a
key that is revoked is refused from the next one on.
"""

from __future__ import annotations

import builtins
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.errors import KeyNotFound
from orchestrator.model.keys import Scope
from orchestrator.store.database import Database
from orchestrator.store.tables import keys, later, now

_USE_S: Final = 60.0  # how exactly it is known when a key was used
_IS_EXPIRED: Final = sa.func.coalesce(keys.c.expires_at <= now(), sa.false())
_IS_NOTED: Final = sa.func.coalesce(keys.c.last_used_at > later(-_USE_S), sa.false())
_SELECT: Final = sa.select(keys, _IS_EXPIRED.label("is_expired"), _IS_NOTED.label("is_use_noted"))
_FIND: Final = _SELECT.where(keys.c.id == sa.bindparam("b_id"))


class KeyState(StrEnum):
    """Whether a key can be used."""

    VALID = "VALID"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewKey:
    """A key to store. ``hash`` is that of its text; it ends after so many seconds, at a time, or never."""

    id: str
    name: str
    hash: str
    scopes: frozenset[Scope]
    executor: str | None
    actor: str
    created_by: str
    expires_at: datetime | None = None
    expire_after_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredKey:
    """What is known of a key: everything but the key. ``state`` is as of now, by the database's clock."""

    id: str
    name: str
    state: KeyState
    scopes: frozenset[Scope]
    executor: str | None
    actor: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundKey:
    """A key that somebody claims to have. ``is_use_noted``: nobody need write yet that it is used."""

    key: StoredKey
    hash: str
    is_use_noted: bool


class KeyStore:
    """Keeps, finds and revokes keys."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, new: NewKey) -> StoredKey:
        """Store a key."""
        expires_at = new.expires_at if new.expire_after_s is None else later(new.expire_after_s)
        with self.database.begin() as connection:
            connection.execute(
                sa.insert(keys).values(
                    id=new.id,
                    name=new.name,
                    hash=new.hash,
                    scopes=json.dumps(sorted(new.scopes)),
                    executor=new.executor,
                    actor=new.actor,
                    created_by=new.created_by,
                    expires_at=expires_at,
                )
            )
            return _to_stored(connection.execute(_FIND, {"b_id": new.id}).one())

    def find(self, key_id: str) -> FoundKey | None:
        """The key of an id, with its hash."""
        with self.database.read() as connection:
            row = connection.execute(_FIND, {"b_id": key_id}).one_or_none()
        if row is None:
            return None
        return FoundKey(key=_to_stored(row), hash=row.hash, is_use_noted=bool(row.is_use_noted))

    def list(self) -> builtins.list[StoredKey]:
        """All of them, those that are revoked or expired too, the oldest first."""
        with self.database.read() as connection:
            return [_to_stored(row) for row in connection.execute(_SELECT.order_by(keys.c.created_at, keys.c.id))]

    def now(self) -> datetime:
        """The clock by which keys expire."""
        with self.database.read() as connection:
            clock: datetime = connection.execute(sa.select(now())).scalar_one()
            return clock

    def note_use(self, key_id: str) -> None:
        """Write that a key is used, unless somebody has done so within the minute."""
        used = sa.update(keys).where(keys.c.id == key_id, sa.not_(_IS_NOTED)).values(last_used_at=now())
        with self.database.begin(is_durable=False) as connection:
            connection.execute(used)

    def revoke(self, key_id: str, *, by: str) -> StoredKey:
        """Let a key be used no more. One that is revoked stays as it is.

        Raises:
            KeyNotFound: there is none of this id.
        """
        revoked = sa.update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
        with self.database.begin() as connection:
            connection.execute(revoked.values(revoked_at=now(), revoked_by=by))
            row = connection.execute(_FIND, {"b_id": key_id}).one_or_none()
        if row is None:
            raise KeyNotFound(key_id)
        return _to_stored(row)


def _to_stored(row: sa.Row[Any]) -> StoredKey:
    state = KeyState.EXPIRED if row.is_expired else KeyState.VALID
    return StoredKey(
        id=row.id,
        name=row.name,
        state=state if row.revoked_at is None else KeyState.REVOKED,
        scopes=frozenset(map(Scope, json.loads(row.scopes))),
        executor=row.executor,
        actor=row.actor,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        revoked_by=row.revoked_by,
        last_used_at=row.last_used_at,
    )

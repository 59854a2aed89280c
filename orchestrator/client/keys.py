"""The part of the Python API that is about API keys: who may ask over the network.

with Orchestrator() as orchestrator:
made = orchestrator.keys.create("ci", scopes=["read", "run"])
print(made.text)  # this once
orchestrator.keys.revoke(made.key.id)
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from orchestrator.errors import InvalidValue
from orchestrator.model.keys import Scope
from orchestrator.service.keys import CreatedKey, KeyWish, create_key, list_keys, revoke_key
from orchestrator.service.services import Services
from orchestrator.store.keys import StoredKey


class Keys:
    """Makes, lists and revokes API keys.

    Args:
        services: asked for when first used.
        user: who acts, if nobody else is named.
    """

    def __init__(self, services: Callable[[], Services], *, user: Callable[[], str]) -> None:
        self._services, self._user = services, user

    def create(
        self,
        name: str = "",
        *,
        scopes: Collection[Scope | str],
        executor: str | None = None,
        actor: str = "",
        expires: timedelta | datetime | None = None,
        created_by: str | None = None,
    ) -> CreatedKey:
        """Make a key. Its ``text`` is shown to nobody again.

        Args:
            name: what it is for; default: its id. Keys that replace each other have the same.
            scopes: what it allows: read, run, control, define, admin, tasks:poll, tasks:complete.
            executor: the only executor that it may use; default: any.
            actor: who did what is done with it, as the trail says; default: ``key:NAME``.
            expires: when it is good no more: so long from now, or at an aware time; default: never.
            created_by: who makes it, kept; default: this operating system's user.

        Raises:
            InvalidValue: one of them cannot be; nothing was stored.
        """
        wish = KeyWish(
            name=name,
            scopes={_scope(each) for each in scopes},
            executor=executor,
            actor=actor,
            expires=expires,
            created_by=created_by or self._user(),
        )
        return create_key(wish, self._services())

    def list(self) -> builtins.list[StoredKey]:
        """All keys, those that are revoked or expired too, the oldest first; without the keys themselves."""
        return list_keys(self._services())

    def revoke(self, key_id: str, *, revoked_by: str | None = None) -> StoredKey:
        """Let a key be used no more, from the next request on. Revoking one twice is revoking it once.

        Args:
            key_id: its id, or the whole key.
            revoked_by: who wants it, kept; default: this operating system's user.

        Raises:
            KeyNotFound: there is none of this id.
        """
        return revoke_key(key_id, self._services(), by=revoked_by or self._user())


def _scope(found: str) -> Scope:
    try:
        return Scope(found)
    except ValueError:
        raise InvalidValue("scope of the key", repr(found)[:60], f"one of {', '.join(Scope)}") from None

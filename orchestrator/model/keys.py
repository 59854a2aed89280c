"""Who asks over the network, what they may do, and the keys by which they say who they are.

A key is a text such as ``orc_k3v7ax2q_`` and 43 more characters: a prefix, by which people and programs that look for
secrets know it; an id, by which lists and logs call it; and 32 random bytes. Only the SHA-256 of the text is kept. That
is enough without salt and without a slow hash: nobody can try out 2 to the 256 secrets, as they can passwords.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from orchestrator.errors import OtherExecutor

SECRET_BYTES: Final = 32
ID_BYTES: Final = 5
_FORM: Final = re.compile(r"orc_([a-z2-7]{8})_([A-Za-z0-9_-]{43})")


class Scope(StrEnum):
    """What a key allows. None includes another, but ADMIN includes all."""

    READ = "read"
    RUN = "run"
    CONTROL = "control"
    DEFINE = "define"
    ADMIN = "admin"
    TASKS_POLL = "tasks:poll"
    TASKS_COMPLETE = "tasks:complete"


# -- who asks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        actor: how the audit trail names them.
        scopes: what they may do.
        executor: the only executor that they may use; None is any.
    """

    actor: str
    scopes: frozenset[Scope]
    executor: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether they may do this."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


ANYONE: Final = Caller(actor="anonymous", scopes=frozenset({Scope.ADMIN}))
"""Who asks where no key is wanted."""
NOBODY: Final = Caller(actor="a request without a key", scopes=frozenset())
"""Who asks without a key, where what is asked for is looked at one by one."""


def check_executor(caller: Caller, executors: Iterable[str]) -> None:
    """Refuse executors that a caller's key is not for, before anything is started.

    Args:
        caller: who asks. What names no executor should go to ``caller.executor``, if there is one.
        executors: where tasks would go, those of sub-integrations too: what ``service.reach.executors_in_reach`` finds.

    Raises:
        OtherExecutor: the key is bound to another one.
    """
    if caller.executor is None:
        return
    if others := sorted({*executors} - {caller.executor}):
        raise OtherExecutor(caller.actor, caller.executor, others)


# -- keys ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Key:
    """A key, taken apart. Its secret is not in its ``repr``, so nor is it in a log or a traceback."""

    id: str
    secret: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The key itself: as it is shown once, and sent from then on."""
        return f"orc_{self.id}_{base64.urlsafe_b64encode(self.secret).decode().rstrip('=')}"


def make_key(chance: bytes) -> Key:
    """A new key, of 37 random bytes.

    Args:
        chance: ``ID_BYTES`` for the id and ``SECRET_BYTES`` for the secret.
    """
    assert len(chance) == ID_BYTES + SECRET_BYTES, "fewer would be easier to guess"
    return Key(base64.b32encode(chance[:ID_BYTES]).decode().lower(), chance[ID_BYTES:])


def parse_key(text: str) -> Key | None:
    """Take a key apart; None if the text has another form."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    key = Key(found[1], base64.urlsafe_b64decode(found[2] + "="))
    return key if key.text == text else None  # the last character has two bits that say nothing


def hash_key(text: str) -> str:
    """What is kept of a key: the SHA-256 of its text, 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_hash_of(kept: str, text: str) -> bool:
    """Whether a key is the one that a hash was kept of. It takes as long for a wrong one, however wrong."""
    return hmac.compare_digest(kept, hash_key(text))

"""Who asks over the network, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """What a key allows. None includes another, but ADMIN includes all."""

    READ = "read"
    RUN = "run"
    CONTROL = "control"
    DEFINE = "define"
    ADMIN = "admin"
    TASKS_POLL = "tasks:poll"
    TASKS_COMPLETE = "tasks:complete"


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

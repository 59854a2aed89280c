"""What is wrong with a request, field by field, in Google's wording.

The message has a line a field, and a ``google.rpc.BadRequest`` among the details says the same to programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.errors import InputError

BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"
MAX_VIOLATIONS: Final = 50  # more than a person reads before mending the first ones


@dataclass(frozen=True, slots=True)
class Violation:
    """One field, such as ``suspension.state``; blank for the request as a whole. ``description`` is a sentence."""

    field: str
    description: str


class InvalidRequest(InputError):
    """A request cannot be read; nothing was done.

    Attributes:
        violations: the first ones; ``MAX_VIOLATIONS`` at most are kept.
        left_out: how many more there are.
    """

    def __init__(self, violations: Sequence[Violation], left_out: int = 0) -> None:
        super().__init__(tuple(violations), left_out)
        self.violations = tuple(violations[:MAX_VIOLATIONS])
        self.left_out = left_out + len(violations) - len(self.violations)

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> tuple[str, ...]:
        """A sentence for each, and how many more there are."""
        lines = tuple(each.description for each in self.violations)
        return (*lines, f"and {self.left_out:,} more") if self.left_out else lines

    def details(self) -> list[dict[str, Any]]:
        """What stands in ``details`` of the envelope."""
        shown = [{"field": each.field, "description": each.description} for each in self.violations]
        return [{"@type": BAD_REQUEST, "fieldViolations": shown}]


def invalid(field: str, description: str) -> InvalidRequest:
    """One field alone is wrong."""
    return InvalidRequest([Violation(field, description)])

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
    """A request cannot be read; nothing was done."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__(tuple(violations))
        self.violations = tuple(violations)

    def __str__(self) -> str:
        lines = [each.description for each in self.violations[:MAX_VIOLATIONS]]
        left_out = len(self.violations) - len(lines)
        return "\n".join([*lines, *([f"and {left_out:,} more"] if left_out else [])])

    def details(self) -> list[dict[str, Any]]:
        """What stands in ``details`` of the envelope."""
        shown = self.violations[:MAX_VIOLATIONS]
        return [
            {
                "@type": BAD_REQUEST,
                "fieldViolations": [{"field": each.field, "description": each.description} for each in shown],
            }
        ]


def invalid(field: str, description: str) -> InvalidRequest:
    """One field alone is wrong."""
    return InvalidRequest([Violation(field, description)])

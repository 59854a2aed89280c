"""Details: what task code notes of its attempt while it runs, for the history.

They are kept in whichever way the attempt ends, so they lie beside what the code returns or raises. The code may note
them in any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from orchestrator.errors import InvalidValue
from orchestrator.model.json_text import Json, check_json, to_json_text

MAX_DETAILS: Final = 20_000  # characters as JSON text: the entry is read with every look at the execution


class Details:
    """The notes of one attempt."""

    def __init__(self) -> None:
        self._noted: dict[str, Json] = {}

    def record(self, details: Mapping[str, Json]) -> None:
        """Note these; a key that is there already gets the new content.

        Raises:
            InvalidValue: they are no JSON, or too much.
        """
        noted = self._noted | cast("dict[str, Json]", check_json(dict(details), "details"))
        if len(to_json_text(noted)) > MAX_DETAILS:
            raise InvalidValue(
                "details", "too much", f"at most {MAX_DETAILS:,} characters; larger things are artifacts"
            )
        self._noted = noted

    @property
    def is_empty(self) -> bool:
        """Whether nothing was noted."""
        return not self._noted

    def beside(self, others: Mapping[str, Json] | None) -> Mapping[str, Json] | None:
        """The notes, and what the system itself has to say, which comes first."""
        return {**(others or {}), **self._noted} or None

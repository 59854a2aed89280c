"""Arguments of the Jsonnet library's functions, checked the same way everywhere."""

from __future__ import annotations

from orchestrator.model.json_text import Json


def text_of(found: Json) -> str:
    """A string argument; TypeError for anything else."""
    if not isinstance(found, str):
        raise TypeError(f"found {type(found).__name__}, expected a string")
    return found

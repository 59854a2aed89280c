"""Dataclasses of which many are made for each task: frozen for the type checker, and not at run time.

A frozen dataclass sets every field by a call of ``object.__setattr__``, which takes three times as long as setting it.
What is made a few times for each execution is an ordinary frozen dataclass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def quick_dataclass(cls: type[T]) -> type[T]:
    """As ``dataclass(frozen=True, kw_only=True, slots=True)``; who changes one all the same is told by mypy alone."""
    return dataclass(kw_only=True, slots=True, unsafe_hash=True)(cls)

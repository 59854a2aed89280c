"""Libraries that are imported when they are first used.

A worker loads every task type before it forks its pool, so what a task type imports is memory of each of its processes,
whether such a task ever comes or not. A library of some megabytes that only its own tasks need is named here instead::

    if TYPE_CHECKING:
        import httpx
    else:
        httpx = on_first_use("httpx")

Not for what every execution needs: imported before the fork, it is there once for all processes.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def on_first_use(name: str) -> ModuleType:
    """Something that looks like the module of this name, and imports it when an attribute is asked for."""
    return _Later(name)


class _Later(ModuleType):
    def __getattr__(self, name: str) -> object:
        return getattr(import_module(self.__name__), name)

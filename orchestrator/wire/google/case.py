"""The two spellings of a field of protocol buffers: ``taskConfigs`` in JSON, ``task_configs`` in the message.

Servers take both and answer in camelCase. Only names of fields have two spellings: the keys of maps are somebody's own.
"""

from __future__ import annotations

import re
from typing import Final

_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def snake_to_camel(name: str) -> str:
    """``task_configs`` as ``taskConfigs``; what is in camelCase stays as it is."""
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest) if head else name


def camel_to_snake(name: str) -> str:
    """``taskConfigs`` as ``task_configs``: how messages name a place."""
    return _CAPITAL.sub("_", name).lower()

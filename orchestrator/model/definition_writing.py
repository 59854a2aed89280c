"""From a JSON document to text: JSON or YAML that ``definition_text`` reads back as the same document.

YAML: a plain scalar means to our reader what it means in JSON, and to other readers much more (``on``, ``012``,
``1e5``). So a text is written without quotes only where every reader takes it for a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import yaml

from orchestrator.errors import InvalidValue
from orchestrator.model.fields import is_storable

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")

_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "infinity"})


class FileFormat(StrEnum):
    """How a definition is written."""

    JSON = "json"
    YAML = "yaml"


def to_text(document: Mapping[str, object], file_format: FileFormat) -> str:
    """A document as text, its keys in their order.

    Raises:
        InvalidValue: YAML cannot say it: it has half of a surrogate pair.
    """
    if file_format is FileFormat.JSON:
        return json.dumps(document, indent=2, allow_nan=False) + "\n"  # ASCII: any editor and any locale can take it
    if not is_storable(json.dumps(document, ensure_ascii=False).replace("\\u0000", "")):
        raise InvalidValue("definition", "text with half of a surrogate pair", "JSON: YAML cannot write that")
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


class _Dumper(yaml.SafeDumper):
    """Without anchors: whoever reads it refuses them."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    is_plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')


_Dumper.add_representer(str, _text)

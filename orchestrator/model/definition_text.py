"""From bytes to a JSON document: what is refused before anyone looks at what the document says.

JSON if the text opens with a brace or a bracket, else YAML. Both are held to the same: UTF-8 (a byte-order mark is
skipped), at most 8 MiB, at most 200 levels, no duplicate keys, no NaN, no number past a double. Every refusal says line
and column.

YAML is built from the parser's events, not by PyYAML's constructors, for these reasons: anchors, aliases and tags are
refused before they cost anything (a few hundred bytes of aliases expand to gigabytes), a plain scalar means what it
means in JSON and is text otherwise (so ``on``, ``012`` and ``2024-01-01`` stay text, where YAML 1.1 makes them a
boolean, an octal number and a date), and duplicate keys are seen at all.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Final, NoReturn, Protocol, cast

import yaml

from orchestrator.errors import UnreadableDefinition
from orchestrator.model.json_text import MAX_JSON_DEPTH

MAX_SIZE_BYTES: Final = 8 * 2**20
MAX_YAML_NODES: Final = 1_000_000  # 8 MiB of "- a" would keep the parser busy for a minute

# libyaml's parser is ten times quicker; every wheel of PyYAML has it, a build from source may not.
_Parser: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_document(data: bytes, source: str) -> dict[str, object]:
    """Decode one JSON or YAML object.

    Raises:
        UnreadableDefinition: the bytes are too many, not UTF-8, neither JSON nor YAML, or not an object.
    """
    if len(data) > MAX_SIZE_BYTES:
        found = f"{len(data) / 2**20:.1f} MiB"
        raise UnreadableDefinition(source, f"{found} is more than a definition may have ({MAX_SIZE_BYTES >> 20} MiB)")
    try:
        text = _decode(data)
        document = _read_json(text) if text.lstrip()[:1] in ("{", "[") else _YamlReader(text).read()
        if not isinstance(document, dict):
            _refuse(
                text, len(text) - len(text.lstrip()), f"found {_kind(document)}, expected an object with taskConfigs"
            )
    except _Refused as refused:
        raise UnreadableDefinition(source, str(refused)) from None
    return cast("dict[str, object]", document)


class _Refused(Exception):
    """Why, with line and column; becomes UnreadableDefinition where the source is known."""


def _refuse(text: str, offset: int, why: str) -> NoReturn:
    _refuse_at(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset), why)


def _refuse_at(line: int, column: int, why: str) -> NoReturn:
    raise _Refused(f"line {line}, column {column}: {why}")


class _Mark(Protocol):
    """PyYAML's two Marks, the C one and the Python one; both count from 0."""

    line: int
    column: int


def _refuse_mark(mark: _Mark | None, why: str) -> NoReturn:
    line, column = (mark.line, mark.column) if mark else (0, 0)
    _refuse_at(line + 1, column + 1, why)


def _kind(document: object) -> str:
    if document is None:
        return "nothing"
    return "a list" if isinstance(document, list) else "a single value"


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        _refuse(before, len(before), f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8")


# -- JSON ----------------------------------------------------------------------------------------------------------


class _Suspicious(Exception):
    """A hook of the decoder met something refused; the hooks know no position, so the text is searched for it."""


def _read_json(text: str) -> object:
    try:
        document: object = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_bounded
        )
    except json.JSONDecodeError as error:
        _refuse_at(error.lineno, error.colno, f"not JSON: {error.msg}")
    except (_Suspicious, RecursionError):
        document = None
        _find_fault(text)
    if _is_deep(document):
        _find_fault(text)
    return document


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Suspicious
    return found


def _no_constant(_: str) -> NoReturn:
    raise _Suspicious


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _Suspicious
    return number


def _bounded(digits: str) -> int:
    if len(digits) > 300:  # what a double cannot hold; Python itself gives up at 4,300 digits
        raise _Suspicious
    return int(digits)


def _is_deep(document: object) -> bool:
    level = [document]
    for _ in range(MAX_JSON_DEPTH):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(item: object) -> list[object]:
    if isinstance(item, dict):
        return list(item.values())
    return item if isinstance(item, list) else []


_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]|[^\s{}\[\]:,"]+', re.DOTALL)
_INCOMPLETE: Final = "not JSON: it is nested too deeply to tell where it breaks off"


def _find_fault(text: str) -> NoReturn:
    """Say where the first thing is that the decoder's hooks refused."""
    keys: list[set[str]] = []  # of the objects and lists that are open here
    previous: tuple[int, str] = (0, "")
    for match in _TOKEN.finditer(text):
        lexeme, offset = match[0], match.start()
        if lexeme in "{[":
            keys.append(set())
            if len(keys) > MAX_JSON_DEPTH:
                _refuse(text, offset, f"more than {MAX_JSON_DEPTH} levels of nesting")
        elif lexeme in "}]":
            del keys[-1:]
        elif lexeme == ":" and keys:
            _note_key(text, previous, keys[-1])
        elif lexeme[0] != '"':
            _check_literal(text, offset, lexeme)
        previous = (offset, lexeme)
    _refuse(text, len(text), _INCOMPLETE)


def _note_key(text: str, key: tuple[int, str], seen: set[str]) -> None:
    offset, written = key
    name = str(json.loads(written, strict=False)) if written[:1] == '"' else written
    if name in seen:
        _refuse(text, offset, f"the key {name[:60]!r} stands twice in one object")
    seen.add(name)


def _check_literal(text: str, offset: int, token: str) -> None:
    if token in ("NaN", "Infinity", "-Infinity"):
        _refuse(text, offset, f"{token} is not JSON and cannot be kept")
    if re.fullmatch(r"-?[0-9.eE+-]+", token):
        try:
            _bounded(token) if token.lstrip("-").isdigit() else _finite(token)
        except _Suspicious:
            _refuse(text, offset, f"the number {token[:40]} is more than a double can hold")


# -- YAML ----------------------------------------------------------------------------------------------------------

_INT: Final = re.compile(r"[+-]?(?:0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[+-]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)|NaN|[+-]?Infinity")
_CONSTANTS: Final[Mapping[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class _YamlReader:
    """Builds one document out of the parser's events, with a stack of its own instead of recursion."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._open: list[dict[str, object] | list[object]] = []
        self._keys: list[str | None] = []  # the key that waits for its value, for each open collection
        self._document: object = None
        self._documents = 0

    def read(self) -> object:
        """The document.

        Raises:
            _Refused: with line and column.
        """
        for count, event in enumerate(self._events()):
            if count > MAX_YAML_NODES:
                self._refuse(event, f"more than {MAX_YAML_NODES:,} values")
            self._take(event)
        return self._document

    def _events(self) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(self._text, Loader=_Parser)
        except yaml.MarkedYAMLError as error:
            _refuse_mark(error.problem_mark, f"neither JSON nor YAML: {error.problem or error.context}")
        except yaml.reader.ReaderError as error:
            _refuse(self._text, error.position, f"neither JSON nor YAML: {error.reason}")
        except (yaml.YAMLError, ValueError) as error:
            _refuse_at(1, 1, f"neither JSON nor YAML: {error}")

    def _refuse(self, event: yaml.Event, why: str) -> NoReturn:
        _refuse_mark(event.start_mark, why)

    def _take(self, event: yaml.Event) -> None:
        match event:
            case yaml.AliasEvent():
                self._refuse(event, f"an alias (*{event.anchor}); write the value out instead")
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._refuse(event, "a second document; a definition is one")
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._check_node(event)
                new: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
                self._place(event, new)
                self._open.append(new)
                self._keys.append(None)
                if len(self._open) > MAX_JSON_DEPTH:
                    self._refuse(event, f"more than {MAX_JSON_DEPTH} levels of nesting")
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._open.pop()
                self._keys.pop()
            case yaml.ScalarEvent():
                self._check_node(event)
                if self._open and isinstance(self._open[-1], dict) and self._keys[-1] is None:
                    self._note_key(event, self._open[-1])
                else:
                    self._place(event, self._scalar(event))

    def _check_node(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if event.anchor is not None:
            self._refuse(event, f"an anchor (&{event.anchor}); write the value out where it is used")
        if tag not in (None, "!", "tag:yaml.org,2002:str"):
            self._refuse(event, f"the tag {tag}; a definition has none")

    def _note_key(self, event: yaml.ScalarEvent, mapping: dict[str, object]) -> None:
        if event.value in mapping:
            self._refuse(event, f"the key {event.value[:60]!r} stands twice in one object")
        self._keys[-1] = event.value

    def _place(self, event: yaml.Event, content: object) -> None:
        if not self._open:
            self._document = content
            return
        parent, key = self._open[-1], self._keys[-1]
        if isinstance(parent, list):
            parent.append(content)
        elif key is None:
            self._refuse(event, "a key that is not text")
        else:
            parent[key] = content
            self._keys[-1] = None

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        written = event.value
        if not event.implicit[0]:
            return written  # quoted, a block, or tagged as text
        if written in _CONSTANTS:
            return _CONSTANTS[written]
        if _NOT_FINITE.fullmatch(written):
            self._refuse(event, f"{written} is not JSON and cannot be kept")
        try:
            if _INT.fullmatch(written):
                return _bounded(written)
            return _finite(written) if _FLOAT.fullmatch(written) else written
        except _Suspicious:
            self._refuse(event, f"the number {written[:40]} is more than a double can hold")

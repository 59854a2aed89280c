"""Reading a JSON object field by field, so that one pass finds every problem and each one names its place.

A reader never raises over what it finds: it notes the problem, gives a harmless default and goes on; whoever started
the reading asks the list at the end. Names are taken in camelCase and snake_case, ``null`` counts as absent, an int64
may be a string of digits, and ``..._UNSPECIFIED`` is an enum's default: the JSON form of protocol buffers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final, TypeVar

from orchestrator.errors import InvalidValue
from orchestrator.model.json_text import parse_json_text
from orchestrator.model.values import DataType, Value, parse_value

MAX_PROBLEMS: Final = 50  # more than a person reads before mending the first ones

_E = TypeVar("_E", bound=StrEnum)


class ProblemList:
    """The problems found so far: the first ones in full, of the others only how many there are."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._left_out = 0

    def add(self, problem: str) -> None:
        """Note one sentence."""
        if len(self._kept) < MAX_PROBLEMS:
            self._kept.append(problem)
        else:
            self._left_out += 1

    def __bool__(self) -> bool:
        return bool(self._kept)

    @property
    def sentences(self) -> tuple[str, ...]:
        """At most ``MAX_PROBLEMS`` sentences; the last one counts what was left out."""
        if not self._left_out:
            return tuple(self._kept)
        return (*self._kept[:-1], f"and {self._left_out + 1} more")


def shown(found: object) -> str:
    """What was found, short enough for a message; a container by its kind, because it may be megabytes."""
    if found is None:
        return "null"
    if isinstance(found, Mapping):
        return "an object"
    if isinstance(found, list | tuple):
        return "a list"
    text = repr(found[:61] if isinstance(found, str) else found)
    return f"{type(found).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


class Fields:
    """One JSON object. ``place`` may be made more telling once the object has said its own name."""

    __slots__ = ("_content", "_is_object", "place", "problems")

    def __init__(self, body: object, place: str, problems: ProblemList) -> None:
        self.place, self.problems = place, problems
        self._content: dict[str, object] = {}
        self._is_object = isinstance(body, Mapping)
        if not isinstance(body, Mapping):
            self.refuse("", shown(body), "an object")
            return
        for key, content in body.items():
            name = _camel(key) if "_" in key else key
            if name in self._content and content is not None:
                self.refuse("", f"both spellings of {name}", "one of them")
            elif content is not None:
                self._content[name] = content

    def at(self, key: str) -> str:
        """The place of one field."""
        return ", ".join(part for part in (self.place, key) if part)

    def refuse(self, key: str, found: str, expected: str) -> None:
        """Note a problem with one field, or with the object itself."""
        self.problems.add(str(InvalidValue(self.at(key), found, expected)))

    def get(self, key: str) -> object | None:
        """The field as it is; None if absent."""
        return self._content.get(key)

    def text(self, key: str, default: str = "") -> str:
        """A string that every database takes."""
        found = self._content.get(key, default)
        if isinstance(found, str) and is_storable(found):
            return found
        self.refuse(key, shown(found), "a string" if not isinstance(found, str) else "text without NUL and surrogates")
        return default

    def required_text(self, key: str, example: str) -> str:
        """A string that must be there and not be empty."""
        if self._content.get(key) not in (None, ""):
            return self.text(key)
        self.miss(key, example)
        return ""

    def required_whole(self, key: str, example: str) -> int:
        """An int64 that must be there; 0 if it is not, or was refused."""
        if self._content.get(key) is None:
            self.miss(key, example)
        return self.whole(key) or 0

    def miss(self, key: str, example: str) -> None:
        """Note that a field is not there."""
        if self._is_object:  # else that is the problem, and it is noted
            self.refuse(key, "nothing", example)

    def whole(self, key: str) -> int | None:
        """An int64, as a number or digits; None if absent or refused."""
        found = self._content.get(key)
        if found is None:
            return None
        value = self.value_of({"intValue": found}, key)
        return value.data if value is not None and isinstance(value.data, int) else None

    def flag(self, key: str) -> bool:
        """A boolean; absent is False."""
        found = self._content.get(key, False)
        if not isinstance(found, bool):
            self.refuse(key, shown(found), "true or false")
        return found is True

    def choice(self, key: str, default: _E) -> _E:
        """A member of the enum that ``default`` belongs to."""
        found = self._content.get(key)
        if found is None or found == "" or (isinstance(found, str) and found.endswith("_UNSPECIFIED")):
            return default
        members = type(default)
        if isinstance(found, str) and found in members.__members__.values():
            return members(found)
        self.refuse(key, shown(found), f"one of {', '.join(members)}")
        return default

    def mapping(self, key: str) -> Mapping[str, object]:
        """An object whose keys are names somebody chose, so that their spelling is kept."""
        found = self._content.get(key, {})
        if isinstance(found, Mapping):
            return found
        self.refuse(key, shown(found), "an object")
        return {}

    def nested(self, key: str) -> Fields | None:
        """A nested object; None if absent."""
        found = self._content.get(key)
        return None if found is None else Fields(found, self.at(key), self.problems)

    def objects(self, key: str) -> Iterator[Fields]:
        """The objects of a list."""
        for index, item in enumerate(self.items(key)):
            yield Fields(item, self.at(f"{key}[{index}]"), self.problems)

    def items(self, key: str) -> list[object]:
        """A list as it is; absent is empty."""
        found = self._content.get(key, [])
        if isinstance(found, list | tuple):
            return list(found)
        self.refuse(key, shown(found), "a list")
        return []

    def value_of(self, body: object, key: str) -> Value | None:
        """A ValueType that stands at ``key``; None if it was refused."""
        place = self.at(key)
        try:
            text = _json_text(body)
            return parse_value(body, place) if text is None else Value(DataType.JSON, parse_json_text(text, place))
        except InvalidValue as error:
            self.problems.add(str(error))
        return None

    def document(self, key: str) -> object | None:
        """JSON as text or written out; None if absent, empty or refused."""
        found = self._content.get(key)
        if not isinstance(found, str):
            return found
        value = self.value_of({"jsonValue": found}, key) if found.strip() else None
        return None if value is None else value.data


def _json_text(body: object) -> str | None:
    """The text of a ``jsonValue`` and nothing else beside it."""
    if isinstance(body, Mapping) and len(body) == 1:
        key, content = next(iter(body.items()))
        if key in ("jsonValue", "json_value") and isinstance(content, str):
            return content
    return None


def is_storable(text: str) -> bool:
    """Whether every database takes this text: no NUL, no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def _camel(key: str) -> str:
    head, *rest = key.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest) if head else key

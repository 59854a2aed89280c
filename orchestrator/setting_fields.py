"""Settings as a class: fields with types and bounds, read from arguments and variables, checked, and frozen.

The words are those of pydantic-settings, and so is what they mean; of it this is the part that settings need. Every
process of every worker has its settings, and pydantic-settings would take 9 MB of each: a ninth.

Knows: how a text becomes a value of a type. Must not: know any setting, or read the environment by itself.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NoReturn, TypeVar

M = TypeVar("M")
_Parse: typing.TypeAlias = Callable[[Any], Any]

_WORDS: Final = {  # as in YAML, and 1 and 0
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


class SecretStr:
    """A text that no ``repr`` shows."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """The text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretStr) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "SecretStr('**********')"

    __str__ = __repr__


@dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    default: Any
    ge: float | None
    gt: float | None
    le: float | None
    repr: bool


def Field(  # noqa: N802 - as in pydantic
    *,
    default: Any,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    repr: bool = True,  # noqa: A002 - likewise
) -> Any:
    """What else is known of a field: its bounds, and whether ``repr`` shows it."""
    return _Field(default=default, ge=ge, gt=gt, le=le, repr=repr)


def field_validator(name: str, *, mode: Literal["before", "after"] = "after") -> Callable[[M], M]:
    """Have a class method check and change a field's value: as it is found, or as its type has it.

    The method raises ``ValueError`` with what is expected.
    """

    def mark(method: M) -> M:
        function = getattr(method, "__func__", method)
        setattr(function, _MARK, (name, mode))
        return method

    return mark


_MARK: Final = "_validates"


class FieldError(Exception):
    """A value that cannot be used. ``expected`` is a text for people."""

    def __init__(self, name: str, found: object, expected: str) -> None:
        super().__init__(name, found, expected)
        self.name, self.found, self.expected = name, found, expected


class Fields:
    """The base of a class whose annotations are its fields, each with a default.

    ``given`` has the names of those that were found, whatever their values.
    """

    given: frozenset[str]
    fields: ClassVar[Mapping[str, _Field]]
    _parsers: ClassVar[Mapping[str, _Parse]]
    _validators: ClassVar[Mapping[tuple[str, str], _Parse]]

    def __init_subclass__(cls) -> None:
        """Read the class once."""
        hints = {name: hint for name, hint in typing.get_type_hints(cls).items() if name in cls.__annotations__}
        found = {name: vars(cls)[name] for name in hints}
        cls.fields = {n: each if isinstance(each, _Field) else Field(default=each) for n, each in found.items()}
        cls._parsers = {name: _parser_of(hint) for name, hint in hints.items()}
        marked = [(getattr(each.__func__, _MARK, None), n) for n, each in vars(cls).items() if _is_method(each)]
        cls._validators = {mark: getattr(cls, name) for mark, name in marked if mark is not None}

    def __init__(self, found: Mapping[str, object]) -> None:
        """Take what was found by a field's name, and the default of every other.

        Raises:
            FieldError: a value cannot be used, or nothing has this name.
        """
        for name in found:
            if name not in self.fields:
                raise FieldError(name, found[name], "")
        self.__dict__["given"] = frozenset(found)
        for name, each in self.fields.items():
            self.__dict__[name] = self._checked(name, found.get(name, each.default))

    def _checked(self, name: str, found: Any) -> Any:
        try:
            value = self._validators.get((name, "before"), _same)(found)
            value = self._parsers[name](value)
            if value is not None:
                _check_bounds(self.fields[name], value)
            return self._validators.get((name, "after"), _same)(value)
        except ValueError as error:
            raise FieldError(name, found, str(error)) from None

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """The fields with their values."""
        return ((name, getattr(self, name)) for name in self.fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and type(other) is type(self) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name} is frozen")

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self if self.fields[name].repr)
        return f"{type(self).__name__}({', '.join(shown)})"


def _same(value: Any) -> Any:
    return value


def _is_method(each: object) -> typing.TypeGuard[classmethod[Any, Any, Any]]:
    return isinstance(each, classmethod)


def _check_bounds(field: _Field, value: Any) -> None:
    if field.ge is not None and not value >= field.ge:
        raise ValueError(f"greater than or equal to {field.ge}")
    if field.gt is not None and not value > field.gt:
        raise ValueError(f"greater than {field.gt}")
    if field.le is not None and not value <= field.le:
        raise ValueError(f"less than or equal to {field.le}")


# -- types ---------------------------------------------------------------------------------------------------------


def _parser_of(hint: Any) -> _Parse:
    """What makes a value of a type out of what was found.

    Raises:
        KeyError: no setting has had this type so far: add it to ``_PARSERS``.
    """
    if isinstance(hint, types.UnionType):
        (wanted,) = (each for each in typing.get_args(hint) if each is not types.NoneType)
        parse = _PARSERS[wanted]
        return lambda found: None if found is None else parse(found)
    return _PARSERS[hint]


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise ValueError("a valid string")
    return found


def _secret(found: object) -> SecretStr:
    return found if isinstance(found, SecretStr) else SecretStr(_text(found))


def _integer(found: object) -> int:
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise ValueError("a valid integer")
    try:
        return int(found)
    except ValueError:
        raise ValueError("a valid integer, unable to parse string as an integer") from None


def _number(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        raise ValueError("a valid number")
    try:
        return float(found)
    except ValueError:
        raise ValueError("a valid number, unable to parse string as a number") from None


def _boolean(found: object) -> bool:
    word = found.lower() if isinstance(found, str) else str(int(found)) if isinstance(found, bool) else ""
    if word not in _WORDS:
        raise ValueError("a valid boolean")
    return _WORDS[word]


def _path(found: object) -> Path:
    if not isinstance(found, str | Path):
        raise ValueError("a path")
    return Path(found)


def _texts(found: object) -> tuple[str, ...]:
    if not isinstance(found, tuple | list):
        raise ValueError("a list of texts")
    return tuple(_text(each) for each in found)


def _mapping(found: object) -> dict[str, str]:
    if not isinstance(found, Mapping):
        raise ValueError("an object of texts")
    return {_text(key): _text(value) for key, value in found.items()}


_PARSERS: Final[Mapping[Any, _Parse]] = {
    str: _text,
    SecretStr: _secret,
    int: _integer,
    float: _number,
    bool: _boolean,
    Path: _path,
    tuple[str, ...]: _texts,
    dict[str, str]: _mapping,
}

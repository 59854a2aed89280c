"""Bodies of requests: small messages as pydantic models, and what is wrong with one in Google's words.

A model has its fields in snake_case; callers write them in camelCase or in snake_case, as in the JSON of protocol
buffers, and ``null`` is a field that is not there. What no model knows is refused, a line a field: ``Invalid JSON
payload received. Unknown name "colour" at 'suspension': Cannot find field.`` A body may be missing altogether.

Definitions of integrations are no such messages: ``model.definition`` reads them, and keeps what it does not know.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Annotated, Any, Final, NoReturn, TypeVar, get_args

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, GetPydanticSchema, ValidationError, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_core.core_schema import no_info_plain_validator_function

from orchestrator.errors import InvalidValue
from orchestrator.model.json_text import shown
from orchestrator.model.values import Value
from orchestrator.wire.google.fields import from_timestamp, from_value_type
from orchestrator.wire.google.violations import MAX_VIOLATIONS, InvalidRequest, Violation, invalid

MAX_ENTRIES: Final = 5_000  # of a message, a map or a list: each that is wrong takes a kilobyte to be told
_LARGE_BYTES: Final = 100_000  # what takes longer than a millisecond to be read is read in a thread
_OURS: Final = "ours"  # the type of errors whose message is a sentence for people already


class Body(BaseModel):
    """A message. Its fields are read by either of their names."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, found: Any) -> Any:
        """Null is the default, a field has one of its two names, and there is not more of anything than can be told."""
        if not isinstance(found, Mapping):
            return found
        filled = {name: content for name, content in found.items() if content is not None}
        for name in cls.model_fields:
            if name != to_camel(name) and name in filled and to_camel(name) in filled:
                _refuse(f"both {name} and {to_camel(name)} are given; they are one field")
        if len(filled) > MAX_ENTRIES:
            _refuse(f"found {len(filled):,} fields, expected at most {MAX_ENTRIES:,}")
        for name, content in filled.items():
            if isinstance(content, list | Mapping) and len(content) > MAX_ENTRIES:
                _refuse(f"found {len(content):,} entries in {name[:100]}, expected at most {MAX_ENTRIES:,}")
        return filled


def _refuse(sentence: str) -> NoReturn:
    raise PydanticCustomError(_OURS, "{sentence}", {"sentence": sentence})


def _parse_value(found: object) -> Value:
    try:
        return from_value_type(found, "the value")
    except InvalidValue as error:
        _refuse(f"found {error.found}, expected {error.expected}")


def _parse_timestamp(found: object) -> datetime:
    try:
        return from_timestamp(found, "the time")
    except InvalidValue as error:
        _refuse(f"found {error.found}, expected {error.expected}")


def _read_by(parse: Callable[[object], object]) -> GetPydanticSchema:
    """Read by this alone: pydantic would look into the class otherwise."""
    return GetPydanticSchema(lambda source, handler: no_info_plain_validator_function(parse))  # noqa: ARG005


_VALUE_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "stringValue": {"type": "string"},
        "intValue": {"type": "string", "format": "int64"},
        "doubleValue": {"type": "number"},
        "booleanValue": {"type": "boolean"},
        "jsonValue": {},
        **{
            f"{name}Array": {"type": "object", "properties": {f"{name}Values": {"type": "array", "items": items}}}
            for name, items in {
                "string": {"type": "string"},
                "int": {"type": "string", "format": "int64"},
                "double": {"type": "number"},
                "boolean": {"type": "boolean"},
            }.items()
        },
    },
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}

ValueType = Annotated[Value, _read_by(_parse_value), WithJsonSchema(_VALUE_SCHEMA)]
"""A field that holds a ValueType; ``dict[str, ValueType]`` is a map of them."""
Timestamp = Annotated[datetime, _read_by(_parse_timestamp), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A field that holds RFC 3339: an aware datetime in UTC."""

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


def body_of(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """What a handler depends on to be given a message: ``body: Annotated[Cancel, Depends(body_of(Cancel))]``.

    An empty body has every field at its default.

    Raises:
        InvalidRequest: when a body comes that is no JSON, or not this message.
    """
    return body_by(partial(parse_body, model=model), model.model_json_schema)


def body_by(parse: Callable[[bytes], T], schema: Callable[[], dict[str, Any]]) -> Callable[[Request], Awaitable[T]]:
    """What a handler depends on to be given what ``parse`` makes of the body; ``openapi`` shows the JSON schema."""
    return partial(read_body, parse, schema)


async def read_body(parse: Callable[[bytes], T], _: Callable[[], dict[str, Any]], request: Request) -> T:
    """The body of a request. FastAPI's own way answers 500 to what is nested too deeply, or is no UTF-8."""
    content = await request.body()
    return await run_in_threadpool(parse, content) if len(content) > _LARGE_BYTES else parse(content)


def parse_body(content: bytes, model: type[M]) -> M:
    """Read a message.

    Raises:
        InvalidRequest: it is no JSON, or not this message.
    """
    document = parse_json_body(content)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = islice(error.errors(include_url=False), MAX_VIOLATIONS)
        violations = [_to_violation(each, model) for each in first]
        raise InvalidRequest(violations, error.error_count() - len(violations)) from None


def parse_json_body(content: bytes) -> dict[str, Any]:
    """The object that a body is; an empty one for no body.

    Raises:
        InvalidRequest: it is no JSON, or no object.
    """
    if not content.strip():
        return {}
    try:
        document = json.loads(content, parse_constant=_refuse_constant, parse_float=_parse_float)
    except RecursionError:
        raise invalid("", "Invalid JSON payload received. It is nested too deeply.") from None
    except ValueError as error:
        raise invalid("", f"Invalid JSON payload received. {error}.") from None
    if not isinstance(document, dict):
        raise invalid("", f"Invalid JSON payload received. Expected an object, found {shown(document)}.")
    return document


def _parse_float(digits: str) -> float:
    if math.isinf(number := float(digits)):
        raise ValueError(f"{digits[:60]} is larger than any double")
    return number


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


# -- in Google's words ---------------------------------------------------------------------------------------------


def _to_violation(error: ErrorDetails, model: type[BaseModel]) -> Violation:
    where = error["loc"]
    if error["type"] == "extra_forbidden":
        parent = _path(where[:-1], model)
        at = f" at '{parent}'" if parent else ""
        unknown = f'Invalid JSON payload received. Unknown name "{str(where[-1])[:100]}"{at}: Cannot find field.'
        return Violation(parent, unknown)
    path = _path(where, model)
    if error["type"] == "missing":
        return Violation(path, f"Required field '{path}' is missing.")
    at = f" at '{path}'" if path else ""
    return Violation(path, f"Invalid value{at}: {_reason(error)}.")


def _reason(error: ErrorDetails) -> str:
    if error["type"] == _OURS:
        return error["msg"]
    if error["type"] == "enum":
        expected = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"found {shown(error['input'])}, expected one of {expected}"
    return f"found {shown(error['input'])}; {error['msg'][:1].lower()}{error['msg'][1:]}"


def _path(where: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Where a field is: ``suspension.task_id``, ``input_parameters["Qty"]``, ``entries[2].key``."""
    path, known = "", set(_messages(model))
    for step in where:
        name = next((name for each in known for name in each.model_fields if step in (name, to_camel(name))), None)
        if name is None:
            path += f"[{json.dumps(step[:100]) if isinstance(step, str) else step}]"
            continue
        path += f".{name}" if path else name
        known = {each for one in known if name in one.model_fields for each in _messages(one.model_fields[name])}
    return path


def _messages(found: Any) -> Iterator[type[BaseModel]]:
    """The messages that a field may hold, in a list or a map as well."""
    if isinstance(found, FieldInfo):
        found = found.annotation
    if isinstance(found, type) and issubclass(found, BaseModel):
        yield found
    for each in get_args(found):
        yield from _messages(each)

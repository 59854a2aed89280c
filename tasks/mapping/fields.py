"""Mapped fields: where a value comes from, and which parameter it goes to.

    {"mappedFields": [
        {"inputField": {"fieldType": "STRING_VALUE", "transformExpression": {...}},
         "outputField": {"referenceKey": "$out$", "fieldType": "STRING_VALUE", "cardinality": "OPTIONAL"}}]}

Fields are mapped in order and see what the earlier ones gave. A field without a value (a reference to nothing, a JSON
null for a type that is not JSON) takes its ``defaultValue``; without one, an OPTIONAL or REPEATED field leaves its
parameter as it was, and any other field is required and fails the task. No cardinality forgives an error of a function.

Source: Integrations API v1 discovery document, EnterpriseCrmEventbusProtoFieldMappingConfig, -MappedField, -Field ("By
default, if the cardinality is unspecified the field is considered required while mapping").
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.errors import InvalidValue, TaskError
from orchestrator.model.json_text import MAX_JSON_DEPTH, Json, parse_json_text, to_json_text
from orchestrator.model.parameters import reference_in
from orchestrator.model.task_types import TaskContext
from orchestrator.model.values import DataType, Value, coerce, element_type, parse_value
from tasks.mapping.documents import kind_of
from tasks.mapping.expression import Budget, Expression, Scope
from tasks.mapping.registry import JSON, check_weight, refusal, to_document
from tasks.mapping.syntax import parse_expression, to_list, to_object

CONFIG_KEY: Final = "FieldMappingConfigTaskParameterKey"
_ARRAY_OF: Final = {element_type(each): each for each in DataType if element_type(each)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """The parameter that a field goes to.

    Attributes:
        name: the parameter's name, a system variable's with its backticks.
        path: property names and list positions inside the parameter's document; empty for the parameter itself.
        type: what the value is converted to; None leaves it as it is.
        is_required: the field must have a value.
        is_repeated: the value is a list; a single one becomes a list of one.
    """

    name: str
    path: tuple[str, ...]
    type: DataType | None
    is_required: bool
    is_repeated: bool

    def value_for(self, value: Value, parameters: Mapping[str, Value]) -> Value:
        """The value that the parameter takes: the given one converted, or its document with the part set in it."""
        if self.is_repeated and not isinstance(value.data, tuple | list):
            value = Value(JSON, [value.python])
        fitted = self._converted(value)
        if not self.path:
            return fitted
        root = parameters.get(self.name)
        document: Json = {} if root is None or root.data is None else to_document(root)
        document = _with_part(document, self.path, fitted.python)
        check_weight(document)
        return Value(JSON, document)

    def _converted(self, value: Value) -> Value:
        if self.type is None or value.type is self.type:
            return value
        return Value(JSON, to_document(value)) if self.type is JSON else coerce(value, self.type, "result")


def _with_part(document: Json, path: Sequence[str], part: Json) -> Json:
    if not path:
        return part
    step, rest = path[0], path[1:]
    if isinstance(document, dict):
        return {**document, step: _with_part(document.get(step, {}), rest, part)}
    if isinstance(document, list) and step.isascii() and step.isdigit() and int(step) < len(document):
        index = int(step)
        return [*document[:index], _with_part(document[index], rest, part), *document[index + 1 :]]
    raise refusal(f"{step!r} cannot be set in {kind_of(document)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One mapped field. ``label`` is its place for messages, ``field 2 ($out$)``, counted from 1."""

    label: str
    expression: Expression
    default: Value | None
    output: Output

    def map(self, scope: Scope) -> Value | None:
        """The value of the output parameter, or None if the field has none and may.

        Raises:
            TaskError: a function failed, the value does not fit, or there is none; the field is named.
        """
        try:
            value = self.expression.read(scope)
            if value is None or (value.data is None and self.output.type not in (None, JSON)):
                value = self.default
            if value is not None:
                return self.output.value_for(value, scope.parameters)
        except InvalidValue as error:
            raise refusal(f"{self.label}: {error}") from error
        except TaskError as error:
            raise TaskError(f"{self.label}: {error.message}", error.code) from error
        if self.output.is_required:
            raise refusal(f"{self.label}: there is no value; give it one, or make the field's cardinality OPTIONAL")
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldMapping:
    """A task's whole mapping, or what is wrong with it: one sentence for each field that cannot be used."""

    fields: Sequence[Field] = ()
    problems: Sequence[str] = ()

    def map(self, context: TaskContext) -> dict[str, Value]:
        """The output parameters. If one field fails, none is kept."""
        scope = Scope(context=context, parameters=dict(context.parameters), elements={}, budget=Budget())
        outputs: dict[str, Value] = {}
        for field in self.fields:
            value = field.map(scope)
            if value is not None:
                outputs[field.output.name] = scope.parameters[field.output.name] = value
        return outputs


# -- reading -------------------------------------------------------------------------------------------------------


def mapping_in(config: Mapping[str, Value]) -> FieldMapping:
    """The mapping that a task's parameters hold.

    It is kept by its JSON text: writing a document as text takes microseconds, and reading the expressions in it a
    hundred times as long. (The document itself is a dict: it has no hash, and its identity changes on every load.)
    """
    written = config.get(CONFIG_KEY)
    if written is None:
        return FieldMapping(problems=[f"parameter {CONFIG_KEY!r} is required"])
    return _read(written.data if isinstance(written.data, str) else to_json_text(written.data))


@functools.lru_cache(maxsize=512)
def _read(text: str) -> FieldMapping:
    try:
        document = to_object(parse_json_text(text, CONFIG_KEY), CONFIG_KEY)
        if "mappedFields" not in document:
            raise InvalidValue(CONFIG_KEY, "no mappedFields", '{"mappedFields": [...]}')
        bodies = to_list(document["mappedFields"], "mappedFields")
    except InvalidValue as error:
        return FieldMapping(problems=[str(error)])
    fields, problems = [], []
    for number, body in enumerate(bodies, start=1):
        try:
            fields.append(_parse_field(body, number))
        except InvalidValue as error:
            problems.append(f"{_label(body, number)}: {error}")
    return FieldMapping(fields=fields, problems=problems)


def _label(body: object, number: int) -> str:
    match body:
        case {"outputField": {"referenceKey": str(key)}}:
            return f"field {number} ({key})"
        case _:
            return f"field {number}"


def _parse_field(body: object, number: int) -> Field:
    field = to_object(body, "mappedField")
    given, taken = to_object(field.get("inputField"), "inputField"), to_object(field.get("outputField"), "outputField")
    default = given.get("defaultValue") or taken.get("defaultValue")
    return Field(
        label=_label(body, number),
        expression=parse_expression(given.get("transformExpression"), "transformExpression"),
        default=parse_value(default, "defaultValue") if default else None,
        output=_parse_output(taken, input_type=_parse_type(given.get("fieldType"), "inputField.fieldType")),
    )


def _parse_output(body: Mapping[str, object], *, input_type: DataType | None) -> Output:
    name, path = _parse_key(body.get("referenceKey"))
    cardinality = str(body.get("cardinality") or "UNSPECIFIED")
    if cardinality not in ("UNSPECIFIED", "REQUIRED", "OPTIONAL", "REPEATED"):
        raise InvalidValue("outputField.cardinality", repr(cardinality), "OPTIONAL or REPEATED, or none")
    data_type = _parse_type(body.get("fieldType"), "outputField.fieldType") or input_type
    is_repeated = cardinality == "REPEATED"
    return Output(
        name=name,
        path=path,
        type=_ARRAY_OF.get(data_type, data_type) if is_repeated else data_type,
        is_required=cardinality in ("UNSPECIFIED", "REQUIRED"),
        is_repeated=is_repeated,
    )


def _parse_key(key: object) -> tuple[str, tuple[str, ...]]:
    """``$order.buyer.id$`` is the parameter ``order`` and the path to the part; backticks hold a name with dots."""
    reference = reference_in(key) if isinstance(key, str) else None
    if reference is None:
        raise InvalidValue("outputField.referenceKey", repr(key), "a reference such as $name$ or $name.property$")
    match = re.match(r"`[^`]+`|[^.\[]+", reference)
    assert match is not None  # a reference starts with a name
    path = tuple(step for step in re.split(r"[.\[\]]+", reference[match.end() :]) if step)
    if len(path) >= MAX_JSON_DEPTH:
        raise InvalidValue("outputField.referenceKey", f"{len(path)} steps", f"fewer than {MAX_JSON_DEPTH}")
    return match[0], path


def _parse_type(found: object, place: str) -> DataType | None:
    if found in (None, "", "DATA_TYPE_UNSPECIFIED"):
        return None
    if found not in tuple(DataType):
        raise InvalidValue(place, repr(found), f"one of {', '.join(DataType)}")
    return DataType(str(found))

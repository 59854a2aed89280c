"""Mapping definitions for tests: what the product's editor would write, from a few words of Python.

``expression("$name$", "string.CONCAT", "!")`` is ``$name$.CONCAT("!")``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.model.values import Value, to_value
from tasks import mapping
from tests.unit.tasks.contexts import make_context, values

Body = dict[str, Any]


def literal(data: object) -> Body:
    return {"literalValue": to_value(values({"literal": data})["literal"])}


def initial(start: object) -> Body:
    """``$x$`` and ``~x`` are references; what is a JSON body already stays."""
    if isinstance(start, str) and (start.startswith("~") or (len(start) > 2 and start[0] == start[-1] == "$")):
        return {"referenceValue": start}
    return start if isinstance(start, dict) and {"literalValue", "baseFunction"} & set(start) else literal(start)


def call(function: str, *parameters: object) -> Body:
    """``call("string.CONCAT", "a")``; a parameter may be an expression already."""
    family, name = function.split(".")
    body: Body = {"functionType": {f"{family}Function": {"functionName": name}}}
    if parameters:
        body["parameters"] = [p if is_expression(p) else expression(p) for p in parameters]
    return body


def is_expression(data: object) -> bool:
    return isinstance(data, dict) and "initialValue" in data


def expression(start: object, *calls: Body) -> Body:
    return {"initialValue": initial(start), "transformationFunctions": list(calls)}


def loop_body(start: object, *calls: Body) -> Body:
    """An expression as FOR_EACH takes it."""
    return {"initialValue": {"literalValue": {"protoValue": expression(start, *calls)}}}


def field(
    source: Body, key: str = "$out$", *, to: str | None = None, cardinality: str | None = "OPTIONAL", **given: Any
) -> Body:
    output = (
        {"referenceKey": key}
        | ({"fieldType": to} if to else {})
        | ({"cardinality": cardinality} if cardinality else {})
    )
    return {"inputField": {"transformExpression": source} | given, "outputField": output}


def config_of(*fields: Body) -> dict[str, object]:
    return {"FieldMappingConfigTaskParameterKey": {"mappedFields": list(fields)}}


def outputs_of(*fields: Body, parameters: dict[str, object] | None = None) -> dict[str, Value]:
    return dict(mapping.run(make_context(config_of(*fields), parameters)).outputs)


def value_of(
    function: str, data: object, parameters: Sequence[object] = (), *, known: dict[str, object] | None = None
) -> Value:
    """What one function makes of some data, as the value of one mapped field."""
    source = expression("$in$", call(function, *parameters))
    return outputs_of(field(source), parameters={"in": data} | (known or {}))["out"]


def problems_of(*fields: Body) -> list[str]:
    return list(mapping.check(values(config_of(*fields))))

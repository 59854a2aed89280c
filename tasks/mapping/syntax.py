"""Reading transform expressions out of a definition.

    {"initialValue": {"literalValue": {...}} | {"referenceValue": "$name.path$" | "~x"} | {"baseFunction": {...}},
     "transformationFunctions": [{"functionType": {"stringFunction": {"functionName": "CONCAT"}},
                                  "parameters": [expression, ...]}, ...]}

Parameters are expressions themselves. That of FOR_EACH and FILTER is evaluated once for each element; it stands in
``literalValue.protoValue`` or directly in the parameter. Definitions do not say which name an element has (``~x``,
``~obj1``): a loop binds the first name in its expression that no loop around it has bound, and where all are bound its
own first name, which then means the innermost element.

Source: Integrations API v1 discovery document, EnterpriseCrmEventbusProtoTransformExpression, -BaseValue, -Function;
"FOR_EACH function" (``~obj1.name`` is a property of the element).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from orchestrator.errors import InvalidValue
from orchestrator.model.parameters import reference_in
from orchestrator.model.values import DataType, parse_value
from tasks.mapping.expression import Argument, Element, Expression, Literal, LoopBody, Readable, Reference, Start, Step
from tasks.mapping.registry import FAMILIES, LAMBDA, MappingFunction


def parse_expression(body: object, place: str, *, bound: frozenset[str] = frozenset()) -> Expression:
    """Read a TransformExpression.

    Args:
        body: see the head of this module.
        place: where it stands in the definition, for the message.
        bound: the names of the elements of the loops around it.

    Raises:
        InvalidValue: it is not of that shape, or names a family, function or element that does not exist, or gives a
            function the wrong number of parameters.
    """
    expression = to_object(body, place)
    steps = to_list(expression.get("transformationFunctions"), f"{place}.transformationFunctions")
    return Expression(
        _parse_initial(expression.get("initialValue"), f"{place}.initialValue", bound),
        tuple(_parse_step(each, f"{place}.transformationFunctions[{i}]", bound) for i, each in enumerate(steps)),
    )


def _parse_initial(body: object, place: str, bound: frozenset[str]) -> Readable:
    match to_object(body, place):
        case {"referenceValue": str(reference)}:
            return _parse_reference(reference, f"{place}.referenceValue", bound)
        case {"literalValue": {"protoValue": proto}}:
            return parse_expression(proto, f"{place}.literalValue.protoValue", bound=bound)
        case {"literalValue": literal}:
            return Literal(parse_value(literal, f"{place}.literalValue") if literal else None)
        case {"baseFunction": base}:
            return Start(_parse_step(base, f"{place}.baseFunction", bound, is_start=True))
        case other:
            found = ", ".join(other) or "an empty object"
            raise InvalidValue(place, found, "one of literalValue, referenceValue, baseFunction")


def _parse_reference(text: str, place: str, bound: frozenset[str]) -> Readable:
    if text.startswith("~"):
        if _element_name(text) not in bound:
            raise InvalidValue(place, text, "an element of FOR_EACH or FILTER around it")
        return Element(text[1:])
    inside = text.strip()
    name = reference_in(inside)
    if name is None and len(inside) > 2 and inside[0] == inside[-1] == "$":
        name = inside[1:-1]  # a name that a template could not hold, with a blank for instance
    if name is None:
        raise InvalidValue(place, repr(text), "a reference such as $name$, $name.path$ or ~x")
    return Reference(name)


def _parse_step(body: object, place: str, bound: frozenset[str], *, is_start: bool = False) -> Step:
    step = to_object(body, place)
    function = _parse_function(step.get("functionType"), f"{place}.functionType")
    if is_start is not (function.input_type is None):
        expected = "a base function" if is_start else "a function that takes the value before it"
        raise InvalidValue(place, function.label, expected)
    parameters = to_list(step.get("parameters"), f"{place}.parameters")
    problem = function.count_problem(len(parameters))
    if problem is not None:
        raise InvalidValue(place, problem, "another number of parameters")
    return Step(
        function,
        tuple(
            _parse_argument(each, f"{place}.parameters[{i}]", bound, function=function, index=i)
            for i, each in enumerate(parameters)
        ),
    )


def _parse_function(body: object, place: str) -> MappingFunction:
    given = [(key, part) for key, part in to_object(body, place).items() if part is not None]
    if len(given) != 1 or given[0][0] not in FAMILIES:
        found = ", ".join(key for key, _ in given) or "an empty object"
        raise InvalidValue(place, found, f"one of {', '.join(FAMILIES)}")
    family = FAMILIES[given[0][0]]
    name = to_object(given[0][1], f"{place}.{family.key}").get("functionName")
    function = family.rows.get(name) if isinstance(name, str) else None
    if function is None:
        raise InvalidValue(f"{place}.{family.key}.functionName", repr(name), f"one of {', '.join(family.rows)}")
    return function


def _parse_argument(
    body: object, place: str, bound: frozenset[str], *, function: MappingFunction, index: int
) -> Argument | LoopBody:
    takes = function.type_of_parameter(index)
    if takes is LAMBDA:
        return _parse_loop_body(body, place, bound)
    expression = parse_expression(body, place, bound=bound)
    return Argument(expression, cast("DataType", takes), f"parameter {index + 1}")


def _parse_loop_body(body: object, place: str, bound: frozenset[str]) -> LoopBody:
    match body:
        case {"initialValue": {"literalValue": {"protoValue": proto}}, **others} if not others.get(
            "transformationFunctions"
        ):
            body, place = proto, f"{place}.initialValue.literalValue.protoValue"
    names = _element_names(body)
    name = next((each for each in names if each not in bound), names[0] if names else None)
    inside = bound if name is None else bound | {name}
    return LoopBody(parse_expression(body, place, bound=inside), name)


def _element_names(body: object) -> list[str]:
    """The element names in an expression, its own first, then those that the loops in it take from outside."""
    own: list[str] = []
    inner: list[str] = []
    stack = [body]
    while stack:
        match stack.pop():
            case list(items):
                stack.extend(reversed(items))
            case {"referenceValue": str(text)} if text.startswith("~"):
                own.append(_element_name(text))
            case dict(parts):
                inner += [name for proto in [parts.get("protoValue")] for name in _element_names(proto)[1:]]
                # Popped in the order of the alphabet: initialValue comes before transformationFunctions.
                stack.extend(parts[key] for key in sorted(parts, reverse=True) if key != "protoValue")
    return own + inner


def _element_name(text: str) -> str:
    return text[1:].split(".", 1)[0].split("[", 1)[0]


def to_object(body: object, place: str) -> Mapping[str, object]:
    """The body, which must be a JSON object."""
    if not isinstance(body, Mapping):
        raise InvalidValue(place, "nothing" if body is None else type(body).__name__, "a JSON object")
    return body


def to_list(body: object, place: str) -> list[object]:
    """The body, which must be a JSON list; an absent one is empty."""
    if body is None:
        return []
    if not isinstance(body, list):
        raise InvalidValue(place, type(body).__name__, "a JSON list")
    return body

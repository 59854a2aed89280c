from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConditionSyntax, InvalidDefinition
from orchestrator.model.definition import parse_integration
from orchestrator.model.json_text import Json
from orchestrator.model.limits import Limits, Rate, key_text, parse_key, references_of
from orchestrator.model.values import DataType, Value, from_python

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def limits_of(written: object) -> Limits | None:
    return parse_integration({"name": "flow", "limits": written}).limits


def problems_of(written: object) -> list[str]:
    with pytest.raises(InvalidDefinition) as caught:
        limits_of(written)
    return list(caught.value.problems)


def key_of(expression: str, **parameters: Json) -> str:
    return key_text(parse_key(expression), {key: from_python(data, key) for key, data in parameters.items()})


# -- reading -------------------------------------------------------------------------------------------------------


def test_limits_are_read_from_the_top_of_a_definition():
    written = {
        "maxConcurrent": 5,
        "key": "$customer_id$",
        "maxConcurrentPerKey": "7",
        "rate": {"count": 100, "perSeconds": 60},
    }

    assert limits_of(written) == Limits(
        max_running=5, key="$customer_id$", max_running_per_key=7, rate=Rate(count=100, period_s=60)
    )


def test_limits_may_be_written_in_snake_case():
    assert limits_of({"max_concurrent": 5, "rate": {"count": 1, "per_seconds": 2}}) == Limits(
        max_running=5, rate=Rate(count=1, period_s=2)
    )


@pytest.mark.parametrize("written", [{}, {"limits": None}])
def test_a_definition_without_limits_has_none(written):
    assert parse_integration({"name": "flow", **written}).limits is None


@pytest.mark.parametrize(
    ("written", "place"),
    [
        (5, "limits: "),
        ({"maxConcurrent": "many"}, "limits, maxConcurrent: "),
        ({"maxConcurrent": 1.5}, "limits, maxConcurrent: "),
        ({"key": 1}, "limits, key: "),
        ({"maxConcurrentPerKey": True}, "limits, maxConcurrentPerKey: "),
        ({"rate": 100}, "limits, rate: "),
        ({"rate": {"count": 100}}, "limits, rate, perSeconds: found nothing"),
        ({"rate": {"perSeconds": 60}}, "limits, rate, count: found nothing"),
    ],
)
def test_what_has_not_the_shape_of_limits_is_refused_with_its_place(written, place):
    (problem,) = problems_of(written)

    assert problem.startswith(place)


# -- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("$customer$", '"acme"'),
        ("$order.buyer.id$", "7"),
        ("$order.lines[1].sku$", '"b"'),
        ("$order.buyer$", '{"id":7,"vip":true}'),
        ("[$customer$, $order.buyer.id$]", '["acme",7]'),
        ("[$customer$, EU]", '["acme","EU"]'),
        ("$missing$", "null"),
        ("$order.missing$", "null"),
        ("[$missing$, $customer$]", '[null,"acme"]'),
        (" $customer$ ", '"acme"'),
    ],
)
def test_a_key_is_the_value_of_its_expression_as_json_text(expression, text):
    order = {"buyer": {"vip": True, "id": 7}, "lines": [{"sku": "a"}, {"sku": "b"}]}

    assert key_of(expression, customer="acme", order=order) == text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (0, -0.0),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1e300}, {"a": int(1e300)}),
        ({"a": [1.0]}, {"a": [1]}),
    ],
)
def test_equal_values_are_one_key(one, other):
    assert key_of("$x$", x=one) == key_of("$x$", x=other)


@pytest.mark.parametrize(("one", "other"), [(1, "1"), (True, 1), (True, "true"), (0, False), (None, "null"), ([], {})])
def test_values_of_different_types_are_different_keys(one, other):
    assert key_of("$x$", x=one) != key_of("$x$", x=other)


def test_an_array_is_the_same_key_as_the_list_of_its_elements():
    array = Value(DataType.INT_ARRAY, (1, 2))

    assert key_text(parse_key("$x$"), {"x": array}) == key_of("[1, 2]") == "[1,2]"


@given(DOCUMENTS)
def test_the_text_of_a_key_says_the_value_in_ascii(document):
    text = key_text(parse_key("$x$"), {"x": Value(DataType.JSON, document)})

    assert text.isascii()
    assert json.loads(text) == document


@pytest.mark.parametrize(
    "expression", ["", "  ", "$x", "$x$ = 1", "$x$ $y$", "exists($x$)", "NOT $x$", "($x$)", "[$x$", "null", "a b"]
)
def test_what_is_no_single_value_is_no_key(expression):
    with pytest.raises(ConditionSyntax):
        parse_key(expression)


def test_the_references_of_a_key_are_found_in_lists_too():
    assert list(references_of(parse_key("[$a$, [$b.c$, 1], x]"))) == ["a", "b.c"]

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidValue
from orchestrator.model.json_text import to_json_text
from orchestrator.model.parameters import look_up, reference_in, references_in, resolve, resolve_text
from orchestrator.model.values import DataType, Value, from_python

ORDER = {
    "quantity": 3,
    "total": 9.5,
    "items": [{"sku": "a"}, {"sku": "b"}],
    "tags": ["x", "y"],
    "open": True,
    "note": None,
    "huge": 2**64,
    "many": [1, 2**64],
    "0": "zero",
}


def parameters() -> dict[str, Value]:
    return {
        "order": Value(DataType.JSON, ORDER),
        "list": Value(DataType.INT_ARRAY, (10, 20)),
        "results": Value(DataType.JSON, [{"ok": True}]),
        "name": Value(DataType.STRING, "Ada"),
        "count": Value(DataType.INT, 7),
        "`Task_2_isApproved`": Value(DataType.BOOLEAN, True),
        "`ErrorInfo.code`": Value(DataType.INT, 404),
        "`ErrorInfo`": Value(DataType.JSON, {"message": "gone", "code": 1}),
        "`a.b`": Value(DataType.JSON, {"c": "deep"}),
    }


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("name", Value(DataType.STRING, "Ada")),
        ("order", Value(DataType.JSON, ORDER)),
        ("order.quantity", Value(DataType.INT, 3)),
        ("order.total", Value(DataType.DOUBLE, 9.5)),
        ("order.open", Value(DataType.BOOLEAN, True)),
        ("order.tags", Value(DataType.STRING_ARRAY, ("x", "y"))),
        ("order.items", Value(DataType.JSON, [{"sku": "a"}, {"sku": "b"}])),
        ("order.items.1.sku", Value(DataType.STRING, "b")),
        ("order.items[1].sku", Value(DataType.STRING, "b")),
        ("order.0", Value(DataType.STRING, "zero")),
        ("order.note", Value(DataType.JSON, None)),
        ("order.huge", Value(DataType.JSON, 2**64)),
        ("order.many", Value(DataType.JSON, [1, 2**64])),
        ("list.1", Value(DataType.INT, 20)),
        ("list[0]", Value(DataType.INT, 10)),
        ("results[0]", Value(DataType.JSON, {"ok": True})),
        ("results[0].ok", Value(DataType.BOOLEAN, True)),
        ("`Task_2_isApproved`", Value(DataType.BOOLEAN, True)),
        ("Task_2_isApproved", Value(DataType.BOOLEAN, True)),
        ("`ErrorInfo.code`", Value(DataType.INT, 404)),
        ("`ErrorInfo.message`", Value(DataType.STRING, "gone")),
        ("`ErrorInfo`.message", Value(DataType.STRING, "gone")),
        ("`a.b`.c", Value(DataType.STRING, "deep")),
        ("`a.b.c`", Value(DataType.STRING, "deep")),
    ],
)
def test_a_reference_leads_to_its_value(reference, value):
    assert repr(look_up(parameters(), reference)) == repr(value)


@pytest.mark.parametrize(
    "reference",
    [
        "missing",
        "order.missing",
        "order.quantity.more",
        "order.items.2",
        "order.items.-1",
        "order.items.²",
        "order.items.٣",
        "order.items." + "1" * 5000,
        "list[2]",
        "name.0",
        "`missing`",
        "`ErrorInfo.missing`",
        "",
        ".",
    ],
    ids=range(14),
)
def test_a_reference_that_leads_nowhere_gives_nothing(reference):
    assert look_up(parameters(), reference) is None


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("$order$", "order"),
        (" $order.items$\n", "order.items"),
        ("$order.items[0].sku$", "order.items[0].sku"),
        ("$results[0]$", "results[0]"),
        ("$`Task_2_isApproved`$", "`Task_2_isApproved`"),
        ("$`ErrorInfo.code`$", "`ErrorInfo.code`"),
        ("$`ErrorInfo`.code$", "`ErrorInfo`.code"),
        ("$_x-1$", "_x-1"),
        ("$order$ and more", None),
        ("$order$$name$", None),
        ("$order", None),
        ("order", None),
        ("$$", None),
        ("$1$", None),
        ("$a b$", None),
        ("$a..b$", None),
        ("$``$", None),
        ("", None),
    ],
)
def test_a_text_that_is_one_reference_is_told_from_others(text, reference):
    assert reference_in(text) == reference


def test_all_references_of_a_template_are_found_in_order():
    text = "Dear $name$, $order.items.0.sku$ costs $5 or $`Task_1.price`$; $name$ again, $ 3 $"

    assert references_in(text) == ["name", "order.items.0.sku", "`Task_1.price`", "name"]


def test_a_template_takes_values_as_text_and_keeps_what_has_none():
    text = "$name$: $count$ of $order.tags$, $order.open$, $order.note$, $missing$, $5"

    assert resolve_text(text, parameters()) == 'Ada: 7 of ["x","y"], true, null, $missing$, $5'


def test_what_a_value_holds_is_not_resolved_again():
    tricky = {"a": Value(DataType.STRING, "$b$"), "b": Value(DataType.STRING, "secret")}

    assert resolve_text("$a$ $b$", tricky) == "$b$ secret"
    assert resolve(Value(DataType.STRING, "$a$"), tricky) == Value(DataType.STRING, "$b$")


@pytest.mark.parametrize(
    ("value", "resolved"),
    [
        (Value(DataType.STRING, "$count$"), Value(DataType.INT, 7)),
        (Value(DataType.STRING, "n=$count$"), Value(DataType.STRING, "n=7")),
        (Value(DataType.STRING, "plain"), Value(DataType.STRING, "plain")),
        (Value(DataType.STRING, "$missing$"), None),
        (Value(DataType.STRING, "$order.items$"), Value(DataType.JSON, [{"sku": "a"}, {"sku": "b"}])),
        (Value(DataType.STRING_ARRAY, ("a", "$name$")), Value(DataType.STRING_ARRAY, ("a", "Ada"))),
        (Value(DataType.STRING_ARRAY, ()), Value(DataType.STRING_ARRAY, ())),
        (Value(DataType.STRING_ARRAY, ("$count$",)), Value(DataType.INT_ARRAY, (7,))),
        (Value(DataType.STRING_ARRAY, ("a", "$order.huge$")), Value(DataType.JSON, ["a", 2**64])),
        (Value(DataType.STRING_ARRAY, ("$order.huge$", "$count$")), Value(DataType.JSON, [2**64, 7])),
        (
            Value(DataType.JSON, {"a": ["$count$", "n=$count$", 1], "$name$": "$missing$"}),
            Value(DataType.JSON, {"a": [7, "n=7", 1], "$name$": None}),
        ),
        (Value(DataType.JSON, "$count$"), Value(DataType.JSON, 7)),
        (Value(DataType.INT, 5), Value(DataType.INT, 5)),
        (Value(DataType.BOOLEAN_ARRAY, (True,)), Value(DataType.BOOLEAN_ARRAY, (True,))),
    ],
)
def test_references_are_replaced_type_and_all(value, resolved):
    assert repr(resolve(value, parameters())) == repr(resolved)


def test_resolving_leaves_the_original_document_alone():
    document = {"a": ["$count$"]}

    resolve(Value(DataType.JSON, document), parameters())

    assert document == {"a": ["$count$"]}


def test_a_document_that_grows_too_deep_by_its_references_is_refused():
    deep: object = "end"
    for _ in range(150):
        deep = [deep]
    bottom = to_json_text(deep).replace("end", "$deep$")

    with pytest.raises(InvalidValue, match="levels of nesting"):
        resolve(from_python(json.loads(bottom), "v"), {"deep": Value(DataType.JSON, deep)})


@settings(max_examples=200)
@given(text=st.text(st.sampled_from("$`ab.[]0-² \n{}\"'") | st.characters(), max_size=30))
def test_any_text_can_be_searched_and_resolved(text):
    for reference in references_in(text):
        assert reference_in(f"${reference}$") == reference
        look_up(parameters(), reference)
    look_up(parameters(), text)

    assert isinstance(resolve_text(text, parameters()), str)


@given(data=st.text(st.characters()))
def test_any_string_goes_through_a_template_unchanged(data):
    assert resolve_text("<$v$>", {"v": Value(DataType.STRING, data)}) == f"<{data}>"

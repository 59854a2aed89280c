from __future__ import annotations

import json
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidValue
from orchestrator.model.json_text import MAX_JSON_DEPTH, check_json, parse_json_text, to_json_text
from orchestrator.model.values import (
    INT64_MAX,
    INT64_MIN,
    DataType,
    Value,
    coerce,
    element_type,
    from_python,
    parse_parameters,
    parse_value,
    text_of,
    to_parameters,
    to_parameters_text,
    to_value,
)
from tests.unit.steps import steps_of

texts = st.text(st.characters())  # with NUL and lone surrogates
ints = st.integers(INT64_MIN, INT64_MAX)
doubles = st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | doubles | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
SCALARS = {
    DataType.STRING: texts,
    DataType.INT: ints,
    DataType.DOUBLE: doubles,
    DataType.BOOLEAN: st.booleans(),
    DataType.JSON: documents,
}


def contents(data_type: DataType) -> st.SearchStrategy[object]:
    element = element_type(data_type)
    return SCALARS[data_type] if element is None else st.lists(SCALARS[element], max_size=5).map(tuple)


def snake(document: object) -> object:
    """The keys of a ValueType as the product's other dialect writes them."""
    if not isinstance(document, dict):
        return document
    return {"".join(f"_{c.lower()}" if c.isupper() else c for c in key): snake(v) for key, v in document.items()}


# -- round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_type", list(DataType))
@settings(max_examples=50)
@given(data=st.data())
def test_every_value_comes_back_as_it_was_written(data_type, data):
    value = Value(data_type, data.draw(contents(data_type)))

    sent = json.dumps(to_value(value))
    read = parse_value(json.loads(sent), "v")

    assert repr(read) == repr(value)  # repr, because true == 1 == 1.0
    assert sent.isascii()


@pytest.mark.parametrize("data_type", list(DataType))
@settings(max_examples=20)
@given(data=st.data())
def test_snake_case_keys_say_the_same(data_type, data):
    value = Value(data_type, data.draw(contents(data_type)))

    assert repr(parse_value(snake(to_value(value)), "v")) == repr(value)


@pytest.mark.parametrize("data_type", list(DataType))
@settings(max_examples=30)
@given(data=st.data())
def test_plain_data_takes_the_type_it_came_from(data_type, data):
    value = Value(data_type, data.draw(contents(data_type)))

    assert repr(from_python(value.python, "v", data_type)) == repr(value)
    assert coerce(value, data_type, "v") is value
    assert coerce(value, DataType.JSON, "v").type is DataType.JSON
    assert isinstance(text_of(value), str)


@given(text=texts)
def test_nul_and_lone_surrogates_survive_as_ascii_json(text):
    written = to_json_text([text, {text: text}])

    assert written.isascii()
    assert parse_json_text(written, "v") == [text, {text: text}]


def test_a_map_of_values_is_read_and_written_back():
    body = {"n": {"intValue": "42"}, "s": {"stringArray": {"stringValues": ["a"]}}, "j": {"jsonValue": '{"a":null}'}}

    parameters = parse_parameters(body, "inputParameters")

    assert parameters["j"] == Value(DataType.JSON, {"a": None})
    assert to_parameters(parameters) == body


@pytest.mark.parametrize("data_type", list(DataType))
@settings(max_examples=30)
@given(data=st.data())
def test_the_text_of_parameters_is_that_of_their_document(data_type, data):
    drawn = data.draw(st.dictionaries(texts, contents(data_type), max_size=3))
    parameters = {key: Value(data_type, content) for key, content in drawn.items()}

    assert to_parameters_text(parameters) == to_json_text(to_parameters(parameters))


# -- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ({"intValue": "9223372036854775807"}, Value(DataType.INT, INT64_MAX)),
        ({"intValue": "-9223372036854775808"}, Value(DataType.INT, INT64_MIN)),
        ({"intValue": 9007199254740993}, Value(DataType.INT, 9007199254740993)),
        ({"intValue": 1e5}, Value(DataType.INT, 100000)),
        ({"intValue": " +7 "}, Value(DataType.INT, 7)),
        ({"doubleValue": 3}, Value(DataType.DOUBLE, 3.0)),
        ({"doubleValue": "2.5"}, Value(DataType.DOUBLE, 2.5)),
        ({"stringValue": ""}, Value(DataType.STRING, "")),
        ({"booleanValue": False}, Value(DataType.BOOLEAN, False)),
        ({"jsonValue": {"a": [1]}}, Value(DataType.JSON, {"a": [1]})),
        ({"jsonValue": "null"}, Value(DataType.JSON, None)),
        ({"jsonValue": '"x"'}, Value(DataType.JSON, "x")),
        ({"json_value": "18446744073709551616"}, Value(DataType.JSON, 2**64)),
        ({"stringArray": {}}, Value(DataType.STRING_ARRAY, ())),
        ({"stringArray": {"stringValues": None}}, Value(DataType.STRING_ARRAY, ())),
        ({"int_array": {"int_values": ["1", 2]}}, Value(DataType.INT_ARRAY, (1, 2))),
        ({"stringValue": "x", "intValue": None}, Value(DataType.STRING, "x")),
    ],
)
def test_each_way_to_write_a_value_is_read(body, value):
    assert repr(parse_value(body, "v")) == repr(value)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, "a value such as"),
        ("x", "a value such as"),
        ([], "a value such as"),
        ({}, "exactly one of"),
        ({"intValue": None}, "exactly one of"),
        ({"intValue": "1", "stringValue": "x"}, "exactly one of"),
        ({"protoValue": {}}, "one of"),
        ({1: 2}, "one of"),
        ({"intValue": "9223372036854775808"}, "an int64 (from"),
        ({"intValue": -(2**63) - 1}, "an int64 (from"),
        ({"intValue": 10**5000}, "an int64 (from"),
        ({"intValue": 1e300}, "an int64 (from"),
        ({"intValue": 1.5}, "an int64, as"),
        ({"intValue": True}, "an int64, as"),
        ({"intValue": ""}, "an int64, as"),
        ({"intValue": "1.0"}, "an int64, as"),
        ({"intValue": "--5"}, "an int64, as"),
        ({"intValue": "²"}, "an int64, as"),
        ({"intValue": "1_000"}, "an int64, as"),
        ({"intValue": "9" * 5000}, "an int64, as"),
        ({"intValue": float("nan")}, "an int64, as"),
        ({"doubleValue": "NaN"}, "a finite number"),
        ({"doubleValue": float("inf")}, "a finite number"),
        ({"doubleValue": "-Infinity"}, "a finite number"),
        ({"doubleValue": 10**400}, "a number that a double"),
        ({"doubleValue": 10**5000}, "a number that a double"),
        ({"doubleValue": "x"}, "a number"),
        ({"doubleValue": True}, "a number"),
        ({"stringValue": 5}, "a string"),
        ({"booleanValue": "true"}, "true or false"),
        ({"booleanValue": 1}, "true or false"),
        ({"stringArray": ["a"]}, "an object such as"),
        ({"stringArray": {"stringValues": "a"}}, "a list of stringValues"),
        ({"stringArray": {"intValues": ["1"]}}, "stringValues"),
        ({"intArray": {"intValues": ["1", "x"]}}, "an int64, as"),
        ({"doubleArray": {"doubleValues": [float("nan")]}}, "a finite number"),
        ({"jsonValue": float("nan")}, "a finite number"),
        ({"jsonValue": "[NaN]"}, "a finite number"),
        ({"jsonValue": '{"a": -Infinity}'}, "a finite number"),
        ({"jsonValue": {1: 2}}, "an object whose keys"),
        ({"jsonValue": {"a": {1, 2}}}, "JSON data"),
        ({"jsonValue": [10**5000]}, "a number that can be written"),
        ({"jsonValue": ""}, "a JSON document"),
        ({"jsonValue": "{"}, "a JSON document"),
        ({"jsonValue": "plain text"}, "a JSON document"),
        ({"jsonValue": "9" * 5000}, "a JSON document"),
        ({"stringValue": 10**5000}, "a string"),
    ],
    ids=range(47),  # pytest cannot write the largest of them down
)
def test_what_does_not_fit_is_refused_with_its_place(body, expected):
    with pytest.raises(InvalidValue) as refused:
        parse_value(body, "inputParameters['v']")

    assert refused.value.expected.startswith(expected)
    assert refused.value.place.startswith("inputParameters['v']")
    assert len(str(refused.value)) < 400


# -- JSON documents --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("{'a': 'b', 'c': [1, 2.5, true, null]}", {"a": "b", "c": [1, 2.5, True, None]}),
        (r"""['it\'s', "both", 'say "x"']""", ["it's", "both", 'say "x"']),
        ("{'n': 1e5, 'm': -1.5E-3}", {"n": 1e5, "m": -0.0015}),
        ("  {'n': 9223372036854775808}", {"n": 2**63}),
    ],
)
def test_single_quoted_json_is_read_too(text, document):
    assert repr(parse_json_text(text, "v")) == repr(document)


@pytest.mark.parametrize(
    "text",
    [
        "['x', .nan]",
        "{'a': 1, ['b']: 2}",
        "{'a': 1, 2: 3}",
        "['x', !!int 'y']",
        "['x', !!bool 'y']",
        "['x', !!timestamp 'y']",
        "['x', !!python/object/apply:os.system ['true']]",
        "[" + "9" * 5000 + ", 'x']",
        "{'day': 2024-01-31}",
        "['unfinished",
        "'text'",
        "['\0']",
    ],
    ids=range(12),
)
def test_what_single_quotes_do_not_make_json_is_refused(text):
    with pytest.raises(InvalidValue):
        parse_json_text(text, "v")


def test_aliases_cannot_blow_a_small_text_up():
    laughs = "['x', &a0 [1, 2], " + ", ".join(f"&a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 30)) + "]"

    with pytest.raises(InvalidValue):
        parse_json_text(laughs, "v")
    with pytest.raises(InvalidValue):
        parse_json_text("&a [*a, *a, 'x']", "v")
    with pytest.raises(InvalidValue):
        parse_json_text("[&a ['x', *a]]", "v")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_the_deepest_document_is_read_and_one_level_more_refused(opening, closing):
    def nested(depth: int) -> str:
        return opening * depth + "1" + closing * depth

    with pytest.raises(InvalidValue, match="more than 200 levels"):
        parse_json_text(nested(MAX_JSON_DEPTH), "v")

    assert to_json_text(parse_json_text(nested(MAX_JSON_DEPTH - 1), "v")) == nested(MAX_JSON_DEPTH - 1)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "['x', " * 100_000 + "]" * 100_000,
        "{'a': " * 100_000 + "1" + "}" * 100_000,
    ],
    ids=range(5),
)
def test_a_very_deep_text_is_refused_in_no_more_steps_than_it_has_characters(text):
    def refuse():
        with pytest.raises(InvalidValue):
            parse_json_text(text, "v")

    assert steps_of(refuse) < len(text)


def test_tuples_and_other_mappings_become_plain_json():
    document = check_json({"a": (1, (2,)), "b": MappingProxyType({"c": ()})}, "v")

    assert document == {"a": [1, [2]], "b": {"c": []}}
    assert to_json_text(document) == '{"a":[1,[2]],"b":{"c":[]}}'


def test_a_plain_document_is_checked_without_a_copy():
    document = {"a": [1, {"b": None}]}

    assert check_json(document, "v") is document


# -- from Python, and between types ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (True, Value(DataType.BOOLEAN, True)),
        (1, Value(DataType.INT, 1)),
        (1.0, Value(DataType.DOUBLE, 1.0)),
        ("1", Value(DataType.STRING, "1")),
        (None, Value(DataType.JSON, None)),
        ({}, Value(DataType.JSON, {})),
        ([], Value(DataType.JSON, [])),
        ((), Value(DataType.JSON, [])),
        (["a", "b"], Value(DataType.STRING_ARRAY, ("a", "b"))),
        ((1, 2), Value(DataType.INT_ARRAY, (1, 2))),
        ([1.5], Value(DataType.DOUBLE_ARRAY, (1.5,))),
        ([True, False], Value(DataType.BOOLEAN_ARRAY, (True, False))),
        ([1, 2.0], Value(DataType.JSON, [1, 2.0])),
        ([1, True], Value(DataType.JSON, [1, True])),
        ([["a"], ["b"]], Value(DataType.JSON, [["a"], ["b"]])),
        ([None], Value(DataType.JSON, [None])),
    ],
)
def test_plain_data_gets_the_narrowest_type(data, value):
    assert repr(from_python(data, "v")) == repr(value)


@pytest.mark.parametrize("data", [2**63, [2**63], float("nan"), [float("inf")], {"a": float("nan")}, b"x", object()])
def test_plain_data_that_cannot_be_kept_exactly_is_refused(data):
    with pytest.raises(InvalidValue):
        from_python(data, "v")


@pytest.mark.parametrize(
    ("data", "data_type", "value"),
    [
        (5, DataType.DOUBLE, Value(DataType.DOUBLE, 5.0)),
        (2**53, DataType.DOUBLE, Value(DataType.DOUBLE, 2.0**53)),
        (5.0, DataType.INT, Value(DataType.INT, 5)),
        ([5], DataType.DOUBLE_ARRAY, Value(DataType.DOUBLE_ARRAY, (5.0,))),
        ([5.0], DataType.INT_ARRAY, Value(DataType.INT_ARRAY, (5,))),
        ([], DataType.STRING_ARRAY, Value(DataType.STRING_ARRAY, ())),
        ("42", DataType.INT, Value(DataType.INT, 42)),
        (42, DataType.STRING, Value(DataType.STRING, "42")),
        (True, DataType.STRING, Value(DataType.STRING, "true")),
        (["a"], DataType.STRING, Value(DataType.STRING, '["a"]')),
        (None, DataType.STRING, Value(DataType.STRING, "null")),
        ('{"a": 1}', DataType.JSON, Value(DataType.JSON, {"a": 1})),
        ("plain", DataType.JSON, Value(DataType.JSON, "plain")),
        ([1, 2], DataType.JSON, Value(DataType.JSON, [1, 2])),
    ],
)
def test_a_value_becomes_another_type_where_nothing_is_lost(data, data_type, value):
    assert repr(coerce(from_python(data, "v"), data_type, "v")) == repr(value)


@pytest.mark.parametrize(
    ("data", "data_type"),
    [
        (1.5, DataType.INT),
        (2**53 + 1, DataType.DOUBLE),
        ([1, 2**53 + 1], DataType.DOUBLE_ARRAY),
        (1e300, DataType.INT),
        ("x", DataType.INT),
        ("true", DataType.BOOLEAN),
        (1, DataType.BOOLEAN),
        ("a", DataType.STRING_ARRAY),
        ({"a": 1}, DataType.INT),
        (["a"], DataType.INT_ARRAY),
    ],
)
def test_a_conversion_that_would_lose_something_is_refused(data, data_type):
    with pytest.raises(InvalidValue, match="place"):
        coerce(from_python(data, "v"), data_type, "place")

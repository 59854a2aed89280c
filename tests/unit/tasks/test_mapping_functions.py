"""Every mapping function of the product's reference: what it gives, and what it refuses."""

from __future__ import annotations

import math
import re
import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import TaskError
from orchestrator.model.values import INT64_MAX, INT64_MIN, DataType, Value, parse_value, to_value
from tasks import mapping
from tasks.mapping import registry
from tests.unit.tasks.contexts import make_context
from tests.unit.tasks.mappings import call, config_of, expression, field, loop_body, outputs_of, value_of

ARRAY_ROWS = "GET APPEND SIZE TO_SET APPEND_ALL TO_JSON SET REMOVE REMOVE_AT CONTAINS FOR_EACH FILTER"
NUMBER_ARRAY_ROWS = ARRAY_ROWS + " SUM AVG MAX MIN"
REFERENCE = {
    "base": "NOW_IN_MILLIS INT_LIST ENVIRONMENT GET_EXECUTION_ID GET_INTEGRATION_NAME GET_REGION GET_UUID"
    " GET_PROJECT_ID",
    "string": "CONCAT TO_UPPERCASE TO_LOWERCASE CONTAINS SPLIT LENGTH EQUALS TO_INT TO_DOUBLE TO_BOOLEAN TO_BASE_64"
    " TO_JSON EQUALS_IGNORE_CASE REPLACE_ALL SUBSTRING RESOLVE_TEMPLATE DECODE_BASE64_STRING",
    "int": "ADD SUBTRACT MULTIPLY DIVIDE EXPONENT GREATER_THAN_EQUAL_TO GREATER_THAN LESS_THAN_EQUAL_TO LESS_THAN"
    " TO_DOUBLE TO_STRING EQUALS TO_JSON MOD EPOCH_TO_HUMAN_READABLE_TIME",
    "double": "TO_JSON TO_STRING ADD SUBTRACT MULTIPLY DIVIDE EXPONENT ROUND FLOOR CEIL GREATER_THAN LESS_THAN EQUALS"
    " GREATER_THAN_EQUALS LESS_THAN_EQUALS MOD",
    "boolean": "TO_JSON NOT AND NAND OR XOR NOR XNOR TO_STRING EQUALS",
    "stringArray": ARRAY_ROWS,
    "booleanArray": ARRAY_ROWS,
    "intArray": NUMBER_ARRAY_ROWS,
    "doubleArray": NUMBER_ARRAY_ROWS,
    "json": "GET_PROPERTY GET_ELEMENT APPEND_ELEMENT SIZE SET_PROPERTY FLATTEN FLATTEN_ONCE MERGE TO_STRING TO_INT"
    " TO_DOUBLE TO_BOOLEAN TO_PROTO TO_STRING_ARRAY TO_INT_ARRAY TO_DOUBLE_ARRAY TO_PROTO_ARRAY TO_BOOLEAN_ARRAY"
    " REMOVE_PROPERTY RESOLVE_TEMPLATE EQUALS FOR_EACH FILTER_ELEMENTS",
}
"""The reference's table of functions, family by family (v1 discovery document)."""


def test_the_table_has_every_function_of_the_reference_and_no_other():
    table = {key.removesuffix("Function"): set(family.rows) for key, family in registry.FAMILIES.items()}

    assert table == {family: set(names.split()) for family, names in REFERENCE.items()}


def a_json(document):
    return Value(DataType.JSON, document)


def shouted(name="~x"):
    return loop_body(name, call("string.CONCAT", "!"))


def over_two(family, start="~x"):
    return loop_body(start, call(f"{family}.GREATER_THAN", 2))


TWO_CITIES = a_json([{"city": "Bern", "size": 1}, {"city": "Rome", "size": 3}])
STUDENTS = a_json({"students": [{"name": "Ann", "course": "Law"}, {"name": "Bo", "course": "Art"}]})

GIVES = [
    ("string.CONCAT", "Hello", ["World"], "HelloWorld"),
    ("string.CONCAT", "Room ", [12], "Room 12"),
    ("string.TO_UPPERCASE", "straße", [], "STRASSE"),
    ("string.TO_LOWERCASE", "ABC", [], "abc"),
    ("string.CONTAINS", "Hello Integrations", ["xyz"], False),
    ("string.CONTAINS", "Hello Integrations", ["Int"], True),
    ("string.SPLIT", "Test,Integrations", [","], ("Test", "Integrations")),
    ("string.SPLIT", "a.b..", ["."], ("a", "b", "", "")),
    ("string.SPLIT", "abc", [""], ("a", "b", "c")),
    ("string.LENGTH", "a😀", [], 2),
    ("string.EQUALS", "a", ["a"], True),
    ("string.EQUALS", "a", ["A"], False),
    ("string.EQUALS_IGNORE_CASE", "Hello", ["hELLO"], True),
    ("string.EQUALS_IGNORE_CASE", "Hello", ["Hallo"], False),
    ("string.TO_INT", " 35 ", [], 35),
    ("string.TO_INT", str(INT64_MIN), [], INT64_MIN),
    ("string.TO_DOUBLE", "1.5e3", [], 1500.0),
    ("string.TO_BOOLEAN", "True", [], True),
    ("string.TO_BOOLEAN", "false", [], False),
    ("string.TO_BASE_64", "Hello World!", [], "SGVsbG8gV29ybGQh"),
    ("string.DECODE_BASE64_STRING", "SGVsbG8gSW50ZWdy\nYXRpb24h", [], "Hello Integration!"),
    ("string.TO_JSON", '{"a": [1]}', [], {"a": [1]}),
    ("string.TO_JSON", '{product: "cake: fresh", id: 21}', [], {"product": "cake: fresh", "id": 21}),
    ("string.TO_JSON", "{ 'RemoteFile' : 'a.txt' }", [], {"RemoteFile": "a.txt"}),
    ("string.TO_JSON", "12", [], 12),
    ("string.TO_JSON", "just words", [], "just words"),
    ("string.REPLACE_ALL", "HelloApigee", ["Apigee", "Google"], "HelloGoogle"),
    ("string.REPLACE_ALL", "a.b.c", [".", "-"], "a-b-c"),
    ("string.REPLACE_ALL", "aaaa", ["(a+)+$", "-"], "aaaa"),
    ("string.SUBSTRING", "HelloApigee", [1, 5], "ello"),
    ("string.SUBSTRING", "abc", [3, 3], ""),
    ("string.RESOLVE_TEMPLATE", "Hello $who$, $nobody$", [], "Hello World, $nobody$"),
    ("int.ADD", 15, [5], 20),
    ("int.SUBTRACT", 15, [20], -5),
    ("int.MULTIPLY", -4, [5], -20),
    ("int.DIVIDE", 16, [3], 5),
    ("int.DIVIDE", -7, [2], -3),
    ("int.MOD", 7, [3], 1),
    ("int.MOD", -7, [3], -1),
    ("int.MOD", INT64_MIN, [-1], 0),
    ("int.EXPONENT", 5, [3], 125),
    ("int.EXPONENT", -2, [63], INT64_MIN),
    ("int.EXPONENT", -1, [INT64_MAX], -1),
    ("int.EXPONENT", -1, [INT64_MAX - 1], 1),
    ("int.EXPONENT", 0, [0], 1),
    ("int.EXPONENT", 0, [INT64_MAX], 0),
    ("int.GREATER_THAN", 2, [2], False),
    ("int.GREATER_THAN_EQUAL_TO", 2, [2], True),
    ("int.LESS_THAN", 2, [2], False),
    ("int.LESS_THAN_EQUAL_TO", 2, [2], True),
    ("int.EQUALS", 34, [23], False),
    ("int.EQUALS", INT64_MAX, [str(INT64_MAX)], True),
    ("int.TO_DOUBLE", 3, [], 3.0),
    ("int.TO_STRING", INT64_MAX, [], "9223372036854775807"),
    ("int.TO_JSON", 3, [], a_json(3)),
    ("int.EPOCH_TO_HUMAN_READABLE_TIME", 1667494335011, ["d MMM yyyy HH:mm z", "UTC"], "3 Nov 2022 16:52 UTC"),
    ("double.ADD", 0.5, [1], 1.5),
    ("double.SUBTRACT", 0.5, [1.0], -0.5),
    ("double.MULTIPLY", 24.0, [1.5], 36.0),
    ("double.DIVIDE", 1.0, [4.0], 0.25),
    ("double.MOD", -7.5, [2.0], -1.5),
    ("double.EXPONENT", 2.0, [-1.0], 0.5),
    ("double.ROUND", 15.6, [], 16),
    ("double.ROUND", 2.5, [], 3),
    ("double.ROUND", -2.5, [], -2),
    ("double.ROUND", 0.49999999999999994, [], 0),
    ("double.FLOOR", -1.5, [], -2),
    ("double.CEIL", -1.5, [], -1),
    ("double.GREATER_THAN", 2.5, [2.0], True),
    ("double.GREATER_THAN_EQUALS", 2.5, [2.5], True),
    ("double.LESS_THAN", 2.5, [2.5], False),
    ("double.LESS_THAN_EQUALS", 2.5, [2.5], True),
    ("double.EQUALS", 2.0, [2], True),
    ("double.TO_STRING", 10.0, [], "10.0"),
    ("double.TO_JSON", 1.5, [], a_json(1.5)),
    ("boolean.NOT", True, [], False),
    ("boolean.TO_STRING", True, [], "true"),
    ("boolean.TO_JSON", False, [], a_json(False)),
    ("boolean.EQUALS", False, [False], True),
    ("stringArray.GET", ("a", "b"), [1], "b"),
    ("stringArray.SET", ("Hello", "World", "x"), [2, "Apigee"], ("Hello", "World", "Apigee")),
    ("stringArray.SIZE", ("a", "b"), [], 2),
    ("stringArray.CONTAINS", ("a", "b"), ["b"], True),
    ("stringArray.APPEND", ("a",), ["b"], ("a", "b")),
    ("stringArray.APPEND_ALL", ("Hello",), ["Test", ("x", "y")], ("Hello", "Test", "x", "y")),
    ("stringArray.REMOVE", ("a", "b", "a"), ["a"], ("b",)),
    ("stringArray.REMOVE", ("a",), ["z"], ("a",)),
    ("stringArray.REMOVE_AT", ("a", "b", "c"), [1], ("a", "c")),
    ("stringArray.TO_SET", ("b", "a", "b"), [], ("b", "a")),
    ("stringArray.TO_JSON", ("a", '{"b": 1}', "94089"), [], a_json(["a", {"b": 1}, "94089"])),
    ("stringArray.FOR_EACH", ("a", "b"), [shouted()], a_json(["a!", "b!"])),
    ("stringArray.FILTER", ("a@x", "b"), [loop_body("~x", call("string.CONTAINS", "@"))], ("a@x",)),
    ("booleanArray.GET", (True, False), [1], False),
    ("booleanArray.SET", (True, True), [0, False], (False, True)),
    ("booleanArray.SIZE", (True,), [], 1),
    ("booleanArray.CONTAINS", (True,), [False], False),
    ("booleanArray.APPEND", (True,), [False], (True, False)),
    ("booleanArray.APPEND_ALL", (True, False, True), [False, True], (True, False, True, False, True)),
    ("booleanArray.REMOVE", (True, False), [True], (False,)),
    ("booleanArray.REMOVE_AT", (True, False), [0], (False,)),
    ("booleanArray.TO_SET", (True, False, True), [], (True, False)),
    ("booleanArray.TO_JSON", (True,), [], a_json([True])),
    ("booleanArray.FOR_EACH", (True, False), [loop_body("~x", call("boolean.NOT"))], a_json([False, True])),
    ("booleanArray.FILTER", (True, False), [loop_body("~x")], (True,)),
    ("intArray.GET", (5, 6), [0], 5),
    ("intArray.SET", (5, 6), [0, 7], (7, 6)),
    ("intArray.SIZE", (5, 6), [], 2),
    ("intArray.CONTAINS", (5, 6), [6], True),
    ("intArray.APPEND", (5,), [6], (5, 6)),
    ("intArray.APPEND_ALL", (3, 6, 8, 1), [7, 9, 15], (3, 6, 8, 1, 7, 9, 15)),
    ("intArray.REMOVE", (5, 6), [5], (6,)),
    ("intArray.REMOVE_AT", (5, 6), [1], (5,)),
    ("intArray.TO_SET", (2, 1, 2), [], (2, 1)),
    ("intArray.TO_JSON", (1, 2), [], a_json([1, 2])),
    ("intArray.FOR_EACH", (1, 2), [loop_body("~x", call("int.ADD", "~x"))], a_json([2, 4])),
    ("intArray.FILTER", (1, 2, 3), [over_two("int")], (3,)),
    ("intArray.SUM", (1, 2), [], 3),
    ("intArray.AVG", (2, 4, 9, 3), [], 4.5),
    ("intArray.MAX", (2, 9, 3), [], 9),
    ("intArray.MIN", (4, 2, 9), [], 2),
    ("doubleArray.GET", (0.5, 1.5), [1], 1.5),
    ("doubleArray.SET", (0.5, 1.5), [1, 2], (0.5, 2.0)),
    ("doubleArray.SIZE", (0.5,), [], 1),
    ("doubleArray.CONTAINS", (0.5,), [0.5], True),
    ("doubleArray.APPEND", (0.5,), [1.5], (0.5, 1.5)),
    ("doubleArray.APPEND_ALL", (0.5,), [(1.5, 2.5)], (0.5, 1.5, 2.5)),
    ("doubleArray.REMOVE", (0.5, 1.5), [0.5], (1.5,)),
    ("doubleArray.REMOVE_AT", (0.5, 1.5), [0], (1.5,)),
    ("doubleArray.TO_SET", (0.5, 0.5), [], (0.5,)),
    ("doubleArray.TO_JSON", (0.5,), [], a_json([0.5])),
    ("doubleArray.FOR_EACH", (0.5,), [loop_body("~x", call("double.ADD", 1.0))], a_json([1.5])),
    ("doubleArray.FILTER", (1.5, 2.5), [over_two("double")], (2.5,)),
    ("doubleArray.SUM", (0.1,) * 10, [], 1.0),
    ("doubleArray.AVG", (2.0, 6.1, 3.9), [], 4.0),
    ("doubleArray.MAX", (2.0, 6.5), [], 6.5),
    ("doubleArray.MIN", (2.0, 6.5), [], 2.0),
    ("json.GET_PROPERTY", a_json({"productId": 23}), ["productId"], a_json(23)),
    ("json.GET_PROPERTY", a_json({"a": {"b": "c"}}), ["a.b"], a_json("c")),
    ("json.GET_PROPERTY", a_json({"a.b": 1, "a": {"b": 2}}), ["a.b"], a_json(1)),
    ("json.GET_PROPERTY", '{"a": 1}', ["a"], a_json(1)),
    ("json.GET_ELEMENT", a_json(["first", "second", "third"]), [2], a_json("third")),
    ("json.APPEND_ELEMENT", a_json(["first"]), ["second"], a_json(["first", "second"])),
    ("json.APPEND_ELEMENT", a_json([]), [{"a": 1}], a_json([{"a": 1}])),
    ("json.SIZE", a_json([1, 2, 3]), [], 3),
    ("json.SIZE", a_json({"a": 1}), [], 1),
    ("json.SET_PROPERTY", a_json({"id": 23}), ["radio", "name"], a_json({"id": 23, "name": "radio"})),
    ("json.SET_PROPERTY", a_json({"a": 1}), ['{"b": 2}', "c"], a_json({"a": 1, "c": {"b": 2}})),
    ("json.SET_PROPERTY", a_json({"a": 1}), [34, "a"], a_json({"a": 34})),
    ("json.SET_PROPERTY", a_json({"a": 1}), ["94089", "zip"], a_json({"a": 1, "zip": "94089"})),
    ("json.SET_PROPERTY", a_json({"a": {"b": 1}}), [True, "a.c.d"], a_json({"a": {"b": 1, "c": {"d": True}}})),
    ("json.REMOVE_PROPERTY", a_json({"a": 1, "b": {"c": 2, "d": 3}}), ["b.c"], a_json({"a": 1, "b": {"d": 3}})),
    ("json.REMOVE_PROPERTY", STUDENTS, ["students.course"], a_json({"students": [{"name": "Ann"}, {"name": "Bo"}]})),
    ("json.REMOVE_PROPERTY", a_json({"a": 1}), ["b.c"], a_json({"a": 1})),
    ("json.FLATTEN", a_json([[1, [2]], [[3, [[4]]]], {"a": []}]), [], a_json([1, 2, 3, 4, {"a": []}])),
    ("json.FLATTEN_ONCE", a_json([[1, [2]], 3]), [], a_json([1, [2], 3])),
    ("json.MERGE", a_json({"id": 23}), ['{"name":"radio"}'], a_json({"id": 23, "name": "radio"})),
    ("json.MERGE", a_json({"a": 1, "b": 1}), [{"b": 2}], a_json({"a": 1, "b": 2})),
    ("json.MERGE", a_json(["first", "second"]), [(4, 5)], a_json(["first", "second", 4, 5])),
    ("json.MERGE", a_json([1, {"a": 1}]), [a_json([{"a": 1}, True, 1.0])], a_json([1, {"a": 1}, True])),
    ("json.TO_STRING", a_json({"a": [1.5, None]}), [], '{"a":[1.5,null]}'),
    ("json.TO_STRING", a_json("External"), [], "External"),
    ("json.TO_INT", a_json(3.0), [], 3),
    ("json.TO_INT", a_json("3"), [], 3),
    ("json.TO_DOUBLE", a_json(3), [], 3.0),
    ("json.TO_DOUBLE", a_json("3.5"), [], 3.5),
    ("json.TO_BOOLEAN", a_json(True), [], True),
    ("json.TO_BOOLEAN", a_json("false"), [], False),
    ("json.TO_PROTO", a_json({"a": 1}), [], a_json({"a": 1})),
    ("json.TO_PROTO", a_json({"a": 1}), ["acme.Order"], a_json({"a": 1})),
    ("json.TO_PROTO_ARRAY", a_json([{"a": 1}]), [], a_json([{"a": 1}])),
    ("json.TO_STRING_ARRAY", a_json([[1, 2], "a"]), [], ("[1,2]", "a")),
    ("json.TO_INT_ARRAY", a_json([3, "8", 9.0]), [], (3, 8, 9)),
    ("json.TO_DOUBLE_ARRAY", a_json([3, "8.5"]), [], (3.0, 8.5)),
    ("json.TO_BOOLEAN_ARRAY", a_json([True, "false"]), [], (True, False)),
    ("json.RESOLVE_TEMPLATE", a_json({"n": "$count$", "text": "Hi $who$"}), [], a_json({"n": 3, "text": "Hi World"})),
    ("json.RESOLVE_TEMPLATE", a_json(["$who$", "$nobody$"]), [], a_json(["World", None])),
    ("json.EQUALS", a_json({"a": 1, "b": [2]}), [a_json({"b": [2.0], "a": 1})], True),
    ("json.EQUALS", a_json([1]), [a_json([True])], False),
    ("json.FOR_EACH", TWO_CITIES, [loop_body("~x", call("json.GET_PROPERTY", "city"))], a_json(["Bern", "Rome"])),
    ("json.FOR_EACH", TWO_CITIES, [loop_body("~obj1.city", call("string.TO_UPPERCASE"))], a_json(["BERN", "ROME"])),
    ("json.FOR_EACH", a_json([1, 2]), [loop_body("~x", call("json.TO_INT"), call("int.ADD", 1))], a_json([2, 3])),
    ("json.FILTER_ELEMENTS", a_json([{"n": 1}, {"n": 3}]), [over_two("int", "~x.n")], a_json([{"n": 3}])),
]  # fmt: skip

REFUSES = [
    ("string.TO_INT", "3.5", [], "'3.5' is not an integer"),
    ("string.TO_INT", "²", [], "is not an integer"),
    ("string.TO_INT", "9223372036854775808", [], "expected an int64"),
    ("string.TO_DOUBLE", "NaN", [], "is not a number"),
    ("string.TO_DOUBLE", "1e999", [], "finite"),
    ("string.TO_BOOLEAN", "yes", [], "neither true nor false"),
    ("string.TO_BASE_64", "\ud800", [], "UTF-8"),
    ("string.DECODE_BASE64_STRING", "not base64!", [], "is not base64"),
    ("string.DECODE_BASE64_STRING", "/w==", [], "is not base64 of a UTF-8 text"),
    ("string.TO_JSON", '{"half": ', [], "not JSON"),
    ("string.SUBSTRING", "abc", [1, 4], "no part from 1 to 4 in a text of 3 characters"),
    ("string.SUBSTRING", "abc", [2, 1], "no part from 2 to 1"),
    ("string.SUBSTRING", "abc", ["x", 1], "parameter 1: found str 'x', expected an int64"),
    ("string.REPLACE_ALL", "a" * 10_000, ["a", "b" * 10_000], "larger than"),
    ("int.ADD", INT64_MAX, [1], "expected an int64"),
    ("int.ADD", "x", [1], "input: found str 'x', expected an int64"),
    ("int.ADD", 1, [1.5], "parameter 1: found float 1.5"),
    ("int.MULTIPLY", INT64_MAX, [2], "expected an int64"),
    ("int.DIVIDE", 1, [0], "divided by zero"),
    ("int.DIVIDE", INT64_MIN, [-1], "expected an int64"),
    ("int.MOD", 1, [0], "divided by zero"),
    ("int.EXPONENT", 10, [INT64_MAX], "past int64"),
    ("int.EXPONENT", 3, [60], "expected an int64"),
    ("int.EXPONENT", 2, [-1], "use the double EXPONENT"),
    ("int.EPOCH_TO_HUMAN_READABLE_TIME", 0, ["YYYY", "UTC"], "letter 'Y' is not known"),
    ("double.DIVIDE", 1.0, [0.0], "divided by zero"),
    ("double.MOD", 1.0, [0.0], "divided by zero"),
    ("double.MULTIPLY", 1e308, [10.0], "finite"),
    ("double.EXPONENT", 10.0, [400.0], "not a finite number"),
    ("double.EXPONENT", -1.0, [0.5], "not a finite number"),
    ("double.ROUND", 1e300, [], "expected an int64"),
    ("boolean.NOT", "true", [], "input: found str 'true', expected true or false"),
    ("boolean.AND", True, [1], "parameter 1: found int 1, expected true or false"),
    ("stringArray.GET", ("1", "2"), [2], "no element 2; the array has 2"),
    ("stringArray.GET", ("1", "2"), [-1], "no element -1"),
    ("stringArray.SET", ("1",), [1, "x"], "no element 1"),
    ("stringArray.REMOVE_AT", ("1",), [1], "no element 1"),
    ("stringArray.FILTER", ("1",), [loop_body("~x")], "must give true or false, not STRING_VALUE"),
    ("stringArray.GET", 5, [0], "input: found int 5"),
    ("intArray.APPEND", (1,), ["x"], "parameter 1: found str 'x'"),
    ("intArray.SUM", (INT64_MAX, 1), [], "expected an int64"),
    ("intArray.AVG", a_json([]), [], "the array is empty"),
    ("intArray.MAX", a_json([]), [], "the array is empty"),
    ("doubleArray.MIN", a_json([]), [], "the array is empty"),
    ("doubleArray.SUM", (1e308, 1e308), [], "not a finite number"),
    ("json.GET_PROPERTY", a_json([1]), ["a"], "input: found a list, expected a JSON object"),
    ("json.GET_PROPERTY", a_json(None), ["a"], "input: found null, expected a JSON object"),
    ("json.GET_ELEMENT", a_json([1]), [1], "no element 1; the array has 1"),
    ("json.GET_ELEMENT", a_json({"a": 1}), [0], "input: found an object, expected a JSON list"),
    ("json.APPEND_ELEMENT", a_json("a"), [1], "input: found a string"),
    ("json.SIZE", a_json(True), [], "input: found true"),
    ("json.SET_PROPERTY", a_json({"a": 1}), [2, "a.b"], "'b' cannot be set in a number"),
    ("json.SET_PROPERTY", a_json({}), [2, "a" + ".a" * 5000], "deeper than a document may be"),
    ("json.MERGE", a_json([1]), [{"a": 1}], "two objects or two lists"),
    ("json.TO_INT", a_json(3.7), [], "found float 3.7"),
    ("json.TO_INT", a_json(True), [], "found bool True"),
    ("json.TO_DOUBLE", a_json({}), [], "expected a number"),
    ("json.TO_BOOLEAN", a_json(1), [], "expected true or false"),
    ("json.TO_INT_ARRAY", a_json([1, "x"]), [], "'x' is not an integer"),
    ("json.TO_INT_ARRAY", a_json(["9223372036854775808"]), [], "expected an int64"),
    ("json.TO_PROTO", a_json([1]), [], "expected a JSON object"),
    ("json.FOR_EACH", a_json({"a": 1}), [loop_body("~x")], "input: found an object, expected a JSON list"),
]


@pytest.mark.parametrize(("function", "data", "parameters", "expected"), GIVES)
def test_a_function_gives_what_the_reference_says(function, data, parameters, expected):
    value = value_of(function, data, parameters, known={"who": "World", "count": 3})

    if isinstance(expected, Value):
        assert value == expected
    assert value.data == (expected.data if isinstance(expected, Value) else expected)
    assert type(value.data) is type(expected.data if isinstance(expected, Value) else expected)


@pytest.mark.parametrize(("function", "data", "parameters", "message"), REFUSES)
def test_a_function_refuses_and_says_where_and_why(function, data, parameters, message):
    with pytest.raises(TaskError, match=re.escape(message)) as caught:
        value_of(function, data, parameters)

    assert str(caught.value).startswith(f"field 1 ($out$): {function.replace('.', ' ')}: ")
    assert caught.value.code == "INVALID_ARGUMENT"


def test_the_tables_above_leave_no_function_out():
    elsewhere = {f"boolean.{name}" for name in LOGIC} | {f"base.{name}" for name in REFERENCE["base"].split()}

    tested = {row[0] for row in GIVES} | elsewhere

    assert tested == {f"{family}.{name}" for family, names in REFERENCE.items() for name in names.split()}


def test_a_function_says_which_type_it_gives():
    assert value_of("int.TO_DOUBLE", 3).type is DataType.DOUBLE
    assert value_of("double.ROUND", 3.2).type is DataType.INT
    assert value_of("stringArray.FOR_EACH", ("a",), [shouted()]).type is DataType.JSON
    assert value_of("stringArray.FILTER", ("a",), [loop_body("~x", call("string.EQUALS", "a"))]).type is (
        DataType.STRING_ARRAY
    )


LOGIC = {
    "AND": (False, False, False, True),
    "NAND": (True, True, True, False),
    "OR": (False, True, True, True),
    "NOR": (True, False, False, False),
    "XOR": (False, True, True, False),
    "XNOR": (True, False, False, True),
}
"""Results for false-false, false-true, true-false, true-true."""


@pytest.mark.parametrize("name", LOGIC)
def test_a_logical_function_follows_its_truth_table(name):
    answers = [value_of(f"boolean.{name}", a, [b]).data for a in (False, True) for b in (False, True)]

    assert tuple(answers) == LOGIC[name]


# -- base functions ------------------------------------------------------------------------------------------------


def base(name, *parameters):
    start = {"baseFunction": call(f"base.{name}", *parameters)}
    return outputs_of(field(expression(start)))["out"].data


def test_base_functions_read_the_context():
    context = make_context()

    assert base("GET_EXECUTION_ID") == context.execution_id
    assert base("GET_INTEGRATION_NAME") == context.integration
    assert base("GET_REGION") == context.location
    assert base("GET_PROJECT_ID") == context.project
    assert base("ENVIRONMENT") == context.project


def test_now_is_the_start_of_the_attempt_in_milliseconds():
    source = expression({"baseFunction": call("base.NOW_IN_MILLIS")})
    now = datetime(2022, 7, 14, 7, 26, 20, 839_999, tzinfo=UTC)

    outputs = mapping.run(replace(make_context(config_of(field(source))), now=now)).outputs

    assert outputs["out"] == Value(DataType.INT, 1657783580839)


def test_a_uuid_is_random_and_of_version_4():
    first, second = base("GET_UUID"), base("GET_UUID")

    assert first != second
    assert uuid.UUID(first).version == 4


def test_an_int_list_has_the_start_and_not_the_end():
    assert base("INT_LIST", 12, 20) == (12, 13, 14, 15, 16, 17, 18, 19)
    assert base("INT_LIST", 3, 3) == base("INT_LIST", 3, 1) == ()


def test_an_int_list_of_billions_is_refused_before_it_is_made():
    with pytest.raises(TaskError, match="1,000,000 are the most"):
        base("INT_LIST", 0, INT64_MAX)


# -- times ---------------------------------------------------------------------------------------------------------

MOMENT = 1667494335011  # 2022-11-03T16:52:15.011Z, the example of the reference


@pytest.mark.parametrize(
    ("pattern", "zone", "expected"),
    [
        ("EEE, yy-MM-dd HH:mm:ss,SSS", "GMT", "Thu, 22-11-03 16:52:15,011"),
        ("d MMM yyyy HH:mm:ss:SSS z", "GMT", "3 Nov 2022 16:52:15:011 GMT"),
        ("EEEE d MMMM y G", "UTC", "Thursday 3 November 2022 AD"),
        ("yyyy-MM-dd'T'HH:mm:ssXXX", "Australia/Melbourne", "2022-11-04T03:52:15+11:00"),
        ("yyyy-MM-dd'T'HH:mm:ssX", "UTC", "2022-11-03T16:52:15Z"),
        ("hh:mm a, KK, k, D", "America/New_York", "12:52 PM, 00, 12, 307"),
        ("HH:mm Z X XX z", "UTC+05:30", "22:22 +0530 +05 +0530 UTC+05:30"),
        ("HH:mm Z", "GMT-3", "13:52 -0300"),
        ("h 'o''clock' ''L''", "UTC", "4 o'clock '11'"),
        ("hh:mm:ss", "UTC", "04:52:15"),
    ],
)
def test_a_moment_is_written_after_a_java_pattern(pattern, zone, expected):
    assert value_of("int.EPOCH_TO_HUMAN_READABLE_TIME", MOMENT, [pattern, zone]).data == expected


@pytest.mark.parametrize(
    ("moment", "pattern", "zone", "message"),
    [
        (MOMENT, "HH", "Mars/Olympus", "time zone 'Mars/Olympus' is not known"),
        (MOMENT, "HH", "../../etc/passwd", "is not known"),
        (MOMENT, "HH", "America", "is not known"),
        (MOMENT, "HH", "", "is not known"),
        (MOMENT, "HH", "UTC+99", "is not known"),
        (MOMENT, "HH 'open", "UTC", "quote without its end"),
        (MOMENT, "y" * 1001, "UTC", "too long"),
        (MOMENT, "HH", "Z" * 1001, "...' is not known"),
        (INT64_MAX, "HH", "UTC", "outside the years 1 to 9999"),
        (253402300799999, "HH", "GMT+1", "outside the years 1 to 9999"),
    ],
)
def test_a_moment_that_cannot_be_written_is_refused(moment, pattern, zone, message):
    with pytest.raises(TaskError, match=re.escape(message)):
        value_of("int.EPOCH_TO_HUMAN_READABLE_TIME", moment, [pattern, zone])


# -- properties ----------------------------------------------------------------------------------------------------

int64s = st.integers(INT64_MIN, INT64_MAX)
doubles = st.floats(allow_nan=False, allow_infinity=False)
plain_texts = st.text().filter(lambda text: text.lstrip()[:1] not in ("{", "["))


@given(int64s, int64s.filter(bool))
def test_quotient_and_rest_give_the_number_back(number, divisor):
    if (number, divisor) != (INT64_MIN, -1):
        quotient = value_of("int.DIVIDE", number, [divisor]).data
        rest = value_of("int.MOD", number, [divisor]).data

        assert quotient * divisor + rest == number
        assert abs(rest) < abs(divisor)
        assert rest == 0 or (rest < 0) == (number < 0)


@given(int64s, st.integers(0, 200))
def test_a_power_is_exact_or_refused(number, power):
    exact = number**power

    if INT64_MIN <= exact <= INT64_MAX:
        assert value_of("int.EXPONENT", number, [power]).data == exact
    else:
        with pytest.raises(TaskError):
            value_of("int.EXPONENT", number, [power])


@given(st.text(), st.text(min_size=1, max_size=3))
def test_pieces_joined_by_the_delimiter_give_the_text_back(text, delimiter):
    assert delimiter.join(value_of("string.SPLIT", text, [Value(DataType.STRING, delimiter)]).data) == text


@given(st.text(st.characters(codec="utf-8")))
def test_base_64_and_back_is_the_same_text(text):
    encoded = value_of("string.TO_BASE_64", text).data

    assert value_of("string.DECODE_BASE64_STRING", encoded).data == text


@given(doubles)
def test_a_double_survives_text_and_back(number):
    assert value_of("string.TO_DOUBLE", value_of("double.TO_STRING", number).data).data == number


@given(doubles.filter(lambda number: abs(number) < 2**62))
def test_round_is_between_floor_and_ceil_and_at_most_a_half_away(number):
    rounded, floor, ceil = (value_of(f"double.{name}", number).data for name in ("ROUND", "FLOOR", "CEIL"))

    assert floor <= rounded <= ceil
    assert abs(rounded - math.floor(number) - (number - math.floor(number))) <= 0.5


@pytest.mark.parametrize(
    ("family", "elements"),
    [("string", plain_texts), ("int", int64s), ("double", doubles), ("boolean", st.booleans())],
)
def test_an_array_survives_json_and_back(family, elements):
    @given(st.lists(elements, min_size=1).map(tuple))
    def check(array):
        document = value_of(f"{family}Array.TO_JSON", array)

        assert value_of(f"json.TO_{family.upper()}_ARRAY", document).data == array

    check()


documents = st.recursive(
    st.none() | st.booleans() | int64s | doubles | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(documents.filter(lambda document: not isinstance(document, str)))
def test_a_document_survives_text_and_back_and_equals_itself(document):
    text = value_of("json.TO_STRING", a_json(document))

    back = outputs_of(field(expression("$in$", call("string.TO_JSON")), to="JSON_VALUE"), parameters={"in": text})

    assert back["out"].data == document
    assert value_of("json.EQUALS", a_json(document), [a_json(document)]).data is True


objects = st.dictionaries(st.text(max_size=3), documents, max_size=3)
names = st.text(max_size=5).filter(lambda name: "." not in name)


@given(objects, documents, names)
def test_a_property_that_was_set_is_there_until_it_is_removed(document, value, name):
    name_value = Value(DataType.STRING, name)
    with_it = value_of("json.SET_PROPERTY", a_json(document), [a_json(value), name_value])
    without = value_of("json.REMOVE_PROPERTY", with_it, [name_value])

    assert with_it.data == document | {name: value}
    assert value_of("json.GET_PROPERTY", with_it, [name_value]).data == value
    assert without.data == {key: part for key, part in document.items() if key != name}


# -- every function, with anything ---------------------------------------------------------------------------------

ALL = [(key, name) for key, family in registry.FAMILIES.items() if family.type for name in family.rows]
values = st.one_of(
    st.builds(Value, st.just(DataType.STRING), st.text() | st.sampled_from(["1", "[1]", "{'a': 1}", "$in$", "UTC"])),
    st.builds(Value, st.just(DataType.INT), int64s | st.integers(-2, 4)),
    st.builds(Value, st.just(DataType.DOUBLE), doubles),
    st.builds(Value, st.just(DataType.BOOLEAN), st.booleans()),
    st.builds(Value, st.just(DataType.STRING_ARRAY), st.lists(st.text(max_size=3), max_size=3).map(tuple)),
    st.builds(Value, st.just(DataType.JSON), documents),
)  # fmt: skip


@settings(max_examples=500)
@given(st.sampled_from(ALL), values, st.lists(values, min_size=3, max_size=3))
def test_a_function_gives_a_value_of_its_type_or_a_task_error_whatever_it_is_given(row, data, parameters):
    key, name = row
    function = registry.FAMILIES[key].rows[name]
    given_parameters = [
        loop_body("~x") if takes is registry.LAMBDA else value
        for takes, value in zip(function.takes, parameters, strict=False)
    ]

    call_it = call(f"{key.removesuffix('Function')}.{name}", *given_parameters)

    value = None
    with suppress(TaskError):
        value = outputs_of(field(expression("$in$", call_it)), parameters={"in": data}).get("out")

    if value is not None:
        assert value == parse_value(to_value(value), "out")
        assert value.type is function.gives

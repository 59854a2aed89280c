from __future__ import annotations

import json

import pytest

from orchestrator.engine.inputs import bind_inputs, parse_assignment
from orchestrator.errors import InvalidValue, MissingParameter, UnknownParameter
from orchestrator.model.definition import read_definition
from orchestrator.model.integration import InputOutput
from orchestrator.model.values import DataType, Value, to_value
from tests.unit.factories import SAMPLES, make_integration, make_parameter, needs_samples, sample_names

TEXT = Value(DataType.STRING, "given")
NUMBER = Value(DataType.INT, 7)


def test_what_is_given_stands_over_the_default():
    version = make_integration(
        parameters=[
            make_parameter("a", default=Value(DataType.STRING, "default")),
            make_parameter("b", default=Value(DataType.STRING, "kept")),
        ]
    )

    assert bind_inputs(version, {"a": TEXT}) == {"a": TEXT, "b": Value(DataType.STRING, "kept")}


def test_a_parameter_without_a_value_is_left_out():
    version = make_integration(parameters=[make_parameter("out", direction=InputOutput.OUT), make_parameter("plain")])

    assert bind_inputs(version, {}) == {}


@pytest.mark.parametrize("direction", [InputOutput.IN, InputOutput.IN_OUT])
def test_an_input_without_value_and_default_is_missing(direction):
    version = make_integration(parameters=[make_parameter("order", DataType.JSON, direction=direction)])

    with pytest.raises(MissingParameter, match=r"'order' \(JSON_VALUE\) is required"):
        bind_inputs(version, {})


@pytest.mark.parametrize("direction", list(InputOutput))
def test_any_declared_parameter_may_be_given(direction):
    version = make_integration(parameters=[make_parameter("x", direction=direction)])

    assert bind_inputs(version, {"x": TEXT}) == {"x": TEXT}


def test_an_undeclared_parameter_is_refused_with_the_known_ones():
    with pytest.raises(UnknownParameter, match=r"no parameter 'y'.*declares: x"):
        bind_inputs(make_integration(parameters=[make_parameter("x")]), {"y": TEXT})


def test_a_value_takes_the_declared_type():
    version = make_integration(parameters=[make_parameter("x", DataType.DOUBLE), make_parameter("d", DataType.DOUBLE)])

    assert bind_inputs(version, {"x": NUMBER})["x"] == Value(DataType.DOUBLE, 7.0)


def test_a_value_that_does_not_fit_the_declared_type_is_refused():
    version = make_integration(parameters=[make_parameter("x", DataType.BOOLEAN)])

    with pytest.raises(InvalidValue, match="parameter 'x': found int 7, expected true or false"):
        bind_inputs(version, {"x": NUMBER})


ORDER_SCHEMA = {
    "$schema": "http://json-schema.org/draft-04/schema#",
    "type": "object",
    "properties": {"lines": {"type": "array", "items": {"properties": {"sku": {"type": "string"}}}}},
}


def json_parameter(schema, **more):
    return make_integration(parameters=[make_parameter("order", DataType.JSON, json_schema=schema, **more)])


def test_a_broken_schema_rule_names_the_path():
    with pytest.raises(InvalidValue, match=r"parameter 'order': found \$\.lines\[1\]\.sku: 5 is not of type 'string'"):
        bind_inputs(
            json_parameter(ORDER_SCHEMA), {"order": Value(DataType.JSON, {"lines": [{"sku": "a"}, {"sku": 5}]})}
        )


def test_a_document_that_follows_its_schema_is_taken():
    given = {"order": Value(DataType.JSON, {"lines": [{"sku": "a"}]})}

    assert bind_inputs(json_parameter(ORDER_SCHEMA), given) == given


def test_a_default_is_not_held_to_its_schema():
    """Samples of the product break their own schemas; publishing warns."""
    default = Value(DataType.JSON, [])

    assert bind_inputs(json_parameter(ORDER_SCHEMA, default=default), {}) == {"order": default}


@pytest.mark.parametrize("reference", ["#/definitions/absent", "other.json", "urn:nowhere"])
def test_a_schema_reference_is_never_fetched(reference):
    with pytest.raises(InvalidValue, match="leads nowhere"):
        bind_inputs(json_parameter({"$ref": reference}), {"order": Value(DataType.JSON, {})})


def test_a_schema_that_refers_to_itself_without_end_is_an_error_not_a_crash():
    with pytest.raises(InvalidValue, match="without end"):
        bind_inputs(json_parameter({"$ref": "#"}), {"order": Value(DataType.JSON, {})})


@needs_samples
@pytest.mark.parametrize("name", sample_names())
def test_a_sample_starts_from_its_defaults_once_its_required_inputs_are_given(name):
    version = read_definition((SAMPLES / name).read_bytes(), source=name)
    required = [each for each in version.parameters if each.direction.is_input and each.default is None]

    bound = bind_inputs(version, {each.key: Value(DataType.STRING, "1") for each in required})

    assert bound.keys() == version.defaults().keys() | {each.key for each in required}


@pytest.mark.parametrize(
    ("data_type", "written", "expected"),
    [
        (DataType.STRING, " 5 = five ", {"stringValue": " 5 = five "}),
        (DataType.STRING, "", {"stringValue": ""}),
        (DataType.STRING, "$other$", {"stringValue": "$other$"}),
        (DataType.INT, " 42 ", {"intValue": "42"}),
        (DataType.DOUBLE, "1e3", {"doubleValue": 1000.0}),
        (DataType.BOOLEAN, "True", {"booleanValue": True}),
        (DataType.BOOLEAN, "false", {"booleanValue": False}),
        (DataType.JSON, '{"a": [1]}', {"jsonValue": '{"a":[1]}'}),
        (DataType.JSON, "{'a': 'it\\'s'}", {"jsonValue": '{"a":"it\'s"}'}),
        (DataType.STRING_ARRAY, '["a", "b"]', {"stringArray": {"stringValues": ["a", "b"]}}),
        (DataType.INT_ARRAY, '[1, "2"]', {"intArray": {"intValues": ["1", "2"]}}),
        (DataType.BOOLEAN_ARRAY, "[true]", {"booleanArray": {"booleanValues": [True]}}),
        (DataType.DOUBLE_ARRAY, "[]", {"doubleArray": {"doubleValues": []}}),
    ],
)
def test_an_assignment_is_read_as_the_declared_type(data_type, written, expected):
    version = make_integration(parameters=[make_parameter("x", data_type)])

    key, value = parse_assignment(f"x={written}", version)

    assert key == "x"
    assert to_value(value) == expected


@pytest.mark.parametrize(
    ("data_type", "written"),
    [
        (DataType.INT, "4.5"),
        (DataType.INT, "9223372036854775808"),
        (DataType.INT, "²"),
        (DataType.INT, ""),
        (DataType.DOUBLE, "nan"),
        (DataType.DOUBLE, "ten"),
        (DataType.BOOLEAN, "yes"),
        (DataType.JSON, "{"),
        (DataType.JSON, "NaN"),
        (DataType.STRING_ARRAY, "a,b"),
        (DataType.STRING_ARRAY, "[1]"),
        (DataType.INT_ARRAY, '{"a": 1}'),
    ],
)
def test_an_assignment_that_does_not_fit_its_type_names_the_parameter(data_type, written):
    version = make_integration(parameters=[make_parameter("x", data_type)])

    with pytest.raises(InvalidValue, match="parameter 'x'"):
        parse_assignment(f"x={written}", version)


@pytest.mark.parametrize("text", ["x", "=5", ""])
def test_an_assignment_needs_a_key_and_an_equals_sign(text):
    with pytest.raises(InvalidValue, match="KEY=VALUE"):
        parse_assignment(text, make_integration(parameters=[make_parameter("x")]))


def test_an_assignment_to_an_undeclared_parameter_is_refused():
    with pytest.raises(UnknownParameter, match="'y'"):
        parse_assignment("y=1", make_integration(parameters=[make_parameter("x")]))


def test_an_assignment_may_name_a_system_variable():
    version = make_integration(parameters=[make_parameter("`Task_1_result`", DataType.JSON)])

    assert parse_assignment("`Task_1_result`=" + json.dumps({"a": 1}), version)[1].python == {"a": 1}

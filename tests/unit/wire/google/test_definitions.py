"""The walk over definitions: its table is the discovery document's, and it changes how fields are spelled alone."""

import json
from contextlib import suppress
from importlib import resources

import pytest
from hypothesis import given, settings

from orchestrator.wire.google.case import camel_to_snake, snake_to_camel
from orchestrator.wire.google.definitions import (
    GOOGLES,
    MESSAGES,
    OURS,
    camel_definition,
    parse_table,
    read_message,
    unknown_names,
)
from orchestrator.wire.google.violations import InvalidRequest
from tests.unit.factories import SAMPLES, needs_samples, sample_names
from tests.unit.wire.google.documents import anything, names, plain, spelled

PREFIX = "GoogleCloudIntegrationsV1alpha"
TWINS = ("integrationParametersInternal", "taskConfigsInternal", "teardown", "triggerConfigsInternal")
PLAIN = ("configParameters", "jsonSchema", "jsonValue", *TWINS)  # where the table says ``*``
PLACE = "integration_version"

# -- the table -----------------------------------------------------------------------------------------------------


def discovery():
    documents = resources.files("googleapiclient") / "discovery_cache" / "documents" / "integrations.v1.json"
    schemas = json.loads(documents.read_text())["schemas"]
    return {name.removeprefix(PREFIX): schema for name, schema in schemas.items() if name.startswith(PREFIX)}


def written(name, schema):
    """A field as the table writes it."""
    if name in PLAIN:
        return ("*", "")
    if "$ref" in schema:
        return (">", schema["$ref"].removeprefix(PREFIX))
    if schema["type"] == "array":
        return ("[", schema["items"].get("$ref", "").removeprefix(PREFIX))
    if "additionalProperties" in schema:
        return ("{", schema["additionalProperties"].get("$ref", "").removeprefix(PREFIX))
    return ("", "")


def test_the_table_is_that_of_the_discovery_document():
    schemas = discovery()

    for message, fields in parse_table(GOOGLES).items():
        expected = {name: written(name, each) for name, each in schemas[message].get("properties", {}).items()}
        assert {name: (each.kind, each.message) for name, each in fields.items()} == expected, message


def test_every_message_that_the_table_names_is_in_it():
    named = {each.message for fields in MESSAGES.values() for each in fields.values()} - {""}

    assert named <= MESSAGES.keys()


def test_our_fields_are_none_of_the_products():
    for message, fields in parse_table(OURS).items():
        assert not fields.keys() & parse_table(GOOGLES).get(message, {}).keys()


# -- spelling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", MESSAGES)
def test_the_two_spellings_of_every_field_lead_to_each_other(message):
    for name in MESSAGES[message]:
        assert snake_to_camel(camel_to_snake(name)) == name
        assert snake_to_camel(name) == name


@pytest.mark.parametrize(
    ("written", "expected"),
    [("task_configs", "taskConfigs"), ("taskConfigs", "taskConfigs"), ("_x", "_x"), ("a__b", "aB"), ("", "")],
)
def test_snake_case_becomes_camel_case(written, expected):
    assert snake_to_camel(written) == expected


# -- the walk ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(spelled())
def test_a_definition_comes_in_field_for_field_whatever_its_spelling(pair):
    camel, mixed = pair

    assert read_message(mixed, "IntegrationVersion", place=PLACE) == camel
    assert camel_definition(mixed) == camel
    assert unknown_names(mixed) == ()


@settings(deadline=None)
@given(spelled())
def test_what_was_read_is_read_again_as_it_is(pair):
    camel, _ = pair

    again = read_message(camel, "IntegrationVersion", place=PLACE)

    assert json.dumps(again) == json.dumps(camel)


@settings(deadline=None)
@given(plain, spelled(), names.filter(lambda name: snake_to_camel(name) not in MESSAGES["IntegrationVersion"]))
def test_a_name_that_there_is_not_is_refused_or_kept_as_it_is(found, pair, name):
    camel, _ = pair
    document = {**camel, name: found}

    with pytest.raises(InvalidRequest) as caught:
        read_message(document, "IntegrationVersion", place=PLACE)

    said = f"Invalid JSON payload received. Unknown name \"{name}\" at 'integration_version': Cannot find field."
    assert caught.value.lines == (said,)
    assert camel_definition(document) == document


@settings(deadline=None)
@given(anything)
def test_anything_else_is_read_or_refused_and_breaks_nothing(document):
    """A document that was not checked is walked through all the same."""
    camel_definition(document)
    with suppress(InvalidRequest):
        read_message(document, "IntegrationVersion", place=PLACE)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "Invalid value at 'integration_version' (IntegrationVersion), found a list, expected an object."),
        ({"taskConfigs": {}}, "Invalid value at 'integration_version.task_configs', found an object, expected a list."),
        (
            {"taskConfigs": [5]},
            "Invalid value at 'integration_version.task_configs[0]' (TaskConfig), found int 5, expected an object.",
        ),
        (
            {"description": {}},
            "Invalid value at 'integration_version.description', found an object, expected a single value.",
        ),
        (
            {"userLabel": "a", "user_label": "b"},
            "Multiple values for \"userLabel\" at 'integration_version': both spellings are there.",
        ),
        (
            {"taskConfigs": [{}, {"parameters": {"a": {"value": {}}, "b": {"stringValu": ""}}}]},
            'Invalid JSON payload received. Unknown name "stringValu" at '
            "'integration_version.task_configs[1].parameters[1].value': Cannot find field.",
        ),
    ],
)
def test_the_lines_name_the_place(body, said):
    with pytest.raises(InvalidRequest) as caught:
        read_message(body, "IntegrationVersion", place=PLACE)

    assert str(caught.value) == said


def test_a_parameter_may_be_its_value_alone():
    body = {"taskConfigs": [{"parameters": {"url": {"string_value": "u"}, "none": {}}}]}

    read = read_message(body, "IntegrationVersion", place=PLACE)

    assert read == {"taskConfigs": [{"parameters": {"url": {"stringValue": "u"}, "none": {}}}]}


def test_null_is_nothing():
    assert read_message({"description": None, "taskConfigs": None}, "IntegrationVersion", place=PLACE) == {}


@needs_samples
@pytest.mark.parametrize("name", sample_names())
def test_a_sample_is_read_as_it_is(name):
    document = json.loads((SAMPLES / name).read_bytes())

    assert read_message(document, "IntegrationVersion", place=PLACE) == document

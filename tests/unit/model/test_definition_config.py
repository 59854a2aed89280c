"""Config parameters: declared beside the others, and given values when a version is published."""

import pytest

from orchestrator.errors import InvalidDefinition, InvalidValue, UnknownParameter
from orchestrator.model.definition import parse_integration
from orchestrator.model.definition_config import with_config
from orchestrator.model.integration import InputOutput

URL = {"key": "`CONFIG_url`", "dataType": "STRING_VALUE", "defaultValue": {"stringValue": "default"}}


def declared(*entries, spelling="integrationConfigParameters"):
    return {"description": "d", spelling: list(entries)}


def defaults(document):
    return {key: value.python for key, value in parse_integration(document, name="i").defaults().items()}


def test_a_config_parameter_is_a_parameter_that_no_caller_hands_in():
    (parameter,) = parse_integration(declared({"parameter": URL}), name="i").parameters

    assert (parameter.key, parameter.direction) == ("`CONFIG_url`", InputOutput.NONE)


@pytest.mark.parametrize(
    ("value", "expected"), [({"stringValue": "set"}, "set"), ({}, "default"), (None, "default"), ({"intValue": 5}, "5")]
)
def test_its_value_stands_before_its_default(value, expected):
    assert defaults(declared({"parameter": URL, "value": value})) == {"`CONFIG_url`": expected}


def test_a_config_parameter_that_is_none_is_refused_with_its_place():
    with pytest.raises(InvalidDefinition, match=r"integrationConfigParameters\[0\], parameter, key: found nothing"):
        parse_integration(declared({"value": {"intValue": 1}}), name="i")


@pytest.mark.parametrize("spelling", ["integrationConfigParameters", "integration_config_parameters"])
@pytest.mark.parametrize("key", ["CONFIG_url", "`CONFIG_url`"])
def test_a_given_value_is_written_beside_its_parameter(key, spelling):
    document = declared({"parameter": URL}, spelling=spelling)

    assert with_config(document, {key: "set"}) == declared(
        {"parameter": URL, "value": {"stringValue": "set"}}, spelling=spelling
    )
    assert document == declared({"parameter": URL}, spelling=spelling)


def test_a_value_that_does_not_fit_or_of_nothing_is_refused():
    document = declared({"parameter": {"key": "n", "data_type": "INT_VALUE"}}, {"parameter": {"key": "typeless"}})

    with pytest.raises(InvalidValue, match="config parameter 'n'"):
        with_config(document, {"n": "many"})
    with pytest.raises(InvalidValue, match="the type None"):
        with_config(document, {"typeless": "x"})
    with pytest.raises(UnknownParameter, match="'m'; this integration declares: n, typeless"):
        with_config(document, {"m": 1})

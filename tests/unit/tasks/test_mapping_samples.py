"""The product's public samples, mapped with their own default inputs. They are read, not copied."""

from __future__ import annotations

import pytest

from orchestrator.errors import TaskError
from orchestrator.model.json_text import Json
from orchestrator.model.values import parse_value
from tasks import mapping
from tests.unit.tasks.contexts import make_context, sample, sample_config


def mapped(name: str, task_id: str, **parameters: object) -> dict[str, Json]:
    """The outputs of one mapping task of a sample, as plain data; skips where the samples are not there."""
    config = sample_config(name, task_id)
    defaults = {
        each["key"]: parse_value(each["defaultValue"], each["key"])
        for each in sample(name)["integrationParameters"]
        if "defaultValue" in each
    }
    assert list(mapping.check(config)) == []
    outputs = mapping.run(make_context(config, defaults | parameters)).outputs
    return {key: value.python for key, value in outputs.items()}


def test_every_string_of_an_array_becomes_upper_case():
    assert mapped("case-conversion", "1") == {"outputStringArray": ["ONE", "TWO", "THREE"]}


def test_a_text_is_appended_to_every_string_of_an_array():
    fruits = ["oranges", "apples", "bananas", "mangos"]

    assert mapped("concat-string-array", "1") == {"stringArray": [f"{fruit}AreGreatFruits" for fruit in fruits]}


def test_a_template_becomes_a_document_of_another_structure():
    address = "1155 Borregas Ave Sunnyvale CA 94089"

    assert mapped("resolve-json", "1") == {
        "output_order_json": {
            "order": {
                "ordDate": "29/5/2022",
                "orderID": "123",
                "btAddr": {"btAddr": address, "btCode": "CX3H+XC Sunnyvale, California"},
                "stAddr": {"stAddress": address, "stCode": "CX3H-XC Sunnyvale, California"},
            }
        }
    }


def test_an_element_of_a_json_array_is_replaced():
    values = ["val11", "val21", "valUserDefined", "val41"]

    assert mapped("update-json-array", "1") == {"outputJsonArray": [{"prop1": value} for value in values]}


def test_a_property_is_removed_from_every_object_of_a_list():
    students = [{"name": name} for name in ("Abhishek", "Chirag", "Sachin", "Vivek")]

    assert mapped("remove-json-property", "1") == {"outputJsonArray": {"students": students}}


def test_the_order_total_is_the_sum_of_quantity_times_price():
    assert mapped("ecom-order-processing", "1") == {"total_order_value": 34.0}


def test_the_external_items_of_an_order_are_kept():
    external = {"line": 2.0, "sku": "tbz", "vendor": "External", "quantity": 24.0, "price_per_unit": 1.0}

    assert mapped("ecom-order-processing", "3") == {"filtered_external_items": [external]}


def test_a_constant_answer_is_built():
    assert mapped("ecom-order-processing", "5") == {"orders_response": {"STATUS": "PROCESSING_COMPLETE"}}


def test_the_third_of_two_elements_fails_the_task():
    with pytest.raises(TaskError, match=r"field 1 \(\$output_str\$\): stringArray GET: there is no element 2"):
        mapped("catch-task-error", "2")


def test_two_properties_of_one_document_are_set():
    assert mapped("sftp-get-file", "4") == {"EndResult": {"EndResult": "false", "RemoteFilename": "readme.txt"}}


def test_an_answer_of_a_connector_is_taken_apart():
    answer = parse_value({"jsonValue": '[{"Success": true}, {"Content": "hello"}]'}, "answer")

    assert mapped("sftp-get-file", "3", **{"`Task_1_connectorOutputPayload`": answer}) == {"Success": "true"}


def test_a_rest_answer_becomes_a_document():
    assert mapped("call-rest-api", "2", **{"`Task_1_responseBody`": '{"id": 1}'}) == {"OutputJson": {"id": 1}}

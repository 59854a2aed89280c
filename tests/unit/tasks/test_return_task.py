from __future__ import annotations

import pytest

from orchestrator.errors import TaskError
from orchestrator.model.task_types import TASK_TYPES, Done
from tasks import return_task
from tests.unit.tasks.contexts import make_context, values


def test_the_return_task_fails_with_the_chosen_code_and_message():
    with pytest.raises(TaskError) as caught:
        return_task.run(make_context({"httpErrorCode": 404, "errorMessage": "no such order"}))

    assert (caught.value.code, caught.value.message) == (404, "no such order")


def test_the_message_may_be_a_reference_to_a_json_parameter():
    config = {"httpErrorCode": 404, "errorMessage": "$resource_not_found_json$"}

    with pytest.raises(TaskError) as caught:
        return_task.run(make_context(config, {"resource_not_found_json": {"id": 7}}))

    assert caught.value.message == '{"id":7}'


def test_without_a_message_the_canonical_name_stands_in():
    with pytest.raises(TaskError, match="RESOURCE_EXHAUSTED"):
        return_task.run(make_context({"httpErrorCode": "429"}))


def test_without_an_error_code_the_task_does_nothing():
    assert return_task.run(make_context({})) == Done()
    assert return_task.run(make_context({"httpErrorCode": 0})) == Done()
    assert return_task.run(make_context({"httpErrorCode": "$unset$"})) == Done()


@pytest.mark.parametrize(
    ("config", "problems"),
    [
        ({}, 0),
        ({"httpErrorCode": 499}, 0),
        ({"httpErrorCode": "$code$"}, 0),
        ({"httpErrorCode": 418}, 1),
        ({"httpErrorCode": 500}, 1),
    ],
)
def test_a_code_outside_the_documented_ones_is_told_before_anything_runs(config, problems):
    assert len(list(return_task.check(values(config)))) == problems


def test_the_return_task_is_light():
    assert TASK_TYPES.get("ReturnTask").light

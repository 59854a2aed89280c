"""Real definitions, written by others, run unchanged: outputs are what their own descriptions say."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from orchestrator import Orchestrator
from orchestrator.errors import InvalidDefinition
from orchestrator.model.execution import Execution
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.settings import Settings
from tests.integration.sample_stand_in import outside

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
LIMIT_S = 60.0
ORDER = "api_trigger/ecom-order-processing_API_1"

pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"the sample definitions are not at {SAMPLES}"),
]


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestrator]:
    with outside() as overrides:
        settings = Settings(home=tmp_path_factory.mktemp("home"), url_overrides=overrides, concurrency=2)
        with Orchestrator(settings) as opened:
            yield opened


def run(orchestrator: Orchestrator, name: str, *, trigger: str | None = None, **parameters: object) -> Execution:
    return orchestrator.execute(SAMPLES / f"{name}.json", parameters, trigger=trigger, timeout_s=LIMIT_S)


def last(execution: Execution, key: str) -> object:
    """A parameter as it was at the end, OUT or not."""
    return execution.snapshots[-1].parameters[key].python


def test_case_conversion_puts_every_text_in_upper_case(orchestrator: Orchestrator) -> None:
    execution = run(orchestrator, "case-conversion")

    assert execution.state is ExecutionState.SUCCEEDED
    assert last(execution, "outputStringArray") == ["ONE", "TWO", "THREE"]


def test_concat_string_array_appends_a_text_to_every_element(orchestrator: Orchestrator) -> None:
    execution = run(orchestrator, "concat-string-array")

    fruits = ["oranges", "apples", "bananas", "mangos"]
    assert execution.outputs == {"stringArray": [f"{fruit}AreGreatFruits" for fruit in fruits]}


def test_resolve_json_gives_an_order_another_structure(orchestrator: Orchestrator) -> None:
    execution = run(orchestrator, "resolve-json")

    address = "1155 Borregas Ave Sunnyvale CA 94089"
    assert execution.outputs["output_order_json"] == {
        "order": {
            "ordDate": "29/5/2022",
            "orderID": "123",
            "btAddr": {"btAddr": address, "btCode": "CX3H+XC Sunnyvale, California"},
            "stAddr": {"stAddress": address, "stCode": "CX3H-XC Sunnyvale, California"},
        }
    }


def test_update_json_array_replaces_one_element(orchestrator: Orchestrator) -> None:
    execution = run(orchestrator, "update-json-array")

    values = ["val11", "val21", "valUserDefined", "val41"]
    assert execution.outputs == {"outputJsonArray": [{"prop1": value} for value in values]}


def test_remove_json_property_takes_it_from_every_element(orchestrator: Orchestrator) -> None:
    execution = run(orchestrator, "remove-json-property")

    names = ["Abhishek", "Chirag", "Sachin", "Vivek"]
    assert last(execution, "outputJsonArray") == {"students": [{"name": name} for name in names]}


def test_call_rest_api_returns_the_body_as_json(orchestrator: Orchestrator) -> None:
    execution = run(orchestrator, "call-rest-api")

    assert execution.outputs["OutputJson"] == {"firstName": "john", "lastName": "doe", "city": "San Jose"}
    assert last(execution, "`Task_1_responseStatus`") == "200 OK"


def test_catch_task_error_takes_the_error_edge_when_the_mapping_fails(orchestrator: Orchestrator) -> None:
    execution = run(orchestrator, "catch-task-error")

    states = {task.number: task.state for task in execution.tasks}
    assert execution.state is ExecutionState.SUCCEEDED
    assert states == {2: TaskState.FAILED, 1: TaskState.SUCCEED, 3: TaskState.SKIPPED}
    assert "there is no element 2" in mail_of(orchestrator, execution)["body"]


def test_catch_task_error_takes_the_other_edge_when_the_mapping_succeeds(orchestrator: Orchestrator) -> None:
    execution = run(orchestrator, "catch-task-error", string_array=["a", "b", "third"])

    states = {task.number: task.state for task in execution.tasks}
    assert states == {2: TaskState.SUCCEED, 1: TaskState.SKIPPED, 3: TaskState.SUCCEED}
    assert "The third element in the array is { third }" in mail_of(orchestrator, execution)["body"]


def mail_of(orchestrator: Orchestrator, execution: Execution) -> dict[str, str]:
    (path,) = (orchestrator.settings.home / "outbox").glob(f"{execution.id}*.eml")
    message = message_from_bytes(path.read_bytes())
    return {"subject": str(message["Subject"]), "to": str(message["To"]), "body": _text(message)}


def _text(message: Message) -> str:
    body = message.get_payload(decode=True)
    assert isinstance(body, bytes)
    return body.decode()


def test_the_for_each_loop_sends_one_mail_for_every_content(orchestrator: Orchestrator) -> None:
    orchestrator.publish(SAMPLES / "foreach-loop-send-email-sub.json")
    execution = run(orchestrator, "foreach-loop-send-email", Recipients="reader@example.org", Email_Subject="A content")

    mails = [mail_of(orchestrator, child) for child in execution.children]
    assert execution.state is ExecutionState.SUCCEEDED
    assert [mail["body"].strip() for mail in mails] == [f'"Content {n}"' for n in (1, 2, 3, 4)]
    assert {(mail["subject"], mail["to"]) for mail in mails} == {("A content", "reader@example.org")}


def test_status_based_retry_gives_up_after_two_rounds_against_a_server_that_answers_400(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.publish(SAMPLES / "status-based-retry-sub.json")
    execution = run(orchestrator, "status-based-retry-main")

    states = {task.number: task.state for task in execution.tasks}
    assert (last(execution, "retryCounter"), last(execution, "responseCode")) == (2, 400)
    assert states == {1: TaskState.SUCCEED, 2: TaskState.SKIPPED, 3: TaskState.SUCCEED}
    assert [child.outputs["`Task_1_responseStatus`"] for child in execution.children] == ["400 Bad Request"] * 2


def test_an_order_below_the_threshold_is_processed_and_its_external_items_are_ordered(
    orchestrator: Orchestrator,
) -> None:
    execution = run(orchestrator, "ecom-order-processing", trigger=ORDER)

    assert execution.state is ExecutionState.SUCCEEDED
    assert execution.outputs["total_order_value"] == 34.0
    assert [item["sku"] for item in execution.outputs["filtered_external_items"]] == ["tbz"]  # type: ignore[index,union-attr,call-overload]
    assert execution.outputs["rest_call_response_status"] == ["200 OK"]
    assert execution.outputs["orders_response"] == {"STATUS": "PROCESSING_COMPLETE"}


def test_an_order_above_the_threshold_waits_for_its_approval(orchestrator: Orchestrator) -> None:
    execution = run(orchestrator, "ecom-order-processing", trigger=ORDER, threshold_order_value=30.0)

    assert execution.state is ExecutionState.SUSPENDED
    assert execution.task(2).state is TaskState.SUSPENDED


@pytest.mark.parametrize(
    ("name", "number", "task_type"),
    [
        ("sftp-get-file", 1, "GenericConnectorTask"),
        ("sftp-get-file-poll", 6, "GenericConnectorTask"),
        ("cloudfunctions", 1, "CloudFunctionTask"),
    ],
)
def test_a_task_type_that_is_not_built_in_is_refused_with_the_remedy(
    orchestrator: Orchestrator, name: str, number: int, task_type: str
) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        orchestrator.publish(SAMPLES / f"{name}.json")

    (problem,) = [each for each in refused.value.problems if f"task {number} " in each]
    assert repr(task_type) in problem
    assert "--include MODULE" in problem

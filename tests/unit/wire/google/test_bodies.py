from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from orchestrator.model.values import DataType, Value
from orchestrator.wire.google.bodies import (
    MAX_ENTRIES,
    Body,
    Timestamp,
    ValueType,
    body_of,
    parse_body,
    parse_json_body,
)
from orchestrator.wire.google.envelope import GoogleRoute
from orchestrator.wire.google.inputs import Inputs
from orchestrator.wire.google.violations import MAX_VIOLATIONS, InvalidRequest
from tests.unit.wire.asking import ask


class Mode(StrEnum):
    FAST = "FAST"
    SLOW = "SLOW"
    STEADY = "STEADY"


class Part(Body):
    task_id: str
    mode: Mode = Mode.FAST


class Message(Body):
    part: Part | None = None
    more_parts: list[Part] = Field(default_factory=list)
    input_parameters: dict[str, ValueType] = Field(default_factory=dict)
    schedule_time: Timestamp | None = None
    count: int = 0


def parse(document) -> Message:
    return parse_body(json.dumps(document).encode(), Message)


def refusal(document) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(document)
    return caught.value


@pytest.mark.parametrize("content", [b"", b" \n", b"{}", b'{"part": null, "count": null}'])
def test_what_is_not_there_is_at_its_default(content):
    assert parse_body(content, Message) == Message()


@pytest.mark.parametrize("keys", [("taskId", "inputParameters"), ("task_id", "input_parameters")])
def test_fields_are_taken_in_both_spellings(keys):
    found = parse({"part": {keys[0]: "3"}, keys[1]: {"some_Key": {"int_value": 5}}})

    assert found.part == Part(task_id="3")
    assert found.input_parameters == {"some_Key": Value(DataType.INT, 5)}


def test_unknown_fields_are_told_a_line_each_with_their_places():
    error = refusal({"colour": 1, "part": {"taskId": "1", "size": 2}, "moreParts": [{"taskId": "2", "Über": 3}]})

    assert str(error).splitlines() == [
        "Invalid JSON payload received. Unknown name \"size\" at 'part': Cannot find field.",
        "Invalid JSON payload received. Unknown name \"Über\" at 'more_parts[0]': Cannot find field.",
        'Invalid JSON payload received. Unknown name "colour": Cannot find field.',
    ]
    (detail,) = error.details()
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert [each["field"] for each in detail["fieldViolations"]] == ["part", "more_parts[0]", ""]


@pytest.mark.parametrize(
    ("document", "field", "words"),
    [
        ({"part": {"taskId": "1", "mode": "QUICK"}}, "part.mode", ["'QUICK'", "one of FAST, SLOW, STEADY"]),
        ({"part": {}}, "part.task_id", ["Required field 'part.task_id'"]),
        ({"part": {"taskId": 1}}, "part.task_id", ["valid string", "int 1"]),
        ({"part": []}, "part", ["found list []"]),
        ({"count": "many"}, "count", ["str 'many'", "integer"]),
        (
            {"inputParameters": {"Qty": {"intValue": "1", "stringValue": "1"}}},
            'input_parameters["Qty"]',
            ["found intValue, stringValue", "exactly one of"],
        ),
        ({"inputParameters": {"a b": {}}}, 'input_parameters["a b"]', ["an empty object", "exactly one of"]),
        ({"inputParameters": {"q": None}}, 'input_parameters["q"]', ["NoneType None"]),
        ({"inputParameters": {"q": {"intValue": "x"}}}, 'input_parameters["q"]', ["str 'x'", "an int64"]),
        ({"scheduleTime": "tomorrow"}, "schedule_time", ["'tomorrow'", "2026-01-31T12:00:00Z"]),
        ({"scheduleTime": 1700000000}, "schedule_time", ["int 1700000000"]),
        ({"part": {"taskId": "1", "task_id": "2"}}, "part", ["both task_id and taskId"]),
    ],
)
def test_what_is_wrong_is_told_with_its_place(document, field, words):
    error = refusal(document)

    (violation,) = error.violations
    assert violation.field == field
    assert all(each in violation.description for each in words), violation.description


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "Expecting property name"),
        (b'{"count": NaN}', "NaN is no JSON"),
        (b"[]", "found list []"),
        (b"\xff\xfe\x00", "Invalid JSON payload"),
        (b'{"count": ' + b"9" * 5000 + b"}", "Invalid JSON payload"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_told(content, words):
    with pytest.raises(InvalidRequest) as caught:
        parse_body(content, Message)
    assert words in str(caught.value)


def test_a_wall_of_problems_stays_readable():
    error = refusal({f"field{number}": 1 for number in range(500)})

    assert len(str(error).splitlines()) == 51
    assert str(error).endswith("and 450 more")
    assert len(error.details()[0]["fieldViolations"]) == 50


def test_a_time_comes_in_utc():
    assert parse({"schedule_time": "2026-01-31T12:00:00.5+01:00"}).schedule_time == datetime(
        2026, 1, 31, 11, 0, 0, 500_000, tzinfo=UTC
    )


NAMES = st.sampled_from(["part", "taskId", "moreParts", "inputParameters", "count", "intValue", "x"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(DOCUMENTS)
def test_any_json_is_a_message_or_refused_in_words(document):
    try:
        parse(document)
    except InvalidRequest as error:
        found = error
    else:
        return
    assert found.violations
    assert all(each.description for each in found.violations)


def test_a_handler_gets_its_body_and_a_refusal_its_details():
    app = FastAPI()
    app.router.route_class = GoogleRoute

    @app.post("/x")
    def take(body: Annotated[Message, Depends(body_of(Message))]) -> int:
        return body.count

    assert ask(app, "POST", "/x").json() == 0
    assert ask(app, "POST", "/x", content=b'{"count": 4}').json() == 4
    answer = ask(app, "POST", "/x", content=b'{"colour": 4}')
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert answer.json()["error"]["details"][0]["fieldViolations"][0]["field"] == ""


# -- more than can be told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {str(number): 1 for number in range(MAX_ENTRIES + 1)},
        {"inputParameters": {str(number): 1 for number in range(MAX_ENTRIES + 1)}},
        {"parameterEntries": [1] * (MAX_ENTRIES + 1)},
        {"parameters": {"parameters": [1] * (MAX_ENTRIES + 1)}},
    ],
)
def test_what_has_too_many_entries_is_not_looked_into(body):
    with pytest.raises(
        InvalidRequest, match=f"found {MAX_ENTRIES + 1:,} .*, expected at most {MAX_ENTRIES:,}"
    ) as caught:
        parse_body(json.dumps(body).encode(), Inputs)

    assert len(caught.value.lines) == 1


def test_of_many_faults_the_first_ones_are_told_and_the_others_counted():
    body = {str(number): 1 for number in range(MAX_ENTRIES)}

    with pytest.raises(InvalidRequest) as caught:
        parse_body(json.dumps(body).encode(), Inputs)

    assert len(caught.value.violations) == MAX_VIOLATIONS
    assert caught.value.lines[-1] == f"and {MAX_ENTRIES - MAX_VIOLATIONS:,} more"
    assert type(caught.value)(*caught.value.args).lines == caught.value.lines


@pytest.mark.parametrize("content", [b'{"a": 1e999}', b'{"a": -1e999}', b'{"a": NaN}', b'{"a": ' + b"[" * 5_000])
def test_numbers_that_are_none_and_nesting_without_end_are_no_json(content):
    with pytest.raises(InvalidRequest, match="Invalid JSON payload received"):
        parse_json_body(content)

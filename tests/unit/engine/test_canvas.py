from __future__ import annotations

import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.engine.canvas import (
    BUNDLE_TASK,
    CHUNK_TASK,
    JOIN_TASK,
    Chord,
    Message,
    is_bundle_id,
    is_execution_id,
    parse_celery_id,
    queue_of,
    to_celery_id,
)

INT64_MAX = 2**63 - 1
execution_ids = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=36)
numbers = st.integers(1, INT64_MAX)


def make_message(**more: object) -> Message:
    return Message(
        **{  # type: ignore[arg-type]
            "name": "tasks.rest",
            "execution_id": "e-1",
            "number": 7,
            "attempt": 2,
            "round": 0,
            "executor": "ingest",
            **more,
        }
    )


def test_a_message_is_its_key_written_out():
    message = make_message()

    assert message.celery_id == "e-1.7.2"
    assert message.arguments == ("e-1", 7, 2, 0)
    assert message.queue == "executor.ingest"


def test_a_join_has_its_round_behind_the_key():
    message = make_message(name=JOIN_TASK, round=3)

    assert message.celery_id == "e-1.7.2.3"
    assert message.arguments == ("e-1", 7, 2, 3)


def test_a_chunk_has_its_first_position_behind_its_round_and_its_id_stands_for_the_join():
    message = make_message(name=CHUNK_TASK, round=1, first_position=0)

    assert message.celery_id == "e-1.7.2.1.chunk0"
    assert message.arguments == ("e-1", 7, 2, 1, 0)
    assert parse_celery_id(message.celery_id) == ("e-1", 7, 2, 1)


def test_a_bundle_has_the_key_of_its_first_and_an_id_of_its_own():
    message = make_message(name=BUNDLE_TASK)

    assert message.celery_id == "e-1.7.2.bundle"
    assert message.arguments == ("e-1", 7, 2, 0)
    assert parse_celery_id(message.celery_id) == ("e-1", 7, 2, 0)
    assert is_bundle_id(message.celery_id)


@pytest.mark.parametrize("other", ["e-1.7.2", "e-1.7.2.1", "e-1.7.2.1.chunk0", "e-1.7.2.1.bundle", "bundle"])
def test_no_other_id_is_that_of_a_bundle(other):
    assert not is_bundle_id(other)


def test_a_chord_is_its_children_and_the_join_behind_them():
    header = [make_message(execution_id=f"child-{i}", number=1, attempt=1) for i in range(3)]
    chord = Chord(header=header, body=make_message(name=JOIN_TASK, round=1))

    assert {each.celery_id for each in chord.header} == {"child-0.1.1", "child-1.1.1", "child-2.1.1"}
    assert chord.body.celery_id == "e-1.7.2.1"


def test_every_executor_has_a_queue_of_its_own():
    assert queue_of("default") == "executor.default"
    assert queue_of("ingest") != queue_of("default")


@given(execution_id=execution_ids, number=numbers, attempt=numbers, round=st.just(0) | numbers)
@settings(max_examples=200)
def test_a_celery_id_says_which_phase_of_which_attempt_it_is(execution_id, number, attempt, round):  # noqa: A002
    celery_id = to_celery_id(execution_id, number, attempt, round)

    assert parse_celery_id(celery_id) == (execution_id, number, attempt, round)


digits = st.text("0123456789", min_size=1, max_size=25)


@given(
    celery_id=st.text()
    | st.builds("{}.{}.{}".format, execution_ids, digits, digits)
    | st.from_regex(r"\w+\.\d+\.\d+\.\d+")
)
@example(celery_id="e-1.07.2")
@example(celery_id="e-1.7.2.0")
@example(celery_id="e-1.\u0667.2")
@settings(max_examples=300)
def test_an_id_that_is_read_is_the_id_that_would_be_written(celery_id):
    """Else two Celery ids would stand for one attempt, and a foreign id for one of ours."""
    parsed = parse_celery_id(celery_id)

    assert parsed is None or to_celery_id(*parsed) == celery_id


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "e-1.7",
        "e-1.7.2.1.1",
        "e-1.7.-2",
        "e-1.a.2",
        "e 1.7.2",
        ".7.2",
        "e-1.7.2\n",
        "e-1.7.2.",
        f"{'e' * 37}.7.2",
        f"e-1.{INT64_MAX + 1}.1",
        f"e-1.7.{INT64_MAX + 1}",
        f"e-1.7.2.{'9' * 5000}",
        "e-1.7.2.chunk0",
        "e-1.7.2.1.chunk",
        "e-1.7.2.1.bundle",
        "e-1.7.2.1.chunk01",
        f"e-1.7.2.1.chunk{INT64_MAX + 1}",
    ],
)
def test_an_id_of_another_form_is_not_ours(foreign):
    assert parse_celery_id(foreign) is None


@pytest.mark.parametrize("text", ["a", "0f8fad5b-d9cb-469f-a165-70867728950e", "A-1", "x" * 36])
def test_letters_digits_and_hyphens_are_an_execution_id(text):
    assert is_execution_id(text)


@pytest.mark.parametrize("text", ["", "x" * 37, "a.b", "a b", "a\n", "é", "\u0667", "a_b"])
def test_anything_else_is_no_execution_id(text):
    assert not is_execution_id(text)

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model.history import Entry, EntryKind, ErrorInfo
from orchestrator.model.states import TaskState
from orchestrator.model.values import DataType, Value

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)

texts = st.text(max_size=20)
numbers = st.integers(1, 2**63 - 1)
values = (
    texts.map(lambda text: Value(DataType.STRING, text))
    | st.integers(-(2**63), 2**63 - 1).map(lambda number: Value(DataType.INT, number))
    | st.lists(st.integers(-5, 5), max_size=3).map(lambda items: Value(DataType.INT_ARRAY, tuple(items)))
    | st.recursive(
        st.none() | st.booleans() | texts, lambda below: st.lists(below) | st.dictionaries(texts, below)
    ).map(lambda document: Value(DataType.JSON, document))
)
errors = st.builds(
    ErrorInfo, message=texts, code=texts | st.integers(), type=texts, traceback=texts, task_number=st.none() | numbers
)
moments = st.datetimes(timezones=st.just(UTC))
entries = st.builds(
    Entry,
    kind=st.sampled_from(EntryKind),
    task_number=numbers,
    attempt=st.integers(1, 10**6),
    started_at=moments,
    ended_at=moments,
    worker=texts,
    states=st.dictionaries(numbers, st.sampled_from(TaskState), max_size=4),
    edges=st.dictionaries(st.tuples(st.integers(0, 9), numbers), st.booleans(), max_size=4),
    parameters=st.dictionaries(texts, values, max_size=4),
    error=st.none() | errors,
    details=st.dictionaries(texts, texts | st.integers() | st.none(), max_size=3),
)

usual_entries = entries.map(lambda entry: replace(entry, error=None, details={}))


def make_entry(**more: Any) -> Entry:
    return Entry(
        **{
            "kind": EntryKind.SUCCEEDED,
            "task_number": 1,
            "attempt": 1,
            "started_at": NOON,
            "ended_at": NOON + timedelta(seconds=1.5),
            **more,
        }
    )


@given(entry=entries)
@settings(max_examples=150)
def test_an_entry_is_read_back_as_it_was_written(entry):
    text = json.dumps(entry.to_json())

    assert Entry.from_json(json.loads(text)) == entry


@given(entry=entries | usual_entries)
@settings(max_examples=300)
def test_the_text_of_an_entry_says_what_its_document_says_in_one_line_of_ascii(entry):
    text = entry.to_text()

    assert json.loads(text) == json.loads(json.dumps(entry.to_json()))
    assert list(json.loads(text)) == list(entry.to_json())
    assert text.isascii()
    assert "\n" not in text


@given(error=errors)
@settings(max_examples=100)
def test_an_error_is_read_back_as_it_was_written(error):
    text = json.dumps(error.to_json())

    assert ErrorInfo.from_json(json.loads(text)) == error


def test_an_entry_is_stored_under_these_keys():
    """Databases hold such documents: another form needs a migration."""
    entry = make_entry(
        kind=EntryKind.FAILED,
        task_number=7,
        attempt=2,
        worker="host-1",
        states={7: TaskState.FAILED, 8: TaskState.SKIPPED},
        edges={(7, 8): False},
        parameters={"n": Value(DataType.INT, 2**53 + 1)},
        error=ErrorInfo(message="no answer", code=504),
        details={"round": 1},
    )

    assert entry.to_json() == {
        "kind": "task failed",
        "task": 7,
        "attempt": 2,
        "start": "2026-05-01T12:00:00+00:00",
        "end": "2026-05-01T12:00:01.500000+00:00",
        "worker": "host-1",
        "states": {"7": "FAILED", "8": "SKIPPED"},
        "edges": [[7, 8, False]],
        "parameters": {"n": {"intValue": "9007199254740993"}},
        "error": {"message": "no answer", "code": 504},
        "details": {"round": 1},
    }


def test_what_an_entry_does_not_tell_takes_no_room():
    assert set(make_entry().to_json()) == {"kind", "task", "attempt", "start", "end"}


def test_what_an_error_does_not_tell_takes_no_room():
    assert ErrorInfo(message="no answer").to_json() == {"message": "no answer", "code": "INTERNAL_ERROR"}


@pytest.mark.parametrize("code", [404, "404"])
def test_a_code_keeps_being_a_number_or_a_name(code):
    read = ErrorInfo.from_json(ErrorInfo(message="no", code=code).to_json())

    assert read.code == code


@pytest.mark.parametrize("kind", EntryKind)
def test_an_entry_can_be_of_every_kind(kind):
    assert Entry.from_json(make_entry(kind=kind).to_json()).kind is kind


def test_these_entries_end_an_attempt_and_answers_are_checkpoints_as_well():
    ends = {kind.value for kind in EntryKind if kind.ends_attempt}
    checkpoints = {kind.value for kind in EntryKind if kind.is_checkpoint}

    assert ends == {
        "task succeeded",
        "task failed",
        "task suspended",
        "task stopped",
        "task quarantined",
        "attempt returned",
        "task rolled back",
        "rollback failed",
    }
    assert checkpoints - ends == {"suspension lifted", "suspension rejected"}

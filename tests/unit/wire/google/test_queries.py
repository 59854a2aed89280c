from __future__ import annotations

from urllib.parse import urlencode

import pytest
from fastapi import Request

from orchestrator.errors import InvalidValue
from orchestrator.wire.google.queries import Query
from orchestrator.wire.google.violations import InvalidRequest


def query(*given, known=("pageSize", "readMask", "filterParams.*", "isNice")):
    scope = {"type": "http", "query_string": urlencode(given).encode(), "headers": []}
    return Query(Request(scope), known)


def test_both_spellings_are_one_name():
    assert query(("readMask", "a")).text("readMask") == query(("read_mask", "a")).text("readMask") == "a"
    assert query(("filter_params.start_time", "1"), ("filterParams.endTime", "2")).inside("filterParams") == {
        "startTime": ["1"],
        "endTime": ["2"],
    }


def test_what_is_repeated_where_one_is_wanted_is_refused():
    both = query(("readMask", "a"), ("read_mask", "b"))
    with pytest.raises(InvalidValue, match="readMask: found 2 of them"):
        both.text("readMask")


def test_what_is_not_known_is_refused_a_line_each():
    with pytest.raises(InvalidRequest) as caught:
        query(("colour", "red"), ("colour", "blue"), ("size.x", "1"), ("alt", "json"), ("$.xgafv", "1"), ("key", "k"))
    assert [each.field for each in caught.value.violations] == ["colour", "size.x"]
    assert 'Unknown name "colour": Cannot bind query parameter.' in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"), [(None, 50), ("", 50), ("0", 50), ("7", 7), ("+7", 7), ("1000", 1000), ("5000", 1000)]
)
def test_how_many_are_on_a_page(text, size):
    assert query(*([] if text is None else [("pageSize", text)])).page_size() == size


@pytest.mark.parametrize("text", ["-1", "many", "1.5", "9" * 30, "²"])
def test_what_is_no_number_of_executions_is_refused(text):
    with pytest.raises(InvalidValue, match="pageSize: found"):
        query(("pageSize", text)).page_size()


@pytest.mark.parametrize(("text", "meant"), [("true", True), ("True", True), ("false", False), ("", False)])
def test_flags(text, meant):
    assert query(("isNice", text)).flag("isNice") is meant
    assert query().flag("isNice") is False
    with pytest.raises(InvalidValue, match="isNice: found 'maybe', expected true or false"):
        query(("isNice", "maybe")).flag("isNice")

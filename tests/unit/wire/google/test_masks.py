from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.wire.google.masks import apply, fit, parse_fields, shows
from orchestrator.wire.google.violations import InvalidRequest

EXECUTION = "GoogleCloudIntegrationsV1alphaExecution"
LIST = "GoogleCloudIntegrationsV1alphaListExecutionsResponse"
DOCUMENT = {
    "name": "n",
    "executionDetails": {"state": "FAILED", "attemptStats": [{"startTime": "s", "endTime": "e"}]},
    "requestParameters": {"qty": {"intValue": "1"}, "who": {"stringValue": "w"}},
}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("name", {"name": "n"}),
        ("name,executionDetails/state", {"name": "n", "executionDetails": {"state": "FAILED"}}),
        ("execution_details.state", {"executionDetails": {"state": "FAILED"}}),
        ("executionDetails(state, attemptStats/endTime)", {"executionDetails": {"state": "FAILED", "attemptStats": [{"endTime": "e"}]}}),  # noqa: E501
        ("executionDetails/attemptStats(startTime),executionDetails/attemptStats(endTime)", {"executionDetails": {"attemptStats": [{"startTime": "s", "endTime": "e"}]}}),  # noqa: E501
        ("executionDetails,executionDetails/state", {"executionDetails": DOCUMENT["executionDetails"]}),
        ("executionDetails/state,executionDetails", {"executionDetails": DOCUMENT["executionDetails"]}),
        ("*", DOCUMENT),
        ("*/state", {"name": "n", "executionDetails": {"state": "FAILED"}, "requestParameters": {}}),
        ("requestParameters/qty/intValue", {"requestParameters": {"qty": {"intValue": "1"}}}),
        ("requestParameters/*/intValue", {"requestParameters": {"qty": {"intValue": "1"}, "who": {}}}),
        ("createTime", {}),
    ],
)  # fmt: skip
def test_a_mask_leaves_what_it_names(text, left):
    assert apply(fit(parse_fields(text), EXECUTION), DOCUMENT) == left


def test_a_mask_of_a_list_goes_into_its_items():
    mask = fit(parse_fields("executions(name,directSubExecutions/executionDetails/state),nextPageToken"), LIST)

    answer = {"executions": [DOCUMENT, {"name": "m", "directSubExecutions": [DOCUMENT]}], "nextPageToken": "t"}
    assert apply(mask, answer) == {
        "executions": [
            {"name": "n"},
            {"name": "m", "directSubExecutions": [{"executionDetails": {"state": "FAILED"}}]},
        ],
        "nextPageToken": "t",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour", "for path 'colour'"),
        ("executionDetails/colour", "for path 'executionDetails/colour'"),
        ("name/first", "for path 'name/first'"),
        ("requestParameters/qty/colour", "for path 'requestParameters/qty/colour'"),
        ("", "column 1: expected the name of a field"),
        ("name,", "column 6"),
        ("name)", "column 5: expected a comma or the end"),
        ("executionDetails(state", "expected a comma or )"),
        ("na me", "column 4"),
        ("/".join(["directSubExecutions"] * 21), "at most 20 levels"),
        ("(" * 5000, "column 1"),
        ("a," * 3000, "at most 5,000"),
    ],
)
def test_what_is_no_mask_is_refused_in_words(text, words):
    with pytest.raises(InvalidRequest) as caught:
        fit(parse_fields(text), EXECUTION)
    assert str(caught.value).startswith("Error expanding 'fields' parameter.")
    assert words in str(caught.value)
    assert caught.value.violations[0].field == "fields"


def test_a_mask_says_what_it_needs():
    mask = parse_fields("name,executions(executionDetails/state)")

    assert shows(mask, "executions", "executionDetails")
    assert shows(mask, "executions", "executionDetails", "state")
    assert not shows(mask, "executions", "executionDetails", "executionSnapshots")
    assert not shows(mask, "executionInfos")
    assert shows(None, "executionInfos")
    assert shows(parse_fields("*/state"), "anything", "state")


NAMES = st.sampled_from(["a", "b", "c", "d"])
MASKS = st.recursive(
    NAMES | st.just("*"),
    lambda inner: (
        st.builds(lambda name, below: f"{name}({','.join(below)})", NAMES, st.lists(inner, min_size=1))
        | st.builds("{}/{}".format, NAMES | st.just("*"), inner)
    ),
    max_leaves=6,
)
DOCUMENTS = st.recursive(
    st.none() | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)


def is_within(part, whole) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and is_within(part[key], whole[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) == len(whole) and all(map(is_within, part, whole))
    return part == whole


@given(st.lists(MASKS, min_size=1, max_size=3).map(",".join), DOCUMENTS)
def test_applying_a_mask_never_adds_and_twice_is_once(text, document):
    mask = parse_fields(text)

    once = apply(mask, document)

    assert is_within(once, document)
    assert apply(mask, once) == once
    assert apply(parse_fields("*"), document) == document


@given(MASKS, MASKS, DOCUMENTS)
def test_a_mask_shows_no_less_with_another_one_beside_it(one, other, document):
    assert is_within(apply(parse_fields(one), document), apply(parse_fields(f"{one},{other}"), document))


@given(st.text(max_size=40))
def test_any_text_is_a_mask_or_refused(text):
    try:
        mask = parse_fields(text)
    except InvalidRequest:
        return
    assert mask

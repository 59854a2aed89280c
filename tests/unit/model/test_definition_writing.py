"""What is written as JSON or YAML is read back as the same document."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidValue
from orchestrator.model.definition_text import read_document
from orchestrator.model.definition_writing import FileFormat, to_text

ODD = [
    *(
        "on",
        "No",
        "012",
        "1e5",
        "1e16",
        "NaN",
        "Infinity",
        ".inf",
        "null",
        "~",
        "2024-01-01",
        "0x1f",
        "1:20",
        "=",
        "<<",
    ),
    *("- a", "a: b", "#x", "*a", "&a", "!t", "%d", "\x85", "\u2028", "\ufeff", "a\nb\n", "  x", "\0", ""),
]
texts = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
)
documents = st.dictionaries(
    texts,
    st.recursive(
        scalars,
        lambda below: st.lists(below, max_size=4) | st.dictionaries(texts, below, max_size=4),
        max_leaves=10,
    ),
    max_size=4,
)


@settings(deadline=None)
@given(documents, st.sampled_from(FileFormat))
def test_a_document_comes_back_with_its_order_and_types(document, file_format):
    again = read_document(to_text(document, file_format).encode(), "test")

    assert json.dumps(again) == json.dumps(document)


@settings(deadline=None)
@given(documents)
def test_other_readers_of_yaml_take_texts_for_texts(document):
    assert json.dumps(yaml.safe_load(to_text(document, FileFormat.YAML))) == json.dumps(document)


def test_a_value_that_stands_twice_is_written_twice():
    shared = {"a": [1]}

    assert "&" not in to_text({"one": shared, "two": shared}, FileFormat.YAML)


def test_half_of_a_surrogate_pair_is_for_json_alone():
    document = {"a": "\ud800"}

    assert read_document(to_text(document, FileFormat.JSON).encode(), "test") == document
    with pytest.raises(InvalidValue, match="JSON: YAML cannot write that"):
        to_text(document, FileFormat.YAML)

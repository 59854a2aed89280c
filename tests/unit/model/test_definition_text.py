from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import DefinitionError, InvalidDefinition, UnreadableDefinition
from orchestrator.model.definition import MAX_TASKS, read_definition
from tests.unit.steps import steps_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3),
    max_leaves=20,
)


def refusal_of(data: bytes) -> str:
    with pytest.raises(UnreadableDefinition) as caught:
        read_definition(data, source="flow.yaml")
    assert caught.value.source == "flow.yaml"
    return caught.value.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "line 1, column 1: found nothing, expected an object"),
        (b"hello", "line 1, column 1: found a single value, expected an object"),
        (b"\n [1, 2]", "line 2, column 2: found a list, expected an object"),
        (b'{"a": 1,\n "b" 2}', "line 2, column 6: not JSON: Expecting ':' delimiter"),
        (b"a: [1,\n  2", "line 3, column 1: neither JSON nor YAML"),
        (b"a: b: c", "line 1, column 5: neither JSON nor YAML"),
        (b"a: \x00", "line 1, column 4: neither JSON nor YAML"),
        (b"{\n\xff", "line 2, column 1: byte 0xff is not UTF-8"),
        (b'{"a": 1,\n "\\u0061": 2}', "line 2, column 2: the key 'a' stands twice"),
        (b"a: 1\nb:\n  c: 1\n  c: 2", "line 4, column 3: the key 'c' stands twice"),
        (b'{"a": "NaN", "b": NaN}', "line 1, column 19: NaN is not JSON"),
        (b'{"a": [-Infinity]}', "line 1, column 8: -Infinity is not JSON"),
        (b"a: .nan", "line 1, column 4: .nan is not JSON"),
        (b"a: -.inf", "line 1, column 4: -.inf is not JSON"),
        (b'{"a": 1e999}', "line 1, column 7: the number 1e999 is more than a double can hold"),
        (b'{"a": ' + b"9" * 5000 + b"}", "line 1, column 7: the number 9999"),
        (b"a: " + b"9" * 5000, "line 1, column 4: the number 9999"),
        (b"a: 1e999", "line 1, column 4: the number 1e999"),
        (b"a: &x [1]\nb: *x", "line 1, column 4: an anchor (&x)"),
        (b"a: *x", "line 1, column 4: an alias (*x)"),
        (b"a: !!python/name:os.system x", "line 1, column 4: the tag tag:yaml.org,2002:python/name:os.system"),
        (b"a: 1\n--- \nb: 2", "line 2, column 1: a second document"),
        (b"[a]: 1", "line 1, column 2: not JSON"),
        (b"? [a]\n: 1", "line 1, column 3: a key that is not text"),
        (b'{"a": ' + b"[" * 100_000, "line 1, column 206: more than 200 levels"),
        (b"a: " + b"[" * 100_000, "line 1, column 203: more than 200 levels"),
        (b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "line 1, column 206: more than 200 levels"),
    ],
)
def test_unreadable_bytes_are_refused_with_line_and_column(data, reason):
    assert refusal_of(data).startswith(reason)


def test_a_yaml_bomb_is_refused_before_it_grows():
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]

    assert "an anchor (&a0)" in refusal_of("\n".join(rows).encode())


def test_ten_megabytes_are_refused():
    assert refusal_of(b" " * 10_000_000) == "9.5 MiB is more than a definition may have (8 MiB)"


def json_tasks(count):
    return json.dumps({"taskConfigs": [{"taskId": str(n), "task": "T"} for n in range(count)]}).encode()


def yaml_tasks(count):
    return b"taskConfigs:\n" + b"".join(b"- {taskId: %d, task: T}\n" % n for n in range(count))


@pytest.mark.parametrize("written", [json_tasks, yaml_tasks])
def test_a_hundred_thousand_tasks_are_refused(written):
    with pytest.raises(InvalidDefinition, match=f"found 100,000, expected at most {MAX_TASKS:,}"):
        read_definition(written(100_000), source="flow")


@pytest.mark.parametrize("written", [json_tasks, yaml_tasks])
def test_twice_as_many_tasks_are_refused_in_about_twice_the_steps(written):
    def refuse(data):
        with pytest.raises(InvalidDefinition, match="expected at most"):
            read_definition(data, source="flow")

    once, twice = written(MAX_TASKS + 1), written(2 * MAX_TASKS + 2)

    assert steps_of(lambda: refuse(twice)) < 2.5 * steps_of(lambda: refuse(once))


def test_a_byte_order_mark_is_skipped():
    assert read_definition(b'\xef\xbb\xbf{"name": "orders"}', source="x").name == "orders"
    assert read_definition(b"\xef\xbb\xbfname: orders", source="x").name == "orders"


def test_a_plain_yaml_scalar_means_what_it_means_in_json():
    text = (
        "a: [1, -2.5, 1e3, true, null, '5', on, no, 012, 2024-01-01, 1_000, 0x1F, ~]\nb: |\n  two\n  lines\nc: !!str 7"
    )

    document = read_definition(text.encode(), source="x").document

    assert document["a"] == [1, -2.5, 1000.0, True, None, "5", "on", "no", "012", "2024-01-01", "1_000", "0x1F", None]
    assert (document["b"], document["c"]) == ("two\nlines\n", "7")


@given(data=st.binary(max_size=60) | st.text("{}[]\"':,-?&*!|>#\\ \n\taN1e.", max_size=40).map(str.encode))
@settings(max_examples=400)
def test_random_bytes_are_read_or_refused_and_nothing_else(data):
    with contextlib.suppress(DefinitionError):
        assert read_definition(data, source="x").name


@given(document=st.dictionaries(st.text(max_size=5), JSON, max_size=4))
@settings(max_examples=200)
def test_a_readable_json_document_is_kept_as_json_reads_it(document):
    data = json.dumps(document).encode()

    try:
        version = read_definition(data, source="x")
    except DefinitionError:
        return

    assert version.document == json.loads(data)

"""The form of a key, and what is kept of it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import OtherExecutor
from orchestrator.model.keys import (
    ANYONE,
    ID_BYTES,
    NOBODY,
    SECRET_BYTES,
    Caller,
    Scope,
    check_executor,
    hash_key,
    is_hash_of,
    make_key,
    parse_key,
)

CHANCES = st.binary(min_size=ID_BYTES + SECRET_BYTES, max_size=ID_BYTES + SECRET_BYTES)
KEY = make_key(bytes(range(37)))
PAGE = (Path(__file__).parents[3] / "docs" / "keys.md").read_text()
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


@given(CHANCES)
def test_a_key_that_is_taken_apart_is_the_key_that_was_made(chance):
    key = make_key(chance)

    assert parse_key(key.text) == key
    assert re.fullmatch(r"orc_[a-z2-7]{8}_[A-Za-z0-9_-]{43}", key.text)


@given(CHANCES, CHANCES)
def test_different_chances_make_different_keys(one, other):
    assert (make_key(one).text == make_key(other).text) is (one == other)


@given(st.from_regex(r"orc_[a-z2-7]{8}_[A-Za-z0-9_-]{43}", fullmatch=True))
def test_no_two_texts_are_one_key(text):
    """The last character could be written in four ways."""
    key = parse_key(text)

    assert key is None or key.text == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orc_",
        KEY.text[:-1],
        KEY.text + "A",
        f" {KEY.text}",
        f"{KEY.text}\n",
        KEY.text.upper(),
        KEY.text.replace("orc_", "org_"),
        KEY.text.replace("_", "-"),
        KEY.text[:-1] + "=",
        KEY.text[:-1] + "é",
        KEY.text[:-1] + LETTERS[LETTERS.index(KEY.text[-1]) + 1],  # the two bits that say nothing
        KEY.text.replace(KEY.id, "0" * 8),
    ],
)
def test_a_text_of_another_form_is_no_key(text):
    assert parse_key(text) is None


@given(CHANCES, st.integers(0, 55))
def test_a_hash_fits_its_key_alone(chance, position):
    text = make_key(chance).text
    changed = text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]

    assert is_hash_of(hash_key(text), text)
    assert not is_hash_of(hash_key(text), changed)


def test_a_hash_is_that_of_the_whole_text():
    assert hash_key("orc_k3v7ax2q_") == "c1fcd99743fe38e5d3da9a35f5784f2cd4e9b91f44e01d954291c10ffd3b91ce"


def test_a_secret_is_not_in_the_repr():
    assert KEY.id in repr(KEY)
    assert repr(KEY.secret) not in repr(KEY)
    assert KEY.text[13:] not in repr(KEY)


def test_admin_may_do_everything_and_nobody_nothing():
    reader = Caller(actor="key:r", scopes=frozenset({Scope.READ}))

    assert [each for each in Scope if reader.may(each)] == [Scope.READ]
    assert all(map(ANYONE.may, Scope))
    assert not any(map(NOBODY.may, Scope))


@pytest.mark.parametrize(("bound_to", "wanted"), [(None, ["a", "b"]), ("a", ["a"]), ("a", []), ("a", {"a"})])
def test_a_key_may_use_its_executor(bound_to, wanted):
    check_executor(Caller(actor="key:r", scopes=frozenset(), executor=bound_to), wanted)


def test_a_key_may_not_use_another_executor():
    caller = Caller(actor="key:r", scopes=frozenset(), executor="a")

    with pytest.raises(OtherExecutor, match=r"^key:r may use executor 'a' alone, and this would use 'b', 'c'$"):
        check_executor(caller, ["c", "a", "b"])


def test_the_page_has_every_scope():
    table = PAGE.partition("| Scope | Allows |\n")[2].partition("\n\n")[0]

    assert re.findall(r"^\| `([a-z:]+)` \|", table, re.MULTILINE) == [*Scope]

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.web.request_ids import RequestIds, is_sane
from tests.unit.web.asgi import answering, ask


async def show_id(scope, receive, send):
    await answering(send, scope["state"]["request_id"].encode())


@pytest.mark.parametrize("given", ["r-1", "Root=1-67891233-abcdef012345678912345678", "a/b+c==", "x" * 128])
def test_a_sane_id_of_the_caller_is_kept_and_answered(given):
    answer = ask(RequestIds(show_id), headers={"X-Request-Id": given})

    assert answer.headers["x-request-id"] == given
    assert answer.body.decode() == given


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "line\nend", '"quoted"', "<b>", "a;b", "a\x7f"])
def test_any_other_gets_one_of_ours(given):
    answer = ask(RequestIds(show_id), headers={"X-Request-Id": given})

    assert answer.headers["x-request-id"] == answer.body.decode() != given
    assert is_sane(answer.body.decode())


def test_two_requests_get_different_ids():
    first, second = (ask(RequestIds(show_id)).body for _ in range(2))

    assert first != second


@given(st.text(max_size=130))
def test_what_is_sane_is_printable_ascii_of_at_most_128(text):
    if is_sane(text):
        assert 1 <= len(text) <= 128
        assert text.isascii()
        assert text.isprintable()
        assert " " not in text


def test_what_is_no_request_passes():
    """The lifespan of the app goes through the same middlewares."""
    seen = []

    async def note(scope, receive, send):
        seen.append(scope)
        await answering(send)

    ask(RequestIds(note), scope={"type": "lifespan"})

    assert seen[0]["state"] == {}

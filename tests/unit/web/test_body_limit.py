import pytest
from fastapi import Body, FastAPI
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.web.body_limit import BodyLimit
from tests.unit.web.asgi import answering, ask

GOOGLES = "/v1/projects/p/locations/l/integrations/i:execute"


async def read_all(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await answering(send, str(len(body)).encode())


def app_of_fastapi():
    """FastAPI makes a 400 of whatever happens while it reads."""
    app = FastAPI()

    @app.post("/")
    def take(document: dict = Body()) -> int:  # noqa: B008 - FastAPI's way
        return len(document)

    return app


def test_a_length_above_the_limit_is_refused_unread():
    async def never(scope, receive, send):
        pytest.fail("the app was asked")

    answer = ask(BodyLimit(never, 10), method="POST", headers={"Content-Length": "11"}, body=())

    assert answer.status == 413
    assert "10 bytes" in answer.json()["error"]
    assert answer.headers["connection"] == "close"


@given(st.lists(st.binary(max_size=8), max_size=6))
def test_a_body_in_chunks_passes_up_to_the_limit_and_no_further(chunks):
    answer = ask(BodyLimit(read_all, 10), method="POST", body=chunks or [b""])

    size = sum(map(len, chunks))
    assert answer.status == (413 if size > 10 else 200)
    assert answer.is_complete
    if size <= 10:
        assert int(answer.body) == size


@pytest.mark.parametrize("wanted", ["FastAPI", "plain"])
def test_whatever_the_app_makes_of_it_the_client_hears_of_the_limit(wanted):
    app = app_of_fastapi() if wanted == "FastAPI" else read_all

    answer = ask(
        BodyLimit(app, 10),
        method="POST",
        headers={"Content-Type": "application/json"},
        body=[b"[1,2,3,", b"4,5,6,7,8]"],
    )

    assert answer.status == 413


def test_googles_clients_get_it_in_their_envelope():
    error = ask(BodyLimit(read_all, 10), GOOGLES, method="POST", headers={"Content-Length": "11"}).json()["error"]

    assert (error["code"], error["status"]) == (413, "INVALID_ARGUMENT")


def test_what_follows_is_dropped_for_a_while_and_not_for_ever():
    def endless():
        while True:
            yield b"1234567890"

    answer = ask(BodyLimit(read_all, 10), method="POST", body=endless())

    assert answer.status == 413
    assert answer.read < 10


def test_an_error_of_the_app_is_its_own():
    async def fail(scope, receive, send):
        raise KeyError("its own")

    with pytest.raises(KeyError):
        ask(BodyLimit(fail, 10), method="POST")

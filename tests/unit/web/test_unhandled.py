import asyncio
import json
import logging

import pytest
from starlette.requests import Request

from orchestrator.web.log_lines import LogLines
from orchestrator.web.request_ids import RequestIds
from orchestrator.web.unhandled import Unhandled
from tests.unit.web.asgi import answering, ask, asked

GOOGLES = "/v1/projects/p/locations/l/integrations/i/executions"


async def fail(scope, receive, send):
    raise RuntimeError("the password is hidden")


def test_a_fault_is_logged_with_its_id_and_answered_with_nothing_else(caplog):
    answer = ask(RequestIds(Unhandled(fail)), "/x?key=hidden-too", headers={"X-Request-Id": "r-1"})

    assert answer.status == 500
    assert answer.json()["requestId"] == "r-1"
    assert "hidden" not in answer.body.decode()
    (record,) = caplog.records
    line = json.loads(LogLines().format(record))
    assert (line["level"], line["request_id"], line["path"]) == ("ERROR", "r-1", "/x?key=***")
    assert "RuntimeError: the password is hidden" in line["traceback"]


def test_googles_clients_get_it_in_their_envelope():
    error = ask(RequestIds(Unhandled(fail)), GOOGLES, headers={"X-Request-Id": "r-1"}).json()["error"]

    assert (error["code"], error["status"]) == (500, "INTERNAL")
    assert error["details"] == [{"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "r-1"}]
    assert "r-1" in error["message"]


def test_an_answer_that_has_begun_is_left_incomplete(caplog):
    async def break_off(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        raise RuntimeError("amid")

    answer = ask(Unhandled(break_off))

    assert (answer.status, answer.body, answer.is_complete) == (200, b"first", False)
    assert caplog.records[0].message == "request failed"


@pytest.mark.parametrize("path", ["/x", GOOGLES])
def test_who_is_cut_off_hears_that_the_server_ends(path):
    async def cancel():
        begun = asyncio.Event()

        async def wait(scope, receive, send):
            begun.set()
            await asyncio.Event().wait()

        asking = asyncio.create_task(asked(Unhandled(wait), path))
        await begun.wait()
        asking.cancel()
        return await asking

    answer = asyncio.run(cancel())

    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert "ending" in answer.body.decode()


def test_a_client_that_goes_away_amid_its_body_is_no_fault_of_ours(caplog):
    async def read(scope, receive, send):
        await Request(scope, receive).body()
        pytest.fail("there is no body")

    answer = ask(Unhandled(read), method="POST", body=())

    assert answer.status is None
    assert caplog.records == []


def test_what_goes_well_passes():
    async def app(scope, receive, send):
        await answering(send)

    assert ask(Unhandled(app)).body == b"ok"


def test_a_warning_of_a_library_is_a_line_too():
    record = logging.makeLogRecord({"name": "kombu", "levelname": "WARNING", "msg": "lost %s", "args": ("it",)})

    line = json.loads(LogLines().format(record))

    assert (line["logger"], line["level"], line["message"]) == ("kombu", "WARNING", "lost it")

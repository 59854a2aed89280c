from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Response
from fastapi.responses import StreamingResponse

from orchestrator import errors
from orchestrator.service.suspensions import MayNotResolve, SuspensionNotFound
from orchestrator.wire.google.envelope import GoogleJson, GoogleRoute
from orchestrator.wire.google.violations import invalid
from tests.unit.wire.asking import ask


def served(handler):
    """An app whose only path answers what the handler returns, or raises."""
    app, router = FastAPI(), APIRouter(route_class=GoogleRoute)
    router.add_api_route("/x", handler, methods=["GET"], response_model=None)
    app.include_router(router)
    return app


def raising(error):
    def handler() -> None:
        raise error

    return served(handler)


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (errors.ExecutionNotFound("e"), 404, "NOT_FOUND"),
        (SuspensionNotFound("e", "1-1"), 404, "NOT_FOUND"),
        (errors.InvalidValue("a", "b", "c"), 400, "INVALID_ARGUMENT"),
        (errors.IllegalArrow("SUCCEEDED", "KILL"), 400, "FAILED_PRECONDITION"),
        (errors.NotAllowed("ann", "read"), 403, "PERMISSION_DENIED"),
        (MayNotResolve("ann", ("bob",)), 403, "PERMISSION_DENIED"),
        (errors.ExecutionExists("e"), 409, "ALREADY_EXISTS"),
        (errors.QueueFull("e", 5, 5), 429, "RESOURCE_EXHAUSTED"),
        (errors.Unreachable("redis", "u", "r"), 503, "UNAVAILABLE"),
        (errors.SchemaOutdated("1", "2"), 500, "INTERNAL"),
        (HTTPException(401, "who are you?"), 401, "UNAUTHENTICATED"),
        (HTTPException(418, "teapot"), 418, "INTERNAL"),
        (RuntimeError("secret"), 500, "INTERNAL"),
    ],
)
def test_every_error_is_in_the_envelope(error, code, status):
    answer = ask(raising(error), "GET", "/x")

    assert answer.status_code == code
    assert answer.json()["error"] == {"code": code, "message": answer.json()["error"]["message"], "status": status}
    assert answer.json()["error"]["message"]


def test_a_fault_of_ours_is_logged_and_not_shown(caplog):
    answer = ask(raising(RuntimeError("secret")), "GET", "/x")

    assert "secret" not in answer.text
    assert "secret" in caplog.text


def test_details_say_which_field(caplog):
    answer = ask(raising(invalid("a.b", "A sentence with \ud800.")), "GET", "/x")

    assert answer.json()["error"]["details"][0]["fieldViolations"] == [
        {"field": "a.b", "description": "A sentence with \ud800."}
    ]


def test_an_answer_may_hold_what_utf_8_cannot():
    assert ask(served(lambda: {"lone": "\ud800", "é": 2**63 - 1}), "GET", "/x").json() == {
        "lone": "\ud800",
        "é": 2**63 - 1,
    }


def test_a_part_of_an_answer_keeps_its_headers():
    answer = ask(
        served(lambda: GoogleJson({"a": {"b": 1, "c": 2}, "d": 3}, headers={"x-more": "y"})), "GET", "/x?fields=a/b"
    )

    assert answer.json() == {"a": {"b": 1}}
    assert answer.headers["x-more"] == "y"


def test_only_json_that_went_well_is_cut():
    def stream() -> Response:
        return StreamingResponse(iter([b"a", b"b"]), media_type="application/json")

    assert ask(served(stream), "GET", "/x?fields=a").text == "ab"
    assert ask(served(lambda: Response("text")), "GET", "/x?fields=a").text == "text"
    assert ask(served(lambda: GoogleJson({"a": 1}, status_code=202)), "GET", "/x?fields=b").json() == {"a": 1}

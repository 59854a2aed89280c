from __future__ import annotations

from urllib.parse import quote

import pytest
from fastapi import APIRouter, FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.wire.google import unanswered
from orchestrator.wire.google.envelope import GoogleRoute
from orchestrator.wire.google.paths import MAX_FORM, GooglePaths, to_routed
from tests.unit.wire.asking import ask

L = "/v1/projects/p/locations/l"
X = f"{L}/integrations/i/executions"
FORM = {"x-http-method-override": "GET", "content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def app():
    app, router = FastAPI(), APIRouter(route_class=GoogleRoute)
    start = "/v1/projects/{project}/locations/{location}/integrations/{integration}"

    @router.get(start + "/executions/{execution}")
    def get(execution: str) -> dict[str, str]:
        return {"got": execution}

    @router.post(start + "/executions/{execution}:cancel")
    async def cancel(execution: str, request: Request) -> dict[str, str]:
        return {"cancelled": execution, "body": (await request.body()).decode()}

    @router.patch(start + "/versions/{version}")
    async def patch(version: str, request: Request) -> dict[str, str]:
        return {"patched": version, "body": (await request.body()).decode()}

    @router.get(start + "/executions")
    async def list_(request: Request) -> dict[str, object]:
        return {"query": request.query_params.multi_items(), "body": (await request.body()).decode()}

    @app.get("/v1/data_factory/{name}")
    def other(name: str) -> dict[str, str]:
        return {"other": name}

    app.include_router(router)
    app.include_router(unanswered.router)
    app.add_middleware(GooglePaths)
    return app


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/plain", "plain"),
        ("/a%20b%C3%A9%2F", "a bé/"),
        ("/a%253Ab", "a%3Ab"),
        ("/a%3Ab", "a:b"),
        ("/%F0%9F%90%8D", "🐍"),
    ],
)
def test_ids_are_decoded_after_routing(app, path, found):
    assert ask(app, "GET", X + path).json() == {"got": found}


@given(st.text(min_size=1, max_size=20).filter(lambda text: text.encode("utf-8", "ignore").decode() == text))
def test_any_id_comes_through(app, text):
    if text in (".", ".."):  # which HTTP clients themselves take for folders
        return
    assert ask(app, "GET", f"{X}/{quote(text, safe='')}").json() == {"got": text}


@pytest.mark.parametrize(
    "path", [f"{X}/e:cancel", f"{X}/e/:cancel", f"{L}/products/apigee/integrations/i/executions/e:cancel"]
)
def test_a_verb_has_one_handler_however_it_is_reached(app, path):
    assert ask(app, "POST", path, content="{}").json() == {"cancelled": "e", "body": "{}"}


def test_a_long_query_comes_as_a_form_and_is_a_get(app):
    form = "filter=a+b%26&pageSize=2&filterParams.eventStatuses=A&filterParams.eventStatuses=B"
    answer = ask(app, "POST", f"{X}?alt=json", content=form, headers=FORM)

    assert answer.json() == {
        "query": [
            ["alt", "json"],
            ["filter", "a b&"],
            ["pageSize", "2"],
            ["filterParams.eventStatuses", "A"],
            ["filterParams.eventStatuses", "B"],
        ],
        "body": "",
    }


def test_a_form_that_comes_in_pieces_is_bounded(app):
    async def pieces():
        for _ in range(2 * MAX_FORM // 10_000):
            yield b"x" * 10_000

    answer = ask(app, "POST", X, content=pieces(), headers=FORM)

    assert answer.status_code == 413
    assert "longer than 1,000,000 bytes" in answer.json()["error"]["message"]


def test_a_post_may_stand_for_other_methods_and_keeps_its_body(app):
    headers = {"x-http-method-override": "PATCH"}
    assert ask(app, "POST", f"{L}/integrations/i/versions/v", content="{}", headers=headers).json() == {
        "patched": "v",
        "body": "{}",
    }
    refused = ask(app, "POST", X, headers={"x-http-method-override": "TRACE"})
    assert refused.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_other_paths_are_not_touched(app):
    assert ask(app, "GET", "/v1/data_factory/a:b").json() == {"other": "a:b"}
    assert ask(app, "POST", "/v1/data_factory/a", headers=FORM).status_code == 405


@pytest.mark.parametrize(
    ("verb", "path", "code", "status"),
    [
        ("GET", f"{L}/templates", 501, "UNIMPLEMENTED"),
        ("POST", f"{X}/e:replay", 501, "UNIMPLEMENTED"),
        ("GET", "/v1/callback:generateToken", 501, "UNIMPLEMENTED"),
        ("GET", "/v2/projects/p/locations/l/integrations/i/executions", 501, "UNIMPLEMENTED"),
        ("PUT", f"{X}/e", 404, "NOT_FOUND"),
        ("DELETE", f"{X}/e", 404, "NOT_FOUND"),
        ("GET", f"{X}/e:cancel", 404, "NOT_FOUND"),
        ("GET", f"{X}/e:dance", 404, "NOT_FOUND"),
        ("GET", f"{L}/nonsense", 404, "NOT_FOUND"),
        ("GET", "/v1/projects/p", 404, "NOT_FOUND"),
        ("GET", f"{X}/e?alt=media", 400, "INVALID_ARGUMENT"),
        ("GET", f"{X}/e?fields=colour", 400, "INVALID_ARGUMENT"),
    ],
)
def test_what_is_not_there_is_told_in_the_envelope(app, verb, path, code, status):
    answer = ask(app, verb, path)

    assert answer.status_code == code
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["status"] == status
    assert answer.json()["error"]["message"]


def test_parameters_that_every_method_takes_change_nothing(app):
    query = "alt=json&prettyPrint=false&key=k&quotaUser=u&$.xgafv=1&uploadType=media&upload_protocol=raw&callback=c"
    assert ask(app, "GET", f"{X}/e?{query}").json() == {"got": "e"}


@given(st.text("/:ab%2", max_size=30))
def test_putting_a_path_right_twice_is_once(text):
    once = to_routed(L + text)
    assert to_routed(once) == once

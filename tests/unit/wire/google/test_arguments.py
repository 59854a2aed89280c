"""Handlers that are called without FastAPI: they get what FastAPI would have given them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.routing import APIRoute

from orchestrator.errors import InvalidValue
from orchestrator.wire.google import executions
from orchestrator.wire.google.arguments import Plain
from orchestrator.wire.google.envelope import GoogleJson, GoogleRoute
from tests.unit.wire.asking import ask

PATH = "/v1/projects/{project}/things/{thing}"
CALLS: list[str] = []


async def of_project(project: str) -> str:
    CALLS.append(f"project {project}")
    if project == "none":
        raise InvalidValue("the project", "none", "one")
    return f"<{project}>"


def of_thing(parent: Annotated[str, Depends(of_project)], thing: str) -> tuple[str, str]:
    """In a thread, as every plain function."""
    CALLS.append("in a thread" if threading.current_thread() is not threading.main_thread() else "in the loop")
    return parent, thing


async def of_query(n: Annotated[int | None, Query(ge=0)] = None) -> int | None:
    return n


def closing() -> Iterator[int]:
    yield 1


async def answer(
    request: Request,
    thing: Annotated[tuple[str, str], Depends(of_thing)],
    project: Annotated[str, Depends(of_project)],
    n: Annotated[int | None, Depends(of_query)],
) -> Response:
    return GoogleJson([request.method, *thing, project, n])


def in_a_thread(thing: Annotated[tuple[str, str], Depends(of_thing)]) -> Response:
    return GoogleJson(list(thing))


async def with_body(project: str, body: dict[str, str]) -> Response:
    return GoogleJson([project, body])


async def with_number(project: int) -> Response:
    return GoogleJson(project)


async def with_default(project: str, n: Annotated[int, Query()] = 5) -> Response:
    return GoogleJson([project, n])


async def with_end(n: Annotated[int, Depends(closing)]) -> Response:
    return GoogleJson(n)


async def with_dict(project: str) -> dict[str, str]:
    return {"project": project}


def app_of(route_class: type[APIRoute], handler=answer) -> FastAPI:
    router = APIRouter(route_class=route_class)
    router.get(PATH)(handler)
    app = FastAPI()
    app.include_router(router)
    return app


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


@pytest.mark.parametrize("path", ["/v1/projects/p/things/t", "/v1/projects/p%20q/things/%C3%A4", f"{PATH}?n=7"])
@pytest.mark.parametrize("handler", [answer, in_a_thread])
def test_a_handler_gets_what_fastapi_would_have_given_it_in_the_same_order(path, handler):
    expected = ask(app_of(APIRoute, handler), "GET", path)
    calls, CALLS[:] = CALLS[:], []

    found = ask(app_of(GoogleRoute, handler), "GET", path)

    assert (found.status_code, found.json()) == (200, expected.json())
    assert calls == CALLS
    assert len(CALLS) == 2, "what two of them need is made once"


async def of_name(name: str, request: Request) -> str:
    CALLS.append(f"{name} {request.method}")
    return name


async def with_partial(made: Annotated[str, Depends(partial(of_name, "made"))]) -> Response:
    return GoogleJson(made)


@pytest.mark.parametrize("route_class", [APIRoute, GoogleRoute])
def test_what_a_route_depends_on_is_called_before_its_handler(route_class):
    router = APIRouter(route_class=route_class)
    router.get(PATH, dependencies=[Depends(partial(of_name, "route"))])(with_partial)
    app = FastAPI()
    app.include_router(router)

    assert ask(app, "GET", "/v1/projects/p/things/t").json() == "made"
    assert CALLS == ["route GET", "made GET"]
    if route_class is GoogleRoute:
        assert Plain.of(with_partial, PATH, [Depends(partial(of_name, "route"))]) is not None
        assert Plain.of(with_partial, PATH, [Depends(closing)]) is None


def test_a_query_parameter_that_is_given_is_checked():
    refused = ask(app_of(GoogleRoute), "GET", "/v1/projects/p/things/t?n=-1")

    assert refused.status_code == 400
    assert "n: Input should be greater than or equal to 0" in refused.json()["error"]["message"]


def test_what_a_function_refuses_is_answered_in_the_envelope():
    refused = ask(app_of(GoogleRoute), "GET", "/v1/projects/none/things/t")

    assert (refused.status_code, refused.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("handler", [with_body, with_number, with_default, with_end, with_dict])
def test_whatever_needs_more_is_called_by_fastapi(handler):
    assert Plain.of(handler, "/v1/projects/{project}") is None


@pytest.mark.parametrize("route", executions.router.routes, ids=lambda each: each.path)
def test_what_is_asked_for_most_is_called_without_fastapi(route):
    assert Plain.of(route.endpoint, route.path) is not None


def test_what_a_handler_takes_is_still_described():
    document = app_of(GoogleRoute).openapi()

    assert {each["name"] for each in document["paths"][PATH]["get"]["parameters"]} == {"project", "thing", "n"}

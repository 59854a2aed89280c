"""Whatever is sent, by the server's own description or against it, has an answer: never 500, never without envelope.

Most names in paths are of what is there, so that cases come further than 404. The same cases come each time.
"""

from __future__ import annotations

import itertools
import json

import pytest
import requests
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from orchestrator.web import health
from orchestrator.wire.google.api import google_router
from tests.clients.google.conftest import running_google
from tests.clients.google.landscape import id_of, laid_out

pytestmark = [pytest.mark.services, pytest.mark.slow]

EXAMPLES = 60  # of each operation
ODD = ("a\0b", "a/b:c")  # which schemathesis puts into no path
LIMIT_S = 30  # for an answer: nothing here has to be waited for
ENVELOPE = {"code", "message", "status", "details"}
FLAGS = st.lists(st.booleans(), min_size=6, max_size=6)
NO_HTTP = "Invalid HTTP request received."  # uvicorn's own words for what it cannot read


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    with running_google(tmp_path_factory.mktemp("google"), database="postgres") as found:
        yield found


@pytest.fixture(scope="module")
def land(google):
    return laid_out(google)


@pytest.fixture(scope="module")
def session():
    with requests.Session() as session:
        session.trust_env = False
        yield session


def operations():
    """Of the server's own description."""
    app = FastAPI()
    app.include_router(health.router)
    app.include_router(google_router())
    return {each.ok().label: each.ok() for each in schemathesis.openapi.from_dict(app.openapi()).get_all_operations()}


OPERATIONS = operations()


def known_names(land, case, choice):
    """What is there of each kind; nothing that others need is deleted, and no stream is without an end."""
    suspended = "/suspensions" in case.path
    executions = [land.over, land.held, land.suspended] if not case.path.endswith(":watch") else [land.over]
    execution = land.suspended if suspended else executions[choice % len(executions)]
    names = {
        "project": "default",
        "location": "local",
        "integration": id_of(execution.partition("/executions/")[0]),
        "execution": id_of(execution),
        "suspension": ["1-1", "1", "-"][choice % 3],
        "version": id_of(land.draft),
    }
    if "/executions" not in case.path:
        names["integration"] = "nothing" if case.method == "DELETE" and "version" not in case.path else "land"
    return names


def without_waiting(case):
    """A long poll of something that nobody will change would take its time."""
    query = dict(case.query or {})
    for name in ("wait", "timeout"):
        if name in query:
            query[name] = min(float(query[name]), 0.1) if isinstance(query[name], int | float) else query[name]
    return query


def name_what_has_to_be(land, case):
    """Fields without which nothing else is looked at."""
    if case.path.endswith(":executeEvent"):
        case.query["triggerId"] = land.trigger
    if isinstance(case.body, dict) and case.path.endswith((":execute", ":schedule", ":test")):
        case.body["triggerId"] = land.trigger
    if isinstance(case.body, dict) and case.path.endswith(":replay"):
        case.body["replayReason"] = "to see"


@pytest.mark.parametrize("label", OPERATIONS)
@given(data=st.data(), is_known=st.just([True] * 6) | FLAGS, choice=st.integers(0, 5))
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_case_has_an_answer(google, land, session, label, data, is_known, choice):
    strategies = [OPERATIONS[label].as_strategy(generation_mode=each) for each in GenerationMode]
    case = data.draw(st.one_of(strategies))
    names = known_names(land, case, choice)
    for name, known in zip(names, itertools.cycle(is_known), strict=False):
        if name in (case.path_parameters or {}) and (known or choice > 3):
            case.path_parameters[name] = names[name] if known else ODD[choice % 2]
    case.query = without_waiting(case)
    if choice % 2:
        name_what_has_to_be(land, case)

    answer = case.call(base_url=google.url, session=session, timeout=LIMIT_S)

    check(answer, is_google=case.path.startswith("/v1"))


def check(answer, *, is_google):
    text, kind = answer.content.decode(), answer.headers.get("content-type", [""])[0]
    assert answer.status_code != 500, text
    assert not 300 <= answer.status_code < 400
    if answer.status_code == 204:
        assert not text
    elif kind.startswith("text/event-stream"):
        assert text.startswith(("event: ", ": "))
    elif answer.status_code < 400:
        assert kind == "application/json"
        json.loads(text)
    elif text != NO_HTTP:
        assert kind == "application/json"
        error = json.loads(text)["error"]
        if is_google and isinstance(error, dict):
            assert error.keys() <= ENVELOPE
            assert (error["code"], bool(error["message"])) == (answer.status_code, True)

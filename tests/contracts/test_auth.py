"""The middleware that asks for a key, in front of an app that says who it was told asks."""

import asyncio
import logging
import threading

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from orchestrator.errors import Unreachable
from orchestrator.model.keys import Scope
from orchestrator.service.keys import KeyWish, create_key, revoke_key
from orchestrator.store.keys import KeyStore
from orchestrator.web.anyone import Anyone
from orchestrator.web.auth import AskForKey
from tests.contracts.world import World

GOOGLE = "/v1/projects/p/locations/l/integrations/i/executions"
OWN = "/console"
FORM = {"X-HTTP-Method-Override": "GET", "Content-Type": "application/x-www-form-urlencoded"}


async def who(request):
    """Everything that a handler is given."""
    caller, body = request.state.caller, await request.body()
    told = {"actor": caller.actor, "scopes": sorted(caller.scopes), "executor": caller.executor}
    return JSONResponse(told | {"query": request.url.query, "body": body.decode()})


def app_with(middleware, **options):
    app = Starlette(routes=[Route("/{path:path}", who, methods=["GET", "POST"])])
    app.add_middleware(middleware, **options)
    return app


def client_of(app, **more):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, **more), base_url="http://127.0.0.1")


@pytest.fixture
def services(database, tmp_path):
    return World(database, tmp_path).services


@pytest.fixture
def ask(services):
    def ask(path, method="GET", root_path="", **more):
        async def asked():
            async with client_of(app_with(AskForKey, services=services), root_path=root_path) as client:
                return await client.request(method, path, **more)

        return asyncio.run(asked())

    return ask


@pytest.fixture
def make(services):
    def make(name="ci", **more):
        return create_key(KeyWish(name=name, scopes=[Scope.READ], created_by="ada", **more), services)

    return make


@pytest.fixture
def key(make):
    return make(executor="ingest").text


HEADERS = [
    ("Authorization", "Bearer {}"),
    ("Authorization", "bearer  {} "),
    ("X-Api-Key", "{}"),
    ("X-Goog-Api-Key", "{}"),
]


@pytest.mark.parametrize("path", [GOOGLE, OWN])
@pytest.mark.parametrize(("header", "form"), HEADERS)
def test_a_key_in_a_header_says_who_asks(ask, key, path, header, form):
    answer = ask(path, headers={header: form.format(key)})

    assert answer.status_code == 200
    assert answer.json()["actor"] == "key:ci"
    assert (answer.json()["scopes"], answer.json()["executor"]) == (["read"], "ingest")


@pytest.mark.parametrize("name", ["key", "access_token", "oauth_token", "%6Bey"])
def test_a_key_in_the_url_says_who_asks_of_google_and_is_not_seen_again(ask, key, name):
    answer = ask(f"{GOOGLE}?filter=a%3D%22b%22+c&{name}={key}&alt=json&empty=")

    assert answer.json()["actor"] == "key:ci"
    assert answer.json()["query"] == "filter=a%3D%22b%22+c&alt=json&empty="


def test_a_key_in_the_url_counts_for_google_alone(ask, key):
    assert ask(f"{OWN}?key={key}").status_code == 401
    assert ask(f"/v2{GOOGLE}?key={key}").status_code == 401


def test_a_key_counts_below_a_prefix(ask, key):
    answer = ask(f"/prefix{GOOGLE}?key={key}", root_path="/prefix")

    assert answer.json()["actor"] == "key:ci"


def test_a_url_that_was_too_long_and_comes_as_a_body_has_its_key_there(ask, key):
    body = f"filter={'x' * 100_000}&key={key}&alt=json"

    answer = ask(GOOGLE, "POST", headers=FORM, content=body)

    assert answer.json()["actor"] == "key:ci"
    assert answer.json()["body"] == body


def test_the_parts_of_such_a_body_are_handed_on_as_they_came(ask, key):
    async def parts():
        for part in (b"filter=x&k", b"ey=", key.encode(), b"&alt=json"):
            yield part

    answer = ask(GOOGLE, "POST", headers=FORM, content=parts())

    assert answer.json()["actor"] == "key:ci"
    assert answer.json()["body"] == f"filter=x&key={key}&alt=json"


@pytest.mark.parametrize("without", FORM)
def test_any_other_body_is_not_looked_into(ask, key, without):
    headers = {name: value for name, value in FORM.items() if name != without}

    assert ask(GOOGLE, "POST", headers=headers, content=f"key={key}").status_code == 403


def test_a_body_that_is_far_too_long_is_not_read_to_its_end(ask, key):
    taken = []

    async def parts():
        for _ in range(100):
            taken.append(1)
            yield b"x" * 100_000
        yield f"&key={key}".encode()

    answer = ask(GOOGLE, "POST", headers=FORM, content=parts())

    assert answer.status_code == 403
    assert len(taken) < 20


def test_a_key_that_comes_twice_is_one_key(ask, key):
    headers = {"Authorization": f"Bearer {key}", "X-Api-Key": key}

    assert ask(f"{GOOGLE}?key={key}", headers=headers).status_code == 200


@pytest.mark.parametrize(("path", "status"), [(GOOGLE, 403), (OWN, 401)])
def test_keys_that_differ_are_refused_also_if_both_are_good(ask, make, path, status):
    headers = {"Authorization": f"Bearer {make().text}", "X-Api-Key": make().text}

    answer = ask(path, headers=headers)

    assert answer.status_code == status
    assert "several API keys that differ" in answer.json()["error"]["message"]


NO_KEY = [{}, {"Authorization": "Basic YTpi"}, {"X-Api-Key": " "}, {"Authorization": "Bearer"}, {"Authorization": ""}]


@pytest.mark.parametrize("headers", NO_KEY)
def test_without_a_key_google_says_that_it_is_forbidden_and_what_to_do(ask, headers):
    answer = ask(GOOGLE, headers=headers)

    assert answer.status_code == 403
    assert answer.json()["error"]["status"] == "PERMISSION_DENIED"
    assert "`orchestrator keys create NAME --scope read` makes one" in answer.json()["error"]["message"]
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("headers", NO_KEY)
def test_without_a_key_our_own_paths_ask_for_one(ask, headers):
    answer = ask(OWN, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["status"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
def test_open_paths_are_open_and_allow_nothing(ask, path):
    answer = ask(path)

    assert (answer.status_code, answer.json()["scopes"]) == (200, [])
    assert ask(path, headers={"X-Api-Key": "nonsense"}).status_code == 200


@pytest.mark.parametrize("path", ["/healthz/", "/healthz/x", "//healthz", "/HEALTHZ", "/v1/healthz", "/batch/"])
def test_what_looks_like_an_open_path_is_none(ask, path):
    assert ask(f"http://test{path}").status_code in (401, 403)


def test_a_batch_without_a_key_is_nobodys_and_one_with_a_wrong_one_is_refused(ask, key):
    assert ask("/batch", "POST").json()["scopes"] == []
    assert ask(f"/batch?key={key}", "POST").json()["actor"] == "key:ci"
    assert ask("/batch?key=wrong", "POST").status_code == 403


def test_every_refusal_is_logged_with_its_reason_and_without_the_key(ask, make, services, caplog):
    good, revoked = make(), make()
    revoke_key(revoked.key.id, services, by="bob")
    swapped = good.text[:13] + revoked.text[13:]
    with caplog.at_level(logging.DEBUG):
        ask(GOOGLE)
        ask(OWN, headers={"X-Api-Key": "nonsense"})
        ask(f"{GOOGLE}?key={revoked.text}")
        ask(f"{GOOGLE}?key={swapped}")
        ask(f"{GOOGLE}?key={swapped}", headers={"X-Api-Key": good.text})
        ask(GOOGLE, headers={"X-Api-Key": good.text})

    refused = [each for each in caplog.records if each.message == "request refused"]
    assert [(each.reason, each.key_id, each.path) for each in refused] == [
        ("no key", "", GOOGLE),
        ("of another form", "", OWN),
        ("revoked", revoked.key.id, GOOGLE),
        ("another secret", good.key.id, GOOGLE),
        ("several keys", f"{good.key.id}, {good.key.id}", GOOGLE),
    ]
    assert good.text[13:] not in repr([vars(each) for each in refused])
    assert "nonsense" not in repr([vars(each) for each in refused])


@pytest.mark.parametrize("path", [GOOGLE, OWN])
def test_a_database_that_is_away_is_no_refusal(ask, key, path, monkeypatch):
    def away(self, key_id):
        raise Unreachable("the database", "sqlite://", "gone")

    monkeypatch.setattr(KeyStore, "find", away)
    answer = ask(path, headers={"X-Api-Key": key})

    assert answer.status_code == 503
    assert answer.json()["error"]["status"] == "UNAVAILABLE"


def test_looking_up_a_key_keeps_no_other_request_waiting(services, key, monkeypatch):
    may_go_on, find = threading.Event(), KeyStore.find

    def slow(self, key_id):
        assert may_go_on.wait(60)
        return find(self, key_id)

    monkeypatch.setattr(KeyStore, "find", slow)

    async def asked():
        async with client_of(app_with(AskForKey, services=services)) as client:
            slow_one = asyncio.create_task(client.get(GOOGLE, headers={"X-Api-Key": key}))
            await asyncio.sleep(0)
            quick_one = await client.get("/healthz")
            was_done = slow_one.done()
            may_go_on.set()
            return quick_one.status_code, was_done, (await slow_one).status_code

    assert asyncio.run(asked()) == (200, False, 200)


def test_where_no_keys_are_wanted_anyone_may_do_anything():
    async def asked():
        async with client_of(app_with(Anyone)) as client:
            return (await client.get(GOOGLE)).json()

    assert asyncio.run(asked())["scopes"] == ["admin"]


def test_the_start_of_a_server_needs_no_key(services):
    sent = []

    async def begin():
        await app_with(AskForKey, services=services)({"type": "lifespan"}, receive, send)

    async def receive():
        return {"type": "lifespan.shutdown" if sent else "lifespan.startup"}

    async def send(message):
        sent.append(message["type"])

    asyncio.run(begin())

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

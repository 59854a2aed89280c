"""A client that submits by name remembers what was published under it, and is never wrong about that."""

import pytest
import sqlalchemy as sa

from orchestrator import Orchestrator
from orchestrator.errors import IntegrationNotFound, MissingParameter, UnknownParameter, UnknownTrigger
from orchestrator.settings import Settings
from orchestrator.store.tables import executions
from orchestrator.store.versions import VersionStore
from tests.flows import flow, parameter, task


def document(*parameters, **more):
    return flow("named", task(1, "SuspensionTask"), parameters=parameters) | more


def make_client(database, folder):
    url = database.url.render_as_string(hide_password=False)
    return Orchestrator(Settings(home=folder, database_url=url, broker_url=f"filesystem://{folder}"))


@pytest.fixture
def others(database, tmp_path):
    """Somebody else, who publishes."""
    with make_client(database, tmp_path) as made:
        made.publish(document())
        yield made


@pytest.fixture
def client(database, tmp_path, others):
    """One that has submitted once, and so remembers."""
    with make_client(database, tmp_path) as made:
        made.submit("named")
        yield made


@pytest.fixture
def looks(monkeypatch):
    """How often it was looked up what is published."""
    seen, find = [], VersionStore.find

    def looking(store, name, **place):
        seen.append(name)
        return find(store, name, **place)

    monkeypatch.setattr(VersionStore, "find", looking)
    return seen


def stored(database):
    """The versions that executions run, in their order."""
    with database.read() as connection:
        return connection.execute(sa.select(executions.c.version_id).order_by(executions.c.id)).scalars().all()


WISHES = [pytest.param({}, id="at once"), pytest.param({"deadline_s": 60.0}, id="with a deadline")]


@pytest.mark.parametrize("wishes", WISHES)
def test_what_stays_published_is_looked_up_once(client, database, looks, wishes):
    ids = [client.submit("named", **wishes) for _ in range(3)]
    assert len({*ids}) == 3
    assert len({*stored(database)}) == 1
    assert looks == []


@pytest.mark.parametrize("wishes", WISHES)
def test_what_is_published_meanwhile_is_run(client, others, database, looks, wishes):
    newer = others.publish(document(description="newer"))
    client.submit("named", **wishes)
    client.submit("named", **wishes)
    assert stored(database)[1:] == [newer, newer]
    assert looks == ["named"]


def test_what_is_published_again_is_run_again(client, others, database):
    first, second = others.publish(document()), others.publish(document(description="newer"))
    client.submit("named")
    others.publish(document())
    client.submit("named")
    assert stored(database) == [first, second, first]


@pytest.mark.parametrize("wishes", [*WISHES, pytest.param({"request_id": "known"}, id="asked before")])
def test_what_is_not_published_any_more_is_not_run(client, others, database, wishes):
    client.submit("named", request_id="known")
    others.versions.unpublish(stored(database)[0])
    with pytest.raises(IntegrationNotFound, match="named"):
        client.submit("named", **wishes)
    assert len(stored(database)) == 2


def test_inputs_that_only_the_newer_version_takes_are_taken(client, others, database):
    newer = others.publish(document(parameter("a")))
    client.submit("named", {"a": "x"})
    assert stored(database)[1:] == [newer]


def test_inputs_that_only_the_older_version_took_are_refused(others, client, database):
    others.publish(document(parameter("a", direction="IN")))
    with pytest.raises(MissingParameter, match="a"):
        client.submit("named")
    assert len(stored(database)) == 1


def test_what_no_version_takes_is_refused_as_ever(client, database):
    with pytest.raises(UnknownParameter, match="'b'"):
        client.submit("named", {"b": 1})
    with pytest.raises(UnknownTrigger, match="other"):
        client.submit("named", trigger="api_trigger/other")
    assert len(stored(database)) == 1


def test_a_known_request_id_is_the_first_execution(client, database):
    first = client.submit("named", request_id="one")
    assert client.submit("named", request_id="one") == first
    assert len(stored(database)) == 2

"""What publishing promises: one version for one content, one published version an integration."""

from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.errors import IntegrationNotFound
from orchestrator.store.tables import version_triggers, versions
from orchestrator.store.versions import VersionStore
from tests.contracts.stored import PLACE, at_once, make_document, make_version, publish, rows_of


@pytest.fixture
def store(database):
    return VersionStore(database)


def states(database):
    with database.read() as connection:
        return {row.id: row.state for row in connection.execute(sa.select(versions))}


def test_a_published_definition_comes_back_unchanged(database, store):
    version_id = publish(database, custom={"a\0b \ud800": [None, -0.0, 2**70, "a\0b \ud800"]})

    stored = store.get(version_id)

    assert (stored.integration, stored.project, stored.location, stored.snapshot_number) == (
        "flow",
        "default",
        "local",
        1,
    )
    assert stored.document == make_document(custom={"a\0b \ud800": [None, -0.0, 2**70, "a\0b \ud800"]})


def test_the_same_content_is_one_version_whatever_the_order_of_its_keys(database, store):
    first = publish(database)
    before = rows_of(database)

    again = store.publish(make_version(**dict(reversed(make_document().items()))), **PLACE)

    assert again == first
    assert rows_of(database) == before


def test_another_content_becomes_the_published_version_and_the_first_can_come_back(database):
    first, second = publish(database), publish(database, description="new")
    assert states(database) == {first: "SNAPSHOT", second: "ACTIVE"}

    assert publish(database) == first

    assert states(database) == {first: "ACTIVE", second: "SNAPSHOT"}


def test_snapshots_are_numbered_within_their_integration(database, store):
    ids = [publish(database), publish(database, description="new"), publish(database, "other")]

    assert [store.get(each).snapshot_number for each in ids] == [1, 2, 1]


def test_an_integration_of_the_same_name_elsewhere_is_another_one(database, store):
    here = publish(database)

    there = store.publish(make_version(), project="default", location="elsewhere")

    assert there != here
    assert states(database) == {here: "ACTIVE", there: "ACTIVE"}
    assert store.find("flow", trigger_id="", **PLACE) == here


def test_a_published_version_is_found_by_its_name_whatever_the_trigger(database, store):
    publish(database)
    published = publish(database, description="new")

    assert store.find("flow", trigger_id="", **PLACE) == published
    assert store.find("flow", trigger_id="api_trigger/none of it", **PLACE) == published


def test_a_version_is_found_by_its_trigger_if_no_other_published_one_has_it(database, store):
    publish(database)
    published = publish(database, description="new")

    assert store.find("renamed", trigger_id="api_trigger/flow", **PLACE) == published


def test_a_trigger_that_two_published_integrations_have_names_neither(database, store):
    publish(database)
    publish(database, "other", triggerConfigs=make_document()["triggerConfigs"])

    with pytest.raises(IntegrationNotFound, match="renamed"):
        store.find("renamed", trigger_id="api_trigger/flow", **PLACE)


@pytest.mark.parametrize("trigger_id", ["", "api_trigger/nobody"])
def test_what_nobody_published_is_not_found(database, store, trigger_id):
    publish(database)

    with pytest.raises(IntegrationNotFound):
        store.find("nobody", trigger_id=trigger_id, **PLACE)


def test_a_trigger_is_stored_once_a_version(database):
    version_id = publish(database, triggerConfigs=make_document()["triggerConfigs"] * 2)

    with database.read() as connection:
        assert connection.execute(sa.select(version_triggers)).all() == [(version_id, "api_trigger/flow")]


def test_the_same_definition_published_by_many_at_the_same_time_is_one_version(database):
    for name in ("a", "b", "c"):
        ids = at_once(*[partial(publish, database, name)] * 6)

        assert len(set(ids)) == 1

    assert set(states(database).values()) == {"ACTIVE"}


def test_of_definitions_published_at_the_same_time_one_is_the_published_one(database, store):
    """New ones at first, then known ones, which need no new row."""
    for _ in range(5):
        at_once(*(partial(publish, database, description=str(number)) for number in range(6)))

        found = states(database)
        assert len(found) == 6
        assert sorted(found.values()) == ["ACTIVE", *["SNAPSHOT"] * 5]
        assert found[store.find("flow", trigger_id="", **PLACE)] == "ACTIVE"

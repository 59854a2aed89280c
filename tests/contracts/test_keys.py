"""API keys: making, listing and revoking them, and who it is that sends one."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from orchestrator.errors import InvalidValue, KeyNotFound, KeyRefused, Unreachable
from orchestrator.model.keys import Caller, Scope, make_key, parse_key
from orchestrator.service.keys import KeyWish, authenticate, create_key, list_keys, revoke_key
from orchestrator.store.keys import KeyState, KeyStore
from orchestrator.store.tables import keys, later
from tests.contracts.stored import clock, rows_of
from tests.contracts.world import World


@pytest.fixture
def services(database, tmp_path):
    return World(database, tmp_path).services


def create(services, name="ci", **more):
    return create_key(KeyWish(**({"name": name, "scopes": [Scope.READ], "created_by": "ada"} | more)), services)


def refusal(text, services):
    with pytest.raises(KeyRefused) as caught:
        authenticate(text, services)
    return caught.value.reason, caught.value.key_id


def put_back(services, seconds, *names):
    """As if it had happened so long ago."""
    with services.keys.database.begin() as connection:
        connection.execute(sa.update(keys).values({name: later(-seconds) for name in names}))


# -- making --------------------------------------------------------------------------------------------------------


def test_whoever_sends_a_key_is_who_it_was_made_for(services):
    made = create(services, scopes=[Scope.RUN, Scope.READ], executor="ingest")

    assert authenticate(made.text, services) == Caller(
        actor="key:ci", scopes=frozenset({Scope.READ, Scope.RUN}), executor="ingest"
    )


def test_a_key_may_act_in_the_name_of_somebody(services):
    made = create(services, actor="boss@example.org")

    assert authenticate(made.text, services).actor == "boss@example.org"


def test_a_key_without_a_name_is_called_by_its_id(services):
    made = create(services, name="")

    assert made.key.name == made.key.id == parse_key(made.text).id
    assert authenticate(made.text, services).actor == f"key:{made.key.id}"


def test_what_is_known_of_a_new_key(services, database):
    before = clock(database)
    made = create(services, scopes=[Scope.ADMIN], expires=timedelta(days=30))
    after = clock(database)

    assert before <= made.key.created_at <= after
    assert before <= made.key.expires_at - timedelta(days=30) <= after
    assert (made.key.state, made.key.created_by, made.key.actor) == (KeyState.VALID, "ada", "key:ci")
    assert (made.key.executor, made.key.revoked_at, made.key.revoked_by, made.key.last_used_at) == (None,) * 4


def test_the_database_never_has_the_key_itself_and_nothing_shows_it(services, database):
    made = create(services)
    secret = made.text.rpartition("_")[2]

    assert secret not in repr(rows_of(database))
    assert secret not in repr(made)
    assert secret not in repr(list_keys(services))


@pytest.mark.parametrize(
    ("wish", "place"),
    [
        ({"scopes": []}, "scopes of the key"),
        ({"name": "n" * 129}, "name of the key"),
        ({"name": "a\nb"}, "name of the key"),
        ({"name": "a\x00b"}, "name of the key"),
        ({"name": "\ud800"}, "name of the key"),
        ({"actor": "a" * 257}, "actor of the key"),
        ({"executor": "a b"}, "executor of the key"),
        ({"executor": ""}, "executor of the key"),
        ({"expires": timedelta()}, "end of the key"),
        ({"expires": timedelta(days=40_000)}, "end of the key"),
        ({"expires": datetime(2999, 1, 1)}, "end of the key"),
        ({"expires": datetime(2026, 1, 1, tzinfo=UTC)}, "end of the key"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_and_nothing_is_stored(services, wish, place):
    with pytest.raises(InvalidValue) as caught:
        create(services, **wish)

    assert caught.value.place == place
    assert list_keys(services) == []


def test_keys_are_listed_the_oldest_first_whatever_their_state(services, database):
    first, second, third = (create(services, name=name, expires=timedelta(days=1)) for name in ("a", "b", "c"))
    revoke_key(second.key.id, services, by="bob")
    with database.begin() as connection:
        connection.execute(sa.update(keys).where(keys.c.id == third.key.id).values(expires_at=later(-1)))
        for age, each in ((3, first), (2, second), (1, third)):  # they were made within one millisecond
            made_at = sa.update(keys).where(keys.c.id == each.key.id).values(created_at=later(-age))
            connection.execute(made_at)

    assert [(each.name, each.state) for each in list_keys(services)] == [
        ("a", KeyState.VALID),
        ("b", KeyState.REVOKED),
        ("c", KeyState.EXPIRED),
    ]
    assert list_keys(services)[0].id == first.key.id


# -- refusing ------------------------------------------------------------------------------------------------------


def test_a_text_that_is_no_key_is_refused(services):
    assert refusal("secret", services) == ("of another form", "")


def test_a_key_that_nobody_made_is_refused(services):
    key = make_key(bytes(37))

    assert refusal(key.text, services) == ("unknown", key.id)


def test_a_key_with_the_secret_of_another_one_is_refused(services):
    one, other = create(services), create(services)
    text = one.text[:13] + other.text[13:]

    assert refusal(text, services) == ("another secret", one.key.id)


def test_a_revoked_key_is_refused_from_the_next_request_on(services):
    made, other = create(services), create(services)
    authenticate(made.text, services)

    revoke_key(made.key.id, services, by="bob")

    assert refusal(made.text, services) == ("revoked", made.key.id)
    assert authenticate(other.text, services).actor == "key:ci"


def test_a_key_is_refused_from_its_end_on(services):
    made = create(services, expires=timedelta(hours=1))
    authenticate(made.text, services)

    put_back(services, 0.01, "expires_at")

    assert refusal(made.text, services) == ("expired", made.key.id)


def test_a_key_may_end_at_a_time(services, database):
    end = clock(database) + timedelta(hours=1)
    made = create(services, expires=end)

    assert made.key.expires_at == end
    assert authenticate(made.text, services)


def test_all_refusals_say_the_same(services):
    made = create(services)
    revoke_key(made.key.id, services, by="bob")
    said = set()
    for text in ("secret", make_key(bytes(37)).text, made.text):
        with pytest.raises(KeyRefused) as caught:
            authenticate(text, services)
        said.add(str(caught.value))

    assert len(said) == 1


# -- revoking ------------------------------------------------------------------------------------------------------


def test_a_key_that_is_revoked_twice_was_revoked_the_first_time(services):
    made = create(services)

    first = revoke_key(made.key.id, services, by="bob")
    second = revoke_key(made.key.id, services, by="eve")

    assert (first.state, first.revoked_by) == (KeyState.REVOKED, "bob")
    assert second == first


def test_a_key_that_was_found_somewhere_can_be_revoked_as_it_is(services):
    made = create(services)

    assert revoke_key(made.text, services, by="bob").id == made.key.id


def test_a_key_that_is_not_there_cannot_be_revoked(services):
    with pytest.raises(KeyNotFound, match="'nothing'"):
        revoke_key("nothing", services, by="bob")


# -- that it is used -----------------------------------------------------------------------------------------------


def last_use(services):
    return list_keys(services)[0].last_used_at


def test_the_first_use_of_a_key_is_noted(services, database):
    made = create(services)
    before = clock(database)

    authenticate(made.text, services)

    assert before <= last_use(services) <= clock(database)


def test_within_a_minute_a_use_is_noted_once(services):
    made = create(services)
    authenticate(made.text, services)
    put_back(services, 50, "last_used_at")
    noted = last_use(services)

    authenticate(made.text, services)
    services.keys.note_use(made.key.id)

    assert last_use(services) == noted


def test_after_a_minute_a_use_is_noted_again(services, database):
    made = create(services)
    authenticate(made.text, services)
    put_back(services, 61, "last_used_at")
    before = clock(database)

    authenticate(made.text, services)

    assert before <= last_use(services)


def test_a_refused_key_is_not_used(services):
    made = create(services)
    revoke_key(made.key.id, services, by="bob")

    refusal(made.text, services)

    assert last_use(services) is None


def test_a_database_that_takes_no_writes_lets_one_look_all_the_same(services, monkeypatch, caplog):
    made = create(services)

    def full(self, key_id):
        raise Unreachable("the database", "sqlite://", "database or disk is full")

    monkeypatch.setattr(KeyStore, "note_use", full)
    with caplog.at_level(logging.WARNING):
        assert authenticate(made.text, services).actor == "key:ci"

    assert [each.message for each in caplog.records] == ["use of a key not noted"]

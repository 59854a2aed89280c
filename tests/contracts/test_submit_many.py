"""Submitting many comes to the same as submitting one by one, checked as a whole and stored in chunks."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from orchestrator.errors import ExecutionExists, InvalidItem, InvalidValue, PartlySubmitted, UnknownTrigger, Unreachable
from orchestrator.model.values import DataType, Value
from orchestrator.service import submit_many as module
from orchestrator.service.submit import Place, Wishes, submit, to_values
from orchestrator.service.submit_many import check_items, submit_many
from orchestrator.service.timers import fire_due_timers
from orchestrator.store.rows import load_parameters
from orchestrator.store.tables import executions, limit_holders, limit_waiters, live_attempts, parameters, timers
from tests.contracts.stored import PLACE, at_once
from tests.contracts.world import World, heavy, light
from tests.flows import flow, parameter

FAR = datetime(2126, 1, 31, 12, tzinfo=UTC)
NUMBER = parameter("n", "INT_VALUE", direction="IN")


@pytest.fixture
def world(database, tmp_path):
    return World(database, tmp_path)


@pytest.fixture
def many(world):
    """Publish a flow, and submit many executions of it."""

    def submitted(inputs, *tasks, execution_ids=None, request_ids=None, trigger=None, document=None, **wishes):
        version_id, version = world.publish(document or flow("flow", *(tasks or [heavy(1)]), parameters=[NUMBER]))
        items = check_items(version, inputs, execution_ids=execution_ids, request_ids=request_ids)
        return submit_many(
            version_id, items, world.services, place=Place(**PLACE), trigger_id=trigger, wishes=Wishes(**wishes)
        )

    return submitted


def numbers(count):
    return [{"n": number} for number in range(count)]


def rows(database, table, *columns):
    with database.read() as connection:
        return connection.execute(sa.select(*(columns or table.c)).select_from(table)).all()


def stored(database):
    return {row.id: load_parameters(row.request)["n"].data for row in rows(database, executions)}


# -- what is stored ------------------------------------------------------------------------------------------------


def test_who_submitted_them_is_known_of_each(world, many):
    many(numbers(3), actor="key:ci")
    many(numbers(2))

    assert sorted(by or "" for (by,) in rows(world.database, executions, executions.c.submitted_by)) == [
        *("", ""),
        *("key:ci",) * 3,
    ]


def test_each_input_is_an_execution_in_order_and_each_is_started_once(world, many):
    ids = many(numbers(5))

    assert stored(world.database) == dict(zip(ids, range(5), strict=True))
    assert [message.execution_id for message in world.services.publisher.sent] == ids
    assert {row.execution_id for row in rows(world.database, live_attempts)} == set(ids)


def test_nothing_to_submit_is_nothing_stored(world, many):
    assert many([]) == []
    assert (rows(world.database, executions), world.sent()) == ([], [])


CONDITION = "$n$ > 1"
FLOWS = {
    "one start": flow("flow", heavy(1, next=[2]), heavy(2), parameters=[NUMBER]),
    "two starts and a join": flow("flow", heavy(1, next=[3]), light(2, next=[3]), heavy(3), starts=[1, 2]),
    "a condition": flow("flow", heavy(1), heavy(2), starts=[(1, CONDITION), 2], parameters=[NUMBER]),
    "over at once for some": flow("flow", heavy(1), starts=[(1, CONDITION)], parameters=[NUMBER]),
    "a queue timeout": flow("flow", heavy(1, queueTimeoutMs=60_000), parameters=[NUMBER]),
    "a default and an output": flow(
        "flow", heavy(1), parameters=[NUMBER, parameter("word", default="w"), parameter("out", direction="OUT")]
    ),
}
OWN = {"id", "root_id", "execution_id", "created_at", "updated_at", "ended_at", "deadline_at", "due_at", "queued_at"}


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("wishes", [{}, {"at": FAR, "deadline_s": 60}, {"deadline_s": 60, "priority": 9}], ids=str)
def test_what_is_stored_and_sent_is_the_same_as_one_by_one(world, many, name, wishes):
    document = FLOWS[name]
    inputs = numbers(4) if document["integrationParameters"] else [{}] * 4
    version_id, version = world.publish(document)

    def written():
        found = {}
        for table in (executions, live_attempts, timers, parameters):
            kept = [row._asdict() for row in rows(world.database, table)]
            found[table.name] = sorted(
                repr({key: (value is None if key in OWN else value) for key, value in row.items()}) for row in kept
            )
        messages, world.services.publisher.sent = world.services.publisher.sent, []
        with world.database.begin() as connection:
            for table in (live_attempts, timers, parameters, executions):
                connection.execute(sa.delete(table))
        return found, sorted((each.name, each.number, each.attempt, each.priority, each.queue) for each in messages)

    for each in inputs:
        submit(version_id, to_values(version, each), world.services, place=Place(**PLACE), wishes=Wishes(**wishes))
    one_by_one = written()
    many(inputs, document=document, **wishes)

    assert written() == one_by_one


def test_those_that_are_put_off_begin_when_their_time_has_come(world, many):
    ids = many(numbers(3), at=FAR)
    assert world.sent() == []
    with world.database.begin() as connection:
        connection.execute(sa.update(timers).values(due_at=datetime(2020, 1, 1, tzinfo=UTC)))

    fire_due_timers(world.services)

    assert {message.execution_id for message in world.services.publisher.sent} == set(ids)


def test_a_limit_lets_as_many_begin_as_it_says_and_only_they_are_sent(world, many):
    ids = many(numbers(5), document=flow("flow", heavy(1), parameters=[NUMBER]) | {"limits": {"maxConcurrent": 2}})

    assert [message.execution_id for message in world.services.publisher.sent] == ids[:2]
    assert {row.execution_id for row in rows(world.database, limit_holders)} == set(ids[:2])
    assert {row.execution_id for row in rows(world.database, limit_waiters)} == set(ids[2:])


def test_each_takes_the_slot_of_its_own_key(world, many):
    limited = flow("flow", heavy(1), parameters=[NUMBER]) | {"limits": {"key": "$n$", "maxConcurrentPerKey": 1}}

    ids = many([{"n": 1}, {"n": 2}, {"n": 1}], document=limited)

    assert [message.execution_id for message in world.services.publisher.sent] == ids[:2]


# -- ids -----------------------------------------------------------------------------------------------------------


def test_a_known_request_id_gives_the_first_execution_and_starts_nothing(world, many):
    first = many(numbers(2), request_ids=["a", "b"])

    again = many(numbers(4), request_ids=["c", "b", None, "a"])

    assert (again[1], again[3]) == (first[1], first[0])
    assert stored(world.database) == {first[0]: 0, first[1]: 1, again[0]: 0, again[2]: 2}
    assert len(world.sent()) == 4


def test_a_request_id_that_is_there_twice_starts_the_first_of_them(world, many):
    ids = many(numbers(3), request_ids=["a", "b", "a"])

    assert ids == [ids[0], ids[1], ids[0]]
    assert stored(world.database) == {ids[0]: 0, ids[1]: 1}


def test_request_ids_start_one_execution_each_however_many_send_them_at_once_and_in_whatever_order(world, many):
    names = [f"r{number}" for number in range(40)]
    orders = [names, names[::-1], names[20:] + names[:20], names[1::2] + names[::2]]
    world.publish(flow("flow", heavy(1), parameters=[NUMBER]))

    def send(order):
        return lambda: dict(zip(order, many(numbers(40), request_ids=order), strict=True))

    answers = at_once(*map(send, orders))

    assert all(each == answers[0] for each in answers)
    assert set(stored(world.database)) == set(answers[0].values())


def test_ids_of_the_callers_own_are_the_executions(world, many):
    assert many(numbers(3), execution_ids=["x", None, "z"])[::2] == ["x", "z"]
    assert {"x", "z"} < stored(world.database).keys()


def test_an_id_that_is_taken_is_named_and_nothing_is_stored(world, many):
    many(numbers(1), execution_ids=["taken"])

    with pytest.raises(ExecutionExists, match="'taken' is there already"):
        many(numbers(3), execution_ids=["x", "taken", None], request_ids=["a", "b", "c"])

    assert stored(world.database) == {"taken": 0}


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"n": "x"}, "parameter 'n': found str 'x', expected an int64"),
        ({"n": Value(DataType.STRING, "x")}, "parameter 'n': found str 'x'"),
        ({}, "parameter 'n' (INT_VALUE) is required"),
        ({"n": 1, "m": 1}, "there is no parameter 'm'"),
        ([1], "parameters: found list [1], expected values by name"),
    ],
)
def test_a_bad_input_is_named_by_its_position_and_nothing_is_stored(world, many, bad, reason):
    with pytest.raises(InvalidItem) as caught:
        many([*numbers(1_500), bad, {"n": "worse"}])

    assert caught.value.position == 1_500
    assert str(caught.value).startswith(f"inputs[1500]: {reason}")
    assert rows(world.database, executions) == []


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ({"execution_ids": [None, "a/b"]}, "inputs[1]: execution id: found 'a/b'"),
        ({"request_ids": [None, ""]}, "inputs[1]: request id: found ''"),
        ({"execution_ids": ["a", "a"]}, "inputs[1]: execution id 'a' is that of inputs[0]"),
        ({"request_ids": ["a"]}, "request ids: found 1, expected one for each of the 2 inputs"),
    ],
)
def test_ids_that_cannot_be_are_refused_and_nothing_is_stored(world, many, ids, reason):
    with pytest.raises((InvalidItem, InvalidValue)) as caught:
        many(numbers(2), **ids)

    assert str(caught.value).startswith(reason)
    assert rows(world.database, executions) == []


def test_a_schema_is_held_to_in_every_input(world, many):
    declared = parameter("n", "JSON_VALUE", direction="IN") | {"jsonSchema": '{"type": "integer"}'}

    with pytest.raises(InvalidItem, match=r"inputs\[2\]: parameter 'n': found .*'integer'"):
        many([{"n": 1}, {"n": 2}, {"n": "x"}], document=flow("flow", heavy(1), parameters=[declared]))


def test_an_unknown_trigger_is_refused_and_nothing_is_stored(world, many):
    with pytest.raises(UnknownTrigger):
        many(numbers(2), trigger="nightly")

    assert rows(world.database, executions) == []


# -- in the middle -------------------------------------------------------------------------------------------------


@pytest.fixture
def chunks_of_two(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)


def test_a_broker_that_goes_away_in_the_middle_leaves_whole_chunks_that_are_ready(
    world, many, chunks_of_two, monkeypatch
):
    publisher = world.services.publisher
    publish, calls = publisher.publish, []

    def go_away(messages):
        calls.append(len(messages))
        if len(calls) == 2:
            raise Unreachable("the broker", "redis://h", "gone")
        publish(messages)

    monkeypatch.setattr(publisher, "publish", go_away)
    with pytest.raises(PartlySubmitted) as caught:
        many(numbers(5), request_ids=list("abcde"))

    assert str(caught.value).startswith("4 of 5 executions are stored and will run, the others are not: the broker at")
    assert stored(world.database) == dict(zip(caught.value.ids, range(4), strict=True))
    assert {row.execution_id for row in rows(world.database, live_attempts)} == set(caught.value.ids)
    assert len(world.sent()) == 2

    again = many(numbers(5), request_ids=list("abcde"))

    assert tuple(again[:4]) == caught.value.ids
    assert len(stored(world.database)) == 5


def test_an_id_that_is_taken_in_a_later_chunk_leaves_the_earlier_ones(world, many, chunks_of_two):
    many(numbers(1), execution_ids=["taken"])

    with pytest.raises(PartlySubmitted, match=r"2 of 4 executions are stored.*'taken' is there already"):
        many(numbers(4), execution_ids=["a", "b", "c", "taken"])

    assert set(stored(world.database)) == {"taken", "a", "b"}

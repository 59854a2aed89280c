"""What readers may ask: one execution, a tree, a list, what is new since, what runs now."""

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from orchestrator.errors import ExecutionNotFound
from orchestrator.model.states import ExecutionState
from orchestrator.service.listing import ListWish, read_page
from orchestrator.service.submit import Place, new_id
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.tables import executions
from tests.contracts.stored import (
    NOON,
    link_to,
    make_attempt,
    make_commit,
    make_end,
    make_entry,
    make_execution,
    publish,
    start,
    start_children,
)


@pytest.fixture
def store(database):
    return ExecutionStore(database)


@pytest.fixture
def queries(database):
    return ExecutionQueries(database)


def key_of(execution, number=1):
    return AttemptKey(execution_id=execution.id, number=number, attempt=1)


def created_at(database, execution_id, at):
    with database.begin() as connection:
        connection.execute(sa.update(executions).where(executions.c.id == execution_id).values(created_at=at))


# -- one -----------------------------------------------------------------------------------------------------------


def test_the_state_is_that_of_the_last_commit(database, store, queries):
    (key,) = start(database)
    assert queries.state(key.execution_id) is ExecutionState.PENDING

    store.commit(make_end(store.claim(key, worker="me")))

    assert queries.state(key.execution_id) is ExecutionState.SUCCEEDED


def test_what_is_not_there_is_not_found(queries):
    with pytest.raises(ExecutionNotFound, match="nobody"):
        queries.state("nobody")
    with pytest.raises(ExecutionNotFound, match="nobody"):
        queries.tree("nobody")


# -- a tree --------------------------------------------------------------------------------------------------------


def test_a_tree_is_an_execution_and_all_below_it_parents_first_and_children_in_order(database, store, queries):
    root = make_execution(publish(database))
    children = [
        make_execution(root.version_id, parent=link_to(key_of(root), position=position)) for position in (0, 1, 2)
    ]
    grandchild = make_execution(root.version_id, parent=link_to(key_of(children[1])))
    other = make_execution(root.version_id)
    store.create([root, *children, grandchild, other])

    assert [each.id for each in queries.tree(root.id)] == [
        root.id,
        *(child.id for child in children),
        grandchild.id,
    ]
    assert [each.id for each in queries.tree(children[1].id)] == [children[1].id, grandchild.id]
    assert [each.id for each in queries.tree(grandchild.id)] == [grandchild.id]


def test_a_tree_has_its_parents_first_whatever_the_clock_said(database, store, queries):
    """Milliseconds on SQLite, and a clock that was set back: times alone do not order a tree."""
    root = make_execution(publish(database))
    child = make_execution(root.version_id, parent=link_to(replace(key_of(root), number=2)))
    grandchild = make_execution(root.version_id, parent=link_to(key_of(child)))
    store.create([root, child, grandchild])
    for execution, hours in ((root, 2), (child, 1), (grandchild, 1)):
        created_at(database, execution.id, NOON + timedelta(hours=hours))

    assert [each.id for each in queries.tree(root.id)] == [root.id, child.id, grandchild.id]
    assert [each.id for each in queries.tree(child.id)] == [child.id, grandchild.id]


def test_children_stand_in_the_order_of_their_positions_not_of_their_ids(database, store, queries):
    root = make_execution(publish(database))
    positions = list(range(20))
    ids = sorted((new_id() for _ in positions), reverse=True)
    store.create([root])
    store.create(
        [
            make_execution(root.version_id, id=execution_id, parent=link_to(key_of(root), position=position))
            for position, execution_id in zip(positions, ids, strict=True)
        ]
    )

    assert [each.parent.position for each in queries.tree(root.id)[1:]] == positions


# -- a list --------------------------------------------------------------------------------------------------------


def listed(queries, **wish):
    rows, _ = read_page(ListWish(**wish), queries, place=Place())
    return [each.id for each in rows]


def test_a_list_has_the_newest_roots_first(database, store, queries):
    version_id = publish(database)
    made = [make_execution(version_id) for _ in range(3)]
    store.create(made)
    for seconds, each in enumerate(made):
        created_at(database, each.id, NOON + timedelta(seconds=seconds))
    store.create([make_execution(version_id, parent=link_to(key_of(made[0])))])

    assert listed(queries) == [each.id for each in reversed(made)]
    assert listed(queries, page_size=1) == [made[-1].id]
    assert len(listed(queries, with_children=True)) == 4


def test_a_list_can_be_of_one_integration_or_one_state(database, store, queries):
    version_id = publish(database)
    flow, other = make_execution(version_id), make_execution(version_id, integration="other")
    store.create([flow, other])
    store.commit(make_end(store.claim(key_of(other), worker="me")))

    assert listed(queries, integration="other") == [other.id]
    assert listed(queries, state=ExecutionState.SUCCEEDED) == [other.id]
    assert listed(queries, state=ExecutionState.PENDING) == [flow.id]
    assert listed(queries, integration="flow", state=ExecutionState.SUCCEEDED) == []
    assert listed(queries, integration="flow", filter="state != SUCCEEDED") == [flow.id]


# -- what is new ---------------------------------------------------------------------------------------------------


def test_entries_are_those_after_the_revision_that_is_known_of_each(database, store, queries):
    keys = start(database, ready=(1, 2, 3)) + start(database, ready=(1, 2))
    for key in keys:
        store.commit(make_commit(store.claim(key, worker="me"), entries=(make_entry(key.number),)))
    first, second = keys[0].execution_id, keys[-1].execution_id

    found = queries.entries({first: 2, second: 0})

    assert {each: [entry.task_number for entry in entries] for each, entries in found.items()} == {
        first: [3],
        second: [1, 2],
    }
    assert queries.entries({first: 3}) == {}
    assert queries.entries({}) == {}


def test_live_attempts_say_who_runs_what(database, store, queries):
    claimed, waiting = start(database, ready=(1, make_attempt(2, attempt=3)))
    store.claim(claimed, worker="me")

    found = queries.live([claimed.execution_id, "nobody"])

    assert set(found) == {claimed.execution_id}
    running, queued = found[claimed.execution_id][1], found[waiting.execution_id][2]
    assert (running.key.attempt, running.worker) == (1, "me")
    assert running.started_at is not None
    assert (queued.key.attempt, queued.worker, queued.started_at) == (3, None, None)


def test_more_executions_than_fit_into_one_statement_can_be_asked_for(database, store, queries):
    (parent,) = start(database)
    children = start_children(database, parent, number_of_children=1_000)
    for child in (children[0], children[500], children[-1]):
        store.commit(make_commit(store.claim(child, worker="me"), released=()))
    ids = [child.execution_id for child in children]

    assert len(queries.live(ids)) == 1_000
    assert list(queries.entries(dict.fromkeys(ids, 0))) == [ids[0], ids[500], ids[-1]]
    assert len(queries.tree(parent.execution_id)) == 1_001

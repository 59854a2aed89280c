"""Commits in bulk: of each change what a single commit writes, whatever else is in the page, or nothing of it."""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import Thread

import pytest
import sqlalchemy as sa

from orchestrator.model.history import EntryKind
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import DataType, Value
from orchestrator.store.changes import Due, NewSuspension, Refusal, Written
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.kinds import Signal
from orchestrator.store.signals import Audit, SignalStore
from orchestrator.store.tables import (
    Instant,
    executions,
    history,
    live_attempts,
    parameters,
    suspensions,
    timers,
)
from tests.contracts.stored import (
    at_once,
    make_attempt,
    make_commit,
    make_end,
    make_entry,
    make_wait,
    rows_of,
    start,
    start_children,
)
from tests.integration.waiting import until

CHILDREN = 6
NUMBER = Value(DataType.INT, 1)


@pytest.fixture
def store(database):
    return ExecutionStore(database)


@pytest.fixture
def family(database):
    """A parent that waits for its children; the key of its join, and those of their tasks."""
    (parent,) = start(database)
    return replace(parent, round=1), start_children(database, parent, number_of_children=CHILDREN)


def claims(store, keys):
    return [store.claim(key, worker="me") for key in keys]


def rows_about(database, execution_id):
    """What is stored of one execution: without its id, and without times."""
    found = {}
    for table in (executions, history, live_attempts, parameters, timers, suspensions):
        own = table.c.id if table is executions else table.c.execution_id
        timeless = [column for column in table.c if not isinstance(column.type, Instant)]
        with database.read() as connection:
            rows = connection.execute(sa.select(*timeless).where(own == execution_id)).all()
        found[table.name] = sorted(repr(row).replace(execution_id, "it") for row in rows)
    return found


def arrived(database, join):
    is_it = live_attempts.c.execution_id == join.execution_id
    with database.read() as connection:
        return tuple(connection.execute(sa.select(live_attempts.c.arrived, live_attempts.c.phase).where(is_it)).one())


# -- what is written -----------------------------------------------------------------------------------------------


def goes_on(claimed):
    """A change with everything in it that may be written in bulk."""
    return make_commit(
        claimed,
        entries=(make_entry(), make_entry(2, kind=EntryKind.STOPPED)),
        withdrawn=(replace(claimed.key, number=2),),
        parameters={"a": NUMBER},
        begins=True,
        ready=(make_attempt(3, worker="me"), make_attempt(4), make_attempt(7)),
        timers=(
            Due(kind=TimerKind.RETRY, number=5, attempt=1, after_s=60),
            Due(kind=TimerKind.REMIND, number=6, attempt=1, after_s=60),
        ),
        suspensions=(NewSuspension(number=6, attempt=1, terms={}),),
    )


def begins_again(claimed):
    return make_commit(claimed, is_restart=True, parameters={"b": NUMBER})


def ends(claimed):
    """One that takes away what ``goes_on`` has left."""
    return make_end(
        claimed,
        parameters={"a": NUMBER},
        released=(replace(claimed.key, number=3), claimed.key),
        fired_timers=((TimerKind.RETRY, 5),),
        dropped=(6,),
    )


def test_a_page_writes_of_each_execution_what_a_single_commit_writes(database, store):
    alone, *together = [start(database, ready=(1, 2))[0] for _ in range(3)]

    for number, made in ((1, goes_on), (7, begins_again), (4, ends)):
        keys = [replace(key, number=number) for key in (alone, *together)]
        changes = [made(claimed) for claimed in claims(store, keys)]
        assert store.commit(changes[0]) == ()
        assert store.commit_many(changes[1:]) == Written()
        for key in together:
            assert rows_about(database, key.execution_id) == rows_about(database, alone.execution_id)


def test_nothing_is_written_for_no_changes(database, store):
    before = rows_of(database)

    assert store.commit_many([]) == Written()
    assert rows_of(database) == before


@pytest.mark.parametrize(
    "more",
    [{"waits": (make_wait(children=1),)}, {"signal": Signal.STOPPING}, {"revoked": "key"}, {"returned": "key"}],
    ids=lambda more: next(iter(more)),
)
def test_what_could_be_refused_half_way_is_not_taken(database, store, more):
    (key,) = start(database)
    more = {name: (key,) if value == "key" else value for name, value in more.items()}
    change = make_commit(store.claim(key, worker="me"), released=(), **more)
    before = rows_of(database)

    with pytest.raises(AssertionError):
        store.commit_many([change])

    assert rows_of(database) == before


# -- what is left out ----------------------------------------------------------------------------------------------


def moved_on(store, claimed):
    store.commit(make_commit(claimed, released=()))


def marked(store, claimed):
    SignalStore(store.database).send(claimed.execution.id, Signal.KILL, Audit(actor="ann"))


def taken_away(store, claimed):
    with store.database.begin() as connection:
        is_it = live_attempts.c.execution_id == claimed.execution.id
        connection.execute(sa.update(live_attempts).where(is_it).values(worker="another"))


@pytest.mark.parametrize(
    ("meanwhile", "refusal"),
    [(moved_on, Refusal.STALE), (marked, Refusal.STALE), (taken_away, Refusal.FENCED)],
)
def test_one_that_changed_meanwhile_is_left_out_and_the_others_are_written(database, store, family, meanwhile, refusal):
    join, keys = family
    claimed = claims(store, keys)
    changed = claimed[2]
    meanwhile(store, changed)
    before = rows_about(database, changed.execution.id)

    written = store.commit_many([make_end(each) for each in claimed])

    assert written == Written(refused={changed.execution.id: refusal})
    assert rows_about(database, changed.execution.id) == before
    assert arrived(database, join) == (CHILDREN - 1, "wait")
    for each in claimed:
        if each is not changed:
            assert store.commit(make_end(each)) is Refusal.STALE


def test_one_that_was_claimed_meanwhile_is_left_out(database, store, family):
    _, (first, second, *_) = family
    changes = [
        make_end(claimed, worker="", released=(), withdrawn=(claimed.key,))
        for claimed in (replace(each, worker=None) for each in claims(store, (first, second)))
    ]
    with database.begin() as connection:
        is_it = live_attempts.c.execution_id == first.execution_id
        connection.execute(sa.update(live_attempts).where(is_it).values(worker=None))

    written = store.commit_many(changes)

    assert written == Written(refused={second.execution_id: Refusal.STALE})


# -- joins ---------------------------------------------------------------------------------------------------------


def test_the_children_of_a_page_arrive_together_and_the_last_page_fires_the_join(database, store, family):
    join, keys = family
    claimed = claims(store, keys)

    assert store.commit_many([make_end(each) for each in claimed[:4]]).fired == ()
    assert arrived(database, join) == (4, "wait")

    fired = store.commit_many([make_end(each) for each in claimed[4:]]).fired

    assert [each.key for each in fired] == [join]
    assert arrived(database, join) == (CHILDREN, "join")


def test_pages_that_overlap_and_single_commits_at_the_same_time_count_each_child_once(database, store, family):
    """In every order, so that they would wait for each other if rows were locked as they are named."""
    join, keys = family
    changes = [make_end(each) for each in claims(store, keys)]
    calls = [
        partial(store.commit_many, changes[:5]),
        partial(store.commit_many, changes[:0:-1]),
        *(partial(store.commit, change) for change in changes[1:5]),
    ]

    told = at_once(*calls)

    fired = [one.fired if isinstance(one, Written) else one for one in told if not isinstance(one, Refusal)]
    assert [each.key for some in fired for each in some] == [join]
    assert arrived(database, join) == (CHILDREN, "join")
    with database.read() as connection:
        rows = connection.execute(sa.select(history.c.execution_id)).scalars().all()
    assert sorted(rows) == sorted([join.execution_id, *(key.execution_id for key in keys)])


# -- deadlocks -----------------------------------------------------------------------------------------------------


def test_a_page_that_the_server_ends_because_of_a_deadlock_is_written_at_the_second_try(database, store, family):
    """Somebody locks rows in another order than we do: the page has the first and waits for the last."""
    if database.is_sqlite:
        pytest.skip("one writer at a time: nobody waits for anybody")
    _, keys = family
    changes = [make_end(each) for each in claims(store, sorted(keys, key=lambda key: key.execution_id))]
    first, last = changes[0].execution.id, changes[-1].execution.id
    with other_writer(database) as lock:
        lock(last)
        writing, told = in_a_thread(partial(store.commit_many, changes))
        until(lambda: is_waiting(database), what="a page that waits")
        lock(first)  # only when the page has been ended
    writing.join(20)

    assert told == [Written(fired=told[0].fired)]
    assert len(told[0].fired) == 1


@contextmanager
def other_writer(database):
    """One that looks for deadlocks later than the page does, so that it is not the one that is ended."""
    with database.begin() as connection:
        connection.execute(sa.text("SET LOCAL deadlock_timeout = '60s'"))
        yield lambda execution_id: connection.execute(
            sa.select(executions.c.id).where(executions.c.id == execution_id).with_for_update()
        )


def in_a_thread(call):
    told = []
    thread = Thread(target=lambda: told.append(call()), daemon=True)
    thread.start()
    return thread, told


def is_waiting(database):
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with database.read() as connection:
        return connection.execute(sa.text(waiting)).scalar_one()

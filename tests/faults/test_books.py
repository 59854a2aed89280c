"""The books tell: rows that no system should have, written by hand, and the sentence that each of them gets."""

import pytest
import sqlalchemy as sa

from orchestrator.model.history import Entry, EntryKind
from orchestrator.model.json_text import to_json_text
from orchestrator.model.states import TaskState
from orchestrator.runtime.app import make_app
from orchestrator.settings import Settings
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.tables import executions, history, live_attempts, timers
from tests.contracts.stored import NOON, link_to, make_end, make_execution, publish
from tests.faults.books import Books
from tests.faults.ledger import Line
from tests.integration.arrows import write_arrows_down
from tests.services import sqlite_database

DOCUMENT = {"taskConfigs": [{"taskId": "1", "task": "faults.effect"}]}


@pytest.fixture
def database(tmp_path):
    with sqlite_database(tmp_path) as database:
        write_arrows_down(database)
        yield database


@pytest.fixture
def app(database, tmp_path):
    app = make_app(Settings(home=tmp_path, database_url=database.url.render_as_string()))
    yield app
    app.backend.database.close()
    app.close()


@pytest.fixture
def done(database):
    """An execution with one task, as it should be; its id."""
    new = make_execution(publish(database, **DOCUMENT))
    store = ExecutionStore(database)
    store.create([new])
    claimed = store.claim(key_of(new.id), worker="w/1/boot")
    entry = Entry(
        kind=EntryKind.SUCCEEDED,
        task_number=1,
        attempt=1,
        started_at=NOON,
        ended_at=claimed.now,
        states={1: TaskState.SUCCEED},
    )
    store.commit(make_end(claimed, entries=(entry,)))
    return new.id


def key_of(execution_id):
    from orchestrator.store.kinds import AttemptKey

    return AttemptKey(execution_id=execution_id, number=1, attempt=1)


def change(database, *statements):
    with database.begin() as connection:
        for each in statements:
            connection.execute(each)


def told(database, app, *lines, expected=None, **more):
    return Books(database, lines, app, **more).violations(expected)


def effect(execution_id, attempt=1):
    return Line(execution_id, 1, attempt, 4711, "-")


def add_entry(execution_id, revision, kind, *, states=None, **details):
    entry = Entry(
        kind=kind, task_number=1, attempt=1, started_at=NOON, ended_at=NOON, states=states or {}, details=details
    )
    row = {"execution_id": execution_id, "revision": revision, "entry": to_json_text(entry.to_json())}
    of_it = sa.update(executions).where(executions.c.id == execution_id)
    return sa.insert(history).values(row), of_it.values(revision=revision)


# -- right ---------------------------------------------------------------------------------------------------------


def test_an_execution_that_went_well_is_right(database, app, done):
    assert told(database, app, effect(done), expected={done: {"SUCCEEDED"}}) == []


def test_an_effect_may_come_again_for_a_loss_that_is_on_record(database, app, done):
    change(database, *add_entry(done, 2, EntryKind.RETURNED))

    assert told(database, app, effect(done), effect(done)) == []


# -- wrong ---------------------------------------------------------------------------------------------------------


def test_an_end_that_nobody_expected(database, app, done):
    assert told(database, app, effect(done), expected={done: {"CANCELLED"}}) == [f"{done} is SUCCEEDED, not CANCELLED"]


def test_an_execution_that_never_was_stored(database, app, done):
    assert told(database, app, effect(done), expected={"x": {"SUCCEEDED"}}) == ["x is None, not SUCCEEDED"]


def test_an_execution_that_goes_on(database, app):
    new = make_execution(publish(database, **DOCUMENT))
    ExecutionStore(database).create([new])

    found = told(database, app)

    assert f"{new.id} of 'flow' is PENDING" in found
    assert found[0].startswith("live_attempts has 1 rows left")


def test_a_timer_and_an_attempt_of_what_is_over(database, app, done):
    attempt = {"execution_id": done, "task_number": 1, "attempt": 1, "round": 0, "phase": "run"}
    change(
        database,
        sa.insert(timers).values(execution_id=done, task_number=1, attempt=1, kind="RETRY", due_at=NOON),
        sa.insert(live_attempts).values(**attempt, task_type="Noop", executor="default"),
    )

    found = told(database, app, effect(done))

    assert [each.partition(",")[0] for each in found] == ["live_attempts has 1 rows left", "timers has 1 rows left"]


def test_a_mark_that_nobody_has_obeyed(database, app, done):
    change(database, sa.update(executions).values(signal="KILL"))

    assert told(database, app, effect(done)) == [f"{done} is marked still: KILL"]


def test_an_entry_that_is_missing(database, app, done):
    change(database, sa.delete(history))

    assert told(database, app, effect(done)) == [f"{done} is at revision 1, and its history has []"]


def test_a_state_that_no_arrow_leads_to(database, app, done):
    change(database, *add_entry(done, 2, EntryKind.FAILED, states={1: TaskState.SKIPPED}))

    assert told(database, app, effect(done)) == [f"{done}: no arrows lead from SUCCEED to SKIPPED"]


def test_a_final_state_that_did_not_stay(database, app, done):
    change(database, sa.update(executions).values(state="FAILED"))

    found = told(database, app, effect(done))

    assert found == [f"{done} went from SUCCEEDED to FAILED"]


def test_two_results_of_one_task(database, app, done):
    change(database, *add_entry(done, 2, EntryKind.SUCCEEDED))

    assert told(database, app, effect(done)) == [f"task 1 of {done} is SUCCEED and has 2 results"]


def test_an_effect_that_came_again_for_nothing(database, app, done):
    again = [effect(done), effect(done)]

    assert told(database, app, *again) == [f"{(done, 1, 1)} had its effect 2 times, and 0 losses are on record"]
    assert told(database, app, *again, claims_may_vanish=True) == []


def test_a_result_without_an_effect_and_an_effect_without_an_execution(database, app, done):
    assert told(database, app, effect("stranger")) == [
        "('stranger', 1, 1) had an effect, and there is no such execution",
        f"{(done, 1, 1)} SUCCEEDed and had no effect",
    ]


def test_children_that_were_started_and_are_not_there(database, app, done):
    change(database, *add_entry(done, 2, EntryKind.CHILDREN_STARTED, children=2, round=1))

    assert told(database, app, effect(done)) == [
        f"{done} has started the children {{(1, 1, 1): 2}}, and there are {{}}",
    ]


@pytest.mark.parametrize("was_joined", [True, False])
def test_children_of_chunks_that_never_ran_are_missed_only_if_they_were_joined(database, app, done, was_joined):
    entry = add_entry(done, 2, EntryKind.CHILDREN_STARTED, children=2, round=1, chunks=1)
    change(database, *([] if was_joined else [sa.delete(history)]), *entry)

    found = told(database, app, effect(done))

    assert (f"{done} has started the children {{(1, 1, 1): 2}}, and there are {{}}" in found) is was_joined


def test_two_children_in_one_place(database, app, done):
    version_id = publish(database, "child")
    twins = [make_execution(version_id, parent=link_to(key_of(done), position=0)) for _ in range(2)]
    ExecutionStore(database).create(twins)
    change(database, sa.delete(live_attempts), *add_entry(done, 2, EntryKind.CHILDREN_STARTED, children=2, round=1))

    found = told(database, app, effect(done))

    assert f"{done} has 2 children in the place (1, 1, 0)" in found
    assert f"task 1 of {done} was joined before the last of its children was over" in found

"""What the write path promises, on every database: one claim, all or nothing, each join once."""

import math
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.errors import ExecutionNotFound
from orchestrator.model.history import Entry, ErrorInfo, Outcome
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import INT64_MAX, INT64_MIN, DataType, Value
from orchestrator.store.changes import Due, Fired, Refusal
from orchestrator.store.creation import NotPublished
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.tables import executions, history, live_attempts, parameters, timers
from tests.contracts.stored import (
    NOON,
    SUCCESS,
    at_once,
    clock,
    count,
    link_to,
    make_attempt,
    make_commit,
    make_end,
    make_entry,
    make_execution,
    make_wait,
    publish,
    rows_of,
    start,
    start_children,
)

THREADS = 8
ENDED = (ExecutionState.SUCCEEDED, ExecutionState.FAILED, ExecutionState.CANCELLED)


@pytest.fixture
def store(database):
    return ExecutionStore(database)


def text(data):
    return Value(DataType.STRING, data)


def live_rows(database, execution_id):
    with database.read() as connection:
        found = connection.execute(
            sa.select(live_attempts).where(live_attempts.c.execution_id == execution_id).order_by("task_number")
        )
        return found.all()


def state_of(store, execution_id):
    return store.read(execution_id)[0].state


# -- create --------------------------------------------------------------------------------------------------------


def test_a_created_execution_waits_with_its_start_tasks(database, store):
    before = clock(database)

    first, second = start(database, ready=(1, 2), request={"a": text("x")})

    stored, current = store.read(first.execution_id)
    assert (stored.state, stored.revision, stored.progress) == (ExecutionState.PENDING, 0, "q|?||")
    assert stored.parent is stored.ended_at is stored.error is None
    assert current == stored.request == {"a": text("x")}
    assert before <= stored.created_at <= clock(database)
    assert [(row.task_number, row.phase, row.worker) for row in live_rows(database, first.execution_id)] == [
        (1, "run", None),
        (2, "run", None),
    ]
    assert second == AttemptKey(execution_id=first.execution_id, number=2, attempt=1)


def test_an_execution_that_is_over_at_once_is_stored_as_ended(database, store):
    over = make_execution(
        publish(database),
        ready=(),
        state=SUCCESS.state,
        outcome=Outcome(state=ExecutionState.SUCCEEDED, response={"a": text("x")}),
    )

    store.create([over, make_execution(over.version_id)])

    stored, _ = store.read(over.id)
    assert stored.state is ExecutionState.SUCCEEDED
    assert stored.ended_at is not None
    assert stored.response == {"a": text("x")}


def test_executions_are_created_together_or_not_at_all(database, store):
    there, good = (make_execution(publish(database)) for _ in range(2))
    store.create([there])
    before = rows_of(database)

    with pytest.raises(sa.exc.IntegrityError):
        store.create([good, there])

    assert rows_of(database) == before


def test_what_is_created_with_something_unusual_is_stored_like_what_is_created_alone(database, store):
    """PostgreSQL has a statement of its own for the usual; ``make_execution`` fills what they could differ in."""
    given = {"request": {"a": text("ä \0 \ud800 '")}, "ready": (1, make_attempt(2)), "priority": 7}
    given |= {"request_id": "x", "submitted_by": "ann"}
    version_id, parent = publish(database), link_to(start(database)[0], position=3)
    alone, beside = (
        make_execution(version_id, parent=parent, integration=name, **given) for name in ("alone", "beside")
    )
    unusual = make_execution(version_id, deadline_s=60.0)

    store.create([alone])
    store.create([beside, unusual])

    assert stored_rows(database, alone) == stored_rows(database, beside)


@pytest.mark.parametrize("more", [{}, {"deadline_s": 60.0}], ids=["usual", "unusual"])
def test_only_what_is_published_at_that_moment_is_created_on_request(database, store, more):
    version_id = publish(database)
    store.create([make_execution(version_id, **more)], only_published=True)
    publish(database, description="newer")
    before = rows_of(database)

    with pytest.raises(NotPublished, match=version_id):
        store.create([make_execution(version_id, **more)], only_published=True)

    assert rows_of(database) == before
    store.create([make_execution(version_id, **more)])


def test_a_known_request_id_is_found_also_for_what_has_to_be_published(database, store):
    version_id = publish(database)
    first, second = (make_execution(version_id, request_id="known") for _ in range(2))

    created = [store.create_once([each], only_published=True) for each in (first, second)]

    assert [each.id_of(second) for each in created] == [second.id, first.id]
    assert created[1].new == []


def stored_rows(database, new):
    """The rows of an execution, without what is its own."""
    with database.read() as connection:
        row = connection.execute(sa.select(executions).where(executions.c.id == new.id)).one()
    own = {"id", "integration", "created_at", "updated_at", "queued_at", "execution_id"}
    return [
        {key: content for key, content in each._asdict().items() if key not in own}
        for each in (row, *live_rows(database, new.id))
    ]


# -- claim ---------------------------------------------------------------------------------------------------------


def test_a_claim_hands_out_the_execution_and_starts_it(database, store):
    (key,) = start(database, request={"a": text("x")})
    before = clock(database)

    claimed = store.claim(key, worker="default@host/7/boot")

    assert (claimed.key, claimed.worker, claimed.executor) == (key, "default@host/7/boot", "default")
    assert claimed.execution.state is ExecutionState.PROCESSING is state_of(store, key.execution_id)
    assert claimed.parameters == {"a": text("x")}
    assert (claimed.next_position, claimed.carry) == (0, None)
    assert before <= claimed.started_at <= clock(database)
    assert before <= claimed.now <= clock(database)
    (row,) = live_rows(database, key.execution_id)
    assert (row.worker, row.owner) == ("default@host/7/boot", "boot")


def test_of_workers_that_claim_at_the_same_time_one_wins(database, store):
    for _ in range(10):
        (key,) = start(database)

        claimed = at_once(*(partial(store.claim, key, worker=f"worker {number}") for number in range(THREADS)))

        (winner,) = filter(None, claimed)
        assert live_rows(database, key.execution_id)[0].worker == winner.worker


def test_two_start_tasks_claimed_at_the_same_time_start_the_execution_together(database, store):
    first, second = start(database, ready=(1, 2))

    claims = at_once(partial(store.claim, first, worker="a"), partial(store.claim, second, worker="b"))

    assert [claimed.execution.state for claimed in claims] == [ExecutionState.PROCESSING] * 2


def test_a_claim_of_what_is_not_there_to_be_claimed_gets_nothing_and_changes_nothing(database, store):
    claimed_before, of_the_third_attempt, waiting, finished = start(
        database, ready=(1, make_attempt(2, attempt=3), 3, 4)
    )
    store.claim(claimed_before, worker="other")
    held = store.claim(waiting, worker="other")
    store.commit(make_commit(held, released=(), waits=(make_wait(3, children=1),)))
    store.commit(make_commit(store.claim(finished, worker="other")))
    before = rows_of(database)

    refused = {
        "claimed before": store.claim(claimed_before, worker="me"),
        "an earlier attempt": store.claim(replace(of_the_third_attempt, attempt=2), worker="me"),
        "a later attempt": store.claim(replace(of_the_third_attempt, attempt=4), worker="me"),
        "a round that has not begun": store.claim(replace(of_the_third_attempt, round=1), worker="me"),
        "waiting, by the run's message": store.claim(waiting, worker="me"),
        "waiting, by the join's message": store.claim(replace(waiting, round=1), worker="me"),
        "finished": store.claim(finished, worker="me"),
        "a task that is not ready": store.claim(replace(finished, number=5), worker="me"),
        "an execution that is not there": store.claim(replace(finished, execution_id="nobody"), worker="me"),
    }

    assert refused == dict.fromkeys(refused)
    assert rows_of(database) == before


def test_nothing_of_an_execution_that_is_over_can_be_claimed(database, store):
    (key,) = start(database)
    store.commit(make_end(store.claim(key, worker="me")))

    assert store.claim(key, worker="me") is None
    assert live_rows(database, key.execution_id) == []


def test_what_is_not_there_cannot_be_read(store):
    with pytest.raises(ExecutionNotFound, match="nobody"):
        store.read("nobody")


# -- commit: all ---------------------------------------------------------------------------------------------------


def test_a_commit_writes_states_history_parameters_ready_tasks_and_timers_together(database, store):
    (key,) = start(database, request={"a": text("x"), "b": text("y")})
    entry = make_entry(
        worker="me",
        states={1: TaskState.SUCCEED, 2: TaskState.SKIPPED},
        edges={(1, 2): False, (1, 3): True},
        parameters={"b": text("z"), "c": text("new")},
        error=ErrorInfo(message="m", code=404, type="T", traceback="t", task_number=1),
        details={"children": 2},
    )

    written = store.commit(
        make_commit(
            store.claim(key, worker="me"),
            progress="sq|1||",
            entries=(entry,),
            parameters=entry.parameters,
            ready=(make_attempt(2), make_attempt(3, worker="me")),
            timers=(Due(kind=TimerKind.RETRY, number=4, attempt=1, after_s=90.5),),
        )
    )

    assert written == ()
    stored, current = store.read(key.execution_id)
    assert (stored.state, stored.revision, stored.progress) == (ExecutionState.PROCESSING, 1, "sq|1||")
    assert current == {"a": text("x"), "b": text("z"), "c": text("new")}
    assert ExecutionQueries(database).entries({key.execution_id: 0}) == {key.execution_id: [entry]}
    queued, held = live_rows(database, key.execution_id)
    assert (queued.worker, queued.owner, queued.started_at) == (None, None, None)
    assert (held.worker, held.owner) == ("me", "me")
    assert held.started_at <= clock(database)
    with database.read() as connection:
        (timer,) = connection.execute(sa.select(timers)).all()
    assert (timer.task_number, timer.attempt) == (4, 1)
    assert timedelta(seconds=30) < timer.due_at - clock(database) <= timedelta(seconds=90.5)


def test_a_task_that_was_ready_and_committed_in_line_cannot_be_claimed_by_another(database, store):
    (key,) = start(database)
    store.commit(make_commit(store.claim(key, worker="me"), ready=(make_attempt(2, worker="me"),)))

    assert store.claim(replace(key, number=2), worker="other") is None


def test_parameters_are_overwritten_while_the_execution_lives_and_gone_when_it_is_over(database, store):
    first, second = start(database, ready=(1, 2), request={"a": text("request")})
    claimed = store.claim(first, worker="me")
    store.commit(make_commit(claimed, parameters={"a": text("1"), "b": text("1")}))
    claimed = store.claim(second, worker="me")
    assert claimed.parameters == {"a": text("1"), "b": text("1")}
    outcome = Outcome(
        state=ExecutionState.FAILED, response={"b": text("2")}, error=ErrorInfo(message="no", code="X", task_number=2)
    )

    store.commit(make_end(claimed, state=outcome.state, parameters={"b": text("2")}, outcome=outcome))

    stored, current = store.read(first.execution_id)
    assert (stored.state, stored.response, stored.error) == (outcome.state, outcome.response, outcome.error)
    assert stored.ended_at is not None
    assert current == stored.request == {"a": text("request")}
    assert rows_of(database, parameters, live_attempts) == {"parameters": [], "live_attempts": []}


def test_history_has_no_gaps_however_many_commit_at_the_same_time(database, store):
    keys = start(database, ready=range(1, THREADS + 1))

    def finish(key):
        """Two entries a commit, as a batch of two tasks makes; decided again as often as another was faster."""
        claimed, refusals = store.claim(key, worker="me"), 0
        while store.commit(make_commit(claimed, entries=(make_entry(key.number), make_entry(key.number)))) == (
            Refusal.STALE
        ):
            claimed, refusals = replace(claimed, execution=store.read(key.execution_id)[0]), refusals + 1
        return refusals

    at_once(*(partial(finish, key) for key in keys))

    with database.read() as connection:
        revisions = connection.execute(sa.select(history.c.revision).order_by("revision")).scalars().all()
    assert revisions == list(range(1, 2 * THREADS + 1))
    assert store.read(keys[0].execution_id)[0].revision == 2 * THREADS
    found = ExecutionQueries(database).entries({keys[0].execution_id: 0})[keys[0].execution_id]
    assert [entry.task_number for entry in found[::2]] == [entry.task_number for entry in found[1::2]]


# -- commit: nothing -----------------------------------------------------------------------------------------------


def everything(claimed):
    """A commit that would write into every table, and make two joins due."""
    version_id = claimed.execution.version_id
    return make_end(
        claimed,
        parameters={"a": text("lost")},
        waits=(make_wait(2, children=1, arrived=1),),
        ready=(make_attempt(7), make_attempt(8, worker=claimed.worker)),
        children=(make_execution(version_id, parent=link_to(replace(claimed.key, number=2))),),
        timers=(Due(kind=TimerKind.RETRY, number=4, attempt=1, after_s=1),),
    )


@pytest.fixture
def family(database, store):
    """A child of a waiting parent; two of its tasks are claimed by "me"."""
    (parent,) = start(database)
    claimed = store.claim(parent, worker="parent")
    child = make_execution(claimed.execution.version_id, ready=(1, 2), parent=link_to(parent))
    store.commit(make_commit(claimed, released=(), waits=(make_wait(children=1),), children=(child,)))
    key = AttemptKey(execution_id=child.id, number=1, attempt=1)
    store.claim(replace(key, number=2), worker="me")
    return replace(parent, round=1), store.claim(key, worker="me")


def test_a_commit_that_writes_everything_can_be_written(database, store, family):
    parent, claimed = family

    fired = store.commit(everything(claimed))

    own = replace(claimed.key, number=2, round=1)
    assert [each.key for each in fired] == [own, parent]


def test_a_commit_on_an_older_revision_is_stale_and_changes_nothing(database, store, family):
    _, claimed = family
    store.commit(make_commit(claimed, released=()))
    before = rows_of(database)

    assert store.commit(everything(claimed)) is Refusal.STALE

    assert rows_of(database) == before


def test_a_commit_on_an_execution_that_is_over_is_stale_and_changes_nothing(database, store):
    (key,) = start(database)
    claimed = store.claim(key, worker="me")
    store.commit(make_end(claimed))
    before = rows_of(database)

    assert store.commit(make_end(claimed)) is Refusal.STALE

    assert rows_of(database) == before


@pytest.mark.parametrize(
    "lost",
    [
        {"released": lambda key: (replace(key, number=9),)},
        {"released": lambda key: (key, replace(key, attempt=2))},
        {"released": lambda key: (key, replace(key, round=1))},
        {"waits": lambda key: (make_wait(9, children=1, arrived=1),)},
        {"worker": lambda key: "somebody else"},
    ],
    ids=["not live", "another attempt", "another round", "a wait that is not live", "another worker"],
)
def test_a_commit_of_what_the_worker_does_not_hold_is_fenced_and_changes_nothing(database, store, family, lost):
    _, claimed = family
    change = replace(everything(claimed), **{name: make(claimed.key) for name, make in lost.items()})
    before = rows_of(database)

    assert store.commit(change) is Refusal.FENCED

    assert rows_of(database) == before


def test_an_attempt_that_was_given_to_another_worker_cannot_be_ended_by_the_first(database, store):
    """What recovery leaves behind: the row names the new owner."""
    (key,) = start(database)
    claimed = store.claim(key, worker="lost")
    with database.begin() as connection:
        connection.execute(sa.update(live_attempts).values(worker=None))
    store.claim(key, worker="new")

    assert store.commit(make_end(claimed)) is Refusal.FENCED

    assert live_rows(database, key.execution_id)[0].worker == "new"


def test_a_commit_that_the_database_refuses_changes_nothing(database, store, family):
    _, claimed = family
    before = rows_of(database)

    with pytest.raises(sa.exc.IntegrityError):
        store.commit(replace(everything(claimed), ready=(make_attempt(7), make_attempt(7))))

    assert rows_of(database) == before


def test_of_commits_on_one_revision_at_the_same_time_one_is_written_and_the_others_are_stale(database, store):
    for _ in range(5):
        keys = start(database, ready=range(1, THREADS + 1))
        claims = [store.claim(key, worker="me") for key in keys]

        told = at_once(*(partial(store.commit, make_commit(claimed)) for claimed in claims))

        assert count(told) == {(): 1, Refusal.STALE: THREADS - 1}
        assert store.read(keys[0].execution_id)[0].revision == 1
        assert len(live_rows(database, keys[0].execution_id)) == THREADS - 1


# -- joins ---------------------------------------------------------------------------------------------------------


def test_of_children_that_end_at_the_same_time_exactly_one_fires_the_join(database, store):
    for _ in range(5):
        (parent,) = start(database)
        children = start_children(database, parent, number_of_children=THREADS)
        claims = [store.claim(key, worker="me") for key in children]

        told = at_once(*(partial(store.commit, make_end(claimed)) for claimed in claims))

        join = Fired(key=replace(parent, round=1), executor="default")
        assert count(told) == {(): THREADS - 1, (join,): 1}
        assert store.claim(join.key, worker="me") is not None


def test_the_join_waits_for_the_last_child_and_then_goes_on_with_what_was_carried(database, store):
    (parent,) = start(database)
    children = start_children(database, parent, number_of_children=2, first_position=3, carry={"rounds": 3})
    join = replace(parent, round=1)

    assert store.commit(make_end(store.claim(children[0], worker="me"))) == ()
    assert store.claim(join, worker="me") is None
    assert len(store.commit(make_end(store.claim(children[1], worker="me")))) == 1
    claimed = store.claim(join, worker="me")

    assert (claimed.carry, claimed.next_position) == ({"rounds": 3}, 5)
    assert claimed.started_at == live_rows(database, parent.execution_id)[0].started_at < claimed.now
    assert store.claim(join, worker="other") is None
    assert store.claim(parent, worker="other") is None


@pytest.mark.parametrize("state", ENDED)
def test_a_child_counts_however_it_ended(database, store, state):
    (parent,) = start(database)
    (child,) = start_children(database, parent, number_of_children=1)

    fired = store.commit(make_end(store.claim(child, worker="me"), state=state, outcome=Outcome(state=state)))

    assert [each.key for each in fired] == [replace(parent, round=1)]


def test_a_child_that_is_not_over_does_not_count(database, store):
    (parent,) = start(database)
    (child,) = start_children(database, parent, number_of_children=1)
    claimed = store.claim(child, worker="me")

    assert store.commit(make_commit(claimed, state=ExecutionState.SUSPENDED)) == ()

    assert live_rows(database, parent.execution_id)[0].arrived == 0


def test_a_child_that_nobody_waits_for_does_not_count(database, store):
    (parent,) = start(database)
    claimed = store.claim(parent, worker="parent")
    alone = make_execution(claimed.execution.version_id, parent=link_to(parent, round=None))
    store.commit(make_commit(claimed, released=(), waits=(make_wait(children=1),), children=(alone,)))

    key = AttemptKey(execution_id=alone.id, number=1, attempt=1)
    assert store.commit(make_end(store.claim(key, worker="me"))) == ()

    assert live_rows(database, parent.execution_id)[0].arrived == 0


def test_a_child_of_an_earlier_round_or_attempt_does_not_count(database, store):
    (parent,) = start(database, ready=(make_attempt(1, attempt=2),))
    claimed = store.claim(parent, worker="parent")
    version_id = claimed.execution.version_id
    late = [
        make_execution(version_id, parent=link_to(replace(parent, attempt=1), round=2)),
        make_execution(version_id, parent=link_to(parent, round=1)),
    ]
    store.commit(make_commit(claimed, released=(), waits=(make_wait(children=1, round=2),), children=tuple(late)))

    for each in late:
        key = AttemptKey(execution_id=each.id, number=1, attempt=1)
        assert store.commit(make_end(store.claim(key, worker="me"))) == ()

    (row,) = live_rows(database, parent.execution_id)
    assert (row.phase, row.arrived) == ("wait", 0)


@pytest.mark.parametrize("number_of_children", [0, 1, 3])
def test_a_round_in_which_nobody_is_left_to_wait_for_fires_at_once(database, store, number_of_children):
    (parent,) = start(database)
    claimed = store.claim(parent, worker="parent")
    over = [
        make_execution(
            claimed.execution.version_id,
            ready=(),
            state=SUCCESS.state,
            outcome=SUCCESS,
            parent=link_to(parent, position=position),
        )
        for position in range(number_of_children)
    ]
    wait = make_wait(children=number_of_children, arrived=number_of_children)

    fired = store.commit(make_commit(claimed, released=(), waits=(wait,), children=tuple(over)))

    assert [each.key for each in fired] == [replace(parent, round=1)]
    assert store.claim(replace(parent, round=1), worker="me") is not None
    assert [each.execution_id for each in store.outcomes(replace(parent, round=1))] == [each.id for each in over]


def test_children_that_were_over_at_once_are_counted_with_those_that_end_later(database, store):
    (parent,) = start(database)
    claimed = store.claim(parent, worker="parent")
    version_id = claimed.execution.version_id
    over = make_execution(version_id, ready=(), state=SUCCESS.state, outcome=SUCCESS, parent=link_to(parent))
    later = make_execution(version_id, parent=link_to(parent, position=1))
    wait = make_wait(children=2, arrived=1)

    assert store.commit(make_commit(claimed, released=(), waits=(wait,), children=(over, later))) == ()
    key = AttemptKey(execution_id=later.id, number=1, attempt=1)
    assert len(store.commit(make_end(store.claim(key, worker="me")))) == 1


def test_a_task_that_runs_in_line_can_wait_in_the_commit_that_makes_it_ready(database, store):
    (key,) = start(database)
    claimed = store.claim(key, worker="me")
    waiting = replace(key, number=2)
    child = make_execution(claimed.execution.version_id, parent=link_to(waiting))

    written = store.commit(
        make_commit(
            claimed, ready=(make_attempt(2, worker="me"),), waits=(make_wait(2, children=1),), children=(child,)
        )
    )

    assert written == ()
    (row,) = live_rows(database, key.execution_id)
    assert (row.task_number, row.phase, row.round, row.worker, row.owner) == (2, "wait", 1, None, None)


def test_a_second_round_starts_from_nothing(database, store):
    (parent,) = start(database)
    (child,) = start_children(database, parent, number_of_children=1, carry={"rounds": 0})
    store.commit(make_end(store.claim(child, worker="me")))
    claimed = store.claim(replace(parent, round=1), worker="me")
    wait = make_wait(children=1, round=2, first_position=claimed.next_position)
    second = make_execution(claimed.execution.version_id, parent=link_to(parent, round=2, position=1))

    store.commit(make_commit(claimed, released=(), waits=(wait,), children=(second,)))

    (row,) = live_rows(database, parent.execution_id)
    assert (row.phase, row.round, row.children, row.arrived, row.carry) == ("wait", 2, 1, 0, None)
    assert row.started_at == claimed.started_at


def test_outcomes_are_those_of_the_round_or_of_all_rounds_in_order(database, store):
    (parent,) = start(database)
    claimed = store.claim(parent, worker="parent")

    def over(position, round):  # noqa: A002 - the word is ours
        return make_execution(
            claimed.execution.version_id,
            ready=(),
            state=SUCCESS.state,
            outcome=Outcome(state=ExecutionState.SUCCEEDED, response={"n": Value(DataType.INT, position)}),
            parent=link_to(parent, position=position, round=round),
        )

    store.create([over(2, 2), over(1, 1), over(3, 2), over(0, 1)])

    def numbers(**more):
        return [each.parameters["n"].data for each in store.outcomes(replace(parent, round=2), **more)]

    assert numbers() == [2, 3]
    assert numbers(every_round=True) == [0, 1, 2, 3]
    assert store.outcomes(replace(parent, attempt=2, round=1)) == []


def test_the_outcome_of_a_failed_child_says_why(database, store):
    (parent,) = start(database)
    (child,) = start_children(database, parent, number_of_children=1)
    failed = Outcome(state=ExecutionState.FAILED, error=ErrorInfo(message="too late"))
    store.commit(make_end(store.claim(child, worker="me"), state=failed.state, outcome=failed))

    (outcome,) = store.outcomes(replace(parent, round=1))

    assert (outcome.execution_id, outcome.state, outcome.error) == (child.execution_id, "FAILED", "too late")


# -- values --------------------------------------------------------------------------------------------------------

EXACT = {
    "nul": text("a\0b"),
    "lone surrogate": text("\ud800 \udfff"),
    "outside the BMP": text("😀"),
    "int64": Value(DataType.INT_ARRAY, (INT64_MIN, INT64_MAX)),
    "largest int64": Value(DataType.INT, INT64_MAX),
    "minus zero": Value(DataType.DOUBLE, -0.0),
    "smallest double": Value(DataType.DOUBLE, 5e-324),
    "json": Value(DataType.JSON, {"\0": [None, True, 1, -0.0, "\ud800", 2**70, {"a": []}]}),
    "json null": Value(DataType.JSON, None),
    "empty": Value(DataType.STRING_ARRAY, ()),
}


def test_values_come_back_exactly_as_they_went_in(database, store):
    (key,) = start(database, request=EXACT)
    claimed = store.claim(key, worker="me")
    changed = {f"{name} changed": value for name, value in EXACT.items()}
    entry = make_entry(parameters=changed, error=ErrorInfo(message="a\0\ud800"))
    store.commit(
        make_commit(
            claimed,
            entries=(entry,),
            parameters=changed,
            ready=(make_attempt(2),),
            released=(),
            waits=(make_wait(children=1, carry=EXACT["json"].python),),
        )
    )
    second = store.claim(replace(key, number=2), worker="me")
    outcome = Outcome(state=ExecutionState.FAILED, response=EXACT, error=entry.error)
    store.commit(make_end(second, state=outcome.state, outcome=outcome))

    stored, _ = store.read(key.execution_id)
    (found, _) = ExecutionQueries(database).entries({key.execution_id: 0})[key.execution_id]

    for given in (claimed.parameters, stored.request, stored.response, second.parameters, found.parameters):
        assert {name: given[name] for name in EXACT if name in given} in (EXACT, {})
    assert second.parameters == EXACT | changed
    assert found == entry
    assert stored.error == entry.error
    assert math.copysign(1, second.parameters["minus zero changed"].data) == -1
    assert math.copysign(1, second.parameters["json changed"].data["\0"][3]) == -1


def test_a_carry_comes_back_exactly_as_it_went_in(database, store):
    (parent,) = start(database)
    (child,) = start_children(database, parent, number_of_children=1, carry=EXACT["json"].python)
    store.commit(make_end(store.claim(child, worker="me")))

    assert store.claim(replace(parent, round=1), worker="me").carry == EXACT["json"].python


def test_times_come_back_in_utc_to_the_microsecond(database, store):
    (key,) = start(database)
    at = NOON + timedelta(microseconds=1)
    store.commit(make_commit(store.claim(key, worker="me"), entries=(make_entry(started_at=at, ended_at=at),)))

    (entry,) = ExecutionQueries(database).entries({key.execution_id: 0})[key.execution_id]

    assert isinstance(entry, Entry)
    assert (entry.started_at, entry.ended_at) == (at, at)


def test_a_round_of_thousands_is_written_at_once(database, store):
    (parent,) = start(database)
    claimed = store.claim(parent, worker="parent")
    children = [
        make_execution(
            claimed.execution.version_id,
            ready=(),
            state=SUCCESS.state,
            outcome=SUCCESS,
            parent=link_to(parent, position=position),
        )
        for position in range(5_000)
    ]
    wait = make_wait(children=len(children), arrived=len(children))

    assert len(store.commit(make_commit(claimed, released=(), waits=(wait,), children=tuple(children)))) == 1

    with database.read() as connection:
        ended = sa.select(sa.func.count()).select_from(executions).where(executions.c.ended_at.is_not(None))
        assert connection.execute(ended).scalar_one() == len(children)


def test_a_transaction_that_fails_leaves_the_next_one_alone(database, store):
    (key,) = start(database)
    with suppress(ZeroDivisionError), database.begin() as connection:
        connection.execute(sa.update(executions).values(state="nonsense"))
        raise ZeroDivisionError

    assert state_of(store, key.execution_id) is ExecutionState.PENDING

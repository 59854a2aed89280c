"""Slots: what coming, leaving and taking turns promise, on each kind of server, and under threads."""

import random
import threading
from collections import Counter, defaultdict
from contextlib import closing
from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.engine.limits import PATIENCE, every_key, executor_limit, integration_limit, key_limit
from orchestrator.errors import InvalidValue
from orchestrator.model.limits import Rate
from orchestrator.model.states import ExecutionState
from orchestrator.service.submit import new_id
from orchestrator.store.creation import insert_executions
from orchestrator.store.kinds import AttemptKey, Hold, Signal
from orchestrator.store.limit_rooms import UNSTARTED_S, look
from orchestrator.store.limit_terms import LimitSource, LimitStore, Standing, Terms
from orchestrator.store.limits import Admission, Entrant, enter, enter_late, leave, take_turn
from orchestrator.store.tables import executions, later, limit_holders, limit_starts, limit_waiters, limits, now
from orchestrator.store.versions import VersionStore
from tests.contracts.stored import PLACE, at_once, link_to, make_execution, make_version, publish, rows_of

E = executor_limit("default")
I = integration_limit(**PLACE, integration="flow")  # noqa: E741 - as engine.limits draws it
A, B = key_limit(I, '"a"'), key_limit(I, '"b"')
WAIT_S = 30


class House:
    """Executions that come and go. Their tasks do not matter here: they run until a test says that they are over."""

    def __init__(self, database):
        self.database = database
        self.store = LimitStore(database)
        self.version_id = publish(database)

    def come(self, *needs, priority=4, parent=None, is_awaited=True):
        """One more execution: its id, and whether it may start. None if no limit holds for it."""
        link = None
        if parent is not None:
            link = link_to(AttemptKey(execution_id=parent, number=1, attempt=1), round=1 if is_awaited else None)
        new = make_execution(self.version_id, ready=(), parent=link)
        awaited_by = parent if is_awaited else None
        entrant = Entrant(execution_id=new.id, needs=needs, priority=priority, awaited_by=awaited_by)
        with self.database.begin() as connection:
            answer = enter(connection, [entrant])
            self.insert(connection, [new], answer)
        return new.id, answer.get(new.id)

    def insert(self, connection, new, answer):
        """As the write path does it."""
        insert_executions(connection, new)
        limited = sa.update(executions).values(is_limited=True)
        for execution_id, is_admitted in answer.items():
            hold = None if is_admitted else Hold.LIMITED.value
            connection.execute(limited.where(executions.c.id == execution_id).values(hold=hold))

    def begin(self, *ids):
        """What a start does to the row."""
        with self.database.begin() as connection:
            connection.execute(sa.update(executions).where(executions.c.id.in_(ids)).values(hold=None))

    def go(self, execution_id, state=ExecutionState.SUCCEEDED):
        with self.database.begin() as connection:
            self.end(connection, execution_id, state)
            return leave(connection, execution_id)

    def end(self, connection, execution_id, state=ExecutionState.SUCCEEDED):
        is_it = executions.c.id == execution_id
        connection.execute(sa.update(executions).where(is_it).values(state=state.value, ended_at=now()))

    def turn(self, *names):
        """Take turns as long as there is anything to do."""
        admitted, admission = [], Admission(again=frozenset(names))
        while admission.again:
            with self.database.begin() as connection:
                admission = take_turn(connection, admission.again, look_at=admission.look_at)
            admitted += admission.admitted
        self.begin(*admitted)
        return admitted

    def after(self, execution_id):
        """Who takes a turn when this one is over."""
        return self.turn(*self.go(execution_id))

    def look(self):
        with self.database.read() as connection:
            return look(connection)

    def holders(self, name):
        return {each.execution_id for each in self.store.holders(name)}

    def line(self, name):
        return [each.execution_id for each in self.store.waiters(name) if each.is_in_line]

    def change(self, table, *which, **values):
        with self.database.begin() as connection:
            connection.execute(sa.update(table).where(*which).values(**values))

    def publish(self, **declared):
        version = make_version(limits=declared) if declared else make_version()
        return VersionStore(self.database).publish(version, **PLACE)


@pytest.fixture
def house(database):
    return House(database)


# -- coming --------------------------------------------------------------------------------------------------------


def test_where_nothing_is_limited_nothing_is_written(database, house):
    before = rows_of(database, limits, limit_holders, limit_waiters, limit_starts)

    _, is_admitted = house.come(E, I, A)

    assert is_admitted is None
    assert rows_of(database, limits, limit_holders, limit_waiters, limit_starts) == before


def test_as_many_as_there_are_slots_start_and_the_others_wait(house):
    house.store.set_limit(I, max_running=2)

    answers = [house.come(E, I)[1] for _ in range(4)]

    assert answers == [True, True, False, False]
    assert len(house.holders(I)) == 2
    assert len(house.line(I)) == 2
    assert house.store.holders(E) == ()


def test_those_that_come_together_are_asked_in_order(database, house):
    house.store.set_limit(I, max_running=3)
    new = [make_execution(house.version_id, ready=()) for _ in range(6)]
    with database.begin() as connection:
        answer = enter(connection, [Entrant(execution_id=each.id, needs=(I,)) for each in new])
        house.insert(connection, new, answer)

    assert [answer[each.id] for each in new] == [True] * 3 + [False] * 3
    assert house.line(I) == [each.id for each in new[3:]]


def test_all_slots_are_taken_or_none(house):
    house.store.set_limit(I, max_running=5)
    house.store.set_limit(A, max_running=1)
    first, _ = house.come(I, A)

    _, is_admitted = house.come(I, A)

    assert is_admitted is False
    assert house.holders(I) == house.holders(A) == {first}


def test_what_is_rolled_back_holds_and_waits_for_nothing(database, house):
    house.store.set_limit(I, max_running=1)
    before = rows_of(database, limit_holders, limit_waiters)

    with closing(database.engine.connect()) as connection, connection.begin() as transaction:
        enter(connection, [Entrant(execution_id=new_id(), needs=(I,)) for _ in range(2)])
        transaction.rollback()

    assert rows_of(database, limit_holders, limit_waiters) == before


def test_nobody_holds_a_slot_without_being_there(database, house):
    house.store.set_limit(I, max_running=1)

    with pytest.raises(sa.exc.IntegrityError), database.begin() as connection:
        enter(connection, [Entrant(execution_id="nobody", needs=(I,))])


def test_a_newcomer_does_not_pass_those_in_line(house):
    house.store.set_limit(I, max_running=1)
    first, _ = house.come(I)
    second, _ = house.come(I)
    freed = house.go(first)

    third, is_admitted = house.come(I)

    assert is_admitted is False
    assert house.turn(*freed) == [second]
    assert house.after(second) == [third]


def test_a_newcomer_that_is_more_urgent_goes_first(house):
    house.store.set_limit(I, max_running=1)
    first, _ = house.come(I)
    house.come(I, priority=4)
    house.go(first)

    _, is_admitted = house.come(I, priority=9)

    assert is_admitted is True


def test_a_newcomer_of_another_key_takes_what_a_full_key_leaves(house):
    house.store.set_limit(I, max_running=2)
    house.store.set_limit(every_key(I), max_running=1)
    house.come(I, A)
    house.come(I, A)

    _, is_admitted = house.come(I, B)

    assert is_admitted is True


def test_ten_thousand_keys_can_come_in_one_transaction(database, house):
    """A lock for each would be more than a server has room for."""
    house.store.set_limit(every_key(I), max_running=1)
    new = [make_execution(house.version_id, ready=()) for _ in range(10_000)]
    needs = [(I, key_limit(I, str(number))) for number in range(len(new))]

    with database.begin() as connection:
        answer = enter(
            connection, [Entrant(execution_id=each.id, needs=need) for each, need in zip(new, needs, strict=True)]
        )
        insert_executions(connection, new)

    assert Counter(answer.values()) == {True: 10_000}


# -- trees ---------------------------------------------------------------------------------------------------------


def test_what_an_ancestor_holds_is_not_needed_again(house):
    house.store.set_limit(I, max_running=1)
    root, _ = house.come(I)
    between, of_another = house.come("integration/default/local/other", parent=root)

    _, is_admitted = house.come(I, parent=between)

    assert of_another is None
    assert is_admitted is None


def test_a_recursion_with_another_key_needs_only_that_keys_slot(house):
    house.store.set_limit(I, max_running=1)
    house.store.set_limit(every_key(I), max_running=1)
    root, _ = house.come(I, A)

    child, is_admitted = house.come(I, B, parent=root)

    assert is_admitted is True
    assert house.holders(I) == {root}
    assert house.holders(B) == {child}


def test_a_recursion_that_nobody_waits_for_needs_its_own_slot(house):
    house.store.set_limit(I, max_running=1)
    root, _ = house.come(I)

    child, is_admitted = house.come(I, parent=root, is_awaited=False)

    assert is_admitted is False
    assert house.after(root) == [child]


def test_below_one_that_nobody_waits_for_the_slots_above_do_not_count(house):
    house.store.set_limit(I, max_running=1)
    root, _ = house.come(I)
    on_its_own, _ = house.come("integration/default/local/other", parent=root, is_awaited=False)

    _, is_admitted = house.come(I, parent=on_its_own)

    assert is_admitted is False


# -- leaving and turns ---------------------------------------------------------------------------------------------


def test_turns_go_by_urgency_and_then_by_coming(house):
    house.store.set_limit(I, max_running=1)
    running, _ = house.come(I)
    waiting = [house.come(I, priority=priority)[0] for priority in (0, 4, 9, 4, 9)]
    order = []

    while running is not None:
        running = next(iter(house.after(running)), None)
        order.append(running)

    assert order == [waiting[each] for each in (2, 4, 1, 3, 0)] + [None]


def test_as_many_take_a_turn_as_there_is_room_for(house):
    house.store.set_limit(I, max_running=1)
    house.come(I)
    waiting = [house.come(I)[0] for _ in range(30)]
    house.store.set_limit(I, max_running=21)

    assert house.turn(I) == waiting[:20]
    assert house.turn(I) == []


def test_a_turn_that_looks_at_few_says_where_to_go_on(database, house):
    """Twelve of a key that has no room, and behind them one of another key that has."""
    house.store.set_limit(I, max_running=40)
    house.store.set_limit(every_key(I), max_running=100)
    for _ in range(40):
        house.come(I, A)
    waiting = [house.come(I, A)[0] for _ in range(12)] + [house.come(I, B)[0]]
    house.store.set_limit(every_key(I), max_running=40)
    house.store.set_limit(I, max_running=41)

    with database.begin() as connection:
        admission = take_turn(connection, [I], look_at=2)

    assert admission.admitted == ()
    assert admission.again >= {I, A}
    assert house.turn(*admission.again) == [waiting[-1]]
    assert house.line(I) == []


def test_a_limit_that_is_not_exhausted_holds_nobody_up(house):
    house.store.set_limit(I, max_running=1)
    house.store.set_limit(every_key(I), max_running=1)
    first, _ = house.come(I, A)
    same_key, _ = house.come(I, A)
    other_key, _ = house.come(I, B)

    assert house.line(A) == [same_key]
    assert house.line(I) == [other_key]
    assert house.after(first) == [same_key]
    assert house.after(same_key) == [other_key]


def test_who_loses_a_turn_keeps_its_place_in_the_order(house):
    house.store.set_limit(I, max_running=1)
    house.store.set_limit(E, max_running=1)
    at_executor, _ = house.come(E)
    at_integration, _ = house.come(I)
    both, _ = house.come(E, I)
    behind, _ = house.come(I)

    assert house.line(I) == [both, behind]
    assert house.after(at_integration) == [behind]
    assert house.line(E) == [both]
    assert house.after(at_executor) == []
    assert house.line(I) == [both]
    assert house.after(behind) == [both]


def test_a_slot_is_kept_at_its_executor_for_one_that_has_lost_its_patience(house):
    """Two busy limits, each with a stream of its own: without the kept slot it would never get both."""
    house.store.set_limit(I, max_running=1)
    house.store.set_limit(E, max_running=1)
    running = {E: house.come(E)[0], I: house.come(I)[0]}
    both, _ = house.come(E, I)
    ends = 0
    while both not in running.values():
        for name in (E, I):
            house.come(name)
            for admitted in house.after(running[name]):
                running[name] = admitted
        ends += 1
        assert ends <= 2 * PATIENCE + 1

    assert house.holders(E) == house.holders(I) == {both}


def test_a_kept_slot_is_seen_by_newcomers(database, house):
    house.store.set_limit(I, max_running=1)
    house.store.set_limit(E, max_running=1)
    house.come(I)
    both, _ = house.come(E, I)
    is_kept = (limit_waiters.c.execution_id == both, limit_waiters.c.limit_name == E)
    house.change(limit_waiters, *is_kept, standing=Standing.KEPT.value)

    _, is_admitted = house.come(E)
    _, is_more_urgent = house.come(E, priority=9)

    assert (is_admitted, is_more_urgent) == (False, True)


def test_who_is_withdrawn_waits_no_more_and_what_was_kept_for_it_is_free(house):
    house.store.set_limit(I, max_running=1)
    house.store.set_limit(E, max_running=1)
    house.come(I)
    both, _ = house.come(E, I)
    is_kept = (limit_waiters.c.execution_id == both, limit_waiters.c.limit_name == E)
    house.change(limit_waiters, *is_kept, standing=Standing.KEPT.value)
    behind, _ = house.come(E)

    freed = house.go(both, ExecutionState.CANCELLED)

    assert freed == {E, I}
    assert house.turn(*freed) == [behind]
    assert house.line(I) == []


def test_many_leave_at_once(database, house):
    house.store.set_limit(I, max_running=3)
    ids = [house.come(I)[0] for _ in range(6)]

    with database.begin() as connection:
        freed = leave(connection, *ids)

    assert freed == {I}
    assert rows_of(database, limit_holders, limit_waiters) == {"limit_holders": [], "limit_waiters": []}


def test_leaving_twice_frees_nothing_more(house):
    house.store.set_limit(I, max_running=1)
    first, _ = house.come(I)
    house.go(first)

    assert house.go(first) == frozenset()


# -- rates ---------------------------------------------------------------------------------------------------------


def test_as_many_start_in_a_time_as_the_rate_says(house):
    house.store.set_limit(I, rate=Rate(count=2, period_s=3600))

    answers = [house.come(I)[1] for _ in range(3)]

    assert answers == [True, True, False]


def test_the_end_of_an_execution_lets_no_other_start_before_its_time(house):
    house.store.set_limit(I, rate=Rate(count=1, period_s=3600))
    first, _ = house.come(I)
    house.come(I)

    assert house.after(first) == []
    assert house.look().open == frozenset()
    assert 3540 < house.look().next_in_s <= 3600


def test_the_rate_counts_any_stretch_of_its_time(house):
    """Two an hour: one 59 minutes ago and one now leave room for another in a minute, and for the next in an hour."""
    house.store.set_limit(I, rate=Rate(count=2, period_s=3600))
    old, _ = house.come(I)
    house.change(limit_starts, limit_starts.c.execution_id == old, started_at=later(-3540))
    house.come(I)
    third, is_admitted = house.come(I)
    fourth, _ = house.come(I)

    assert is_admitted is False
    assert 0 < house.look().next_in_s <= 60
    house.change(limit_starts, limit_starts.c.execution_id == old, started_at=later(-3601))
    assert house.look().open == {I}
    assert house.turn(I) == [third]
    assert house.turn(I) == []
    assert house.line(I) == [fourth]


def test_starts_are_forgotten_when_no_rate_counts_them_any_more(database, house):
    house.store.set_limit(I, rate=Rate(count=1, period_s=60))
    old, _ = house.come(I)
    house.change(limit_starts, limit_starts.c.execution_id == old, started_at=later(-61))
    house.come(I)
    with database.read() as connection:
        assert old not in connection.execute(sa.select(limit_starts.c.execution_id)).scalars().all()

    house.store.set_limit(I, max_running=5)

    assert rows_of(database, limit_starts) == {"limit_starts": []}


def test_a_limit_of_both_kinds_needs_both(house):
    house.store.set_limit(I, max_running=1, rate=Rate(count=2, period_s=3600))
    first, _ = house.come(I)
    second, _ = house.come(I)
    third, _ = house.come(I)

    assert house.after(first) == [second]
    assert house.after(second) == []
    assert house.line(I) == [third]


# -- what a crash leaves -------------------------------------------------------------------------------------------


def test_a_turn_that_nobody_took_is_found(house):
    house.store.set_limit(I, max_running=1)
    first, _ = house.come(I)
    second, _ = house.come(I)
    house.go(first)

    assert house.look().open == {I}
    assert house.turn(I) == [second]
    assert house.look().open == frozenset()


def test_one_that_was_admitted_and_never_started_is_found_after_a_while(database, house):
    house.store.set_limit(I, max_running=1)
    first, _ = house.come(I)
    second, _ = house.come(I)
    freed = house.go(first)
    with database.begin() as connection:
        assert take_turn(connection, freed).admitted == (second,)
    assert house.look().unstarted == ()

    house.change(limit_holders, limit_holders.c.execution_id == second, since=later(-UNSTARTED_S - 1))

    assert house.look().unstarted == (second,)
    house.begin(second)
    assert house.look().unstarted == ()


def test_one_that_is_to_be_killed_is_not_started(house):
    house.store.set_limit(I, max_running=1)
    first, _ = house.come(I)
    marked, _ = house.come(I)
    behind, _ = house.come(I)
    house.change(executions, executions.c.id == marked, signal=Signal.KILL.value)

    assert house.after(first) == [behind]
    assert house.line(I) == [marked]


def test_one_that_is_over_while_it_waits_is_dropped_at_its_turn(database, house):
    house.store.set_limit(I, max_running=1)
    first, _ = house.come(I)
    over, _ = house.come(I)
    behind, _ = house.come(I)
    with database.begin() as connection:
        house.end(connection, over)

    assert house.after(first) == [behind]
    assert house.store.waiters(I) == ()


def test_one_that_is_over_and_holds_a_slot_still_is_found(database, house):
    house.store.set_limit(I, max_running=1)
    first, _ = house.come(I)
    with database.begin() as connection:
        house.end(connection, first)

    assert house.look().over == (first,)


def test_a_withdrawal_that_is_going_on_holds_no_turn_up(database, house):
    """Nor does the turn wait for it, which would be half of a deadlock."""
    if database.is_sqlite:
        pytest.skip("one writer at a time")
    house.store.set_limit(I, max_running=1)
    first, _ = house.come(I)
    withdrawn, _ = house.come(I)
    behind, _ = house.come(I)
    freed = house.go(first)

    with database.begin() as connection:
        leave(connection, withdrawn)
        assert house.turn(*freed) == [behind]

    assert house.store.waiters(I) == ()


# -- starts that were put off --------------------------------------------------------------------------------------


def put_off(house):
    new = make_execution(house.version_id, ready=())
    with house.database.begin() as connection:
        insert_executions(connection, [new])
        held = sa.update(executions).where(executions.c.id == new.id)
        connection.execute(held.values(hold=Hold.SCHEDULED.value))
    return new.id


def arrive(house, execution_id):
    with house.database.begin() as connection:
        return enter_late(connection, Entrant(execution_id=execution_id, needs=(I,)))


def hold_of(house, execution_id):
    with house.database.read() as connection:
        which = sa.select(executions.c.hold, executions.c.is_limited).where(executions.c.id == execution_id)
        return tuple(connection.execute(which).one())


def test_a_start_that_was_put_off_takes_its_slot_when_its_time_comes(house):
    house.store.set_limit(I, max_running=1)
    first, second = put_off(house), put_off(house)
    assert house.holders(I) == set()

    answers = [arrive(house, first), arrive(house, second)]

    assert answers == [True, False]
    assert [hold_of(house, each) for each in (first, second)] == [(Hold.LIMITED, True)] * 2
    assert house.after(first) == [second]


def test_a_start_that_was_put_off_and_is_not_limited_stays_as_it_is(house):
    first = put_off(house)

    assert arrive(house, first) is True
    assert hold_of(house, first) == (Hold.SCHEDULED, False)


def test_a_start_that_was_put_off_is_asked_for_once(database, house):
    house.store.set_limit(I, max_running=5)
    first, over = put_off(house), put_off(house)
    with database.begin() as connection:
        house.end(connection, over)

    answers = at_once(*[partial(arrive, house, first)] * 2)

    assert sorted(answers) == [False, True]
    assert arrive(house, over) is False
    assert house.holders(I) == {first}


# -- what limits there are -----------------------------------------------------------------------------------------


def terms(house):
    return {each.name: (each.terms, each.source) for each in house.store.list()}


def test_publishing_sets_what_the_definition_says(house):
    house.publish(maxConcurrent=5, key="$x$", maxConcurrentPerKey=7, rate={"count": 100, "perSeconds": 60})

    rate = Rate(count=100, period_s=60)
    assert terms(house) == {
        I: (Terms(max_running=5, rate=rate), LimitSource.DEFINITION),
        every_key(I): (Terms(max_running=7), LimitSource.DEFINITION),
    }


def test_publishing_another_version_changes_and_removes_limits(house):
    house.publish(maxConcurrent=5, key="$x$", maxConcurrentPerKey=7)

    house.publish(maxConcurrent=6)
    assert terms(house) == {I: (Terms(max_running=6), LimitSource.DEFINITION)}

    house.publish()
    assert terms(house) == {}


def test_an_operators_limit_outlives_publishing_and_gives_way_when_it_is_removed(house):
    house.publish(maxConcurrent=5)
    house.store.set_limit(I, max_running=1)
    house.publish(maxConcurrent=6)
    assert terms(house)[I] == (Terms(max_running=1), LimitSource.OPERATOR)

    assert house.store.remove_limit(I) is True

    assert terms(house)[I] == (Terms(max_running=6), LimitSource.DEFINITION)
    assert house.store.remove_limit(I) is False


def test_an_operators_limit_of_what_no_definition_limits_is_gone_when_it_is_removed(house):
    for name in (E, I, A):
        house.store.set_limit(name, max_running=1)

    assert [house.store.remove_limit(name) for name in (E, I, A, A)] == [True, True, True, False]
    assert terms(house) == {}


def test_a_key_may_have_a_number_of_its_own(house):
    house.store.set_limit(every_key(I), max_running=1)
    house.store.set_limit(A, max_running=2)

    answers = [house.come(I, key)[1] for key in (A, A, A, B, B)]

    assert answers == [True, True, False, True, False]


def test_a_raised_limit_is_found_by_the_next_look(house):
    house.store.set_limit(I, max_running=1)
    house.come(I)
    second, _ = house.come(I)
    assert house.look().open == frozenset()

    house.store.set_limit(I, max_running=2)

    assert house.look().open == {I}
    assert house.turn(I) == [second]


def test_a_removed_limit_lets_everybody_in(house):
    house.store.set_limit(I, max_running=1)
    house.come(I)
    waiting = [house.come(I)[0] for _ in range(3)]

    house.store.remove_limit(I)

    assert house.look().open == {I}
    assert house.turn(I) == waiting


def test_a_lowered_limit_stops_nothing_and_lets_the_next_wait(house):
    house.store.set_limit(I, max_running=3)
    ids = [house.come(I)[0] for _ in range(4)]
    house.store.set_limit(I, max_running=1)

    assert house.after(ids[0]) == []
    assert house.after(ids[1]) == []
    assert house.after(ids[2]) == [ids[3]]


def test_the_view_says_how_many_run_and_wait_for_each_limit_and_key(house):
    house.store.set_limit(I, max_running=2)
    house.store.set_limit(every_key(I), max_running=1)
    first, _ = house.come(I, A)
    second, _ = house.come(I, A, priority=9)

    found = {
        each.name: (each.terms.max_running, each.source, each.running, each.waiting) for each in house.store.list()
    }

    assert found == {
        I: (2, LimitSource.OPERATOR, 1, 1),
        every_key(I): (1, LimitSource.OPERATOR, 0, 0),
        A: (1, None, 1, 1),
    }
    assert [each.execution_id for each in house.store.holders(A)] == [first]
    (waiting,) = house.store.waiters(I)
    assert (waiting.execution_id, waiting.priority, waiting.is_in_line) == (second, 9, False)


@pytest.mark.parametrize(
    "name", ["", "flow", "executor/", "executor/a b", "integration/p/l", "integration/p/l/x/y", "x/y"]
)
def test_what_is_no_name_of_a_limit_is_refused(house, name):
    with pytest.raises(InvalidValue, match="no name of a limit"):
        house.store.set_limit(name, max_running=1)


@pytest.mark.parametrize(
    ("name", "numbers", "problem"),
    [
        (I, {}, "no number"),
        (I, {"max_running": 0}, "max_running: found 0, expected 1 to 1,000,000"),
        (I, {"max_running": 2**31}, "max_running: found 2147483648"),
        (I, {"rate": Rate(count=0, period_s=1)}, "rate: found 0 in 1 s"),
        (I, {"rate": Rate(count=10_001, period_s=1)}, "rate: found 10001 in 1 s"),
        (E, {"rate": Rate(count=1, period_s=0)}, "rate: found 1 in 0 s"),
        (every_key(I), {"rate": Rate(count=1, period_s=1)}, "rate: found a rate of a key"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(database, house, name, numbers, problem):
    with pytest.raises(InvalidValue, match=problem):
        house.store.set_limit(name, **numbers)

    assert rows_of(database, limits) == {"limits": []}


# -- many at once --------------------------------------------------------------------------------------------------


class Crowd:
    """Executions of ten keys, some more urgent, in several threads; and a log of what was decided, in its order.

    What is decided about a key is logged within the transaction, which holds the key's lock until it ends.
    """

    MOST, MOST_PER_KEY = 40, 7

    def __init__(self, house, *, number, withdrawn=0.0):
        self.house = house
        house.store.set_limit(I, max_running=self.MOST)
        house.store.set_limit(every_key(I), max_running=self.MOST_PER_KEY)
        self.number, self.share_withdrawn = number, withdrawn
        self.keys = [key_limit(I, str(number)) for number in range(10)]
        self.key_of, self.rank_of = {}, {}
        self.log = defaultdict(list)
        self.lock = threading.Lock()
        self.coming = iter(range(number))
        self.running, self.waited, self.withdrawn, self.over, self.failures = [], set(), set(), set(), []

    def work(self, seed):
        chance = random.Random(seed)
        try:
            while len(self.over) < self.number and not self.failures:
                self.step(chance)
        except BaseException as error:
            self.failures.append(error)
            raise

    def step(self, chance):
        if chance.random() < self.share_withdrawn:
            self.withdraw(chance)
            return
        with self.lock:
            number = next(self.coming, None) if chance.random() < 0.8 else None
            mine = self.running.pop(chance.randrange(len(self.running))) if number is None and self.running else None
        if number is not None:
            self.come(chance)
        elif mine is not None:
            self.go(mine)
        elif not self.running and chance.random() < 0.1:
            self.turn(self.house.look().open)  # as a timer thread does; a turn may come before the one that it is for

    def come(self, chance):
        key, priority = chance.choice(self.keys), chance.choice([0, 4, 4, 4, 9])
        new = make_execution(self.house.version_id, ready=())
        self.key_of[new.id], self.rank_of[new.id] = key, 9 - priority
        with self.house.database.begin() as connection:
            answer = enter(connection, [Entrant(execution_id=new.id, needs=(I, key), priority=priority)])
            self.house.insert(connection, [new], answer)
            self.check(connection, [key])
            self.log[key].append(("came", new.id))
            if answer[new.id]:
                self.log[key].append(("began", new.id))
        if answer[new.id]:
            self.begun([new.id])
        else:
            with self.lock:
                self.waited.add(new.id)

    def go(self, execution_id):
        with self.house.database.begin() as connection:
            self.house.end(connection, execution_id)
            freed = leave(connection, execution_id)
        self.over.add(execution_id)
        self.turn(freed)

    def withdraw(self, chance):
        """Some that waited; they may be taking their turn at this very moment."""
        with self.lock:
            candidates = sorted(self.waited - self.over)
        if candidates:
            self.withdrawn.add(mine := chance.choice(candidates))
            self.go(mine)

    def turn(self, names):
        while names:
            with self.house.database.begin() as connection:
                admission = take_turn(connection, names)
                self.check(connection, {self.key_of[each] for each in admission.admitted})
                for each in admission.admitted:
                    self.log[self.key_of[each]].append(("began", each))
            self.house.begin(*admission.admitted)
            self.begun(admission.admitted)
            names = admission.again

    def begun(self, ids):
        with self.lock:
            self.running.extend(ids)

    def check(self, connection, keys):
        """Of these the transaction has the locks."""
        for name, most in [(I, self.MOST), *((key, self.MOST_PER_KEY) for key in keys)]:
            held = sa.select(sa.func.count()).where(limit_holders.c.limit_name == name)
            assert connection.execute(held).scalar_one() <= most


def is_fair(log, crowd):
    """Whoever began was the first of those that waited and were not withdrawn."""
    waiting, rank_of = [], crowd.rank_of
    for position, (what, execution_id) in enumerate(log):
        if execution_id in crowd.withdrawn:
            continue
        if what == "came":
            waiting.append((rank_of[execution_id], position, execution_id))
        else:
            assert min(waiting)[2] == execution_id
            waiting.remove(min(waiting))
    return waiting == []


def test_whatever_comes_and_goes_in_many_threads_no_limit_is_exceeded_and_all_get_their_turn(house):
    crowd = Crowd(house, number=500)

    at_once(*(partial(crowd.work, seed) for seed in range(6)))

    assert crowd.failures == []
    assert len(crowd.over) == 500
    assert len(crowd.waited) > 100
    assert sum(len(log) for log in crowd.log.values()) == 1000
    assert all(is_fair(log, crowd) for log in crowd.log.values())
    assert rows_of(house.database, limit_holders, limit_waiters) == {"limit_holders": [], "limit_waiters": []}


def test_what_is_withdrawn_while_turns_are_taken_leaves_nothing_behind(house):
    crowd = Crowd(house, number=300, withdrawn=0.3)

    at_once(*(partial(crowd.work, seed) for seed in range(6)))

    assert crowd.failures == []
    assert len(crowd.over) == 300
    assert len(crowd.withdrawn) > 50
    assert all(is_fair(log, crowd) for log in crowd.log.values())
    assert rows_of(house.database, limit_holders, limit_waiters) == {"limit_holders": [], "limit_waiters": []}


def test_the_same_turn_in_many_threads_admits_each_once(house):
    house.store.set_limit(I, max_running=1)
    house.come(I)
    waiting = [house.come(I)[0] for _ in range(20)]
    house.store.set_limit(I, max_running=11)

    admitted = at_once(*[partial(house.turn, I)] * 4)

    assert sorted(each for some in admitted for each in some) == sorted(waiting[:10])


def test_transactions_that_ask_for_the_same_keys_in_other_orders_do_not_block_each_other(database, house):
    house.store.set_limit(every_key(I), max_running=1000)
    keys = [key_limit(I, str(number)) for number in range(50)]

    def come(seed):
        chance = random.Random(seed)
        for _ in range(10):
            new = [make_execution(house.version_id, ready=()) for _ in keys]
            order = chance.sample(keys, len(keys))
            with database.begin() as connection:
                enter(
                    connection,
                    [Entrant(execution_id=each.id, needs=(key,)) for each, key in zip(new, order, strict=True)],
                )
                insert_executions(connection, new)

    at_once(*(partial(come, seed) for seed in range(4)))

    assert {len(house.store.holders(key)) for key in keys} == {40}

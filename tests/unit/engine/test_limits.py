"""Whose turn it is: the rules one by one, and then all of them on random traffic."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.limits import (
    LIMIT_NAME,
    PATIENCE,
    Room,
    Waiter,
    every_key,
    executor_limit,
    full_limit,
    general_name,
    give_turns,
    integration_limit,
    is_kept,
    key_limit,
    limits_for,
)
from orchestrator.engine.validate import find_problems
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.limits import MAX_RATE, MAX_RUNNING, Limits, Rate
from orchestrator.model.values import DataType, Value, from_python
from tests.unit.factories import make_integration, make_parameter, make_task_types

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
E, I = "executor/e", "integration/p/l/flow"  # noqa: E741 - as the drawings call them
A, B = f"{I}/key/a", f"{I}/key/b"
PLACE = {"project": "p", "location": "l", "executor": "e"}


def make_waiter(number: int, *needs: str, line: str, urgency: int = 0, lost: int = 0, at: int | None = None) -> Waiter:
    return Waiter(
        execution_id=f"{number:04}",
        rank=9 - urgency,
        since=NOON + timedelta(seconds=number if at is None else at),
        needs=needs,
        line=line,
        lost=lost,
    )


def rooms(**free: int | None) -> dict[str, Room]:
    names = {"e": E, "i": I, "a": A, "b": B}
    return {names[name]: Room(free=number) for name, number in free.items()}


def admitted(waiters: list[Waiter], left: dict[str, Room]) -> list[int]:
    return [int(each.execution_id) for each in give_turns(waiters, left).admitted]


# -- names ---------------------------------------------------------------------------------------------------------


def test_a_root_asks_for_its_executor_and_its_integration():
    assert limits_for(make_integration(), {}, is_root=True, **PLACE) == (E, I)


def test_a_sub_execution_does_not_count_at_its_executor():
    assert limits_for(make_integration(), {}, is_root=False, **PLACE) == (I,)


def test_an_integration_with_a_key_asks_for_that_too():
    version = make_integration(limits=Limits(key="$customer.id$", max_running_per_key=7))
    values = {"customer": from_python({"id": "acme"}, "customer")}

    assert limits_for(version, values, is_root=False, **PLACE) == (I, f'{I}/key/"acme"')
    assert limits_for(version, {}, is_root=False, **PLACE) == (I, f"{I}/key/null")


def test_a_long_key_is_hashed_and_never_the_name_of_another_key():
    one, other = (key_limit(I, f'"{"x" * 300}{end}"') for end in "ab")

    assert one != other
    assert one.startswith(f"{I}/key/sha256:")
    assert len(one) < 150


@pytest.mark.parametrize("key", ['"a/key/b"', '"/"', "null", '"sha256:0"', '["a","b"]'])
def test_the_numbers_of_a_key_stand_with_those_of_the_other_keys(key):
    assert general_name(key_limit(I, key)) == every_key(I)


@pytest.mark.parametrize("name", [E, I, every_key(I), "integration/key/x/key", "integration/p/l/key"])
def test_the_numbers_of_every_other_limit_are_its_own(name):
    assert general_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        executor_limit("default"),
        integration_limit("p", "l", "é b"),
        every_key(I),
        key_limit(I, '"a\\nb"'),
        key_limit(I, '"' + "x" * 198 + '"'),
        key_limit(I, '"' + "x" * 199 + '"'),
    ],
)
def test_every_name_that_is_made_is_a_name_of_a_limit(name):
    assert LIMIT_NAME.fullmatch(name)


def test_the_longest_name_fits_its_column():
    assert len(key_limit(integration_limit("p" * 64, "l" * 64, "i" * 256), "x" * 200)) <= 1024


# -- what publishing refuses ---------------------------------------------------------------------------------------


def errors_of(limits: Limits) -> list[str]:
    version: IntegrationVersion = make_integration(
        limits=limits, parameters=[make_parameter("customer"), make_parameter("order", DataType.JSON)]
    )
    return list(find_problems(version, make_task_types()).errors)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_running=1),
        Limits(max_running=MAX_RUNNING, rate=Rate(count=MAX_RATE, period_s=MAX_RUNNING)),
        Limits(key="$customer$", max_running_per_key=7),
        Limits(key="[$customer$, $order.buyer.id$, $order.lines[0].sku$]", max_running_per_key=1),
        Limits(rate=Rate(count=1, period_s=1)),
    ],
)
def test_limits_that_make_sense_pass(limits):
    assert errors_of(limits) == []


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (Limits(), "limits: found nothing that limits"),
        (Limits(max_running=0), "limits, maxConcurrent: found 0, expected 1 to 1,000,000"),
        (Limits(max_running=MAX_RUNNING + 1), "limits, maxConcurrent: found 1000001"),
        (Limits(key="$customer$", max_running_per_key=-1), "limits, maxConcurrentPerKey: found -1"),
        (Limits(rate=Rate(count=0, period_s=1)), "limits, rate, count: found 0, expected 1 to 10,000"),
        (Limits(rate=Rate(count=1, period_s=0)), "limits, rate, perSeconds: found 0"),
        (Limits(key="$customer$"), "limits, key: it limits nothing by itself; add maxConcurrentPerKey"),
        (Limits(max_running_per_key=7), "limits, maxConcurrentPerKey: there is no key to count by; add key"),
        (Limits(key="$custmer$", max_running_per_key=7), "limits, key: there is no parameter for $custmer$"),
        (Limits(key="[$customer$, $c.x$]", max_running_per_key=7), "limits, key: there is no parameter for $c.x$"),
        (Limits(key="customer", max_running_per_key=7), "limits, key: found 'customer', which is the same for every"),
        (Limits(key="$customer", max_running_per_key=7), "limits, key: condition '$customer', column 1"),
        (Limits(key="$customer$ = 1", max_running_per_key=7), "limits, key: condition '$customer$ = 1', column 12"),
    ],
)
def test_limits_that_make_no_sense_are_refused_in_one_sentence(limits, error):
    (found,) = errors_of(limits)

    assert found.startswith(error)


# -- turns, one by one ---------------------------------------------------------------------------------------------


def test_the_most_urgent_goes_first_and_then_the_first_that_came():
    line = [make_waiter(1, I, line=I), make_waiter(2, I, line=I, urgency=9), make_waiter(3, I, line=I, urgency=9)]

    assert admitted(line, rooms(i=2)) == [2, 3]


def test_those_that_came_at_the_same_time_go_by_their_ids():
    assert admitted([make_waiter(2, I, line=I, at=0), make_waiter(1, I, line=I, at=0)], rooms(i=1)) == [1]


def test_a_slot_of_each_limit_is_taken_or_none():
    left = rooms(i=5, a=0)

    turns = give_turns([make_waiter(1, I, A, line=I)], left)

    assert turns.admitted == []
    assert left[I].free == 5


def test_a_full_key_does_not_hold_up_other_keys():
    line = [make_waiter(1, I, A, line=I), make_waiter(2, I, B, line=I)]
    left = rooms(i=1, a=0, b=1)

    turns = give_turns(line, left)

    assert [each.execution_id for each in turns.admitted] == ["0002"]
    assert turns.moved == [(line[0], A)]


def test_whose_line_has_no_room_stays_where_it_is_and_loses_nothing():
    assert give_turns([make_waiter(1, E, I, line=E)], rooms(e=0, i=0)).moved == []


def test_a_limit_that_was_taken_away_lets_everybody_in():
    assert admitted([make_waiter(each, I, line=I) for each in range(9)], rooms(i=None)) == list(range(9))


def test_a_newcomer_does_not_pass_those_in_line():
    room = Room(free=1, first_in_line=(5, NOON, "0001"))

    assert not room.has_place_for((5, NOON + timedelta(seconds=1), "0002"))
    assert room.has_place_for((4, NOON + timedelta(seconds=1), "0002"))


def test_the_line_is_at_the_most_special_limit_that_is_full():
    turn = (5, NOON, "0001")

    assert full_limit((E, I, A), rooms(e=0, i=0, a=0), turn) == A
    assert full_limit((E, I, A), rooms(e=0, i=0, a=1), turn) == I
    assert full_limit((E, I, A), rooms(e=0, i=1, a=1), turn) == E
    assert full_limit((E, I, A), rooms(e=1, i=1, a=1), turn) is None


def test_a_slot_is_kept_at_an_executor_only_and_only_after_lost_turns():
    assert [is_kept(E, lost) for lost in range(PATIENCE + 1)] == [False] * PATIENCE + [True]
    assert not is_kept(I, PATIENCE)
    assert not is_kept(A, PATIENCE)


def test_who_loses_its_last_patience_has_the_slot_kept_against_those_behind_it():
    unlucky, behind = make_waiter(1, E, I, line=E, lost=PATIENCE - 1), make_waiter(2, E, line=E)
    left = rooms(e=1, i=0)

    turns = give_turns([unlucky, behind], left)

    assert turns.admitted == []
    assert turns.moved == [(unlucky, I)]


def test_who_is_ahead_takes_a_slot_that_is_kept_for_another():
    left = rooms(e=1)
    left[E].kept_for.append(make_waiter(2, E, I, line=I).turn)

    assert admitted([make_waiter(1, E, line=E)], left) == [1]


def test_who_has_a_slot_kept_takes_it_when_its_turn_comes():
    unlucky = make_waiter(1, E, I, line=I)
    left = rooms(e=1, i=1)
    left[E].kept_for.append(unlucky.turn)

    assert admitted([unlucky], left) == [1]
    assert left[E].kept_for == []


# -- turns, on random traffic --------------------------------------------------------------------------------------


class Traffic:
    """Executions that come and go under limits, as the store does it, in memory."""

    def __init__(self, limits: dict[str, int]) -> None:
        self.limits = limits
        self.holders: dict[str, set[str]] = defaultdict(set)
        self.waiting: dict[str, Waiter] = {}
        self.lost: dict[tuple[str, str], int] = defaultdict(int)
        self.kept: set[tuple[str, str]] = set()
        self.order: list[str] = []
        self.number = 0

    def rooms(self, *, looked_at: frozenset[str] = frozenset()) -> dict[str, Room]:
        made = {}
        for name, most in self.limits.items():
            line = [each.turn for each in self.waiting.values() if each.line == name]
            made[name] = Room(
                free=most - len(self.holders[name]),
                kept_for=[self.waiting[each].turn for at, each in sorted(self.kept) if at == name],
                first_in_line=None if name in looked_at else min(line, default=None),
            )
        return made

    def enter(self, needs: tuple[str, ...], urgency: int) -> None:
        self.number += 1
        made = make_waiter(self.number, *needs, line="", urgency=urgency)
        line = full_limit(needs, self.rooms(), made.turn)
        if line is None:
            self._hold(made)
        else:
            self.waiting[made.execution_id] = replace(made, line=line)

    def leave(self, execution_id: str) -> frozenset[str]:
        freed = frozenset(name for name in self.limits if execution_id in self.holders[name])
        for name in freed:
            self.holders[name].remove(execution_id)
        return freed

    def take_turn(self, names: frozenset[str]) -> None:
        while names:
            front = [each for each in self.waiting.values() if each.line in names]
            locked = names.union(*(each.needs for each in front))
            turns = give_turns(front, self.rooms(looked_at=names))
            for each in turns.admitted:
                del self.waiting[each.execution_id]
                self.kept = {(at, whose) for at, whose in self.kept if whose != each.execution_id}
                self._hold(each)
            for each, line in turns.moved:
                self.lost[each.line, each.execution_id] += 1
                if is_kept(each.line, self.lost[each.line, each.execution_id]):
                    self.kept.add((each.line, each.execution_id))
                self.kept.discard((line, each.execution_id))
                self.waiting[each.execution_id] = replace(each, line=line, lost=self.lost[line, each.execution_id])
            names = locked if locked != names else frozenset()

    def _hold(self, each: Waiter) -> None:
        for name in each.needs:
            self.holders[name].add(each.execution_id)
            assert len(self.holders[name]) <= self.limits[name]
        self.order.append(each.execution_id)

    def running(self) -> list[str]:
        return sorted(set().union(*self.holders.values()))


NEEDS = st.sampled_from([(E,), (E, I), (E, I, A), (E, I, B), (I,), (I, A), (I, B)])
COMING = st.tuples(NEEDS, st.integers(0, 2))
GOING = st.integers(0, 1_000)


@settings(max_examples=300)
@given(
    limits=st.fixed_dictionaries({name: st.integers(1, 3) for name in (E, I, A, B)}),
    steps=st.lists(st.one_of(COMING, GOING, st.none()), max_size=60),
)
def test_no_limit_is_ever_exceeded_and_everybody_gets_a_turn(limits, steps):
    """Also where turns are taken late: others come, and go, between a slot's end and the turn for it."""
    traffic = Traffic(limits)
    freed: frozenset[str] = frozenset()
    for step in steps:
        if isinstance(step, tuple):
            traffic.enter(*step)
        elif step is None:
            traffic.take_turn(freed)
            freed = frozenset()
        elif running := traffic.running():
            freed |= traffic.leave(running[step % len(running)])

    traffic.take_turn(freed)
    while running := traffic.running():
        traffic.take_turn(traffic.leave(running[0]))

    assert traffic.waiting == {}
    assert len(set(traffic.order)) == traffic.number


@settings(max_examples=300)
@given(
    limits=st.fixed_dictionaries({name: st.integers(1, 3) for name in (E, I, A, B)}),
    steps=st.lists(st.one_of(COMING, GOING), max_size=60),
)
def test_the_first_of_those_that_wait_waits_for_nothing_but_a_full_limit(limits, steps):
    traffic = Traffic(limits)
    for step in steps:
        if isinstance(step, tuple):
            traffic.enter(*step)
        elif running := traffic.running():
            traffic.take_turn(traffic.leave(running[step % len(running)]))
        first = min(traffic.waiting.values(), key=lambda each: each.turn, default=None)

        assert first is None or any(len(traffic.holders[name]) == limits[name] for name in first.needs)


@settings(max_examples=100)
@given(urgencies=st.lists(st.integers(0, 9), min_size=1, max_size=40), most=st.integers(1, 4), data=st.data())
def test_under_one_limit_turns_go_by_urgency_and_then_by_coming(urgencies, most, data):
    traffic = Traffic({I: most})
    for urgency in [0] * most + urgencies:
        traffic.enter((I,), urgency)
    expected = sorted(traffic.waiting.values(), key=lambda each: each.turn)

    while running := traffic.running():
        traffic.take_turn(traffic.leave(data.draw(st.sampled_from(running))))

    assert traffic.order[most:] == [each.execution_id for each in expected]


@pytest.mark.parametrize("first_to_end", [E, I])
def test_who_needs_two_busy_limits_is_not_overtaken_for_ever(first_to_end):
    """Each limit is used by a stream of its own, so they are never free at the same time by themselves."""
    traffic = Traffic({E: 1, I: 1})
    traffic.enter((E,), 0)
    traffic.enter((I,), 0)
    traffic.enter((E, I), 0)
    wanted = "0003"
    streams = [E, I] if first_to_end == E else [I, E]
    for _ in range(3):
        for name in streams:
            traffic.enter((name,), 0)
    turns = 0
    while wanted in traffic.waiting:
        for name in streams:
            for holder in list(traffic.holders[name]):
                traffic.enter((name,), 0)
                traffic.take_turn(traffic.leave(holder))
        turns += 1

        assert turns <= 5


def test_values_are_read_only_when_there_is_a_key():
    """The hot path of the many integrations without limits: no look-up at all."""
    unreadable: dict[str, Value] = {}

    assert limits_for(make_integration(limits=Limits(max_running=1)), unreadable, is_root=True, **PLACE) == (E, I)

"""What a repeated request is promised: one copy acts, the others get its answer, and nothing is held up for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from orchestrator.service.repeats import digest_of, do_once, forget_repeats
from orchestrator.store.repeats import Claim, RepeatStore
from orchestrator.store.tables import repeats
from tests.contracts.stored import at_once, clock
from tests.contracts.world import World
from tests.integration.waiting import until

DIGEST = digest_of("ann", "POST", "/v1/it:cancel", b"{}")


@pytest.fixture
def world(database, tmp_path):
    return World(database, tmp_path)


class Act:
    """Counts how often it was done, and under which ids."""

    def __init__(self):
        self.wishes = []

    def __call__(self, wish_id):
        self.wishes.append(wish_id)
        return {"times": len(self.wishes)}


def change(world, **values):
    with world.database.begin() as connection:
        connection.execute(sa.update(repeats).values(**values))


def ago(world, **time):
    return clock(world.database) - timedelta(**time)


def test_the_second_copy_gets_the_answer_of_the_first_and_does_nothing(world):
    act = Act()

    answers = [do_once(DIGEST, act, world.services) for _ in range(3)]

    assert answers == [{"times": 1}] * 3
    assert len(act.wishes) == 1


def test_an_empty_answer_is_one(world):
    act = Act()

    def nothing(wish_id):
        act(wish_id)
        return {}

    assert [do_once(DIGEST, nothing, world.services) for _ in range(2)] == [{}, {}]
    assert len(act.wishes) == 1


def test_a_request_of_somebody_else_or_with_another_body_is_another_one(world):
    act = Act()

    for parts in (("ann", b"a"), ("bob", b"a"), ("ann", b"b"), ("an", b"na")):
        do_once(digest_of(*parts), act, world.services)

    assert len(set(act.wishes)) == 4


def test_copies_that_come_at_the_same_time_act_once_and_all_get_the_answer(world):
    act = Act()

    def come():
        return until(lambda: do_once(DIGEST, act, world.services), what="an answer")

    assert at_once(*[come] * 6) == [{"times": 1}] * 6
    assert len(act.wishes) == 1


def test_a_copy_that_comes_while_the_first_is_acted_on_is_told_to_ask_again(world):
    begun, go = threading.Event(), threading.Event()

    def slow(wish_id):
        begun.set()
        go.wait(60)
        return {"is": "done"}

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(do_once, DIGEST, slow, world.services)
        begun.wait(60)
        second = do_once(DIGEST, pytest.fail, world.services)
        go.set()

        assert second is None
        assert first.result(60) == {"is": "done"}
    assert do_once(DIGEST, pytest.fail, world.services) == {"is": "done"}


def test_a_copy_after_a_minute_is_a_request_of_its_own(world):
    act = Act()
    do_once(DIGEST, act, world.services)
    change(world, began_at=ago(world, seconds=61))

    assert do_once(DIGEST, act, world.services) == {"times": 2}
    assert len(set(act.wishes)) == 2


def test_what_was_refused_may_be_asked_again_at_once_under_the_same_id(world):
    act = Act()

    def refuse(wish_id):
        act(wish_id)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        do_once(DIGEST, refuse, world.services)

    assert do_once(DIGEST, act, world.services) == {"times": 2}
    assert len(set(act.wishes)) == 1


def test_a_crash_amid_the_act_holds_the_next_copy_up_for_seconds_and_it_acts_under_the_same_id(world):
    act = Act()
    claim = RepeatStore(world.database).claim(DIGEST)  # what a process that was killed leaves
    assert do_once(DIGEST, act, world.services) is None
    change(world, acts_until=ago(world, seconds=1))

    assert do_once(DIGEST, act, world.services) == {"times": 1}
    assert act.wishes == [claim.wish_id]


def test_of_two_copies_that_act_because_the_first_was_slow_one_answer_counts(world):
    store = RepeatStore(world.database)
    slow = store.claim(DIGEST)
    change(world, acts_until=ago(world, seconds=1))
    assert do_once(DIGEST, lambda _: {"by": "the second"}, world.services) == {"by": "the second"}

    assert store.answer(DIGEST, slow, {"by": "the first"}) == {"by": "the second"}


def test_a_slow_copy_has_no_say_in_what_came_a_minute_later(world):
    store = RepeatStore(world.database)
    slow = store.claim(DIGEST)
    change(world, began_at=ago(world, seconds=61))
    later = store.claim(DIGEST)

    store.answer(DIGEST, slow, {"by": "the first"})
    store.give_up(DIGEST, slow)

    assert isinstance(later, Claim)
    assert later.wish_id != slow.wish_id
    assert store.claim(DIGEST) is None


def test_what_is_older_than_an_hour_is_forgotten(world):
    for each in ("old", "new"):
        do_once(digest_of(each), Act(), world.services)
    with world.database.begin() as connection:
        old = repeats.c.digest == digest_of("old")
        connection.execute(sa.update(repeats).where(old).values(began_at=datetime(2026, 1, 31, tzinfo=UTC)))

    forget_repeats(world.services)

    with world.database.read() as connection:
        assert connection.execute(sa.select(repeats.c.digest)).scalars().all() == [digest_of("new")]

"""The end of what was stopped, a page at a time: the same rows as one by one, and each join once."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, count

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.model.states import ExecutionState
from orchestrator.service.apply import start_held
from orchestrator.service.control import ExecutionOver
from orchestrator.service.lost import Loss, give_up
from orchestrator.service.pursue import end_one, pursue, pursue_marked
from orchestrator.service.standing import stand
from orchestrator.service.submit import Wishes
from orchestrator.store import bulk, signals
from orchestrator.store.kinds import Signal
from orchestrator.store.tables import Instant, executions, live_attempts, metadata
from tests.contracts.control_world import ControlWorld, asks, break_down, nests, restart, retry, spawns, undone
from tests.contracts.stored import at_once
from tests.contracts.world import heavy
from tests.flows import flow, parameter

EXAMPLES = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
TOMORROW = datetime.now(UTC) + timedelta(days=1)
PAGE = 4  # small, so that a small tree has several of them


@pytest.fixture
def world(database, tmp_path):
    return ControlWorld(database, tmp_path)


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(signals, "MOST_AT_ONCE", PAGE)


# -- as one by one -------------------------------------------------------------------------------------------------

RETRIED, ASKED, NESTING, RESTARTED, FOLLOWING = 1, 2, 3, 4, 5


def fails(world, child, *, number):
    world.code[number] = break_down
    world.drive(world.key(number, of=child.id))


def succeeds(world, child, *, number):
    world.code[number] = lambda: {"out": f"of the {child.position}."}
    world.drive(world.key(number, of=child.id))


def is_claimed(world, child):
    world.services.store.claim(world.key(RETRIED, of=child.id), worker="busy")


def is_given_back(world, child):
    world.services.store.claim(world.key(RETRIED, of=child.id), worker="dead")
    give_up(child.id, world.services, worker="dead", loss=Loss("kill -9"))


def is_marked(world, child):
    world.mark(Signal.KILL_AND_ROLL_BACK, child.id)


HAPPENS = {  # in this order
    "its retry waits": partial(fails, number=RETRIED),
    "its worker died": is_given_back,
    "its first task is done": partial(succeeds, number=RETRIED),
    "its first task runs": is_claimed,
    "it is suspended": partial(succeeds, number=ASKED),
    "it waits for a child": partial(succeeds, number=NESTING),
    "it has a child that it does not wait for": partial(succeeds, number=FOLLOWING),
    "it is to begin again": partial(fails, number=RESTARTED),
    "it is to be undone": is_marked,
}


def leaf(name, *, room):
    tasks = (
        heavy(RETRIED, next=[FOLLOWING], queueTimeoutMs=60_000, **retry(3), **undone()),
        asks(ASKED, next=[FOLLOWING]),
        nests(NESTING, "below", next=[FOLLOWING]),
        heavy(RESTARTED, timeoutMs=60_000, **restart(3)),
        spawns(FOLLOWING, "below", taskExecutionStrategy="WHEN_ANY_SUCCEED"),
    )
    document = flow(name, *tasks, starts=[1, 2, 3, 4], parameters=[parameter("out", direction="OUT")])
    return document | ({"limits": {"maxConcurrent": room}} if room else {})


def make(world, name, what_happens, *, room, scheduled):
    """A root that waits for a child for each set of happenings, and executions that are to start tomorrow.

    Returns:
        The roots.
    """
    world.code.clear()
    world.asking = {"expire_after_s": 60.0}
    world.publish(flow("below", heavy(1)))
    version_id, _ = world.publish(leaf(f"leaf-{name}", room=room))
    later = [world.start_now(version_id, wishes=Wishes(at=TOMORROW, deadline_s=60)) for _ in range(scheduled)]
    (first,) = world.submit(nests(1, f"leaf-{name}", count=len(what_happens)))
    world.drive(first)
    children = sa.select(executions.c.id, executions.c.position).where(executions.c.parent_id == world.id)
    in_order = world.rows(children.order_by(executions.c.position))
    for child, happenings in zip(in_order, what_happens, strict=True):
        for happening, happen in HAPPENS.items():
            if happening in happenings:
                happen(world, child)
    return [world.id, *later]


def end_one_by_one(world, roots):
    for pages in world.services.signals.marked_below(roots):
        for each in chain.from_iterable(pages):
            end_one(stand(each, world.services), world.services, start=start_held)


def rows_below(world, roots):
    """Everything about these trees: without ids, names and times, which differ from tree to tree."""
    named = {each.id: f"{root} {name}" for root, top in enumerate(roots) for name, each in world.named_tree(top)}
    found = {}
    for table in metadata.sorted_tables:
        own = table.c.get("id" if table is executions else "execution_id")
        if own is not None:
            rows = world.rows(sa.select(table).where(own.in_(named)))
            found[table.name] = sorted(
                repr([told(*pair, named) for pair in zip(table.c, row, strict=True)]) for row in rows
            )
    return found


def told(column, value, named):
    if isinstance(column.type, Instant):
        return value is None
    if column.name in ("version_id", "integration", "trigger_id", "limit_name") or column.table.name == "signals":
        return ""
    if column.name == "entry":
        return {**json.loads(value), "start": "", "end": ""}
    return named.get(value, value)


names = count()
PLAIN = {"room": None, "scheduled": 0, "signal": Signal.KILL, "is_upkeep": False}


@given(
    what_happens=st.lists(st.sets(st.sampled_from(sorted(HAPPENS)), max_size=3), min_size=1, max_size=6),
    room=st.sampled_from([None, None, 2]),
    scheduled=st.integers(0, 2),
    signal=st.sampled_from([Signal.KILL, Signal.KILL_AND_ROLL_BACK]),
    is_upkeep=st.booleans(),
)
@example(what_happens=[{"its first task is done"}] * 2, **PLAIN)  # alike, but for what they answer
@example(what_happens=[set(), {"its worker died"}], **PLAIN)  # alike, but for what has begun
@example(what_happens=[{"it is suspended"}, {"its worker died", "it is suspended"}], **PLAIN)  # ... and nothing else
@example(what_happens=[{"its first task is done"}, {"its first task is done", "it is to be undone"}], **PLAIN)
@EXAMPLES
def test_what_ends_in_pages_leaves_the_rows_that_one_by_one_leaves(
    world, small_pages, what_happens, room, scheduled, signal, is_upkeep
):
    def make_next():
        return make(world, str(next(names)), what_happens, room=room, scheduled=scheduled)

    together = make_next()
    before = rows_below(world, together)
    for root in together:
        world.mark(signal, root)
    if is_upkeep:
        pursue_marked(world.services, start=start_held)
    else:
        for root in together:
            pursue(root, world.services, start=start_held)
    alone = make_next()  # only now: upkeep would look after what is marked in it already
    assert rows_below(world, alone) == before
    for root in alone:
        world.mark(signal, root)
    end_one_by_one(world, alone)

    assert rows_below(world, together) == rows_below(world, alone)


# -- how much it takes ---------------------------------------------------------------------------------------------


def fan_out(world, width, *leaves):
    """A root that waits for so many children; their ids."""
    world.publish(flow("child", *(leaves or [heavy(1)])))
    (first, _) = world.submit(nests(1, "child", count=width, next=[2]), heavy(2))
    world.drive(first)
    return world.children_of()


def test_a_page_takes_as_many_statements_as_one_execution(world):
    def statements_to_kill(width):
        fan_out(world, width)
        seen = []
        note = partial(note_statement, seen)
        sa.event.listen(world.database.engine, "before_cursor_execute", note)
        world.kill()
        sa.event.remove(world.database.engine, "before_cursor_execute", note)
        return len(seen)

    assert statements_to_kill(bulk.MOST_AT_ONCE) == statements_to_kill(2)


def note_statement(seen, connection, cursor, statement, *more):
    seen.append(statement)


def test_a_tree_of_several_pages_and_levels_ends_from_below(world, small_pages):
    world.publish(flow("leaf", heavy(1)))
    fan_out(world, 3, nests(1, "leaf", count=5, next=[2]), heavy(2))
    for child in world.children_of():
        world.drive(world.key(1, of=child))

    world.kill()

    assert world.tree_states() == ["CANCELLED"] * (1 + 3 + 15)
    world.assert_over()


# -- others at the same time ---------------------------------------------------------------------------------------


def tolerant(call):
    with suppress(ExecutionOver):
        call()


@pytest.mark.parametrize("width", [3, 20])
def test_kills_of_overlapping_trees_at_the_same_time_end_each_execution_once(world, small_pages, width):
    world.publish(flow("leaf", heavy(1)))
    middles = fan_out(world, 2, nests(1, "leaf", count=width, next=[2]), heavy(2))
    for middle in middles:
        world.drive(world.key(1, of=middle))
    leaves = world.children_of(middles[0])

    at_once(*(partial(tolerant, partial(world.kill, each)) for each in (world.id, *middles, *leaves[:2], world.id)))
    world.drive_all()

    states = set(world.tree_states())
    assert states <= {"CANCELLED", "FAILED"}  # FAILED: the kill of a child was there before its own
    for each in world.tree():
        assert world.kinds(each.id).count("execution killed") <= 1
    assert all(world.kinds(leaf) == ["execution killed", "task stopped"] for leaf in leaves)
    world.assert_over()


def test_claims_at_the_same_time_as_a_kill_are_won_or_lost_as_a_whole(world, small_pages):
    """Nothing begins that the kill did not see: whatever ran was claimed, and asked to stop, before it was told to."""
    ran = []
    children = fan_out(world, 24)
    world.code[1] = lambda: ran.append(1)
    calls = [partial(drive_all_of, world, children[first::3], worker=f"worker {first}") for first in range(3)]

    at_once(*calls, world.kill)
    world.drive_all()

    ends = [world.tasks_of(child)[1] for child in children]
    assert ends.count("SUCCEED") + ends.count("CANCELLED") == len(ran)
    assert ends.count("SKIPPED") == len(children) - len(ran)
    assert world.execution.state is ExecutionState.CANCELLED
    world.assert_over()


def drive_all_of(world, children, *, worker):
    for child in children:
        world.drive(world.key(1, of=child), worker=worker)


def test_executions_that_come_while_a_page_is_written_fire_the_join_once(world, small_pages):
    children = fan_out(world, 12)
    for child in children:
        world.mark(Signal.KILL, child)
    pages = [children[:8], children[4:], children[::-1]]

    at_once(*(partial(pursue_some, world, page) for page in pages))

    joins = [message for message in world.services.publisher.sent if message.round == 1]
    assert len(joins) == 1
    arrived = world.rows(sa.select(live_attempts.c.arrived, live_attempts.c.phase))
    assert arrived == [(12, "join")]


def pursue_some(world, children):
    for child in children:
        pursue(child, world.services, start=start_held)


# -- one that cannot be ended --------------------------------------------------------------------------------------


def test_a_kill_ends_all_others_before_it_tells_of_one_that_cannot_be_ended(world):
    children = fan_out(world, 5)
    with world.database.begin() as connection:
        broken = sa.update(executions).where(executions.c.id == children[2])
        connection.execute(broken.values(progress="nonsense"))

    with pytest.raises(ValueError, match="unpack"):
        world.kill()

    ended = [row.state for row in world.rows(sa.select(executions.c.state).where(executions.c.parent_id == world.id))]
    assert sorted(ended) == ["CANCELLED"] * 4 + ["PENDING"]

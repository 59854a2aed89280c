"""How the databases run the statements of the hot paths: none reads a large table from one end to the other.

The statements are those that the store sends when it is called, with the values that it sends. PostgreSQL has the
statistics of 50,000 executions; SQLite has none, as in production, and plans by its rules.
"""

from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from orchestrator.model import filter_fields as fields
from orchestrator.model.filters import parse_filter
from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState
from orchestrator.model.timers import TimerKind
from orchestrator.service.listing import ListWish, read_page
from orchestrator.service.submit import Place, new_id
from orchestrator.store.bundles import BundleStore
from orchestrator.store.changes import Due, NewSuspension
from orchestrator.store.circumstances import read_circumstances
from orchestrator.store.database import Database
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.glances import GlanceStore
from orchestrator.store.kinds import AttemptKey, Signal, SuspensionState
from orchestrator.store.limit_rooms import look
from orchestrator.store.limit_terms import LimitStore
from orchestrator.store.limits import leave, take_turn
from orchestrator.store.outbox import Outbox
from orchestrator.store.pruning import PruneStore, Wanted
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.results import ResultStore
from orchestrator.store.schedules import ScheduleStore
from orchestrator.store.signals import Audit, SignalStore
from orchestrator.store.suspensions import SuspensionStore
from orchestrator.store.tables import executions, live_attempts, metadata, timers
from orchestrator.store.workers import Boot, WorkerStore
from tests.contracts.large import EXECUTIONS, captured, fill, id_of, scans_of
from tests.contracts.stored import (
    PLACE,
    link_to,
    make_attempt,
    make_commit,
    make_end,
    make_entry,
    make_execution,
    make_wait,
)
from tests.services import postgres_url, sqlite_database

HERE = Place(**PLACE)
OLD, YOUNG = id_of(20_000), id_of(EXECUTIONS - 1000)  # two roots: one is over, one lives
SHORT = ("timers_due_at_ix", "executions_signal_ix")  # the first timer is enough; and few are marked
BOOT = Boot(id="1", name="default@host", machine="here", pid=1, began=1)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.services)])
def large(request, tmp_path_factory):
    with sqlite_database(tmp_path_factory.mktemp("large")) if request.param == "sqlite" else dropped() as database:
        fill(database)
        yield database


@contextmanager
def dropped():
    """One that no other test uses again: to empty it takes longer than to make another."""
    with postgres_url() as url, closing(Database(url)) as database:
        database.upgrade()
        yield database


@dataclass
class Stores:
    """Everything over one database. ``key`` is of an attempt that nobody has claimed."""

    database: Database

    def __post_init__(self):
        self.store, self.queries = ExecutionStore(self.database), ExecutionQueries(self.database)
        self.bundles = BundleStore(self.database)
        self.signals, self.suspensions = SignalStore(self.database), SuspensionStore(self.database)
        self.outbox, self.workers = Outbox(self.database), WorkerStore(self.database)
        self.results, self.pruning = ResultStore(self.database), PruneStore(self.database)
        self.version_id = self.queries.one(OLD).version_id

    def key(self):
        is_free = live_attempts.c.worker.is_(None) & (live_attempts.c.phase == "run") & executions.c.signal.is_(None)
        free = sa.select(executions.c.id).join(live_attempts, live_attempts.c.execution_id == executions.c.id)
        with self.database.read() as connection:
            found = connection.execute(free.where(is_free).limit(1)).scalar_one()
        return AttemptKey(execution_id=found, number=1, attempt=1)

    def held_and_cancelled(self):
        wanted = sa.select(executions.c.id).where(executions.c.state.in_(("CANCELLED", "RETRY_ON_HOLD", "PENDING")))
        with self.database.read() as connection:
            return list(connection.execute(wanted.limit(20)).scalars())

    def claimed(self):
        return self.store.claim(self.key(), worker="default@host/1/1")


@pytest.fixture(scope="module")
def stores(large):
    return Stores(large)


def scans(stores, call):
    """What a call reads from one end to the other, by table."""
    with captured(stores.database) as seen:
        call()
    assert seen
    return [scan for scan in scans_of(stores.database, seen) if scan.index not in SHORT]


# -- moving executions on ------------------------------------------------------------------------------------------


def claims(stores):
    key = stores.key()
    yield lambda: stores.store.claim(key, worker="default@host/1/1")
    yield lambda: stores.store.claim(key, worker="default@host/1/1", is_again=True)
    yield lambda: stores.store.wish(key, worker="default@host/1/1")
    yield lambda: stores.store.is_stopping(key)


def commits(stores):
    change = make_commit(stores.claimed(), ready=(make_attempt(2),), parameters={})
    yield lambda: stores.store.commit(change)
    change = make_end(stores.claimed())
    yield lambda: stores.store.commit(change)
    yield lambda: stores.store.note(OLD, make_entry(kind=EntryKind.LATE))


def commits_of_many_kinds(stores):
    claimed = stores.claimed()
    children = [make_execution(stores.version_id, parent=link_to(claimed.key)) for _ in range(3)]
    change = make_commit(
        claimed,
        released=(),
        waits=(make_wait(children=3),),
        children=tuple(children),
        timers=(Due(kind=TimerKind.RETRY, number=5, attempt=1, after_s=60),),
        fired_timers=((TimerKind.RETRY, 6),),
        dropped=(7,),
        suspensions=(NewSuspension(number=8, attempt=1, terms={}),),
    )
    yield lambda: stores.store.commit(change)
    many = [make_end(stores.claimed(), dropped=(7,)) for _ in range(3)]
    yield lambda: stores.store.commit_many(many)


def bundles(stores):
    new = [make_execution(stores.version_id) for _ in range(30)]
    riding = [replace(each, ready=(replace(each.ready[0], rides_with=new[0].id),)) for each in new]
    yield lambda: stores.store.create(riding)
    claimed = []
    yield lambda: claimed.extend(stores.bundles.claim(new[0].id, worker="default@host/1/1"))
    yield lambda: stores.bundles.claim(new[0].id, worker="default@host/1/1", is_again=True)
    yield lambda: stores.bundles.members(new[0].id)
    yield lambda: stores.bundles.moved_on([each.id for each in new])
    assert len(claimed) == 30
    written = []
    yield lambda: written.append(stores.bundles.commit([make_end(each) for each in claimed]))
    assert written[0].refused == {}


def creating(stores):
    new = make_execution(stores.version_id, request_id=new_id())
    yield lambda: stores.store.create_once([new])
    yield lambda: stores.store.create_once([make_execution(stores.version_id, request_id=new.request_id)])


def reading_what_is_decided_on(stores):
    key = AttemptKey(execution_id=OLD, number=1, attempt=1, round=1)
    yield lambda: stores.store.read(YOUNG)
    yield lambda: stores.store.find([YOUNG, OLD])
    yield lambda: stores.store.outcomes(key)
    yield lambda: stores.store.outcomes(key, every_round=True)


# -- what comes from elsewhere -------------------------------------------------------------------------------------


def due_timers(stores):
    with stores.database.begin() as connection:
        first = sa.select(timers.c.execution_id).limit(3)
        connection.execute(
            sa.update(timers).where(timers.c.execution_id.in_(first)).values(due_at=datetime(2020, 1, 1, tzinfo=UTC))
        )
    taken = []
    yield lambda: taken.extend(stores.store.take_timers(limit=100)[0])
    yield lambda: stores.store.drop_timer(taken[0])


def signals(stores):
    yield stores.signals.marked
    yield lambda: list(stores.signals.marked_below([YOUNG]))
    yield lambda: stores.signals.ask_to_stop(AttemptKey(execution_id=YOUNG, number=1, attempt=1))
    yield lambda: stores.signals.last(OLD)


def kills(stores):
    yield lambda: stores.signals.send(YOUNG, Signal.KILL, Audit(actor="ann"))


def what_a_kill_waits_for(stores):
    yield lambda: stores.signals.asked_to_stop(YOUNG)


def suspensions(stores):
    key = AttemptKey(execution_id=YOUNG, number=1, attempt=1)
    yield lambda: stores.suspensions.find(key)
    yield lambda: stores.suspensions.of_execution(YOUNG)
    yield lambda: stores.suspensions.find_all(state=SuspensionState.PENDING)
    yield lambda: stores.suspensions.find_all(execution_id=YOUNG)
    yield lambda: stores.suspensions.awaits_answer(YOUNG)
    yield lambda: stores.suspensions.count_reminder(key, ())
    yield lambda: stores.suspensions.take_notice(key)
    yield lambda: stores.suspensions.owes_notices([YOUNG])


def limits(stores):
    def within(call, names):
        with stores.database.begin() as connection:
            call(connection, names)

    yield lambda: within(lambda connection, _: look(connection), ())
    yield lambda: within(take_turn, ["executor/e1", "executor/e2"])
    yield lambda: within(leave, id_of(EXECUTIONS - 3))
    yield LimitStore(stores.database).list
    yield lambda: LimitStore(stores.database).waiters("executor/e1")


def schedules(stores):
    yield lambda: ScheduleStore(stores.database).due(limit=100)


# -- recovery ------------------------------------------------------------------------------------------------------


def workers(stores):
    yield lambda: stores.workers.beat(BOOT, ["executor.default"])
    yield lambda: stores.workers.suspects(BOOT)
    yield stores.workers.live


def outbox(stores):
    yield lambda: stores.outbox.count_ready("default", up_to=1000)
    term = stores.outbox.turn("default", "me")
    yield lambda: stores.outbox.take("default", holder="me", term=term, limit=1000)


def what_the_dead_held(stores):
    yield lambda: stores.workers.held_by("7", limit=100)
    yield lambda: stores.workers.leave("8")
    yield stores.workers.forget_lost
    yield stores.store.has_claims


# -- looking -------------------------------------------------------------------------------------------------------


def looking(stores):
    yield lambda: stores.queries.state(OLD)
    yield lambda: stores.queries.one(OLD)
    yield lambda: stores.queries.is_there(OLD)
    yield lambda: stores.queries.tree(OLD)
    yield lambda: stores.queries.ancestors(id_of(20_001))
    yield lambda: stores.queries.entries({OLD: 1, YOUNG: 0})
    yield lambda: stores.queries.replays_of(OLD)
    yield lambda: stores.queries.live([OLD, YOUNG])
    yield lambda: stores.queries.all_ancestors([id_of(20_001), YOUNG])
    yield lambda: stores.queries.all_replays_of([OLD, YOUNG])
    rows = [stores.queries.one(each) for each in (OLD, YOUNG, *stores.held_and_cancelled())]
    yield lambda: stores.queries.facts(rows)
    yield lambda: GlanceStore(stores.database).look([OLD, YOUNG])
    yield lambda: GlanceStore(stores.database).look([id_of(EXECUTIONS - number) for number in range(1, 200)])


def live_matches(stores):
    yield lambda: stores.queries.live_matches(parse_filter("integration : flow-7"))


def why(stores):
    def read():
        with stores.database.read() as connection:
            read_circumstances(connection, id_of(EXECUTIONS - 1001))

    yield read


def celery_results(stores):
    yield lambda: stores.results.results([OLD, id_of(7)])
    yield lambda: stores.results.attempts([AttemptKey(execution_id=each, number=1, attempt=1) for each in (OLD, YOUNG)])
    yield lambda: stores.results.save_result("new", status="SUCCESS", meta="{}")


def pruning(stores):
    wanted = Wanted(project="default", location="local", ended_before=stores.pruning.ago(86_400.0))
    page = []
    yield lambda: page.extend(stores.pruning.trees(wanted, limit=200))
    yield lambda: stores.pruning.trees(wanted, limit=200, after=page[-1])
    yield lambda: stores.pruning.members(page[:10])


def deleting(stores):
    wanted = Wanted(project="default", location="local", ended_before=stores.pruning.ago(86_400.0))
    groups = stores.pruning.members(stores.pruning.trees(wanted, limit=10))
    yield lambda: stores.pruning.delete(groups)


HOT = (
    *(claims, commits, commits_of_many_kinds, bundles, creating, reading_what_is_decided_on),
    *(signals, suspensions, limits, schedules, workers, looking, why, celery_results, pruning),
)
# What is looked for by no key, every two seconds at most; and what is taken or deleted a hundred at a time.
# These tables hold what is going on now, and reading 5,000 rows takes a millisecond; an index of live attempts by
# ``worker``, ``owner`` or ``queued_at`` would be written at every claim.
LIVE = {"live_attempts", "timers", "parameters"}
MAY_BE_READ = {
    **dict.fromkeys((outbox, what_the_dead_held, what_a_kill_waits_for, due_timers, deleting), LIVE),
    kills: {"executions"},  # how many are below is a guess: some hundreds
    live_matches: {"executions"},  # the parents of 400 at a time: reading 50,000 is no slower than 400 searches
}


@pytest.mark.parametrize("calls", HOT, ids=lambda calls: calls.__name__)
def test_a_hot_query_reads_no_large_table_from_end_to_end(stores, calls):
    assert [scan for call in calls(stores) for scan in scans(stores, call)] == []


@pytest.mark.parametrize("calls", MAY_BE_READ, ids=lambda calls: calls.__name__)
def test_what_is_looked_for_by_no_key_is_looked_for_among_what_is_live(stores, calls):
    found = [scan for call in calls(stores) for scan in scans(stores, call)]

    assert {scan.table for scan in found} <= MAY_BE_READ[calls]


# -- lists ---------------------------------------------------------------------------------------------------------

FOUND = {  # how a list by each field is written, if an index leads to what fits
    fields.EXECUTION_ID: f"id = '{OLD}'",
    fields.INTEGRATION: "integration = flow-7",
    fields.STATE: "state = FAILED",
    fields.CREATE_TIME: "create_time > 2100-01-01",
    fields.PARENT_ID: f"parent = '{OLD}'",
    fields.ROOT_ID: f"root = '{OLD}'",
    fields.REQUEST_ID: f"request_id = '{id_of(20_000)}'",
    fields.REPLAY_OF: f"replay_of = '{id_of(19_995)}'",
}
# Few values, or searched for in a text, or written at every change: an index would cost every execution more than it
# would save the few lists by these. They are looked for in the order of time, the newest first, until the page is full.
WALKED = {
    *(fields.TRIGGER_ID, fields.EXECUTOR, fields.METHOD, fields.PRIORITY, fields.UPDATE_TIME, fields.END_TIME),
    *(fields.SCHEDULE_TIME, fields.DURATION, fields.SUBMITTED_BY, fields.PROJECT, fields.LOCATION),
    *(fields.PARAMETER, fields.PARAMETER_KEY, fields.PARAMETER_VALUE, fields.PARAMETER_TYPE),
}


def test_every_field_is_either_found_or_walked():
    assert set(fields.FIELDS) == FOUND.keys() | WALKED
    assert FOUND.keys().isdisjoint(WALKED)


def page(stores, *, wish):
    return lambda: read_page(wish, stores.queries, place=HERE)


@pytest.mark.parametrize("wanted", [*FOUND.values(), *(f"state = {state}" for state in ExecutionState)])
def test_what_a_list_shows_is_found_by_an_index(stores, wanted):
    found = scans(stores, page(stores, wish=ListWish(filter=wanted)))

    if wanted == "state = SUCCEEDED":  # what most are: a walk finds a page of it at once
        found = [scan for scan in found if scan.index != "executions_created_at_id_ix"]
    assert found == []


@pytest.mark.parametrize("wanted", ["", "executor = executor-7", "priority > 4", "parameter.a = b"])
def test_a_list_without_an_index_walks_from_the_newest_on(stores, wanted):
    found = scans(stores, page(stores, wish=ListWish(filter=wanted)))

    index = "executions_created_at_id_ix" if wanted else "executions_roots_ix"
    assert {scan.index for scan in found} == {index}


# -- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [key for table in metadata.sorted_tables for key in table.foreign_keys if key.column is executions.c.id],
    ids=lambda key: key.parent.table.name,
)
def test_what_belongs_to_an_execution_is_found_by_an_index(key):
    """Or to delete an execution, the database would look through the whole table."""
    table = key.parent.table

    assert key.parent in [next(iter(each.columns)) for each in (table.primary_key, *table.indexes)]


def test_no_index_of_executions_has_what_changes_while_one_goes_on():
    """Or PostgreSQL would write into all indexes at every commit."""
    changing = {
        "state",
        "revision",
        "progress",
        "updated_at",
        "hold",
        "is_start_recorded",
        "ended_at",
        "response",
        "error",
    }
    indexed = {column.name for index in executions.indexes for column in index.columns}
    conditions = " ".join(str(index.dialect_options["postgresql"]["where"]) for index in executions.indexes)

    assert changing <= {each.name for each in executions.c}
    assert changing.isdisjoint(indexed | set(conditions.split()))

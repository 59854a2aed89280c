"""A database as it is after some weeks: 50,000 executions, 5,000 of them live; and how it would run a statement."""

import re
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from orchestrator.model.json_text import to_json_text
from orchestrator.store import tables as t
from tests.contracts.stored import make_entry, publish

EXECUTIONS, LIVE = 50_000, 5_000
FAMILY = 5  # a root and its children
INTEGRATIONS = 200
LARGE = ("executions", "history", "parameters", "live_attempts", "timers", "suspensions", "signals", "celery_results")
_STATEMENT = re.compile(r"\s*(SELECT|UPDATE|DELETE|INSERT|WITH)\b")


def id_of(number):
    """As long as a real one, and in the order of time."""
    return f"00000000-0000-7000-8000-{number:012}"


def fill(database):
    """Fill an empty, migrated database. The newest are live: some run, wait, are suspended, or are not begun."""
    version_id = publish(database)
    with database.begin() as connection:
        for table in LARGE if not database.is_sqlite else ():
            connection.exec_driver_sql(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")  # or it looks at fewer
        for insert in _inserts(version_id):
            connection.execute(insert)
    if not database.is_sqlite:  # where nobody looks after statistics, and so there are none here
        with database.autocommit() as direct:
            direct.run("SET default_statistics_target = 1000")  # every row: the same plans every time
            direct.run("ANALYZE")


def _inserts(version_id):
    i = _numbers("i", EXECUTIONS)
    number = i.c.i
    is_live = number > EXECUTIONS - LIVE
    is_root = number % FAMILY == 0
    root = number - number % FAMILY
    at = _later(-60.0 * (EXECUTIONS - number))
    ended_state = sa.case((number % 101 == 0, "FAILED"), (number % 997 == 0, "CANCELLED"), else_="SUCCEEDED")
    live_state = sa.case(
        (number % 10 == 1, "PENDING"),
        (number % 10 == 2, "SUSPENDED"),
        (number % 10 == 3, "RETRY_ON_HOLD"),
        else_="PROCESSING",
    )
    yield _into(
        t.executions,
        sa.select(i),
        id=_id(number),
        project="default",
        location="local",
        integration=sa.literal("flow-").concat(sa.cast(number % INTEGRATIONS, sa.Text)),
        version_id=version_id,
        trigger_id="api_trigger/flow",
        method="POST_TO_QUEUE",
        executor=sa.literal("executor-").concat(sa.cast(number % 10, sa.Text)),
        state=sa.case((is_live, live_state), else_=ended_state),
        revision=3,
        progress="s" * 100,
        request='{"a":{"stringValue":"b"}}',
        root_id=_id(root),
        parent_id=sa.case((is_root, None), else_=_id(root)),
        parent_task=sa.case((is_root, None), else_=1),
        parent_attempt=sa.case((is_root, None), else_=1),
        parent_round=sa.case((is_root, None), else_=1),
        position=sa.case((is_root, None), else_=number % FAMILY),
        created_at=at,
        updated_at=at,
        ended_at=sa.case((is_live, None), else_=at),
        signal=sa.case((sa.and_(is_live, number % 500 == 7), "KILL")),
        request_id=sa.case((sa.and_(is_root, number % 50 == 0), _id(number))),
        replay_of=sa.case((sa.and_(is_root, number % 500 == 0), _id(number - 5))),
        priority=number % 10,
    )
    h = _numbers("h", 3 * EXECUTIONS)
    yield _into(
        t.history,
        sa.select(h),
        execution_id=_id((h.c.h + 2) // 3),
        revision=h.c.h % 3 + 1,
        entry=to_json_text(make_entry().to_json()),
    )
    live = _numbers("l", LIVE)
    execution_id = _id(EXECUTIONS - LIVE + live.c.l)
    worker = sa.literal("default@host/4711/").concat(sa.cast(live.c.l % 20, sa.Text))
    yield _into(
        t.live_attempts,
        sa.select(live),
        execution_id=execution_id,
        task_number=1,
        attempt=1,
        round=sa.case((live.c.l % FAMILY == 0, 1), else_=0),
        phase=sa.case((live.c.l % FAMILY == 0, "wait"), else_="run"),
        task_type="Noop",
        executor="default",
        worker=sa.case((live.c.l % FAMILY == 1, worker)),
        owner=sa.case((live.c.l % FAMILY == 1, sa.cast(live.c.l % 20, sa.Text))),
        queued_at=_later(-60.0),
        children=4,
    )
    yield _into(t.parameters, sa.select(live), execution_id=execution_id, key="a", value='{"stringValue":"b"}')
    due_at = _later(60.0 * live.c.l)
    yield _into(t.timers, sa.select(live), execution_id=execution_id, task_number=1, attempt=1, due_at=due_at)
    some = _numbers("s", 20_000)
    yield _into(
        t.suspensions,
        sa.select(some),
        execution_id=_id(EXECUTIONS - 20_000 + some.c.s),
        task_number=1,
        attempt=1,
        state=sa.case((some.c.s > 19_500, "PENDING"), else_="LIFTED"),
        terms="{}",
        created_at=_later(-60.0 * (20_000 - some.c.s)),
    )
    yield _into(t.signals, sa.select(some), execution_id=_id(some.c.s), kind="KILL", actor="ann")
    yield _into(t.celery_results, sa.select(some), task_id=_id(some.c.s), status="SUCCESS", meta="{}")
    few = _numbers("f", 500)
    name = sa.literal("executor/e").concat(sa.cast(few.c.f % 50, sa.Text))
    yield _into(
        t.limits,
        sa.select(few),
        name=sa.literal("executor/e").concat(sa.cast(few.c.f, sa.Text)),
        max_running=3,
        source="OPERATOR",
    )
    held_id = _id(EXECUTIONS - few.c.f)
    yield _into(t.limit_holders, sa.select(few), limit_name=name, execution_id=held_id)
    waiting_id = _id(EXECUTIONS - 1000 - few.c.f)
    yield _into(
        t.limit_waiters,
        sa.select(few),
        limit_name=name,
        execution_id=waiting_id,
        rank=5,
        since=_later(-60.0),
        needs=1,
        standing="IN_LINE",
    )


def _later(seconds):
    return t.later(sa.cast(seconds, sa.Float))


def _numbers(name, count):
    numbers = sa.select(sa.literal(1).label(name)).cte(f"numbers_{name}", recursive=True)
    return numbers.union_all(sa.select(numbers.c[name] + 1).where(numbers.c[name] < count))


def _id(number):
    """``id_of`` in SQL."""
    digits = sa.func.substr(sa.cast(1_000_000_000 + number, sa.Text), 2)
    return sa.literal("00000000-0000-7000-8000-000").concat(digits)


def _into(table, numbers, **columns):
    values = [each if isinstance(each, sa.ColumnElement) else sa.literal(each) for each in columns.values()]
    return sa.insert(table).from_select([*columns], numbers.with_only_columns(*values))


# -- plans ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """A part of a plan that reads a large table from one end to the other, or until it has enough."""

    table: str
    index: str | None  # in whose order
    statement: str


@contextmanager
def captured(database):
    """What is sent to the database meanwhile: statements with their values."""
    seen, autocommit = [], database.autocommit

    def note(connection, cursor, statement, parameters, context, executemany):
        if _STATEMENT.match(statement):
            seen.append((statement, parameters[0] if executemany else parameters))

    @contextmanager
    def noting():
        with autocommit() as direct:
            yield _Noting(direct, seen)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    database.autocommit = noting
    try:
        yield seen
    finally:
        database.autocommit = autocommit
        sa.event.remove(database.engine, "before_cursor_execute", note)


@dataclass
class _Noting:
    """A connection for statements of the hot path, and what goes through it."""

    direct: object
    seen: list

    def run(self, statement, values):
        self.seen.append((statement, values))
        return self.direct.run(statement, values)

    def run_both(self, *both):
        self.seen.extend(both)
        return self.direct.run_both(*both)


def scans_of(database, seen):
    """What of these statements would scan a large table."""
    with database.read() as connection:
        return [scan for statement, values in seen for scan in _scans(connection, statement, values)]


def _scans(connection, statement, values):
    if connection.dialect.name == "sqlite":
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        names = _names(statement)
        for row in plan:
            found = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", row.detail)
            if found and names.get(found[1], found[1]) in LARGE:
                yield Scan(names.get(found[1], found[1]), found[2], statement)
        return
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar_one()
    nodes = [plan["Plan"]]
    for node in nodes:
        nodes.extend(node.get("Plans", ()))
        is_read = node.get("Relation Name") in LARGE and node["Node Type"] != "ModifyTable"
        if is_read and not node.keys() & {"Index Cond", "Recheck Cond", "TID Cond"}:
            yield Scan(node["Relation Name"], node.get("Index Name"), statement)


def _names(statement):
    """What an alias stands for: SQLite's plans name that."""
    return {alias: name for name, alias in re.findall(r"\b(\w+) AS (\w+)", statement)}

"""The tables, for SQLite and PostgreSQL alike.

* ``versions`` and ``version_triggers``: integration definitions, unchanged, and by which triggers they are entered.
* ``executions``: one row a run: where it stands (``state``, ``revision``, packed ``progress``) and how it ended.
* ``live_attempts``: one row for each task that is ready, running or waiting for sub-executions: what workers claim. It
  is gone when the attempt is over, so this table is as large as what is going on now, however long the history.
* ``chunks``: sub-executions that are not begun, by the hundred: what workers claim instead of their attempts. A row is
  gone when the last of them is over.
* ``parameters``: the current parameters of live executions that differ from the request.
* ``history``: one row a change, append-only: attempt stats, snapshots and audits are read from it.
* ``timers``: what is due later: retries, scheduled starts, deadlines, timeouts, ends of suspensions.
* ``suspensions``: what waits, or waited, for a person or an outside system.
* ``signals``: instructions to live executions, with who gave them; kept.
* ``schedules``: when the cron triggers of published versions fire next.
* ``limits``, ``limit_holders``, ``limit_waiters``, ``limit_starts``: how many executions may run at once and start in a
  time, which run, which wait, and which have started lately.
* ``workers``: who works, by heartbeat; an attempt is held for as long as its owner's heartbeat lasts.
* ``duties``: what one worker at a time does for all, and whose turn it is.
* ``keys``: who may ask over the network, and for what; never the key itself.
* ``repeats``: what was answered to requests that may come a second time; for an hour.
* ``celery_*``: results, groups and chords of tasks that are not ours but use our result backend.

JSON is kept as ASCII text, not as ``jsonb``: a NUL, a lone surrogate, an int64 and ``-0.0`` come back as they went in.
Migrations under ``migrations/`` create these tables; a test holds the two against each other.

Rows that come by the thousand are inserted together with the row that they belong to, or in the transaction that has
just changed it; versions are never deleted. So their foreign keys can refuse nothing, and PostgreSQL, which looks up
and locks that row for each of them, does without (``_belongs``): that is a third of what a sub-execution in a chunk
costs it. Who deletes executions deletes what belongs to them first (``store.pruning``).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement, GenericFunction


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime, to the microsecond."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """SQLite keeps no zone: everything in it is UTC."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Aware again, and in UTC whatever the server's zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class now(FunctionElement[datetime]):  # noqa: N801 - written like the SQL function it is
    """The database's clock at this moment, not at the start of the transaction. It is the only clock of the store."""

    type = Instant()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ARG001
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ARG001
    return "clock_timestamp()"


class later(FunctionElement[datetime]):  # noqa: N801 - likewise
    """``later(seconds)``: the database's clock plus some seconds."""

    type = Instant()
    inherit_cache = True


@compiles(later, "sqlite")
def _later_sqlite(element: later, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', {seconds} || ' seconds') || '000')"


@compiles(later, "postgresql")
def _later_postgresql(element: later, compiler: SQLCompiler, **options: Any) -> str:
    return f"(clock_timestamp() + CAST({compiler.process(element.clauses, **options)} AS float8) * interval '1 second')"


class Texts(sa.types.TypeDecorator[list[str]]):
    """A list of texts as one value of a statement: the statement is the same however many there are."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        """An array where there are some: a planner that knows their number takes an index for a few."""
        return dialect.type_descriptor(sa.Text() if dialect.name == "sqlite" else sa.ARRAY(sa.Text()))

    def process_bind_param(self, value: list[str] | None, dialect: sa.Dialect) -> str | list[str] | None:
        """As JSON where there are no arrays."""
        return json.dumps(value) if dialect.name == "sqlite" else value


class rows_of_texts(GenericFunction[str]):  # noqa: N801 - likewise
    """The rows of a list of texts, in a column ``value``."""

    name = "rows_of_texts"
    inherit_cache = True


@compiles(rows_of_texts, "sqlite")
def _rows_sqlite(element: rows_of_texts, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(rows_of_texts, "postgresql")
def _rows_postgresql(element: rows_of_texts, compiler: SQLCompiler, **options: Any) -> str:
    return f"(SELECT unnest({compiler.process(element.clauses, **options)}) AS value)"


def texts_of(name: str) -> sa.Select[tuple[str]]:
    """What ``column.in_`` takes for a list of texts that is given at the execution, under this name."""
    return sa.select(rows_of_texts(sa.bindparam(name, type_=Texts)).table_valued("value").c.value)


metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "fk": "%(table_name)s_%(column_0_name)s_fk",
        "ix": "%(table_name)s_%(column_0_N_name)s_ix",
        "uq": "%(table_name)s_%(column_0_N_name)s_uq",
    }
)


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> sa.Index:
    """An index of some rows. SQLite uses it only for a query that has the condition in it, word for word."""
    condition = sa.text(where)
    return sa.Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _belongs(column: str, target: str) -> sa.ForeignKeyConstraint:
    """Which row this one belongs to. Only SQLite, which could not take it away, has it as a constraint."""
    return sa.ForeignKeyConstraint([column], [target]).ddl_if(dialect="sqlite")


versions = sa.Table(
    "versions",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("project", sa.String(64), nullable=False),
    sa.Column("location", sa.String(64), nullable=False),
    sa.Column("integration", sa.String(256), nullable=False),
    sa.Column("snapshot_number", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # DRAFT, ACTIVE (the published one), ARCHIVED, SNAPSHOT
    sa.Column("digest", sa.String(64), nullable=False),  # SHA-256 of the document
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False, server_default=now()),
    sa.Column("updated_at", Instant),  # NULL: nothing has changed since it was created; so the next
    sa.Column("state_at", Instant),  # since when it is in its state
    sa.Column("user_label", sa.Text, nullable=False, server_default=""),  # of the document, and so the next
    sa.Column("description", sa.Text, nullable=False, server_default=""),
    sa.Column("lock_holder", sa.String(256)),  # who edits the DRAFT
    sa.Column("last_modifier", sa.String(256)),
    sa.UniqueConstraint("project", "location", "integration", "snapshot_number"),
    sa.Index(None, "project", "location", "integration", "digest"),
    _partial("versions_active_ix", "project", "location", "integration", where="state = 'ACTIVE'", unique=True),
)

version_triggers = sa.Table(
    "version_triggers",
    metadata,
    sa.Column("version_id", sa.ForeignKey("versions.id"), primary_key=True),
    sa.Column("trigger_id", sa.String(512), primary_key=True),
    sa.Index(None, "trigger_id"),
)


class generated(sa.Computed):  # noqa: N801 - likewise
    """``generated(text)``: a column that the database works out. PostgreSQL indexes only what it keeps."""

    inherit_cache = True


@compiles(generated, "postgresql")
def _generated_postgresql(element: generated, compiler: Any, **options: Any) -> str:
    return f"GENERATED ALWAYS AS ({compiler.sql_compiler.process(element.sqltext, **options)}) STORED"


LIVE: Final = "LIVE"
STAGE: Final = f"CASE WHEN state IN ('FAILED', 'CANCELLED') THEN state WHEN state <> 'SUCCEEDED' THEN '{LIVE}' END"

# On PostgreSQL an UPDATE that changes what any index has, or has in its condition, makes an entry in every index that
# has the row; one that does not makes none. So nothing that changes as an execution goes on is indexed, but for what
# changes at its end alone: ``stage``. Indexes that few rows need are partial.
executions = sa.Table(
    "executions",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("project", sa.String(64), nullable=False),
    sa.Column("location", sa.String(64), nullable=False),
    sa.Column("integration", sa.String(256), nullable=False),
    sa.Column("version_id", sa.String(36), nullable=False),
    sa.Column("trigger_id", sa.String(512), nullable=False),
    sa.Column("method", sa.String(16), nullable=False),  # ExecutionMethod: POST, POST_TO_QUEUE, SCHEDULE
    sa.Column("executor", sa.String(128), nullable=False),  # where tasks without an executorId of their own go
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),  # the number of history rows; every commit compares and sets it
    sa.Column("progress", sa.Text, nullable=False),  # packed by engine.progress
    sa.Column("request", sa.Text, nullable=False),  # the parameters it started with
    sa.Column("response", sa.Text),  # the parameters it answered, when it is final
    sa.Column("error", sa.Text),  # why it FAILED
    sa.Column("root_id", sa.String(36), nullable=False),
    sa.Column("parent_id", sa.String(36)),
    sa.Column("parent_task", sa.Integer),
    sa.Column("parent_attempt", sa.Integer),
    sa.Column("parent_round", sa.Integer),  # NULL for a child that nobody waits for
    sa.Column("position", sa.Integer),  # among its parent's children, over all tasks and rounds
    sa.Column("created_at", Instant, nullable=False, server_default=now()),
    sa.Column("updated_at", Instant, nullable=False, server_default=now()),
    sa.Column("ended_at", Instant),
    sa.Column("priority", sa.SmallInteger, nullable=False, server_default="4"),  # 0 to 9, the most urgent
    sa.Column("signal", sa.String(24)),  # store.kinds.Signal: what keeps its tasks from being claimed, or stops them
    sa.Column("hold", sa.String(16)),  # store.kinds.Hold: why its start is not decided yet
    sa.Column("is_start_recorded", sa.Boolean, nullable=False, server_default=sa.false()),  # in its history
    sa.Column("is_limited", sa.Boolean, nullable=False, server_default=sa.false()),  # it holds or waits for a limit
    sa.Column("scheduled_at", Instant),
    sa.Column("deadline_at", Instant),
    sa.Column("request_id", sa.String(36)),
    sa.Column("replay_of", sa.String(36)),
    sa.Column("replay_mode", sa.String(32)),
    sa.Column("replay_reason", sa.Text),
    sa.Column("stage", sa.String(9), generated(STAGE)),  # what the list by states goes by; NULL: SUCCEEDED
    sa.Column("submitted_by", sa.Text),  # NULL: a schedule, or its parent
    _belongs("version_id", "versions.id"),
    _partial(
        "executions_request_ix",
        *("request_id", "project", "location", "integration"),
        where="request_id IS NOT NULL",
        unique=True,
    ),
    _partial("executions_replay_of_ix", "replay_of", where="replay_of IS NOT NULL"),
    _partial("executions_signal_ix", "signal", where="signal IS NOT NULL"),
    sa.Index(None, "root_id"),
    _partial("executions_parent_id_parent_task_ix", "parent_id", "parent_task", where="parent_id IS NOT NULL"),
    _partial("executions_roots_ix", "created_at", "id", where="parent_id IS NULL"),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "integration", "created_at"),
    _partial("executions_stage_ix", "stage", "created_at", "id", where="stage IS NOT NULL"),
)

live_attempts = sa.Table(
    "live_attempts",
    metadata,
    sa.Column("execution_id", sa.String(36), primary_key=True),
    sa.Column("task_number", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),  # of sub-executions; 0 before the first
    sa.Column("phase", sa.String(8), nullable=False),  # run, wait (for sub-executions), join
    sa.Column("task_type", sa.String(256), nullable=False),
    sa.Column("executor", sa.String(128), nullable=False),
    sa.Column("worker", sa.String(256)),  # the process that has claimed this phase, or NULL
    sa.Column("queued_at", Instant, nullable=False, server_default=now()),
    sa.Column("started_at", Instant),  # of the attempt: its first claim, or the first since it was given back
    sa.Column("children", sa.Integer, nullable=False, server_default="0"),  # of this round
    sa.Column("arrived", sa.Integer, nullable=False, server_default="0"),  # how many of them are final
    sa.Column("first_position", sa.Integer, nullable=False, server_default="0"),  # of this round's children
    sa.Column("carry", sa.Text),  # what the task remembers between rounds
    sa.Column("stop_at", Instant),  # since when its worker is asked to end it
    sa.Column("losses", sa.Integer, nullable=False, server_default="0"),  # how many workers died with it
    sa.Column("owner", sa.String(256)),  # the worker whose process has claimed it: ``workers.id``
    sa.Column("published_at", Instant),  # when recovery last published it again
    sa.Column("has_begun", sa.Boolean, nullable=False, server_default=sa.false()),  # in a worker that has it no more
    sa.Column("rides_with", sa.String(36)),  # the execution whose message claims it, too: ``store.bundles``
    _belongs("execution_id", "executions.id"),
    _partial("live_attempts_rides_with_ix", "rides_with", where="rides_with IS NOT NULL"),
)

# No foreign key: a worker may hold a chunk a little longer than there is anybody who waits for it.
chunks = sa.Table(
    "chunks",
    metadata,
    sa.Column("execution_id", sa.String(36), primary_key=True),  # whose sub-executions they are
    sa.Column("task_number", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("first_position", sa.Integer, primary_key=True),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("done", sa.Integer, nullable=False, server_default="0"),  # so many, from the first on, have rows
    sa.Column("inputs", sa.Text, nullable=False),  # JSON: a list of what their column ``request`` will hold
    sa.Column("version_id", sa.String(36), nullable=False),
    sa.Column("trigger_id", sa.String(512), nullable=False),
    sa.Column("executor", sa.String(128), nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("worker", sa.String(256)),  # as of ``live_attempts``, and so the following
    sa.Column("owner", sa.String(256)),
    sa.Column("queued_at", Instant, nullable=False, server_default=now()),
    sa.Column("published_at", Instant),
    sa.Column("losses", sa.Integer, nullable=False, server_default="0"),
)

parameters = sa.Table(
    "parameters",
    metadata,
    sa.Column("execution_id", sa.String(36), primary_key=True),
    sa.Column("key", sa.String(512), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    _belongs("execution_id", "executions.id"),
)

history = sa.Table(
    "history",
    metadata,
    sa.Column("execution_id", sa.String(36), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),  # from 1, without gaps
    sa.Column("entry", sa.Text, nullable=False),
    _belongs("execution_id", "executions.id"),
)

timers = sa.Table(
    "timers",
    metadata,
    sa.Column("execution_id", sa.ForeignKey("executions.id"), primary_key=True),
    sa.Column("task_number", sa.Integer, primary_key=True),  # 0: of the execution as a whole
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("kind", sa.String(16), primary_key=True, server_default="RETRY"),  # model.timers.TimerKind
    sa.Column("taken_until", Instant),  # some worker is about to fire it; after this time another one may
    sa.Index(None, "due_at"),
)

suspensions = sa.Table(
    "suspensions",
    metadata,
    sa.Column("execution_id", sa.ForeignKey("executions.id"), primary_key=True),
    sa.Column("task_number", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),  # PENDING, LIFTED, REJECTED, or CANCELLED with its execution
    sa.Column("terms", sa.Text, nullable=False),  # JSON: message, expiry, reminder, who may resolve it
    sa.Column("is_timer", sa.Boolean, nullable=False, server_default=sa.false()),  # the clock ends it, and nobody else
    sa.Column("created_at", Instant, nullable=False, server_default=now()),
    sa.Column("expires_at", Instant),
    sa.Column("resolved_at", Instant),
    sa.Column("resolver", sa.String(256)),
    sa.Column("result", sa.Text),  # the answer, a value as JSON
    sa.Column("reminders", sa.Integer, nullable=False, server_default="0"),  # how often somebody was reminded
    sa.Index(None, "state", "created_at"),
)

signals = sa.Table(
    "signals",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("execution_id", sa.ForeignKey("executions.id"), nullable=False),
    sa.Column("kind", sa.String(24), nullable=False),
    sa.Column("actor", sa.String(256), nullable=False),
    sa.Column("impersonator", sa.String(256)),
    sa.Column("message", sa.Text),
    sa.Column("sent_at", Instant, nullable=False, server_default=now()),
    sa.Index(None, "execution_id"),
)

schedules = sa.Table(
    "schedules",
    metadata,
    sa.Column("project", sa.String(64), primary_key=True),
    sa.Column("location", sa.String(64), primary_key=True),
    sa.Column("integration", sa.String(256), primary_key=True),
    sa.Column("trigger_id", sa.String(512), primary_key=True),
    sa.Column("version_id", sa.ForeignKey("versions.id"), nullable=False),
    sa.Column("cron", sa.String(256), nullable=False),
    sa.Column("time_zone", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # ACTIVE, PAUSED
    sa.Column("next_at", Instant),  # NULL: it is paused, or has no time to come
    sa.Column("last_at", Instant),  # the time that was last fired for
    sa.Column("last_execution_id", sa.String(36)),
    sa.Column("updated_at", Instant, nullable=False, server_default=now()),
    sa.Index(None, "state", "next_at"),
)

limits = sa.Table(
    "limits",
    metadata,
    sa.Column("name", sa.String(1024), primary_key=True),  # as engine.limits writes it
    sa.Column("max_running", sa.Integer),  # NULL: any number
    sa.Column("rate_count", sa.Integer),  # so many starts ...
    sa.Column("rate_period_s", sa.Integer),  # ... in so many seconds
    sa.Column("source", sa.String(16), nullable=False),  # DEFINITION, or OPERATOR: then publishing leaves it alone
    sa.Column("updated_at", Instant, nullable=False, server_default=now()),
)

# An execution asks for its slots before its row is written, in the same transaction: hence DEFERRED.
limit_holders = sa.Table(
    "limit_holders",
    metadata,
    sa.Column("limit_name", sa.String(1024), primary_key=True),
    sa.Column("execution_id", sa.ForeignKey("executions.id", deferrable=True, initially="DEFERRED"), primary_key=True),
    sa.Column("since", Instant, nullable=False, server_default=now()),
    sa.Index(None, "execution_id"),
)

limit_waiters = sa.Table(
    "limit_waiters",
    metadata,
    sa.Column("limit_name", sa.String(1024), primary_key=True),
    sa.Column("execution_id", sa.ForeignKey("executions.id", deferrable=True, initially="DEFERRED"), primary_key=True),
    sa.Column("rank", sa.SmallInteger, nullable=False),  # 9 minus the priority: the lowest goes first
    sa.Column("since", Instant, nullable=False),  # the same for all limits of an execution
    sa.Column("needs", sa.Integer, nullable=False),  # how many limits this execution waits for
    sa.Column("standing", sa.String(10), nullable=False),  # store.limit_terms.Standing: whether it is in line here
    sa.Column("lost", sa.SmallInteger, nullable=False, server_default="0"),  # turns here, when another limit was full
    sa.Index(None, "standing", "limit_name", "rank", "since", "execution_id"),
    sa.Index(None, "execution_id"),
)

limit_starts = sa.Table(
    "limit_starts",
    metadata,
    sa.Column("limit_name", sa.String(1024), primary_key=True),  # of a limit with a rate
    sa.Column("execution_id", sa.String(36), primary_key=True),
    sa.Column("started_at", Instant, nullable=False, server_default=now()),
    sa.Index(None, "limit_name", "started_at"),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", sa.String(256), primary_key=True),  # of this start of it: another one has another id
    sa.Column("name", sa.String(256), nullable=False),  # Celery's node name
    sa.Column("machine", sa.String(128), nullable=False),  # whose process table has ...
    sa.Column("pid", sa.Integer, nullable=False),  # ... its main process ...
    sa.Column("began", sa.BigInteger, nullable=False),  # ... which began then: clock ticks since the machine did
    sa.Column("queues", sa.Text, nullable=False),  # JSON: the queues it consumes
    sa.Column("state", sa.String(16), nullable=False),  # store.workers.WorkerState
    sa.Column("started_at", Instant, nullable=False, server_default=now()),
    sa.Column("beat_at", Instant, nullable=False, server_default=now()),
    sa.Column("steady_since", Instant, nullable=False),  # it has beaten in time ever since
)

duties = sa.Table(
    "duties",
    metadata,
    sa.Column("name", sa.String(256), primary_key=True),
    sa.Column("holder", sa.String(256), nullable=False),  # ``workers.id``
    sa.Column("term", sa.Integer, nullable=False),  # counts the holders: what one of an earlier term writes is refused
    sa.Column("until", Instant, nullable=False, server_default=now()),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.String(8), primary_key=True),  # a part of the key's text
    sa.Column("name", sa.String(128), nullable=False),  # the same for the keys that replace each other
    sa.Column("hash", sa.String(64), nullable=False),  # SHA-256 of the text, which is kept nowhere
    sa.Column("scopes", sa.Text, nullable=False),  # JSON: a list of model.keys.Scope
    sa.Column("executor", sa.String(128)),  # NULL: any
    sa.Column("actor", sa.String(256), nullable=False),  # who did it, whenever something is done with this key
    sa.Column("created_at", Instant, nullable=False, server_default=now()),
    sa.Column("created_by", sa.String(256), nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("revoked_at", Instant),
    sa.Column("revoked_by", sa.String(256)),
    sa.Column("last_used_at", Instant),  # to the minute: store.keys
    sa.UniqueConstraint("hash"),
)

repeats = sa.Table(
    "repeats",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),  # SHA-256 of who asks, and for what
    sa.Column("wish_id", sa.String(36), nullable=False),  # the same for all copies of one request
    sa.Column("answer", sa.Text),  # JSON; NULL while the first copy is acted on, or if nobody came to the end of it
    sa.Column("began_at", Instant, nullable=False, server_default=now()),  # when the first copy came
    sa.Column("acts_until", Instant, nullable=False),  # from then on another copy may act
    sa.Index(None, "began_at"),
)

celery_results = sa.Table(
    "celery_results",
    metadata,
    sa.Column("task_id", sa.String(255), primary_key=True),
    sa.Column("status", sa.String(50), nullable=False),
    sa.Column("meta", sa.Text, nullable=False),
    sa.Column("done_at", Instant, nullable=False, server_default=now()),
    sa.Index(None, "done_at"),
)

celery_groups = sa.Table(
    "celery_groups",
    metadata,
    sa.Column("group_id", sa.String(255), primary_key=True),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("done_at", Instant, nullable=False, server_default=now()),
)

celery_chords = sa.Table(
    "celery_chords",
    metadata,
    sa.Column("group_id", sa.String(255), primary_key=True),
    sa.Column("size", sa.Integer),  # known only when the last header message is about to go out
    sa.Column("is_fired", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("created_at", Instant, nullable=False, server_default=now()),
)

celery_chord_parts = sa.Table(
    "celery_chord_parts",
    metadata,
    sa.Column("group_id", sa.String(255), primary_key=True),
    sa.Column("task_id", sa.String(255), primary_key=True),
    sa.Column("position", sa.Integer),
    sa.Column("state", sa.String(50), nullable=False),
    sa.Column("result", sa.Text),
)

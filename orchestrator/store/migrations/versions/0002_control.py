"""Control of executions: suspensions, signals, schedules, limits, and timers of every kind."""

import sqlalchemy as sa
from alembic import op

from orchestrator.store.tables import Instant, now

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = ("suspensions", "signals", "schedules", "limits", "limit_holders", "limit_waiters", "limit_starts", "workers")
_EXECUTION_COLUMNS = (
    "priority",
    "signal",
    "hold",
    "is_start_recorded",
    "is_limited",
    "scheduled_at",
    "deadline_at",
    "request_id",
    "replay_of",
    "replay_mode",
    "replay_reason",
)


def upgrade() -> None:
    """Add them."""
    with op.batch_alter_table("executions") as batch:
        batch.add_column(sa.Column("priority", sa.SmallInteger(), server_default="4", nullable=False))
        batch.add_column(sa.Column("signal", sa.String(length=24), nullable=True))
        batch.add_column(sa.Column("hold", sa.String(length=16), nullable=True))
        batch.add_column(sa.Column("is_start_recorded", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch.add_column(sa.Column("is_limited", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch.add_column(sa.Column("scheduled_at", Instant(), nullable=True))
        batch.add_column(sa.Column("deadline_at", Instant(), nullable=True))
        batch.add_column(sa.Column("request_id", sa.String(length=36), nullable=True))
        batch.add_column(sa.Column("replay_of", sa.String(length=36), nullable=True))
        batch.add_column(sa.Column("replay_mode", sa.String(length=32), nullable=True))
        batch.add_column(sa.Column("replay_reason", sa.Text(), nullable=True))
    op.create_index(
        "executions_request_ix", "executions", ["project", "location", "integration", "request_id"], unique=True
    )
    op.create_index(op.f("executions_replay_of_ix"), "executions", ["replay_of"])
    op.create_index(
        "executions_signal_ix",
        "executions",
        ["signal"],
        sqlite_where=sa.text("signal IS NOT NULL"),
        postgresql_where=sa.text("signal IS NOT NULL"),
    )
    with op.batch_alter_table("live_attempts") as batch:
        batch.add_column(sa.Column("stop_at", Instant(), nullable=True))
        batch.add_column(sa.Column("losses", sa.Integer(), server_default="0", nullable=False))
    with op.batch_alter_table("timers") as batch:
        batch.add_column(sa.Column("kind", sa.String(length=16), server_default="RETRY", nullable=False))
        batch.add_column(sa.Column("taken_until", Instant(), nullable=True))
        batch.drop_constraint("timers_pk", type_="primary")
        batch.create_primary_key("timers_pk", ["execution_id", "task_number", "kind"])
    _create_tables()


def _create_tables() -> None:
    op.create_table(
        "suspensions",
        sa.Column("execution_id", sa.String(length=36), nullable=False),
        sa.Column("task_number", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("is_timer", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", Instant(), nullable=False, server_default=now()),
        sa.Column("expires_at", Instant()),
        sa.Column("resolved_at", Instant()),
        sa.Column("resolver", sa.String(length=256)),
        sa.Column("result", sa.Text()),
        sa.Column("reminders", sa.Integer(), nullable=False, server_default="0"),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], name=op.f("suspensions_execution_id_fk")),
        sa.PrimaryKeyConstraint("execution_id", "task_number", "attempt", name=op.f("suspensions_pk")),
    )
    op.create_index(op.f("suspensions_state_created_at_ix"), "suspensions", ["state", "created_at"])
    op.create_table(
        "signals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("execution_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("impersonator", sa.String(length=256)),
        sa.Column("message", sa.Text()),
        sa.Column("sent_at", Instant(), nullable=False, server_default=now()),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], name=op.f("signals_execution_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("signals_pk")),
    )
    op.create_index(op.f("signals_execution_id_ix"), "signals", ["execution_id"])
    op.create_table(
        "schedules",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("location", sa.String(length=64), nullable=False),
        sa.Column("integration", sa.String(length=256), nullable=False),
        sa.Column("trigger_id", sa.String(length=512), nullable=False),
        sa.Column("version_id", sa.String(length=36), nullable=False),
        sa.Column("cron", sa.String(length=256), nullable=False),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("next_at", Instant()),
        sa.Column("last_at", Instant()),
        sa.Column("last_execution_id", sa.String(length=36)),
        sa.Column("updated_at", Instant(), nullable=False, server_default=now()),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("schedules_version_id_fk")),
        sa.PrimaryKeyConstraint("project", "location", "integration", "trigger_id", name=op.f("schedules_pk")),
    )
    op.create_index(op.f("schedules_state_next_at_ix"), "schedules", ["state", "next_at"])
    op.create_table(
        "limits",
        sa.Column("name", sa.String(length=1024), nullable=False),
        sa.Column("max_running", sa.Integer()),
        sa.Column("rate_count", sa.Integer()),
        sa.Column("rate_period_s", sa.Integer()),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False, server_default=now()),
        sa.PrimaryKeyConstraint("name", name=op.f("limits_pk")),
    )
    op.create_table(
        "limit_holders",
        sa.Column("limit_name", sa.String(length=1024), nullable=False),
        sa.Column("execution_id", sa.String(length=36), nullable=False),
        sa.Column("since", Instant(), nullable=False, server_default=now()),
        sa.ForeignKeyConstraint(
            ["execution_id"],
            ["executions.id"],
            name=op.f("limit_holders_execution_id_fk"),
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.PrimaryKeyConstraint("limit_name", "execution_id", name=op.f("limit_holders_pk")),
    )
    op.create_index(op.f("limit_holders_execution_id_ix"), "limit_holders", ["execution_id"])
    op.create_table(
        "limit_waiters",
        sa.Column("limit_name", sa.String(length=1024), nullable=False),
        sa.Column("execution_id", sa.String(length=36), nullable=False),
        sa.Column("rank", sa.SmallInteger(), nullable=False),
        sa.Column("since", Instant(), nullable=False),
        sa.Column("needs", sa.Integer(), nullable=False),
        sa.Column("standing", sa.String(length=10), nullable=False),
        sa.Column("lost", sa.SmallInteger(), nullable=False, server_default="0"),
        sa.ForeignKeyConstraint(
            ["execution_id"],
            ["executions.id"],
            name=op.f("limit_waiters_execution_id_fk"),
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.PrimaryKeyConstraint("limit_name", "execution_id", name=op.f("limit_waiters_pk")),
    )
    op.create_index(
        op.f("limit_waiters_standing_limit_name_rank_since_execution_id_ix"),
        "limit_waiters",
        ["standing", "limit_name", "rank", "since", "execution_id"],
    )
    op.create_index(op.f("limit_waiters_execution_id_ix"), "limit_waiters", ["execution_id"])
    op.create_table(
        "limit_starts",
        sa.Column("limit_name", sa.String(length=1024), nullable=False),
        sa.Column("execution_id", sa.String(length=36), nullable=False),
        sa.Column("started_at", Instant(), nullable=False, server_default=now()),
        sa.PrimaryKeyConstraint("limit_name", "execution_id", name=op.f("limit_starts_pk")),
    )
    op.create_index(op.f("limit_starts_limit_name_started_at_ix"), "limit_starts", ["limit_name", "started_at"])
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=256), nullable=False),
        sa.Column("queues", sa.Text(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False, server_default=now()),
        sa.Column("beat_at", Instant(), nullable=False, server_default=now()),
        sa.PrimaryKeyConstraint("id", name=op.f("workers_pk")),
    )


def downgrade() -> None:
    """Take them away; what they held is lost."""
    for table in reversed(_TABLES):
        op.drop_table(table)
    op.execute("DELETE FROM timers WHERE kind <> 'RETRY'")
    with op.batch_alter_table("timers") as batch:
        batch.drop_constraint("timers_pk", type_="primary")
        batch.create_primary_key("timers_pk", ["execution_id", "task_number"])
        batch.drop_column("taken_until")
        batch.drop_column("kind")
    with op.batch_alter_table("live_attempts") as batch:
        batch.drop_column("losses")
        batch.drop_column("stop_at")
    for index in ("executions_signal_ix", "executions_replay_of_ix", "executions_request_ix"):
        op.drop_index(index, "executions")
    with op.batch_alter_table("executions") as batch:
        for column in reversed(_EXECUTION_COLUMNS):
            batch.drop_column(column)

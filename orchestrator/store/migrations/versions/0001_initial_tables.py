"""Initial tables."""

import sqlalchemy as sa
from alembic import op

from orchestrator.store.tables import Instant, now

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "celery_chord_parts",
        sa.Column("group_id", sa.String(length=255), nullable=False),
        sa.Column("task_id", sa.String(length=255), nullable=False),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=50), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("group_id", "task_id", name=op.f("celery_chord_parts_pk")),
    )
    op.create_table(
        "celery_chords",
        sa.Column("group_id", sa.String(length=255), nullable=False),
        sa.Column("size", sa.Integer(), nullable=True),
        sa.Column("is_fired", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", Instant(), server_default=now(), nullable=False),
        sa.PrimaryKeyConstraint("group_id", name=op.f("celery_chords_pk")),
    )
    op.create_table(
        "celery_groups",
        sa.Column("group_id", sa.String(length=255), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("done_at", Instant(), server_default=now(), nullable=False),
        sa.PrimaryKeyConstraint("group_id", name=op.f("celery_groups_pk")),
    )
    op.create_table(
        "celery_results",
        sa.Column("task_id", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=50), nullable=False),
        sa.Column("meta", sa.Text(), nullable=False),
        sa.Column("done_at", Instant(), server_default=now(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", name=op.f("celery_results_pk")),
    )
    op.create_index(op.f("celery_results_done_at_ix"), "celery_results", ["done_at"], unique=False)
    op.create_table(
        "versions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("location", sa.String(length=64), nullable=False),
        sa.Column("integration", sa.String(length=256), nullable=False),
        sa.Column("snapshot_number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), server_default=now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("versions_pk")),
        sa.UniqueConstraint(
            "project",
            "location",
            "integration",
            "snapshot_number",
            name=op.f("versions_project_location_integration_snapshot_number_uq"),
        ),
    )
    op.create_index(
        op.f("versions_project_location_integration_digest_ix"),
        "versions",
        ["project", "location", "integration", "digest"],
        unique=False,
    )
    op.create_table(
        "executions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("location", sa.String(length=64), nullable=False),
        sa.Column("integration", sa.String(length=256), nullable=False),
        sa.Column("version_id", sa.String(length=36), nullable=False),
        sa.Column("trigger_id", sa.String(length=512), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("executor", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("progress", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("root_id", sa.String(length=36), nullable=False),
        sa.Column("parent_id", sa.String(length=36), nullable=True),
        sa.Column("parent_task", sa.Integer(), nullable=True),
        sa.Column("parent_attempt", sa.Integer(), nullable=True),
        sa.Column("parent_round", sa.Integer(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("created_at", Instant(), server_default=now(), nullable=False),
        sa.Column("updated_at", Instant(), server_default=now(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("executions_version_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("executions_pk")),
    )
    op.create_index(op.f("executions_created_at_id_ix"), "executions", ["created_at", "id"], unique=False)
    op.create_index(
        op.f("executions_integration_created_at_ix"), "executions", ["integration", "created_at"], unique=False
    )
    op.create_index(
        op.f("executions_parent_id_parent_task_ix"), "executions", ["parent_id", "parent_task"], unique=False
    )
    op.create_index(op.f("executions_root_id_ix"), "executions", ["root_id"], unique=False)
    op.create_index(op.f("executions_state_created_at_ix"), "executions", ["state", "created_at"], unique=False)
    op.create_table(
        "version_triggers",
        sa.Column("version_id", sa.String(length=36), nullable=False),
        sa.Column("trigger_id", sa.String(length=512), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("version_triggers_version_id_fk")),
        sa.PrimaryKeyConstraint("version_id", "trigger_id", name=op.f("version_triggers_pk")),
    )
    op.create_index(op.f("version_triggers_trigger_id_ix"), "version_triggers", ["trigger_id"], unique=False)
    op.create_table(
        "history",
        sa.Column("execution_id", sa.String(length=36), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], name=op.f("history_execution_id_fk")),
        sa.PrimaryKeyConstraint("execution_id", "revision", name=op.f("history_pk")),
    )
    op.create_table(
        "live_attempts",
        sa.Column("execution_id", sa.String(length=36), nullable=False),
        sa.Column("task_number", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(length=8), nullable=False),
        sa.Column("task_type", sa.String(length=256), nullable=False),
        sa.Column("executor", sa.String(length=128), nullable=False),
        sa.Column("worker", sa.String(length=256), nullable=True),
        sa.Column("queued_at", Instant(), server_default=now(), nullable=False),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.Column("children", sa.Integer(), server_default="0", nullable=False),
        sa.Column("arrived", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_position", sa.Integer(), server_default="0", nullable=False),
        sa.Column("carry", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], name=op.f("live_attempts_execution_id_fk")),
        sa.PrimaryKeyConstraint("execution_id", "task_number", name=op.f("live_attempts_pk")),
    )
    op.create_index("live_attempts_lease_until_ix", "live_attempts", ["lease_until"], unique=False)
    op.create_table(
        "parameters",
        sa.Column("execution_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], name=op.f("parameters_execution_id_fk")),
        sa.PrimaryKeyConstraint("execution_id", "key", name=op.f("parameters_pk")),
    )
    op.create_table(
        "timers",
        sa.Column("execution_id", sa.String(length=36), nullable=False),
        sa.Column("task_number", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], name=op.f("timers_execution_id_fk")),
        sa.PrimaryKeyConstraint("execution_id", "task_number", name=op.f("timers_pk")),
    )
    op.create_index(op.f("timers_due_at_ix"), "timers", ["due_at"], unique=False)


def downgrade() -> None:
    """Drop every table."""
    op.drop_table("timers")
    op.drop_table("parameters")
    op.drop_table("live_attempts")
    op.drop_table("history")
    op.drop_table("version_triggers")
    op.drop_table("executions")
    op.drop_table("versions")
    op.drop_table("celery_results")
    op.drop_table("celery_groups")
    op.drop_table("celery_chords")
    op.drop_table("celery_chord_parts")

"""Chunks: sub-executions that are not begun, by the hundred."""

import sqlalchemy as sa
from alembic import op

from orchestrator.store.tables import Instant, now

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A new table; nothing else changes."""
    op.create_table(
        "chunks",
        sa.Column("execution_id", sa.String(length=36), nullable=False),
        sa.Column("task_number", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("first_position", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("version_id", sa.String(length=36), nullable=False),
        sa.Column("trigger_id", sa.String(length=512), nullable=False),
        sa.Column("executor", sa.String(length=128), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("worker", sa.String(length=256), nullable=True),
        sa.Column("owner", sa.String(length=256), nullable=True),
        sa.Column("queued_at", Instant(), server_default=now(), nullable=False),
        sa.Column("published_at", Instant(), nullable=True),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "task_number", "attempt", "first_position", name=op.f("chunks_pk")),
    )


def downgrade() -> None:
    """Take it away. What waits for chunks must have ended before."""
    op.drop_table("chunks")

"""Repeats: what was answered to requests that may come a second time."""

import sqlalchemy as sa
from alembic import op

from orchestrator.store.tables import Instant, now

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A new table; nothing else changes."""
    op.create_table(
        "repeats",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("wish_id", sa.String(length=36), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("began_at", Instant(), server_default=now(), nullable=False),
        sa.Column("acts_until", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("repeats_pk")),
    )
    op.create_index(op.f("repeats_began_at_ix"), "repeats", ["began_at"])


def downgrade() -> None:
    """Take it away: requests that come twice are then two."""
    op.drop_table("repeats")

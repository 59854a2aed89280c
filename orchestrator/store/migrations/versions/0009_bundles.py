"""Bundles: start tasks of many executions that one message has claimed together.

Only rows of bundles are in the index, and what it has of them does not change at a claim.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A new column; what is there rides with nothing."""
    op.add_column("live_attempts", sa.Column("rides_with", sa.String(length=36), nullable=True))
    condition = sa.text("rides_with IS NOT NULL")
    op.create_index(
        "live_attempts_rides_with_ix",
        "live_attempts",
        ["rides_with"],
        sqlite_where=condition,
        postgresql_where=condition,
    )


def downgrade() -> None:
    """Take it away: each of them counts on its own, and gets a message of its own."""
    op.drop_index("live_attempts_rides_with_ix", "live_attempts")
    op.drop_column("live_attempts", "rides_with")

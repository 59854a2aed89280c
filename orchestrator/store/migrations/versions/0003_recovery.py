"""Recovery: attempts are leased by their worker's heartbeat, and what was lost on the way is published again."""

import sqlalchemy as sa
from alembic import op

from orchestrator.store.tables import Instant, now

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Attempts that are claimed at this moment have no owner: their workers must have stopped before."""
    op.drop_index("live_attempts_lease_until_ix", "live_attempts")
    with op.batch_alter_table("live_attempts") as batch:
        batch.drop_column("lease_until")
        batch.add_column(sa.Column("owner", sa.String(length=256), nullable=True))
        batch.add_column(sa.Column("published_at", Instant(), nullable=True))
        batch.add_column(sa.Column("has_begun", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute("UPDATE live_attempts SET owner = worker WHERE worker IS NOT NULL")
    op.drop_table("workers")
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("machine", sa.String(length=128), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("began", sa.BigInteger(), nullable=False),
        sa.Column("queues", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("started_at", Instant(), nullable=False, server_default=now()),
        sa.Column("beat_at", Instant(), nullable=False, server_default=now()),
        sa.Column("steady_since", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("workers_pk")),
    )
    op.create_table(
        "duties",
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("holder", sa.String(length=256), nullable=False),
        sa.Column("term", sa.Integer(), nullable=False),
        sa.Column("until", Instant(), nullable=False, server_default=now()),
        sa.PrimaryKeyConstraint("name", name=op.f("duties_pk")),
    )


def downgrade() -> None:
    """Take it away; the workers say again that they are there."""
    op.drop_table("duties")
    op.drop_table("workers")
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=256), nullable=False),
        sa.Column("queues", sa.Text(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False, server_default=now()),
        sa.Column("beat_at", Instant(), nullable=False, server_default=now()),
        sa.PrimaryKeyConstraint("id", name=op.f("workers_pk")),
    )
    with op.batch_alter_table("live_attempts") as batch:
        batch.drop_column("has_begun")
        batch.drop_column("published_at")
        batch.drop_column("owner")
        batch.add_column(sa.Column("lease_until", Instant(), nullable=True))
    op.create_index("live_attempts_lease_until_ix", "live_attempts", ["lease_until"], unique=False)

"""Versions that are drafts, unpublished and archived; who has changed them, and what lists of them go by."""

import json

import sqlalchemy as sa
from alembic import op

from orchestrator.store.tables import Instant

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """New columns, filled from the documents; and a rule that publishing has kept all along: one ACTIVE version."""
    for column in _columns():
        op.add_column("versions", column)
    op.create_index(
        "versions_active_ix",
        "versions",
        ["project", "location", "integration"],
        unique=True,
        sqlite_where=sa.text("state = 'ACTIVE'"),
        postgresql_where=sa.text("state = 'ACTIVE'"),
    )
    _fill_texts(op.get_bind())


def _columns() -> list[sa.Column[object]]:
    return [
        sa.Column("updated_at", Instant(), nullable=True),
        sa.Column("state_at", Instant(), nullable=True),
        sa.Column("user_label", sa.Text(), server_default="", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("lock_holder", sa.String(length=256), nullable=True),
        sa.Column("last_modifier", sa.String(length=256), nullable=True),
    ]


def _fill_texts(connection: sa.Connection) -> None:
    versions = sa.table("versions", *(sa.column(name) for name in ("id", "document", "user_label", "description")))
    ids = connection.execute(sa.select(versions.c.id)).scalars().all()
    for version_id in ids:  # one at a time: a document may have megabytes
        is_it = versions.c.id == version_id
        document = json.loads(connection.execute(sa.select(versions.c.document).where(is_it)).scalar_one())
        texts = {
            "user_label": document.get("userLabel") or document.get("user_label") or "",
            "description": document.get("description") or "",
        }
        connection.execute(sa.update(versions).where(is_it).values(**texts))


def downgrade() -> None:
    """Take them away. Drafts and archived versions stay, and nothing reads them."""
    op.drop_index("versions_active_ix", "versions")
    for column in _columns():
        op.drop_column("versions", column.name)

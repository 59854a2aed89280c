"""Indexes of executions that hold the rows that somebody looks for by them, and no others; and the roots by time.

PostgreSQL writes the table anew for the column ``stage``: nobody else reads or writes it meanwhile.
"""

import sqlalchemy as sa
from alembic import op

from orchestrator.store.tables import generated

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STAGE = "CASE WHEN state IN ('FAILED', 'CANCELLED') THEN state WHEN state <> 'SUCCEEDED' THEN 'LIVE' END"
_PARTIAL = {
    "executions_request_ix": (["request_id", "project", "location", "integration"], "request_id IS NOT NULL"),
    "executions_replay_of_ix": (["replay_of"], "replay_of IS NOT NULL"),
    "executions_parent_id_parent_task_ix": (["parent_id", "parent_task"], "parent_id IS NOT NULL"),
}


def upgrade() -> None:
    """Make them anew."""
    for name, (columns, where) in _PARTIAL.items():
        op.drop_index(name, "executions")
        _create(name, columns, where, unique=name == "executions_request_ix")
    op.drop_index("executions_state_created_at_ix", "executions")
    op.add_column("executions", sa.Column("stage", sa.String(9), generated(_STAGE)))
    _create("executions_stage_ix", ["stage", "created_at", "id"], "stage IS NOT NULL")
    _create("executions_roots_ix", ["created_at", "id"], "parent_id IS NULL")


def _create(name: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, "executions", columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def downgrade() -> None:
    """Every row in every index again."""
    for name in ("executions_roots_ix", "executions_stage_ix", *_PARTIAL):
        op.drop_index(name, "executions")
    op.drop_column("executions", "stage")
    op.create_index("executions_state_created_at_ix", "executions", ["state", "created_at"])
    op.create_index("executions_replay_of_ix", "executions", ["replay_of"])
    op.create_index("executions_parent_id_parent_task_ix", "executions", ["parent_id", "parent_task"])
    op.create_index(
        "executions_request_ix", "executions", ["project", "location", "integration", "request_id"], unique=True
    )

"""PostgreSQL without the foreign keys that it looked up and locked a row for with each row of an execution.

``store.tables`` says why nothing needs them. SQLite keeps them: it would have to write the tables anew.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_KEYS = (
    ("executions", "version_id", "versions"),
    ("live_attempts", "execution_id", "executions"),
    ("parameters", "execution_id", "executions"),
    ("history", "execution_id", "executions"),
)


def upgrade() -> None:
    """Take them away; no row changes."""
    if op.get_bind().dialect.name == "postgresql":
        for table, column, _ in _KEYS:
            op.drop_constraint(f"{table}_{column}_fk", table, type_="foreignkey")


def downgrade() -> None:
    """Have them again; PostgreSQL looks through the tables once."""
    if op.get_bind().dialect.name == "postgresql":
        for table, column, target in _KEYS:
            op.create_foreign_key(f"{table}_{column}_fk", table, target, [column], ["id"])

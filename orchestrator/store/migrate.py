"""Running the migrations. Apart from ``Database``, because alembic takes memory that no worker needs otherwise."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.config import Config


def migrate(connection: sa.Connection) -> None:
    """Bring the schema to the newest version, in the transaction of this connection."""
    command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: sa.Connection | None = None) -> Config:
    """What alembic's commands take."""
    config = Config()
    config.set_main_option("script_location", "orchestrator.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config

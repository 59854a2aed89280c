"""Integration versions in the database: store a definition unchanged, publish it, find it by name or trigger.

What is published and what is scheduled change together: a cron trigger fires if and only if its version is published.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.errors import IntegrationNotFound
from orchestrator.model.integration import IntegrationVersion
from orchestrator.store import limit_terms, schedules
from orchestrator.store.database import Database
from orchestrator.store.tables import version_triggers, versions

_PUBLISHED: Final = sa.select(versions.c.id).where(
    versions.c.project == sa.bindparam("b_project"),
    versions.c.location == sa.bindparam("b_location"),
    versions.c.state == "ACTIVE",
)
_NAMED: Final = _PUBLISHED.where(versions.c.integration == sa.bindparam("b_integration"))
_ENTERED: Final = _PUBLISHED.where(
    versions.c.id.in_(
        sa.select(version_triggers.c.version_id).where(version_triggers.c.trigger_id == sa.bindparam("b_trigger_id"))
    )
).limit(2)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredVersion:
    """A version's row; ``document`` is the definition as it was read."""

    id: str
    project: str
    location: str
    integration: str
    snapshot_number: int
    document: Mapping[str, object]


class VersionStore:
    """Stores and finds integration versions."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def publish(self, version: IntegrationVersion, *, project: str, location: str) -> str:
        """Make this the published version of its integration, and archive none: executions pin theirs for ever.

        The same document published twice is one version.

        Returns:
            The version's id.
        """
        text = json.dumps(version.document, separators=(",", ":"), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        place = {"project": project, "location": location, "integration": version.name}
        with self.database.read() as connection:
            row = _same(connection, place, digest)
            if row is not None and row.state == "ACTIVE":
                version_id = str(row.id)
                if schedules.is_in_step(connection, version.triggers, version_id=version_id, place=place):
                    return version_id
        with self.database.begin() as connection:
            self.database.lock(connection, f"publish {project}/{location}/{version.name}")
            row = _same(connection, place, digest)
            version_id = _insert(connection, version, place, text=text, digest=digest) if row is None else str(row.id)
            connection.execute(
                sa.update(versions)
                .where(*_where(place), versions.c.state == "ACTIVE", versions.c.id != version_id)
                .values(state="SNAPSHOT")
            )
            connection.execute(sa.update(versions).where(versions.c.id == version_id).values(state="ACTIVE"))
            schedules.sync(connection, version.triggers, version_id=version_id, place=place)
            limit_terms.sync(connection, version.limits, place=place)
        return version_id

    def get(self, version_id: str) -> StoredVersion:
        """A version by its id; it must exist."""
        with self.database.read() as connection:
            return _stored(connection.execute(sa.select(versions).where(versions.c.id == version_id)).one())

    def find(self, integration: str, *, trigger_id: str, project: str, location: str) -> str:
        """The id of the published version of an integration, by its name; else of the only one that has the trigger.

        The fallback makes a definition runnable whose file was renamed: exports do not carry their own name.

        Raises:
            IntegrationNotFound: neither finds exactly one.
        """
        place = {"b_project": project, "b_location": location}
        with self.database.read() as connection:
            named = connection.execute(_NAMED, place | {"b_integration": integration}).scalar_one_or_none()
            if named is not None:
                return str(named)
            ids = connection.execute(_ENTERED, place | {"b_trigger_id": trigger_id}).scalars().all()
        if not trigger_id or len(ids) != 1:
            raise IntegrationNotFound(integration, trigger_id)
        return str(ids[0])


def _where(place: Mapping[str, str]) -> tuple[sa.ColumnElement[bool], ...]:
    return tuple(versions.c[column] == content for column, content in place.items())


def _same(connection: sa.Connection, place: Mapping[str, str], digest: str) -> sa.Row[Any, Any] | None:
    return connection.execute(
        sa.select(versions.c.id, versions.c.state).where(*_where(place), versions.c.digest == digest)
    ).one_or_none()


def _insert(
    connection: sa.Connection, version: IntegrationVersion, place: Mapping[str, str], *, text: str, digest: str
) -> str:
    version_id = str(uuid.uuid4())
    latest = sa.select(sa.func.coalesce(sa.func.max(versions.c.snapshot_number), 0) + 1).where(*_where(place))
    connection.execute(
        sa.insert(versions).values(
            id=version_id,
            snapshot_number=latest.scalar_subquery(),
            state="DRAFT",
            digest=digest,
            document=text,
            **place,
        )
    )
    rows = [{"version_id": version_id, "trigger_id": trigger_id} for trigger_id in {t.id for t in version.triggers}]
    if rows:
        connection.execute(sa.insert(version_triggers), rows)
    return version_id


def _stored(row: sa.Row[Any]) -> StoredVersion:
    return StoredVersion(
        id=row.id,
        project=row.project,
        location=row.location,
        integration=row.integration,
        snapshot_number=row.snapshot_number,
        document=json.loads(row.document),
    )

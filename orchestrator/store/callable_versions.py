"""Which versions whoever calls can run, beside those of ``store.versions``: all with a trigger, and trials.

A trial is a definition that is run without being published. An execution pins its version for ever, so that has to be
stored; and nothing else may come of it. So its row is ARCHIVED from the beginning: it is found by no name and no
trigger, cannot be changed, and is no version that anybody would publish. The digest of a trial is made otherwise than
that of a version, so publishing the same definition gives that a row of its own; two trials of one definition share
theirs.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence

import sqlalchemy as sa

from orchestrator.model.integration import API_TRIGGER_PREFIX, IntegrationVersion
from orchestrator.model.version_states import VersionState
from orchestrator.store.database import Database
from orchestrator.store.tables import version_triggers, versions


class CallableVersions:
    """Finds what is to run, and keeps trials."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def published_with(self, trigger_id: str, *, project: str, location: str) -> Sequence[str]:
        """The ids of all published versions that have a trigger, by the name of their integration."""
        ids = [trigger_id, API_TRIGGER_PREFIX + trigger_id]
        having = sa.select(version_triggers.c.version_id).where(version_triggers.c.trigger_id.in_(ids))
        found = sa.select(versions.c.id).where(
            *_in(project, location), versions.c.state == VersionState.ACTIVE.value, versions.c.id.in_(having)
        )
        with self.database.read() as connection:
            return connection.execute(found.order_by(versions.c.integration)).scalars().all()

    def keep_trial(self, version: IntegrationVersion, *, project: str, location: str) -> str:
        """Store a definition that is to be run and not published; the id of its version."""
        text = json.dumps(version.document, separators=(",", ":"), sort_keys=True)
        digest = hashlib.sha256(b"trial " + text.encode()).hexdigest()
        of_integration = (*_in(project, location), versions.c.integration == version.name)
        same = sa.select(versions.c.id).where(*of_integration, versions.c.digest == digest)
        latest = sa.select(sa.func.coalesce(sa.func.max(versions.c.snapshot_number), 0) + 1).where(*of_integration)
        with self.database.begin() as connection:
            self.database.lock(connection, f"publish {project}/{location}/{version.name}")  # numbers have no two owners
            known = connection.execute(same).scalar_one_or_none()
            if known is not None:
                return str(known)
            version_id = str(uuid.uuid4())
            connection.execute(
                sa.insert(versions).values(
                    id=version_id,
                    project=project,
                    location=location,
                    integration=version.name,
                    snapshot_number=latest.scalar_subquery(),
                    state=VersionState.ARCHIVED.value,
                    digest=digest,
                    document=text,
                )
            )
        return version_id


def _in(project: str, location: str) -> tuple[sa.ColumnElement[bool], ...]:
    return versions.c.project == project, versions.c.location == location

"""A version's row, read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.model.version_states import VersionState
from orchestrator.store.tables import versions

changed_at: Final = sa.func.coalesce(versions.c.updated_at, versions.c.created_at)
"""When a version was changed last; at first, when it was created."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredVersion:
    """A version's row.

    Attributes:
        snapshot_number: counts the versions of an integration, from 1.
        document: the definition as it was read.
        digest: SHA-256 of the document.
        updated_at: of its content or its state.
        state_at: since when it is in its state.
        lock_holder: who edits it; None of what is no DRAFT.
        last_modifier: who changed it last; None if nobody was named.
    """

    id: str
    project: str
    location: str
    integration: str
    snapshot_number: int
    state: VersionState
    document: Mapping[str, object]
    digest: str
    created_at: datetime
    updated_at: datetime
    state_at: datetime
    user_label: str
    description: str
    lock_holder: str | None
    last_modifier: str | None

    @property
    def place(self) -> dict[str, str]:
        """Project, location and integration."""
        return {"project": self.project, "location": self.location, "integration": self.integration}


def to_stored_version(row: sa.Row[Any]) -> StoredVersion:
    """A row of ``versions``."""
    return StoredVersion(
        id=row.id,
        project=row.project,
        location=row.location,
        integration=row.integration,
        snapshot_number=row.snapshot_number,
        state=VersionState(row.state),
        document=json.loads(row.document),
        digest=row.digest,
        created_at=row.created_at,
        updated_at=row.updated_at or row.created_at,
        state_at=row.state_at or row.created_at,
        user_label=row.user_label,
        description=row.description,
        lock_holder=row.lock_holder,
        last_modifier=row.last_modifier,
    )

"""Integration versions in the database: store a definition unchanged, move it from state to state, find it.

What is published and what is scheduled change together: a cron trigger fires if and only if its version is published.
Limits stay when nothing is published any more: what waits for its turn must not start all at once for that. They go
with a deleted integration if nothing waits.

There are two ways to publish. ``publish`` takes a definition, and gives the same content the same version: it looks for
one among those that were published before, and never takes a DRAFT, which is somebody's work, or an ARCHIVED one.
``activate`` takes a version that is there. Whoever changes one hands in what was seen of it, and is told if that is not
what is there any more: a DRAFT that was checked is the one that is published.

All moves of one integration's versions go one after the other, by a lock of its name; changes of a DRAFT do not, and
are guarded by its digest.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.errors import (
    IllegalArrow,
    IntegrationExists,
    IntegrationNotFound,
    NoSuchIntegration,
    VersionNotFound,
    WrongVersionState,
)
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.version_states import VersionEvent, VersionState, next_version_state, states_before
from orchestrator.store import limit_terms, schedules
from orchestrator.store.database import Database
from orchestrator.store.tables import now, version_triggers, versions
from orchestrator.store.version_rows import StoredVersion, to_stored_version

_PUBLISHED: Final = sa.select(versions.c.id).where(
    versions.c.project == sa.bindparam("b_project"),
    versions.c.location == sa.bindparam("b_location"),
    versions.c.state == VersionState.ACTIVE.value,
)
_NAMED: Final = _PUBLISHED.where(versions.c.integration == sa.bindparam("b_integration"))
_ENTERED: Final = _PUBLISHED.where(
    versions.c.id.in_(
        sa.select(version_triggers.c.version_id).where(version_triggers.c.trigger_id == sa.bindparam("b_trigger_id"))
    )
).limit(2)
_PUBLISHED_ONCE: Final = (VersionState.ACTIVE.value, VersionState.SNAPSHOT.value)


class VersionStore:
    """Stores, moves and finds integration versions."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def publish(self, version: IntegrationVersion, *, project: str, location: str, actor: str | None = None) -> str:
        """Make this the published version of its integration, and archive none: executions pin theirs for ever.

        The same document published twice is one version.

        Args:
            version: was checked.
            project: where.
            location: where in it.
            actor: who does it.

        Returns:
            The version's id.
        """
        place = {"project": project, "location": location, "integration": version.name}
        content = _content_of(version)
        with self.database.read() as connection:
            row = _same(connection, place, content["digest"])
            if row is not None and row.state == VersionState.ACTIVE:
                version_id = str(row.id)
                if schedules.is_in_step(connection, version.triggers, version_id=version_id, place=place):
                    return version_id
        with self.database.begin() as connection:
            self._lock(connection, place)
            known = _same(connection, place, content["digest"])
            chosen = known or _insert(connection, version, place, {**content, "last_modifier": actor})
            _activate(connection, chosen, version, place=place, actor=actor)
            return str(chosen.id)

    def create(
        self, version: IntegrationVersion, *, project: str, location: str, actor: str, is_new: bool = False
    ) -> StoredVersion:
        """Store a DRAFT, held by the actor.

        Args:
            version: could be read; whether it can run does not matter.
            project: where.
            location: where in it.
            actor: who does it.
            is_new: the integration must not be there.

        Raises:
            IntegrationExists: it is.
        """
        place = {"project": project, "location": location, "integration": version.name}
        with self.database.begin() as connection:
            self._lock(connection, place)
            if is_new and _is_there(connection, place):
                raise IntegrationExists(version.name)
            row = _insert(
                connection, version, place, _content_of(version) | {"last_modifier": actor, "lock_holder": actor}
            )
            return to_stored_version(row)

    def change(self, seen: StoredVersion, version: IntegrationVersion, *, actor: str) -> StoredVersion | None:
        """Give a DRAFT another content.

        Returns:
            The version; None if its content is not the one that was seen any more.

        Raises:
            VersionNotFound, WrongVersionState: it is no DRAFT (any more).
        """
        with self.database.begin() as connection:
            row = _locked(connection, seen, VersionEvent.CHANGED)
            if row.digest != seen.digest:
                return None
            content = _content_of(version) | {"last_modifier": actor, "lock_holder": actor}
            return _rewrite(connection, row, version, content)

    def take_lock(self, seen: StoredVersion, *, actor: str) -> StoredVersion:
        """Make the actor the one who edits a DRAFT.

        Raises:
            VersionNotFound, WrongVersionState: it is no DRAFT.
        """
        with self.database.begin() as connection:
            row = _locked(connection, seen, VersionEvent.CHANGED)
            return to_stored_version(_update(connection, row, last_modifier=actor, lock_holder=actor))

    def activate(self, seen: StoredVersion, version: IntegrationVersion, *, actor: str) -> StoredVersion | None:
        """Publish a version that is there, in place of the one that is published now.

        Args:
            seen: the version as it was when it was checked.
            version: what it says; of a DRAFT, also with another document than was seen.
            actor: who does it.

        Returns:
            The version; None if its content is not the one that was seen any more.

        Raises:
            VersionNotFound, WrongVersionState: it is ACTIVE or ARCHIVED.
        """
        with self.database.begin() as connection:
            self._lock(connection, seen.place)
            row = _locked(connection, seen, VersionEvent.PUBLISHED)
            if row.digest != seen.digest:
                return None
            if row.state == VersionState.DRAFT:
                _rewrite(connection, row, version, _content_of(version))
            return to_stored_version(_activate(connection, row, version, place=seen.place, actor=actor))

    def unpublish(self, seen: StoredVersion, *, actor: str) -> StoredVersion:
        """Make a published version a SNAPSHOT; its cron triggers fire no more.

        Raises:
            VersionNotFound, WrongVersionState: it is not ACTIVE.
        """
        with self.database.begin() as connection:
            self._lock(connection, seen.place)
            row = _locked(connection, seen, VersionEvent.UNPUBLISHED)
            schedules.sync(connection, (), version_id=seen.id, place=seen.place)
            return to_stored_version(_move(connection, row, VersionEvent.UNPUBLISHED, actor=actor))

    def archive(self, seen: StoredVersion, *, actor: str) -> StoredVersion:
        """Delete a DRAFT or a SNAPSHOT: it stays readable, and can be used for nothing new.

        Raises:
            VersionNotFound, WrongVersionState: it is ACTIVE, or ARCHIVED.
        """
        with self.database.begin() as connection:
            self._lock(connection, seen.place)
            row = _locked(connection, seen, VersionEvent.DELETED)
            return to_stored_version(_move(connection, row, VersionEvent.DELETED, actor=actor))

    def archive_all(self, integration: str, *, project: str, location: str, actor: str) -> None:
        """Unpublish an integration, and delete all its versions, in one transaction.

        Raises:
            NoSuchIntegration: it has none that is not ARCHIVED.
        """
        place = {"project": project, "location": location, "integration": integration}
        with self.database.begin() as connection:
            self._lock(connection, place)
            living = sa.select(versions).where(*_where(place), versions.c.state != VersionState.ARCHIVED.value)
            rows = connection.execute(living.with_for_update()).all()
            if not rows:
                raise NoSuchIntegration(integration)
            for found in rows:
                row = found
                if row.state == VersionState.ACTIVE:
                    schedules.sync(connection, (), version_id=row.id, place=place)
                    row = _move(connection, row, VersionEvent.UNPUBLISHED, actor=actor)
                _move(connection, row, VersionEvent.DELETED, actor=actor)
            limit_terms.forget(connection, place=place)

    def get(self, version_id: str) -> StoredVersion:
        """A version by its id; it must exist."""
        with self.database.read() as connection:
            return to_stored_version(connection.execute(sa.select(versions).where(versions.c.id == version_id)).one())

    def one(self, version_id: str, *, integration: str | None, project: str, location: str) -> StoredVersion:
        """A version of an integration, or of any in this place.

        Raises:
            VersionNotFound: there is none.
        """
        place = {"project": project, "location": location}
        if integration is not None:
            place["integration"] = integration
        with self.database.read() as connection:
            found = sa.select(versions).where(*_where(place), versions.c.id == version_id)
            row = connection.execute(found).one_or_none()
        if row is None:
            raise VersionNotFound(integration or "-", version_id)
        return to_stored_version(row)

    def published(self, integration: str, *, project: str, location: str) -> str | None:
        """The id of the published version of an integration, by its name alone; None if there is none."""
        named = {"b_project": project, "b_location": location, "b_integration": integration}
        with self.database.read() as connection:
            return connection.execute(_NAMED, named).scalar_one_or_none()

    def find(self, integration: str, *, trigger_id: str, project: str, location: str) -> str:
        """The id of the published version of an integration, by its name; else of the only one that has the trigger.

        The fallback makes a definition runnable whose file was renamed: exports do not carry their own name.

        Raises:
            IntegrationNotFound: neither finds exactly one.
        """
        named = self.published(integration, project=project, location=location)
        if named is not None:
            return named
        entered = {"b_project": project, "b_location": location, "b_trigger_id": trigger_id}
        with self.database.read() as connection:
            ids = connection.execute(_ENTERED, entered).scalars().all()
        if not trigger_id or len(ids) != 1:
            raise IntegrationNotFound(integration, trigger_id)
        return str(ids[0])

    def _lock(self, connection: sa.Connection, place: Mapping[str, str]) -> None:
        self.database.lock(connection, "publish {project}/{location}/{integration}".format_map(place))


def _where(place: Mapping[str, str]) -> tuple[sa.ColumnElement[bool], ...]:
    return tuple(versions.c[column] == content for column, content in place.items())


def _is_there(connection: sa.Connection, place: Mapping[str, str]) -> bool:
    living = sa.select(versions.c.id).where(*_where(place), versions.c.state != VersionState.ARCHIVED.value)
    return connection.execute(living.limit(1)).first() is not None


def _same(connection: sa.Connection, place: Mapping[str, str], digest: str) -> sa.Row[Any] | None:
    """The version with this content that was published before; the one that is now, if it is that."""
    is_same = *_where(place), versions.c.digest == digest, versions.c.state.in_(_PUBLISHED_ONCE)
    found: sa.Select[Any] = sa.select(*(versions.c[name] for name in ("id", "state"))).where(*is_same)
    return connection.execute(found.order_by(versions.c.state, versions.c.snapshot_number.desc()).limit(1)).first()


def _content_of(version: IntegrationVersion) -> dict[str, Any]:
    """The columns that say what a version says. The order of keys makes no difference, and is kept."""
    text = json.dumps(version.document, separators=(",", ":"), sort_keys=True)
    return {
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "document": json.dumps(version.document, separators=(",", ":")),
        "user_label": version.user_label,
        "description": version.description,
    }


def _insert(
    connection: sa.Connection, version: IntegrationVersion, place: Mapping[str, str], content: Mapping[str, Any]
) -> sa.Row[Any]:
    version_id = str(uuid.uuid4())
    latest = sa.select(sa.func.coalesce(sa.func.max(versions.c.snapshot_number), 0) + 1).where(*_where(place))
    new = sa.insert(versions).values(
        id=version_id,
        snapshot_number=latest.scalar_subquery(),
        state=VersionState.DRAFT.value,
        **place,
        **content,
    )
    row: sa.Row[Any] = connection.execute(new.returning(versions)).one()
    _insert_triggers(connection, version_id, version)
    return row


def _insert_triggers(connection: sa.Connection, version_id: str, version: IntegrationVersion) -> None:
    rows = [{"version_id": version_id, "trigger_id": trigger_id} for trigger_id in {t.id for t in version.triggers}]
    if rows:
        connection.execute(sa.insert(version_triggers), rows)


def _rewrite(
    connection: sa.Connection, row: sa.Row[Any], version: IntegrationVersion, content: Mapping[str, Any]
) -> StoredVersion:
    connection.execute(sa.delete(version_triggers).where(version_triggers.c.version_id == row.id))
    _insert_triggers(connection, row.id, version)
    return to_stored_version(_update(connection, row, **content))


def _locked(connection: sa.Connection, seen: StoredVersion, event: VersionEvent) -> sa.Row[Any]:
    """The version's row, until the transaction ends, if this can happen to it."""
    row = connection.execute(sa.select(versions).where(versions.c.id == seen.id).with_for_update()).one_or_none()
    if row is None:
        raise VersionNotFound(seen.integration, seen.id)
    try:
        next_version_state(VersionState(row.state), event)
    except IllegalArrow:
        raise WrongVersionState(seen.integration, seen.id, row.state, event, states_before(event)) from None
    return row


def _activate(
    connection: sa.Connection,
    row: sa.Row[Any],
    version: IntegrationVersion,
    *,
    place: Mapping[str, str],
    actor: str | None,
) -> sa.Row[Any]:
    """The published one makes room first: the database lets no two be ACTIVE."""
    others = sa.select(versions).where(*_where(place), versions.c.state == VersionState.ACTIVE.value)
    for other in connection.execute(others.where(versions.c.id != row.id)).all():
        _move(connection, other, VersionEvent.REPLACED, actor=actor)
    if row.state != VersionState.ACTIVE:
        row = _move(connection, row, VersionEvent.PUBLISHED, actor=actor)
    schedules.sync(connection, version.triggers, version_id=row.id, place=place)
    limit_terms.sync(connection, version.limits, place=place)
    return row


def _move(connection: sa.Connection, row: sa.Row[Any], event: VersionEvent, *, actor: str | None) -> sa.Row[Any]:
    """Follow an arrow; whoever edited the version does so no more."""
    state = next_version_state(VersionState(row.state), event)
    who = {} if actor is None else {"last_modifier": actor}
    return _update(connection, row, state=state.value, state_at=now(), lock_holder=None, **who)


def _update(connection: sa.Connection, row: sa.Row[Any], **values: Any) -> sa.Row[Any]:
    new = sa.update(versions).where(versions.c.id == row.id).values(**values, updated_at=now())
    return connection.execute(new.returning(versions)).one()

"""The part of the Python API that is about versions: drafts, publishing them, and what there is.

    with Orchestrator() as orchestrator:
        draft = orchestrator.versions.create(Path("order.json"))
        orchestrator.versions.publish(draft.id)

``Orchestrator.publish`` publishes a definition at once, without a draft.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.model.integration import IntegrationVersion
from orchestrator.service import versions as service
from orchestrator.service.imports import Imported, import_definition
from orchestrator.service.services import Services
from orchestrator.service.submit import Place
from orchestrator.service.versions import VersionAddress, VersionListWish
from orchestrator.store.version_rows import StoredVersion


class Versions:
    """The versions of a place. ``user`` names who acts."""

    def __init__(self, services: Callable[[], Services], *, place: Place, user: Callable[[], str]) -> None:
        self._services, self._place, self._user = services, place, user

    def create(self, version: IntegrationVersion) -> StoredVersion:
        """Store a definition, as ``Orchestrator.read`` gives it, as a DRAFT."""
        return service.create_draft(
            version.document, self._services(), integration=version.name, place=self._place, actor=self._user()
        )

    def import_definition(self, version: IntegrationVersion, *, publishes: bool = False) -> Imported:
        """Store a definition, and say what it lacks to run here; it is published only if it lacks nothing."""
        services = self._services()
        return import_definition(version, services, place=self._place, actor=self._user(), publishes=publishes)

    def get(self, version_id: str, *, integration: str | None = None) -> StoredVersion:
        """A version, in whatever state.

        Raises:
            VersionNotFound: there is none, or none of this integration.
        """
        return service.get_version(self._address(version_id, integration), self._services())

    def page(
        self, wish: VersionListWish | None = None, *, integration: str | None = None
    ) -> tuple[list[StoredVersion], str]:
        """One page of the versions of an integration, or of all; and the token of the next, blank after the last.

        Raises:
            FilterSyntax, InvalidValue, InvalidPageToken: something of the wish cannot be used.
        """
        return service.list_versions(
            wish or VersionListWish(), self._services(), place=self._place, integration=integration
        )

    def publish(self, version_id: str, *, config: Mapping[str, object] | None = None) -> tuple[str, ...]:
        """Publish a DRAFT or a SNAPSHOT, a DRAFT with values of its config parameters.

        Returns:
            Warnings.

        Raises:
            VersionNotFound, WrongVersionState, InvalidDefinition, InputError: it cannot be published.
        """
        return service.publish_version(self._address(version_id), self._services(), actor=self._user(), config=config)

    def unpublish(self, version_id: str) -> None:
        """Make the published version a SNAPSHOT; nothing new starts.

        Raises:
            VersionNotFound, WrongVersionState: it is not ACTIVE.
        """
        service.unpublish_version(self._address(version_id), self._services(), actor=self._user())

    def delete(self, version_id: str) -> None:
        """Make a DRAFT or a SNAPSHOT ARCHIVED.

        Raises:
            VersionNotFound, WrongVersionState: it is ACTIVE, or ARCHIVED.
        """
        service.delete_version(self._address(version_id), self._services(), actor=self._user())

    def _address(self, version_id: str, integration: str | None = None) -> VersionAddress:
        return VersionAddress(place=self._place, integration=integration, id=version_id)

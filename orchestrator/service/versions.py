"""Use cases of integration versions: drafts, what becomes of them, and lists.

A DRAFT may be incomplete: creating and changing one checks that it can be read, that is its form and the types of its
values; publishing checks everything. What is checked is what is published: a draft that somebody changes in between is
read and checked again.

Decisions:

- The edit lock informs and never blocks. Whoever creates or changes a draft holds it (``lock_holder``); anybody who may
  define may go on with it, and holds it then. In the product a forgotten lock keeps automation from publishing until a
  person has taken it over by hand.
- What was published once does not change, because executions are pinned to it. So config parameters are given to a
  DRAFT when it is published; a SNAPSHOT is published again with those that it has.
- Deleting what is published is refused for a version, and not for a whole integration: whoever deletes one version
  rarely means that nothing is to run any more.
- ``services.plans`` keeps what a version says for the life of a process. A DRAFT must not be looked up there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from orchestrator.engine.validate import check_integration
from orchestrator.errors import InvalidDefinition, InvalidValue, VersionInTheWay, WrongVersionState
from orchestrator.model import version_fields as fields
from orchestrator.model.definition import parse_integration
from orchestrator.model.definition_config import with_config
from orchestrator.model.definition_text import MAX_SIZE_BYTES
from orchestrator.model.filters import And, Comparison, Node, Operator, parse_filter
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.json_text import to_json_text
from orchestrator.model.listing import Order, parse_page_token, to_page_token
from orchestrator.model.version_fields import BY_NAME, LATEST_FIRST, VERSION_FIELDS, parse_version_order
from orchestrator.model.version_states import VersionEvent, VersionState, states_before
from orchestrator.service.services import Services
from orchestrator.service.submit import Place
from orchestrator.store.version_queries import StoredIntegration, VersionQueries
from orchestrator.store.version_rows import StoredVersion

DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 1_000
_TRIES: Final = 5  # against others who change the same draft


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionAddress:
    """Which version. ``integration`` is None for any in this place: ids are unique."""

    place: Place
    integration: str | None
    id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionListWish:
    """What a list of versions, or of integrations, is to show.

    Attributes:
        filter: as ``model.filters`` takes it, over ``VERSION_FIELDS``; blank is everything.
        order_by: as ``parse_version_order`` takes it; blank: versions by time, the latest first; integrations by name.
        page_size: at most so many; 0 for 50, and never more than 1,000.
        page_token: what the page before has ended with; blank for the first.
    """

    filter: str = ""
    order_by: str = ""
    page_size: int = 0
    page_token: str = ""


# -- one version ---------------------------------------------------------------------------------------------------


def create_draft(
    document: Mapping[str, object],
    services: Services,
    *,
    integration: str,
    place: Place,
    actor: str,
    is_new: bool = False,
) -> StoredVersion:
    """Store a definition as a DRAFT.

    Args:
        document: the definition; what it says of its own name does not count.
        services: where.
        integration: of which integration.
        place: in which project and location.
        actor: who does it, and holds the draft from now on.
        is_new: the integration must not be there.

    Raises:
        InvalidDefinition: it cannot be read.
        IntegrationExists: the integration is there.
    """
    version = _read(document, integration)
    return services.versions.create(version, project=place.project, location=place.location, actor=actor, is_new=is_new)


def get_version(address: VersionAddress, services: Services) -> StoredVersion:
    """A version, in whatever state.

    Raises:
        VersionNotFound: there is none.
    """
    place = address.place
    return services.versions.one(
        address.id, integration=address.integration, project=place.project, location=place.location
    )


def patch_version(
    address: VersionAddress,
    change: Callable[[Mapping[str, object]], Mapping[str, object]],
    services: Services,
    *,
    actor: str,
) -> StoredVersion:
    """Change the content of a DRAFT.

    Args:
        address: which version.
        change: gives the new document for the one that is there; may be called several times.
        services: where.
        actor: who does it, and holds the draft from now on.

    Raises:
        VersionNotFound: there is none.
        WrongVersionState: it is no DRAFT.
        InvalidDefinition: what it says then cannot be read.
        VersionInTheWay: others change it all the time.
    """
    for _ in range(_TRIES):
        seen = get_version(address, services)
        _require(seen, VersionEvent.CHANGED)
        version = _read(change(seen.document), seen.integration)
        changed = services.versions.change(seen, version, actor=actor)
        if changed is not None:
            return changed
    raise VersionInTheWay(address.id)


def publish_version(
    address: VersionAddress,
    services: Services,
    *,
    actor: str,
    config: Mapping[str, object] | None = None,
    validate_only: bool = False,
) -> tuple[str, ...]:
    """Check a DRAFT or a SNAPSHOT, and make it the published version of its integration.

    Args:
        address: which version.
        services: where.
        actor: who does it.
        config: plain values of config parameters, by key; kept in the version.
        validate_only: change nothing.

    Returns:
        Warnings.

    Raises:
        VersionNotFound: there is none.
        WrongVersionState: it is ACTIVE or ARCHIVED.
        InvalidDefinition: it cannot run.
        UnknownParameter, InvalidValue: no such config parameter, or no such value; or one for a SNAPSHOT.
        VersionInTheWay: others change it all the time.
    """
    for _ in range(_TRIES):
        seen = get_version(address, services)
        _require(seen, VersionEvent.PUBLISHED)
        version = _read(_configured(seen, config or {}), seen.integration)
        warnings = check_integration(version, services.types, seen.integration)
        if validate_only or services.versions.activate(seen, version, actor=actor) is not None:
            return warnings
    raise VersionInTheWay(address.id)


def unpublish_version(address: VersionAddress, services: Services, *, actor: str) -> StoredVersion:
    """Make the published version a SNAPSHOT: nothing new starts of its integration, what runs goes on.

    Raises:
        VersionNotFound, WrongVersionState: it is not ACTIVE.
    """
    return services.versions.unpublish(get_version(address, services), actor=actor)


def delete_version(address: VersionAddress, services: Services, *, actor: str) -> StoredVersion:
    """Make a DRAFT or a SNAPSHOT ARCHIVED, for good.

    Raises:
        VersionNotFound, WrongVersionState: it is ACTIVE, which is to be unpublished first, or ARCHIVED.
    """
    return services.versions.archive(get_version(address, services), actor=actor)


def take_edit_lock(address: VersionAddress, services: Services, *, actor: str) -> StoredVersion:
    """Make the actor the one who edits a DRAFT.

    Raises:
        VersionNotFound, WrongVersionState: it is no DRAFT.
    """
    return services.versions.take_lock(get_version(address, services), actor=actor)


def delete_integration(integration: str, services: Services, *, place: Place, actor: str) -> None:
    """Unpublish an integration and make all its versions ARCHIVED; what runs goes on.

    Raises:
        NoSuchIntegration: it is not there, or was deleted before.
    """
    services.versions.archive_all(integration, project=place.project, location=place.location, actor=actor)


def _read(document: Mapping[str, object], integration: str) -> IntegrationVersion:
    version = parse_integration(document, name=integration, source=integration)
    if len(to_json_text(document)) > MAX_SIZE_BYTES:
        raise InvalidDefinition(integration, [f"the definition has more than {MAX_SIZE_BYTES >> 20} MiB"])
    return version


def _require(seen: StoredVersion, event: VersionEvent) -> None:
    """Refuse early what the store refuses as well, so that nobody mends a definition in vain."""
    if seen.state not in states_before(event):
        raise WrongVersionState(seen.integration, seen.id, seen.state, event, states_before(event))


def _configured(seen: StoredVersion, config: Mapping[str, object]) -> Mapping[str, object]:
    if not config:
        return seen.document
    document = with_config(seen.document, config)
    if seen.state is not VersionState.DRAFT and document != seen.document:
        found = f"other values than version {seen.id} was published with"
        raise InvalidValue("configParameters", found, "those; or create a draft of the same content, and publish that")
    return document


# -- lists ---------------------------------------------------------------------------------------------------------


def list_versions(
    wish: VersionListWish, services: Services, *, place: Place, integration: str | None = None
) -> tuple[list[StoredVersion], str]:
    """One page of the versions of an integration, or of all in a place; ARCHIVED ones as well.

    Returns:
        The versions, and the token of the next page; blank after the last.

    Raises:
        FilterSyntax, InvalidValue, InvalidPageToken: something of it cannot be used.
    """
    order, limit = parse_version_order(wish.order_by, default=LATEST_FIRST), _page_size(wish)
    tree = And((_within(place, integration), parse_filter(wish.filter, VERSION_FIELDS)))
    after = parse_page_token(wish.page_token, tree, order) if wish.page_token else None
    queries = VersionQueries(services.versions.database)
    rows = queries.versions(tree, order=order, after=after, limit=limit + 1)
    page = rows[:limit]
    if len(rows) == len(page):
        return page, ""
    last = page[-1]
    return page, to_page_token((_value_of(last, last.integration, order), last.id), tree, order)


def list_integrations(
    wish: VersionListWish, services: Services, *, place: Place
) -> tuple[list[StoredIntegration], str]:
    """One page of the integrations of a place that have a version which is not ARCHIVED.

    Returns:
        The integrations, and the token of the next page; blank after the last.

    Raises:
        FilterSyntax, InvalidValue, InvalidPageToken: something of it cannot be used.
    """
    order, limit = parse_version_order(wish.order_by, default=BY_NAME), _page_size(wish)
    scope, tree = _within(place, None), parse_filter(wish.filter, VERSION_FIELDS)
    bound = And((scope, tree))
    after = parse_page_token(wish.page_token, bound, order) if wish.page_token else None
    queries = VersionQueries(services.versions.database)
    rows = queries.integrations(scope, tree, order=order, after=after, limit=limit + 1)
    page = rows[:limit]
    if len(rows) == len(page):
        return page, ""
    last = page[-1]
    return page, to_page_token((_value_of(last, last.name, order), last.id), bound, order)


def _within(place: Place, integration: str | None) -> Node:
    parts = [(fields.PROJECT, place.project), (fields.LOCATION, place.location)]
    if integration is not None:
        parts.append((fields.INTEGRATION, integration))
    return And(tuple(Comparison(field, Operator.EQUAL, content) for field, content in parts))


def _page_size(wish: VersionListWish) -> int:
    if wish.page_size < 0:
        raise InvalidValue("page size", str(wish.page_size), f"0 for {DEFAULT_PAGE}, or 1 to {MAX_PAGE:,}")
    return min(wish.page_size or DEFAULT_PAGE, MAX_PAGE)


def _value_of(row: StoredVersion | StoredIntegration, name: str, order: Order) -> datetime | int | str:
    if order.field is fields.SNAPSHOT_NUMBER:
        return row.snapshot_number
    if order.field is fields.INTEGRATION:
        return name
    return row.updated_at if order.field is fields.UPDATE_TIME else row.created_at

"""The state machine of integration versions: one table of arrows, one function that looks an arrow up.

::

    created --> DRAFT ----published---> ACTIVE <--published--+
                 |  ^                     |                  |
                 |  +-- changed           +--unpublished--> SNAPSHOT
                 |                        +--replaced-------->  |
                 +--deleted--> ARCHIVED <-----------deleted-----+

At most one version of an integration is ACTIVE, the published one: publishing another replaces it in the same
transaction. Only a DRAFT can be changed: what was published once is what executions are pinned to. ARCHIVED is final,
and still there: executions pin their version for ever.

The names are those of the Integrations API v1 (``IntegrationVersion.state``).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from orchestrator.errors import IllegalArrow


class VersionState(StrEnum):
    """Where a version stands."""

    DRAFT = "DRAFT"
    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"
    SNAPSHOT = "SNAPSHOT"


class VersionEvent(StrEnum):
    """What moves a version from one state to another."""

    CHANGED = "changed"
    PUBLISHED = "published"
    REPLACED = "replaced"  # another version of the integration is published
    UNPUBLISHED = "unpublished"
    DELETED = "deleted"


_S, _E = VersionState, VersionEvent
VERSION_ARROWS: Final[dict[tuple[VersionState, VersionEvent], VersionState]] = {
    (_S.DRAFT, _E.CHANGED): _S.DRAFT,
    (_S.DRAFT, _E.PUBLISHED): _S.ACTIVE,
    (_S.SNAPSHOT, _E.PUBLISHED): _S.ACTIVE,
    (_S.ACTIVE, _E.REPLACED): _S.SNAPSHOT,
    (_S.ACTIVE, _E.UNPUBLISHED): _S.SNAPSHOT,
    (_S.DRAFT, _E.DELETED): _S.ARCHIVED,
    (_S.SNAPSHOT, _E.DELETED): _S.ARCHIVED,
}


def next_version_state(state: VersionState, event: VersionEvent) -> VersionState:
    """Follow one arrow of the version's table.

    Raises:
        IllegalArrow: the table has no such arrow.
    """
    try:
        return VERSION_ARROWS[state, event]
    except KeyError:
        raise IllegalArrow(state, event) from None


def states_before(event: VersionEvent) -> tuple[VersionState, ...]:
    """The states in which this can happen."""
    return tuple(state for state, each in VERSION_ARROWS if each is event)

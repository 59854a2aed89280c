"""What a filter of versions may speak of, and what lists of versions and of integrations can be ordered by.

The product says of its orders: "descending sort order for last_modified_time, created_time and snapshot_number,
ascending for name". So that is the direction where none is said; whoever says one gets it.

Source: Integrations API v1 discovery document, ``versions.list`` and ``integrations.list``.
"""

from __future__ import annotations

from typing import Final

from orchestrator.errors import InvalidValue
from orchestrator.model.filter_fields import Field, Kind, find_field
from orchestrator.model.listing import Order
from orchestrator.model.version_states import VersionState

_STATES: Final = tuple((state.value, state.value) for state in VersionState)

PROJECT: Final = Field("project", Kind.TEXT)
LOCATION: Final = Field("location", Kind.TEXT)
INTEGRATION: Final = Field("integration", Kind.TEXT, ("integration_name", "workflow_name", "name"))
VERSION_ID: Final = Field("version_id", Kind.TEXT, ("id", "version"))
STATE: Final = Field("state", Kind.CHOICE, ("status",), _STATES)
SNAPSHOT_NUMBER: Final = Field("snapshot_number", Kind.WHOLE)
USER_LABEL: Final = Field("user_label", Kind.TEXT)
DESCRIPTION: Final = Field("description", Kind.TEXT)
LOCK_HOLDER: Final = Field("lock_holder", Kind.TEXT, ("locked_by",))
LAST_MODIFIER: Final = Field("last_modifier_email", Kind.TEXT, ("last_modifier", "last_modified_by"))
CREATE_TIME: Final = Field("create_time", Kind.TIME, ("created_time", "created_at"))
UPDATE_TIME: Final = Field("update_time", Kind.TIME, ("last_modified_time", "updated_at"))

VERSION_FIELDS: Final = (
    *(INTEGRATION, VERSION_ID, STATE, SNAPSHOT_NUMBER, USER_LABEL, DESCRIPTION),
    *(LOCK_HOLDER, LAST_MODIFIER, CREATE_TIME, UPDATE_TIME, PROJECT, LOCATION),
)
_ORDERED_BY: Final = (UPDATE_TIME, CREATE_TIME, SNAPSHOT_NUMBER, INTEGRATION)

LATEST_FIRST: Final = Order(CREATE_TIME, is_descending=True)
BY_NAME: Final = Order(INTEGRATION, is_descending=False)


def parse_version_order(text: str, *, default: Order = LATEST_FIRST) -> Order:
    """Read an order such as ``snapshot_number``, ``last_modified_time asc`` or ``name``; a blank one is the default.

    Raises:
        InvalidValue: it is something else.
    """
    if not (words := text.split()):
        return default
    by = find_field(words[0], VERSION_FIELDS)
    if by not in _ORDERED_BY or len(words) > 2 or [each.lower() for each in words[1:]] not in ([], ["asc"], ["desc"]):
        names = ", ".join(each.name for each in _ORDERED_BY)
        raise InvalidValue("order", repr(text[:60]), f"one of {names}, and then asc or desc")
    is_descending = words[1].lower() == "desc" if len(words) == 2 else by is not INTEGRATION
    return Order(by, is_descending=is_descending)

"""``executions``: how an execution looks to Google's clients - one of them, a list, and as a file.

Decisions:

- ``get`` shows everything: all snapshots with their parameters, and all that is below, nested. Whoever polls asks for
  less: with ``fields=name,executionDetails/state`` no history is read.
- ``list`` shows each execution with its own details and without what is below it; sub-executions are in the list of
  their own integration. Histories are read only if ``readMask`` and ``fields`` leave something of them. With a
  ``readMask`` there is always the ``name`` as well, without which an answer would be of no use.
- The newest come first, 50 a page unless asked otherwise, and at most 1,000. ``-`` lists all integrations.
- Those who ask for the same at the same time are answered by one read (``shared_reads``).
- ``download`` gives the same document as ``get``, as text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response

from orchestrator.errors import ExecutionNotFound, InvalidValue
from orchestrator.model.execution import Execution
from orchestrator.model.filter_params import parse_filter_params
from orchestrator.model.filters import And, parse_filter
from orchestrator.model.json_text import to_json_text
from orchestrator.service.listing import ListWish
from orchestrator.service.looking import Depth, look_at, look_at_page
from orchestrator.service.services import Services
from orchestrator.wire.asking import Asked, Reader, Shared
from orchestrator.wire.google import masks
from orchestrator.wire.google.documents import Writer
from orchestrator.wire.google.envelope import GoogleJson, GoogleRoute, Written, fields_of, written
from orchestrator.wire.google.masks import EVERY, Mask, inside_of, shows
from orchestrator.wire.google.names import ExecutionName, IntegrationName, OfExecution, OfIntegration
from orchestrator.wire.google.polling import POLL, Polled
from orchestrator.wire.google.queries import NO_QUERY, Query, query_of

router = APIRouter(route_class=GoogleRoute)

_EXECUTIONS: Final = "/v1/projects/{project}/locations/{location}/integrations/{integration}/executions"
_MESSAGE: Final = "GoogleCloudIntegrationsV1alphaExecution"
_LISTED: Final = (
    *("filter", "filterParams.*", "orderBy", "pageSize", "pageToken", "readMask"),
    *("refreshAcl", "snapshotMetadataWithoutParams", "truncateParams"),
)
_READABLE: Final = {
    "name": "eventExecutionInfoId",
    "triggerId": "triggerId",
    "executionMethod": "postMethod",
    "createTime": "createTime",
    "updateTime": "lastModifiedTime",
    "executionDetails": "eventExecutionDetails",
    "requestParameters": "",
    "responseParameters": "",
    "cloudLoggingDetails": "cloudLoggingDetails",
    "snapshotNumber": "snapshotNumber",
    "replayInfo": "replayInfo",
    "integrationVersionState": "",
    "eventExecutionDetails": "eventExecutionDetails",
}
"""What a ``readMask`` may name, and the same in an EventExecutionInfo."""


@router.get(_EXECUTIONS + "/{execution}:download", dependencies=[NO_QUERY])
def download_execution(name: OfExecution, services: Asked, caller: Reader) -> Response:  # noqa: ARG001
    """The document of one execution, as a text."""
    document = Writer().execution(find(name, services, depth=Depth()))
    return GoogleJson({"content": to_json_text(document)})


@router.get(_EXECUTIONS + "/{execution}")
async def get_execution(
    *,
    name: OfExecution,
    request: Request,
    services: Asked,
    caller: Reader,  # noqa: ARG001
    polled: Polled,
    reads: Shared,
) -> Response:
    """One execution, with everything below it."""
    Query(request, POLL)
    key = "execution", name, request.query_params.get("fields")
    return Written(await reads.read(key, partial(_read_execution, name, request, services)), headers=polled)


def _read_execution(name: ExecutionName, request: Request, services: Services) -> bytes:
    fields = fields_of(request)
    return written(Writer().execution(find(name, services, depth=depth_of(fields))), fields)


@router.get(_EXECUTIONS)
async def list_executions(
    *,
    parent: OfIntegration,
    request: Request,
    services: Asked,
    caller: Reader,  # noqa: ARG001 - says who may
    reads: Shared,
    query: Annotated[Query, Depends(query_of(*_LISTED))],
) -> Response:
    """One page of the executions of an integration, or of all."""
    key = "executions", parent, request.scope["query_string"]
    return Written(await reads.read(key, partial(_read_executions, parent, query, fields_of(request), services)))


def _read_executions(parent: IntegrationName, query: Query, fields: Mask | None, services: Services) -> bytes:
    read = parse_read_mask(query.text("readMask"))
    wish = ListWish(
        filter=And((parse_filter(query.text("filter")), parse_filter_params(query.inside("filterParams")))),
        order_by=query.text("orderBy"),
        integration=None if parent.is_any else parent.integration,
        with_children=True,
        page_size=query.page_size(),
        page_token=query.text("pageToken"),
    )
    query.flag("refreshAcl")  # there is none
    depth = depth_of_list(fields, read, with_parameters=not query.flag("snapshotMetadataWithoutParams"))
    found, next_token = look_at_page(wish, services, place=parent.place, depth=depth)
    writer = Writer(truncates=query.flag("truncateParams"))
    answer: dict[str, Any] = {
        "executions": [masks.apply(read, writer.execution(each)) for each in found],
        "executionInfos": [masks.apply(_twin(read), writer.info(each)) for each in found],
    }
    return written(answer | ({"nextPageToken": next_token} if next_token else {}), fields)


def find(name: ExecutionName, services: Services, *, depth: Depth) -> Execution:
    """The execution of this name.

    Raises:
        ExecutionNotFound: there is none, or it is of another integration.
    """
    found = look_at(name.execution, services, depth=depth)
    if not name.fits(found):
        raise ExecutionNotFound(name.execution)
    return found


# -- how much is read ----------------------------------------------------------------------------------------------


def depth_of(mask: Mask | None) -> Depth:
    """What of one execution is to be read for a mask to have what it shows."""
    with_snapshots = _at_any_level(_shows_snapshots, mask)
    return Depth(
        with_history=with_snapshots or _at_any_level(_shows_history, mask),
        with_snapshots=with_snapshots,
        with_children=shows(mask, "directSubExecutions"),
    )


def depth_of_list(fields: Mask | None, read: Mask | None, *, with_parameters: bool) -> Depth:
    """What of each execution of a list is to be read for both masks to have what they show."""
    shown = fields if fields is None else fields.get("executions", fields.get(EVERY, {}))
    with_snapshots = _shows_snapshots(read) and _shows_snapshots(shown)
    in_twin = [("errors",), ("eventExecutionDetails", "eventAttemptStats")] if read is None else []
    return Depth(
        with_history=with_snapshots
        or (_shows_history(read) and _shows_history(shown))
        or any(shows(fields, "executionInfos", *each) for each in in_twin),
        with_snapshots=with_snapshots,
        with_parameters=with_parameters,
        with_children=False,
    )


def _at_any_level(shows_some: Callable[[Mask | None], bool], mask: Mask | None) -> bool:
    """Whether a mask shows something of an execution, or of what is below it."""
    if shows_some(mask):
        return True
    if mask is None or not shows(mask, "directSubExecutions"):
        return False
    return _at_any_level(shows_some, inside_of(mask, "directSubExecutions"))


def _shows_snapshots(mask: Mask | None) -> bool:
    of_details = ("executionSnapshots", "eventExecutionSnapshotsSize")
    return any(shows(mask, "executionDetails", each) for each in of_details) or shows(
        mask, "eventExecutionDetails", "eventExecutionSnapshot"
    )


def _shows_history(mask: Mask | None) -> bool:
    of_twin = ("eventAttemptStats", "eventRetriesFromBeginningCount")
    return shows(mask, "executionDetails", "attemptStats") or any(
        shows(mask, "eventExecutionDetails", each) for each in of_twin
    )


def parse_read_mask(text: str) -> Mask | None:
    """What is shown of each execution; None for all of it.

    Raises:
        InvalidRequest, InvalidValue: it names something that cannot be shown in a list.
    """
    if not text or text == EVERY:
        return None
    mask = masks.fit(masks.parse_fields(text), _MESSAGE)
    if unknown := [name for name in mask if name not in _READABLE]:
        raise InvalidValue("readMask", unknown[0], f"{', '.join(_READABLE)}, and what is inside of these")
    return {"name": None} | mask


def _twin(read: Mask | None) -> Mask | None:
    """The same for an EventExecutionInfo."""
    return None if read is None else {_READABLE[name]: None for name in read if _READABLE[name]}

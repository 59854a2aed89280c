"""Looking at executions over the network: as much of one, or of a page of a list, as whoever asks wants to see.

Everything of one look is read at one moment of the database. What is not wanted is not read: without histories a page
costs the same few statements however much has happened.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.execution import Execution
from orchestrator.service.fold import Snapshots
from orchestrator.service.listing import ListWish, read_page
from orchestrator.service.query import TreeReader
from orchestrator.service.services import Services
from orchestrator.service.submit import Place
from orchestrator.store.queries import ExecutionQueries


@dataclass(frozen=True, kw_only=True, slots=True)
class Depth:
    """How much of an execution is read.

    Attributes:
        with_history: its tasks, attempts and snapshots.
        with_snapshots: all snapshots, not none.
        with_parameters: those that snapshots have.
        with_children: what is below it; in a list nothing is.
    """

    with_history: bool = True
    with_snapshots: bool = True
    with_parameters: bool = True
    with_children: bool = True


def look_at(execution_id: str, services: Services, *, depth: Depth) -> Execution:
    """An execution as it is now, with its facts.

    Raises:
        ExecutionNotFound: there is none.
    """
    reader = _reader(ExecutionQueries(services.store.database), services, depth)
    return reader.read(execution_id) if depth.with_children else reader.read_alone(execution_id)


def look_at_page(wish: ListWish, services: Services, *, place: Place, depth: Depth) -> tuple[list[Execution], str]:
    """One page of a list, each with its facts and without what is below it.

    Returns:
        Its executions, and the token of the next page; blank after the last.

    Raises:
        FilterSyntax, InvalidValue, InvalidPageToken: something of the wish cannot be used.
    """
    with ExecutionQueries(services.store.database).at_one_moment() as queries:
        rows, next_token = read_page(wish, queries, place=place)
        return _reader(queries, services, depth).page(rows), next_token


def _reader(queries: ExecutionQueries, services: Services, depth: Depth) -> TreeReader:
    return TreeReader(
        queries,
        services.plans,
        snapshots=Snapshots.ALL if depth.with_snapshots else Snapshots.NONE,
        with_parameters=depth.with_parameters,
        with_history=depth.with_history,
        with_facts=True,
    )

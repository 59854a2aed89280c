"""Control of live executions: KILL, of one or of all that fit a filter.

Of many, every one is marked before the first is brought to its end: from its mark on nothing of an execution starts,
and the end of one must not let in another that is to be killed as well, where they wait for the same limit. One that is
below another one is told by what it is below of, and by itself only if that cannot be told any more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.errors import InvalidValue, StateError, Unreachable
from orchestrator.model.filters import EVERYTHING, Node, parse_filter
from orchestrator.service.apply import start_held
from orchestrator.service.listing import within
from orchestrator.service.pursue import pursue
from orchestrator.service.services import Services
from orchestrator.service.submit import Place
from orchestrator.store.kinds import Signal
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.rows import Match
from orchestrator.store.signals import Audit

log = logging.getLogger(__name__)


class ExecutionOver(StateError):
    """What was asked for needs a live execution."""

    def __init__(self, execution_id: str, state: str, wanted: str) -> None:
        super().__init__(execution_id, state, wanted)
        self.execution_id, self.state, self.wanted = execution_id, state, wanted

    def __str__(self) -> str:
        return f"execution {self.execution_id} is {self.state}, which is final: nothing is left to {self.wanted}"


def kill(execution_id: str, services: Services, *, audit: Audit, rolls_back: bool = False) -> None:
    """End an execution and everything live below it; each is CANCELLED once no code of it runs.

    What nobody runs is over when this returns. What a worker runs is ended by that worker, within seconds.

    Args:
        execution_id: of which execution.
        services: the stores.
        audit: who wants it, and why; kept.
        rolls_back: undo what SUCCEEDed and has a rollback before it is CANCELLED.

    Raises:
        ExecutionOver: it is final already; nothing was changed.
        ExecutionNotFound: there is none.
    """
    signal = Signal.KILL_AND_ROLL_BACK if rolls_back else Signal.KILL
    state = services.signals.send(execution_id, signal, audit)
    if state is not None:
        raise ExecutionOver(execution_id, state.value, "kill")
    pursue(execution_id, services, start=start_held)


@dataclass(frozen=True, kw_only=True, slots=True)
class KillReport:
    """What became of a KILL by filter.

    Attributes:
        matches: the live executions that fitted, the oldest first, without those below another one of them.
        killed: the ids of those that were told to end, with everything below them; also of one below a match that was
            over already, or failed.
        over: the ids of those that were final before they could be told.
        failed: why, by the id, of those that could not be told or brought to their end; a KILL that an execution was
            told stands, and workers go on with it.
    """

    matches: tuple[Match, ...] = ()
    killed: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)


def check_filter(wanted: str | Node) -> Node:
    """Read what is to be killed.

    Raises:
        FilterSyntax: the filter cannot be read.
        InvalidValue: it is blank: that would be everything, and is more often a mistake.
    """
    tree = parse_filter(wanted) if isinstance(wanted, str) else wanted
    if tree == EVERYTHING:
        raise InvalidValue("filter", "nothing", "what to kill; state:* is everything")
    return tree


def find_live(wanted: str | Node, services: Services, *, place: Place) -> tuple[Match, ...]:
    """What ``kill_many`` is to be given: the live executions that fit, the oldest first.

    Args:
        wanted: a filter; ``state:*`` is everything.
        services: the stores.
        place: of which project and location.

    Raises:
        FilterSyntax, InvalidValue: as ``check_filter``.
    """
    return tuple(ExecutionQueries(services.store.database).live_matches(within(place, check_filter(wanted))))


def topmost(matches: Sequence[Match]) -> tuple[Match, ...]:
    """Those that are not below another one: a KILL of these is one of all."""
    return tuple(match for match in matches if not match.above)


def kill_many(matches: Sequence[Match], services: Services, *, audit: Audit, rolls_back: bool = False) -> KillReport:
    """End executions and everything live below them, each as ``kill`` does.

    One that is final meanwhile is passed over, and one that fails does not keep the others from their end.

    Raises:
        Unreachable: the database does not answer. What was marked ends all the same, once it does.
    """
    signal = Signal.KILL_AND_ROLL_BACK if rolls_back else Signal.KILL
    told: dict[str, None] = {}  # in order
    over: list[str] = []
    failed: dict[str, str] = {}
    for match in sorted(matches, key=lambda match: len(match.above)):  # what is above before what is below
        if told.keys() & match.above:
            continue
        with _noted(match.id, failed):
            if services.signals.send(match.id, signal, audit) is None:
                told[match.id] = None
            else:
                over.append(match.id)
    for execution_id in told:
        with _noted(execution_id, failed):
            pursue(execution_id, services, start=start_held)
    killed = tuple(each for each in told if each not in failed)
    return KillReport(matches=topmost(matches), killed=killed, over=tuple(over), failed=failed)


@contextmanager
def _noted(execution_id: str, failed: dict[str, str]) -> Iterator[None]:
    """Keep what fails, and go on."""
    try:
        yield
    except Unreachable:  # nor would the others get through
        raise
    except Exception as error:
        log.exception("execution not killed", extra={"execution_id": execution_id})
        failed[execution_id] = f"{type(error).__name__}: {error}"

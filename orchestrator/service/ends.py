"""What ends an execution that is stopped: its mark is obeyed, and what nobody runs of it is over. Decides, writes not.

The sub-executions of one fan-out stand alike: they differ in ids, times and parameters. ``OneCommitEnds`` decides once
for all that do. What is being stopped takes no edge, so no condition is read and the parameters count for nothing but
the response; a property test holds ``engine.decide`` to that. Ten thousand decisions would be half of a KILL's time.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import Killed, Stopped
from orchestrator.model.history import EntryKind
from orchestrator.service.services import Services
from orchestrator.service.standing import Standing, Step, to_standing, work_out
from orchestrator.service.start import to_outcome, with_system_variables
from orchestrator.store.changes import Commit
from orchestrator.store.kinds import Phase, Signal
from orchestrator.store.rows import Found, LiveAttempt


def steps_to_end(standing: Standing) -> list[Step]:
    """What its mark asks for, and the end of what nobody has claimed."""
    steps = [stopped(each) for each in stoppable(standing) if each.worker is None and each.phase is not Phase.WAIT]
    if standing.is_marked and not standing.stored.state.is_final:
        rolls_back = standing.stored.signal is Signal.KILL_AND_ROLL_BACK
        steps.insert(0, Step(event=Killed(rolls_back=rolls_back), kind=EntryKind.KILLED))
    return steps


def stoppable(standing: Standing) -> list[LiveAttempt]:
    """What is to end if the execution is being stopped, or is to be: all but what undoes something."""
    if standing.stored.state.is_final or not (standing.is_marked or standing.progress.stopping):
        return []
    live = sorted(standing.live.items())
    return [each for number, each in live if not standing.progress.status(number).is_rolling_back]


def stopped(live: LiveAttempt) -> Step:
    """The end of an attempt that no worker has. One that has begun was in the middle of its work."""
    key = live.key
    return Step(
        event=Stopped(number=key.number, attempt=key.attempt, was_running=live.was_running),
        kind=EntryKind.STOPPED,
        number=key.number,
        attempt=key.attempt,
        withdrawn=(key,),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _End:
    """The end of one execution, to be made that of another."""

    standing: Standing
    change: Commit
    decision: Decision


class OneCommitEnds:
    """The ends of executions that were found at one moment, of those that are over with one commit."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._known: dict[Hashable, _End | None] = {}

    def of(self, found: Found) -> Commit | None:
        """The commit that ends an execution, or None if it takes more, or nothing is to end."""
        stance = _stance(found)
        if stance not in self._known:
            self._known[stance] = self._work_out(found)
        end = self._known[stance]
        return None if end is None else _made_for(found, end)

    def _work_out(self, found: Found) -> _End | None:
        standing = to_standing(found, self._services)
        steps = steps_to_end(standing)
        outcome = work_out(steps, standing) if steps else None
        if outcome is None:
            return None
        change, decision = outcome
        if change.outcome is None or not change.is_plain:
            return None
        return _End(standing=standing, change=change, decision=decision)


def _stance(found: Found) -> Hashable:
    """All that the end of an execution follows from, but for its parameters, which the response alone follows from."""
    stored = found.stored
    live = tuple(
        (number, each.key.attempt, each.key.round, each.phase, each.worker is None, each.was_running)
        for number, each in sorted(found.live.items())
    )
    return stored.version_id, stored.trigger_id, stored.method, stored.state, stored.progress, stored.signal, live


def _made_for(found: Found, end: _End) -> Commit:
    parameters = with_system_variables(found.parameters, is_sync=end.standing.is_sync)
    return replace(
        end.change,
        execution=found.stored,
        withdrawn=tuple(replace(key, execution_id=found.stored.id) for key in end.change.withdrawn),
        outcome=to_outcome(end.standing.plan, end.decision, parameters),
    )

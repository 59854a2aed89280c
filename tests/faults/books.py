"""The books of a system after faults: what must be true of its rows whatever happened, and a sentence where it is not.

    ended         every execution is final, and nothing is left that belongs to a live one
    history       revisions without gaps, arrows that the two state machines have, a final state that stayed
    exactly once  one result for each task that SUCCEEDed; every child counted in its join, and none twice
    effects       what SUCCEEDed has had its effect; an effect came twice only if a loss of its attempt is on record
    one truth     Celery's ``AsyncResult`` says the same as the rows

They hold for every execution in the database, whoever submitted it; what a test expects of its own comes on top.
"""

from collections import Counter, defaultdict

import sqlalchemy as sa

from orchestrator.model.history import EntryKind
from orchestrator.model.states import EXECUTION_ARROWS, ExecutionState, TaskState
from orchestrator.store.kinds import SuspensionState
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.tables import (
    chunks,
    executions,
    history,
    limit_holders,
    limit_waiters,
    live_attempts,
    parameters,
    suspensions,
    timers,
)
from orchestrator.store.versions import VersionStore
from tests.integration.arrows import task_arrows

EFFECT = "faults.effect"
_LEFT_OVER = (live_attempts, chunks, timers, parameters, limit_holders, limit_waiters)
_LEGAL = {(state, target) for (state, _), target in EXECUTION_ARROWS.items()}
_CELERY = {ExecutionState.SUCCEEDED: "SUCCESS", ExecutionState.FAILED: "FAILURE", ExecutionState.CANCELLED: "REVOKED"}
_LOSES = (EntryKind.RETURNED, EntryKind.QUARANTINED)
_HAS_RESULT = (TaskState.SUCCEED, TaskState.ROLLEDBACK)


class Books:
    """The books of one database and one ledger, as they are now.

    Args:
        database: where ``write_arrows_down`` was called before the first execution.
        lines: of the ledger.
        app: a Celery app with the result backend.
        claims_may_vanish: PostgreSQL crashed, and with it claims that nothing was committed after: an effect may come
            again without a record of it.
    """

    def __init__(self, database, lines, app, *, claims_may_vanish=False):
        self.database, self.lines, self.app, self.claims_may_vanish = database, lines, app, claims_may_vanish
        self.executions = self._rows(sa.select(executions))
        self.entries = ExecutionQueries(database).entries({row.id: 0 for row in self.executions})
        self.children, self._versions = defaultdict(list), {}
        for row in self.executions:
            self.children[row.parent_id].append(row)

    def violations(self, expected=None):
        """One sentence each. ``expected``: the states that an execution may have, by its id."""
        found = [*self._left_over(), *self._arrows_of_executions(), *self._effects()]
        for row in self.executions:
            for look in (self._ended, self._history, self._results, self._joins):
                found += look(row, self.entries.get(row.id, []))
        return [*found, *self._surprises(expected or {})]

    def _rows(self, statement):
        with self.database.read() as connection:
            return connection.execute(statement).all()

    def _surprises(self, expected):
        states = {row.id: row.state for row in self.executions}
        for execution_id, allowed in expected.items():
            if states.get(execution_id) not in allowed:
                yield f"{execution_id} is {states.get(execution_id)}, not {' or '.join(sorted(allowed))}"

    # -- ended -----------------------------------------------------------------------------------------------------

    def _left_over(self):
        for table in _LEFT_OVER:
            if left := self._rows(sa.select(table)):
                yield f"{table.name} has {len(left)} rows left, the first is {tuple(left[0])}"
        pending = sa.select(suspensions.c.execution_id).where(suspensions.c.state == SuspensionState.PENDING.value)
        if left := self._rows(pending):
            yield f"{len(left)} suspensions are pending, the first of {left[0].execution_id}"

    def _ended(self, row, entries):
        state = ExecutionState(row.state)
        if not state.is_final:
            yield f"{row.id} of {row.integration!r} is {state}"
        elif (said := self.app.AsyncResult(row.id).state) != _CELERY[state]:
            yield f"{row.id} is {state}, and Celery says {said}"
        if row.signal is not None or row.hold is not None:
            yield f"{row.id} is marked still: {row.signal or row.hold}"

    # -- history ---------------------------------------------------------------------------------------------------

    def _history(self, row, entries):
        statement = sa.select(history.c.revision).where(history.c.execution_id == row.id).order_by("revision")
        revisions = [each.revision for each in self._rows(statement)]
        if revisions != list(range(1, row.revision + 1)):
            yield f"{row.id} is at revision {row.revision}, and its history has {revisions}"
        try:
            task_arrows(self.database, row.id)
        except AssertionError as error:
            yield f"{row.id}: {error}"

    def _arrows_of_executions(self):
        for row in self._rows(sa.text("SELECT execution_id, before, after FROM seen_states")):
            before, after = ExecutionState(row.before), ExecutionState(row.after)
            if before is not after and (before, after) not in _LEGAL:
                yield f"{row.execution_id} went from {before} to {after}"

    # -- exactly once ----------------------------------------------------------------------------------------------

    def _results(self, row, entries):
        """A restart begins a new count, because it takes every result back."""
        results, states = Counter(), {}
        for entry in entries:
            if entry.kind is EntryKind.RESTARTED:
                results.clear()
            if entry.kind in (EntryKind.SUCCEEDED, EntryKind.LIFTED):
                results[entry.task_number] += 1
            states |= entry.states
        for number, state in states.items():
            if state in _HAS_RESULT and results[number] != 1:
                yield f"task {number} of {row.id} is {state} and has {results[number]} results"

    def _joins(self, row, entries, *_):
        """As many children as the history says, each in a place of its own, and all over before the join.

        Those of a chunk that its task did not wait for to the end, because it was stopped, may have no rows.
        """
        started, in_chunks = Counter(), set()
        for entry in entries:
            if entry.kind is EntryKind.CHILDREN_STARTED:
                started_round = (*_task_of(entry), entry.details["round"])
                started[started_round] += entry.details["children"]
                in_chunks |= {started_round} if "chunks" in entry.details else set()
        awaited = [child for child in self.children[row.id] if child.parent_round is not None]
        stored = Counter((child.parent_task, child.parent_attempt, child.parent_round) for child in awaited)
        joined = {_task_of(entry) for entry in entries if entry.kind is EntryKind.SUCCEEDED}
        may_be_fewer = {each for each in in_chunks if each[:2] not in joined}
        if any(
            count != stored[each] and not (each in may_be_fewer and stored[each] < count)
            for each, count in (stored | started).items()
        ):
            yield f"{row.id} has started the children {dict(started)}, and there are {dict(stored)}"
        places = Counter((child.parent_task, child.parent_attempt, child.position) for child in awaited)
        for place in [place for place, count in places.items() if count > 1]:
            yield f"{row.id} has {places[place]} children in the place {place}"
        for entry in entries:
            waits_for = [each for each in awaited if (each.parent_task, each.parent_attempt) == _task_of(entry)]
            if entry.kind is EntryKind.SUCCEEDED and any(_is_later(each, entry) for each in waits_for):
                yield f"task {entry.task_number} of {row.id} was joined before the last of its children was over"

    # -- effects ---------------------------------------------------------------------------------------------------

    def _effects(self):
        effects = Counter((each.execution_id, each.number, each.attempt) for each in self.lines)
        losses, results = Counter(), set()
        for row in self.executions:
            with_effect = self._tasks_with_effect(row.version_id)
            for entry in self.entries.get(row.id, []):
                key = (row.id, *_task_of(entry))
                losses[key] += entry.kind in _LOSES
                if entry.kind is EntryKind.SUCCEEDED and entry.task_number in with_effect:
                    results.add(key)
        known = {row.id for row in self.executions}
        for key, count in effects.items():
            if key[0] not in known:
                yield f"{key} had an effect, and there is no such execution"
            elif count > 1 + losses[key] and not self.claims_may_vanish:
                yield f"{key} had its effect {count} times, and {losses[key]} losses are on record"
        for key in results - effects.keys():
            yield f"{key} SUCCEEDed and had no effect"

    def _tasks_with_effect(self, version_id):
        if version_id not in self._versions:
            document = VersionStore(self.database).get(version_id).document
            found = {int(each["taskId"]) for each in document["taskConfigs"] if each["task"] == EFFECT}
            self._versions[version_id] = found
        return self._versions[version_id]


def _task_of(entry):
    return entry.task_number, entry.attempt


def _is_later(child, entry):
    return child.ended_at is None or child.ended_at > entry.ended_at

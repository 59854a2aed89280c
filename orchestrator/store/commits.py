"""Writing a commit: the steps of one transaction, in an order that lets the refusals come first.

compare-and-set on revision and signal -> fence on the held attempts -> history, ready tasks, sub-executions, timers,
suspensions -> waits -> parameters, or at the end the parent's join counter.

The signal is part of what is compared: a KILL that came since the execution was read makes the commit stale, so that
nobody can start sub-executions that the KILL did not see.

Only ``ExecutionStore`` calls this; it owns the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.model.json_text import to_json_text
from orchestrator.model.states import FINAL_EXECUTION_STATES
from orchestrator.model.values import to_value
from orchestrator.store.creation import insert_attempts, insert_executions, insert_timers, parameter_rows, upsertable
from orchestrator.store.limits import leave
from orchestrator.store.rows import (
    AttemptKey,
    Commit,
    Fired,
    ParentLink,
    Phase,
    Refusal,
    Signal,
    SuspensionState,
    dump_parameters,
)
from orchestrator.store.tables import (
    executions,
    history,
    later,
    live_attempts,
    now,
    parameters,
    suspensions,
    timers,
)

BY_KEY: Final = sa.and_(
    live_attempts.c.execution_id == sa.bindparam("b_id"),
    live_attempts.c.task_number == sa.bindparam("b_number"),
    live_attempts.c.attempt == sa.bindparam("b_attempt"),
    live_attempts.c.round == sa.bindparam("b_round"),
)
_ADVANCE: Final = (
    sa.update(executions)
    .where(
        executions.c.id == sa.bindparam("b_id"),
        executions.c.revision == sa.bindparam("b_revision"),
        executions.c.signal.is_not_distinct_from(sa.bindparam("b_seen_signal")),
    )
    .values(
        signal=sa.bindparam("b_signal"),
        state=sa.bindparam("b_state"),
        revision=sa.bindparam("b_next_revision"),
        progress=sa.bindparam("b_progress"),
        updated_at=now(),
    )
)
_END: Final = _ADVANCE.values(response=sa.bindparam("b_response"), error=sa.bindparam("b_error"), ended_at=now())
_BEGIN: Final = (
    sa.update(executions).where(executions.c.id == sa.bindparam("b_id")).values(hold=None, is_start_recorded=True)
)
_RELEASE: Final = sa.delete(live_attempts).where(BY_KEY, live_attempts.c.worker == sa.bindparam("b_worker"))
_WITHDRAW: Final = sa.delete(live_attempts).where(BY_KEY, live_attempts.c.worker.is_(None))
_REVOKE: Final = sa.delete(live_attempts).where(BY_KEY)
_RETURN: Final = (
    sa.update(live_attempts)
    .where(BY_KEY, live_attempts.c.worker == sa.bindparam("b_worker"))
    .values(worker=None, lease_until=None, stop_at=None, losses=live_attempts.c.losses + 1, queued_at=now())
)
_STOP: Final = (
    sa.update(live_attempts)
    .where(
        live_attempts.c.execution_id == sa.bindparam("b_id"),
        live_attempts.c.worker.is_not(None),
        live_attempts.c.stop_at.is_(None),
    )
    .values(stop_at=now())
)
_WAIT: Final = (
    sa.update(live_attempts)
    .where(
        live_attempts.c.execution_id == sa.bindparam("b_id"),
        live_attempts.c.task_number == sa.bindparam("b_number"),
        live_attempts.c.worker == sa.bindparam("b_worker"),
    )
    .values(
        phase=sa.bindparam("b_phase"),
        round=sa.bindparam("b_round"),
        children=sa.bindparam("b_children"),
        arrived=sa.bindparam("b_arrived"),
        first_position=sa.bindparam("b_first_position"),
        carry=sa.bindparam("b_carry"),
        worker=None,
        lease_until=None,
        queued_at=now(),
    )
    .returning(live_attempts.c.executor, live_attempts.c.attempt)
)
_ARRIVE: Final = (
    sa.update(live_attempts)
    .where(BY_KEY, live_attempts.c.phase == Phase.WAIT.value)
    .values(
        arrived=live_attempts.c.arrived + 1,
        phase=sa.case(
            (live_attempts.c.arrived + 1 >= live_attempts.c.children, Phase.JOIN.value), else_=Phase.WAIT.value
        ),
        queued_at=now(),
    )
    .returning(live_attempts.c.phase, live_attempts.c.executor)
)


class Refused(Exception):
    """Rolls the transaction of a commit back."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def bind(key: AttemptKey) -> dict[str, Any]:
    """The variables of ``BY_KEY``."""
    return {"b_id": key.execution_id, "b_number": key.number, "b_attempt": key.attempt, "b_round": key.round}


def write(connection: sa.Connection, change: Commit) -> Iterable[Fired]:
    """Write one change; the joins that it made due.

    Raises:
    Refused: nothing may be written; roll back.
    """
    _advance(connection, change)
    _release(connection, change)
    _take_back(connection, change)
    _record(connection, change)
    insert_attempts(connection, change.execution.id, change.ready)
    insert_executions(connection, change.children)
    _change_timers(connection, change)
    _change_suspensions(connection, change)
    fired = list(_wait(connection, change))
    if change.signal is Signal.STOPPING and change.execution.signal is not Signal.STOPPING:
        connection.execute(_STOP, {"b_id": change.execution.id})
        mark_below(connection, change.execution.id, Signal.KILL, awaited=True)
    if change.outcome is not None or change.is_restart:
        connection.execute(sa.delete(parameters).where(parameters.c.execution_id == change.execution.id))
    if change.outcome is not None:
        fired += _arrive(connection, change.execution.parent)
        if change.execution.is_limited:
            leave(connection, change.execution.id)
    else:
        _keep_parameters(connection, change)
    return fired


def mark_below(
    connection: sa.Connection, execution_id: str, signal: Signal, *, of: AttemptKey | None = None, awaited: bool = False
) -> None:
    """Signal what is live below an execution: of one attempt, or all; ``awaited``: only what is waited for.

    Also what is stopping: it may be going to begin again. Rows are locked from the top to the bottom, as by everybody:
    two that mark one tree in different orders would wait for each other. Looks again, because what an execution was
    just starting is seen only when its row has been waited for; what is marked starts nothing any more.
    """
    wanted = executions.c.parent_round.is_not(None) if awaited else sa.true()
    top = sa.select(executions.c.id, sa.literal(1).label("depth")).where(executions.c.parent_id == execution_id, wanted)
    if of is not None:
        top = top.where(executions.c.parent_task == of.number, executions.c.parent_attempt == of.attempt)
    below = top.cte("below", recursive=True)
    children = sa.select(executions.c.id, below.c.depth + 1).join(below, executions.c.parent_id == below.c.id)
    below = below.union_all(children.where(wanted))
    unmarked = (
        sa.select(executions.c.id)
        .join(below, executions.c.id == below.c.id)
        .where(executions.c.state.not_in([state.value for state in FINAL_EXECUTION_STATES]))
        .where(sa.or_(executions.c.signal.is_(None), executions.c.signal == Signal.STOPPING.value))
    )
    in_order = unmarked.order_by(below.c.depth, executions.c.id).with_for_update(of=executions, key_share=True)
    locked = in_order.cte("locked")
    marking = sa.update(executions).where(executions.c.id.in_(sa.select(locked.c.id))).values(signal=signal.value)
    while connection.execute(unmarked.limit(1)).first() is not None:
        connection.execute(marking)


def _keep_parameters(connection: sa.Connection, change: Commit) -> None:
    if not change.parameters:
        return
    insert = upsertable(connection, parameters)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[parameters.c.execution_id, parameters.c.key], set_={"value": insert.excluded.value}
        ),
        parameter_rows(change.execution.id, change.parameters),
    )


def _advance(connection: sa.Connection, change: Commit) -> None:
    """The compare-and-set on the revision: whoever comes second reads and decides again."""
    revision = change.execution.revision
    values: dict[str, Any] = {
        "b_id": change.execution.id,
        "b_revision": revision,
        "b_next_revision": revision + len(change.entries),
        "b_state": change.state.value,
        "b_progress": change.progress,
        "b_seen_signal": None if change.execution.signal is None else change.execution.signal.value,
        "b_signal": None if change.signal is None else change.signal.value,
    }
    statement = _ADVANCE
    if change.outcome is not None:
        statement = _END
        error = change.outcome.error
        values["b_response"] = dump_parameters(change.outcome.response)
        values["b_error"] = None if error is None else to_json_text(error.to_json())
    if connection.execute(statement, values).rowcount != 1:
        raise Refused(Refusal.STALE)
    if change.begins:
        connection.execute(_BEGIN, {"b_id": change.execution.id})


def _take_back(connection: sa.Connection, change: Commit) -> None:
    """Attempts that end, or wait again, without their worker's word: they must be as the decision saw them."""
    for key in change.revoked:  # executions before live attempts: a child that ends has its own row, and wants this one
        mark_below(connection, key.execution_id, Signal.KILL, of=key, awaited=True)
    for statement, keys in ((_WITHDRAW, change.withdrawn), (_REVOKE, change.revoked), (_RETURN, change.returned)):
        for key in keys:
            held_by = {"b_worker": change.worker} if statement is _RETURN else {}
            if connection.execute(statement, bind(key) | held_by).rowcount != 1:
                raise Refused(Refusal.STALE)


def _release(connection: sa.Connection, change: Commit) -> None:
    """The fence: what is not this worker's any more cannot be ended by it."""
    for key in change.released:
        if connection.execute(_RELEASE, bind(key) | {"b_worker": change.worker}).rowcount != 1:
            raise Refused(Refusal.FENCED)


def _record(connection: sa.Connection, change: Commit) -> None:
    first = change.execution.revision + 1
    rows = [
        {"execution_id": change.execution.id, "revision": revision, "entry": to_json_text(entry.to_json())}
        for revision, entry in enumerate(change.entries, first)
    ]
    if rows:
        connection.execute(sa.insert(history), rows)


def _change_timers(connection: sa.Connection, change: Commit) -> None:
    execution_id = change.execution.id
    for kind, number in change.fired_timers:
        connection.execute(
            sa.delete(timers).where(
                timers.c.execution_id == execution_id, timers.c.task_number == number, timers.c.kind == kind.value
            )
        )
    void = {*change.dropped, *({0} if change.outcome is not None and change.execution.deadline_at else ())}
    if void:
        connection.execute(
            sa.delete(timers).where(timers.c.execution_id == execution_id, timers.c.task_number.in_(sorted(void)))
        )
    insert_timers(connection, execution_id, change.timers)


def _change_suspensions(connection: sa.Connection, change: Commit) -> None:
    execution_id = change.execution.id
    for new in change.suspensions:
        connection.execute(
            sa.insert(suspensions).values(
                execution_id=execution_id,
                task_number=new.number,
                attempt=new.attempt,
                state=SuspensionState.PENDING.value,
                terms=to_json_text(new.terms),
                is_timer=new.is_timer,
                expires_at=None if new.expire_after_s is None else later(new.expire_after_s),
            )
        )
    pending = sa.update(suspensions).where(
        suspensions.c.execution_id == execution_id, suspensions.c.state == SuspensionState.PENDING.value
    )
    if change.dropped:
        connection.execute(
            pending.where(suspensions.c.task_number.in_(change.dropped)).values(
                state=SuspensionState.CANCELLED.value, resolved_at=now()
            )
        )
    for each in change.resolutions:
        answered = connection.execute(
            pending.where(suspensions.c.task_number == each.number, suspensions.c.attempt == each.attempt).values(
                state=each.state.value,
                resolved_at=now(),
                resolver=each.resolver,
                result=None if each.result is None else to_json_text(to_value(each.result)),
            )
        )
        if answered.rowcount != 1:
            raise Refused(Refusal.STALE)


def _wait(connection: sa.Connection, change: Commit) -> Iterable[Fired]:
    for wait in change.waits:
        is_due = wait.arrived >= wait.children
        row = connection.execute(
            _WAIT,
            {
                "b_id": change.execution.id,
                "b_number": wait.number,
                "b_worker": change.worker,
                "b_phase": (Phase.JOIN if is_due else Phase.WAIT).value,
                "b_round": wait.round,
                "b_children": wait.children,
                "b_arrived": wait.arrived,
                "b_first_position": wait.first_position,
                "b_carry": None if wait.carry is None else to_json_text(wait.carry),
            },
        ).one_or_none()
        if row is None:
            raise Refused(Refusal.FENCED)
        if is_due:
            key = AttemptKey(
                execution_id=change.execution.id, number=wait.number, attempt=row.attempt, round=wait.round
            )
            yield Fired(key=key, executor=row.executor)


def _arrive(connection: sa.Connection, parent: ParentLink | None) -> Iterable[Fired]:
    """Count this execution in its parent's join. It cannot count twice: an execution becomes final once."""
    if parent is None or parent.round is None:
        return
    key = AttemptKey(execution_id=parent.execution_id, number=parent.number, attempt=parent.attempt, round=parent.round)
    row = connection.execute(_ARRIVE, bind(key)).one_or_none()
    if row is not None and row.phase == Phase.JOIN:
        yield Fired(key=key, executor=row.executor)

"""Writing a commit: the steps of one transaction, in an order that lets the refusals come first.

compare-and-set on revision and signal -> fence on the held attempts -> history, ready tasks, sub-executions, timers,
suspensions -> waits -> parameters, or at the end the parent's join counter.

The signal is part of what is compared: a KILL that came since the execution was read makes the commit stale, so that
nobody can start sub-executions that the KILL did not see.

Only ``ExecutionStore`` calls this; it owns the transaction. Many changes at once are ``store.bulk``'s, which uses the
steps that take several.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.model.json_text import to_json_text
from orchestrator.model.values import to_value
from orchestrator.store.changes import Commit, Fired, NewSuspension, Refusal, Resolution
from orchestrator.store.creation import (
    insert_attempts,
    insert_chunks,
    insert_executions,
    insert_timers,
    parameter_rows,
    upsertable,
)
from orchestrator.store.kinds import AttemptKey, Phase, Signal, SuspensionState
from orchestrator.store.limits import leave
from orchestrator.store.marks import mark_below
from orchestrator.store.rows import dump_parameters, to_chunk_key
from orchestrator.store.tables import (
    chunks,
    executions,
    history,
    later,
    live_attempts,
    now,
    parameters,
    suspensions,
    texts_of,
    timers,
)

BY_KEY: Final = sa.and_(
    live_attempts.c.execution_id == sa.bindparam("b_id"),
    live_attempts.c.task_number == sa.bindparam("b_number"),
    live_attempts.c.attempt == sa.bindparam("b_attempt"),
    live_attempts.c.round == sa.bindparam("b_round"),
)
IDS: Final = texts_of("b_ids")
NUMBERS: Final = sa.bindparam("b_numbers", expanding=True, type_=sa.Integer)
ADVANCE: Final = (
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
END: Final = ADVANCE.values(response=sa.bindparam("b_response"), error=sa.bindparam("b_error"), ended_at=now())
BEGIN: Final = (
    sa.update(executions).where(executions.c.id == sa.bindparam("b_id")).values(hold=None, is_start_recorded=True)
)
_RELEASE: Final = sa.delete(live_attempts).where(BY_KEY, live_attempts.c.worker == sa.bindparam("b_worker"))
_WITHDRAW: Final = sa.delete(live_attempts).where(BY_KEY, live_attempts.c.worker.is_(None))
_REVOKE: Final = sa.delete(live_attempts).where(BY_KEY)
_GIVE_BACK: Final = (
    sa.update(live_attempts)
    .where(BY_KEY, live_attempts.c.worker == sa.bindparam("b_worker"))
    .values(
        worker=None,
        owner=None,
        stop_at=None,
        started_at=sa.case((live_attempts.c.round == 0, None), else_=live_attempts.c.started_at),
        has_begun=True,
        queued_at=now(),
        published_at=None,
        rides_with=None,  # one of a bundle may have killed the worker: from here on each has a message of its own
    )
)
_RETURN: Final = _GIVE_BACK.values(losses=live_attempts.c.losses + 1)
_ASK_TO_END: Final = (
    sa.update(live_attempts).where(BY_KEY).values(stop_at=sa.func.coalesce(live_attempts.c.stop_at, now()))
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
        owner=None,
        queued_at=now(),
        published_at=None,
    )
    .returning(live_attempts.c.executor, live_attempts.c.attempt)
)
_RECORD: Final = sa.insert(history)
_FORGET: Final = sa.delete(parameters).where(parameters.c.execution_id == sa.bindparam("b_id"))
_ANSWER_TIMER: Final = sa.delete(timers).where(
    timers.c.execution_id.in_(IDS),
    timers.c.task_number == sa.bindparam("b_number"),
    timers.c.kind == sa.bindparam("b_kind"),
)
_VOID_TIMERS: Final = sa.delete(timers).where(timers.c.execution_id.in_(IDS), timers.c.task_number.in_(NUMBERS))
_VOID_SUSPENSIONS: Final = (
    sa.update(suspensions)
    .where(
        suspensions.c.execution_id.in_(IDS),
        suspensions.c.state == SuspensionState.PENDING.value,
        suspensions.c.task_number.in_(NUMBERS),
    )
    .values(state=SuspensionState.CANCELLED.value, resolved_at=now())
)
_COUNT: Final = sa.bindparam("b_count", type_=sa.Integer)
ARRIVE: Final = (
    sa.update(live_attempts)
    .where(BY_KEY, live_attempts.c.phase == Phase.WAIT.value)
    .values(
        arrived=live_attempts.c.arrived + _COUNT,
        phase=sa.case(
            (live_attempts.c.arrived + _COUNT >= live_attempts.c.children, Phase.JOIN.value), else_=Phase.WAIT.value
        ),
        queued_at=now(),
        published_at=None,
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
    fired = list(_take_back(connection, change))
    record(connection, [change])
    insert_attempts(connection, change.execution.id, change.ready)
    insert_executions(connection, change.children)
    insert_chunks(connection, change.chunks)
    change_timers(connection, [change])
    change_suspensions(connection, [change])
    fired += _wait(connection, change)
    if change.begins_to_stop:
        connection.execute(_STOP, {"b_id": change.execution.id})
        mark_below(connection, change.execution.id, Signal.KILL, awaited=True)
        drop_chunks(connection)
    if change.outcome is not None or change.is_restart:
        connection.execute(_FORGET, {"b_id": change.execution.id})
    if change.outcome is not None:
        if (join := join_of(change)) is not None:
            fired += arrive(connection, join)
        if change.execution.is_limited:
            leave(connection, change.execution.id)
    else:
        keep_parameters(connection, [change])
    return fired


def keep_parameters(connection: sa.Connection, changes: Iterable[Commit]) -> None:
    """The parameters that changed, of executions that go on."""
    rows = [row for each in changes for row in parameter_rows(each.execution.id, each.parameters)]
    if not rows:
        return
    insert = upsertable(connection, parameters)
    changed = {"value": insert.excluded.value}
    connection.execute(insert.on_conflict_do_update(index_elements=list(parameters.primary_key), set_=changed), rows)


def _advance(connection: sa.Connection, change: Commit) -> None:
    """The compare-and-set on the revision: whoever comes second reads and decides again."""
    if connection.execute(ADVANCE if change.outcome is None else END, advanced(change)).rowcount != 1:
        raise Refused(Refusal.STALE)
    if change.begins:
        connection.execute(BEGIN, {"b_id": change.execution.id})


def advanced(change: Commit) -> dict[str, Any]:
    """The variables of ``ADVANCE``, or of ``END`` if the execution is over."""
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
    if change.outcome is not None:
        error = change.outcome.error
        values["b_response"] = dump_parameters(change.outcome.response)
        values["b_error"] = None if error is None else to_json_text(error.to_json())
    return values


def _take_back(connection: sa.Connection, change: Commit) -> Iterable[Fired]:
    """Attempts that end, are to end or wait again without their worker's word: as the decision saw them, or not."""
    fired: tuple[Fired, ...] = ()
    # Executions before live attempts: a child that ends has its own row, and wants this one.
    for key in (*change.revoked, *change.asked_to_end):
        mark_below(connection, key.execution_id, Signal.KILL, of=key, awaited=True)
    if change.revoked or change.asked_to_end:
        fired = drop_chunks(connection, of=(*change.revoked, *change.asked_to_end))
    for statement, keys, held_by in (
        (_WITHDRAW, change.withdrawn, {}),
        (_REVOKE, change.revoked, {}),
        (_RETURN, change.returned, {"b_worker": change.worker}),
        (_ASK_TO_END, change.asked_to_end, {}),
    ):
        for key in keys:
            if connection.execute(statement, bind(key) | held_by).rowcount != 1:
                raise Refused(Refusal.STALE)
    return [each for each in fired if each.key in change.asked_to_end]


def _release(connection: sa.Connection, change: Commit) -> None:
    """The fence: what is not this worker's any more can be neither ended nor given back by it."""
    for statement, keys in ((_RELEASE, change.released), (_GIVE_BACK, change.given_back)):
        rows = [bind(key) | {"b_worker": change.worker} for key in keys]
        if rows and connection.execute(statement, rows).rowcount != len(rows):
            raise Refused(Refusal.FENCED)


def record(connection: sa.Connection, changes: Sequence[Commit]) -> None:
    """The entries of history. One that several changes share is turned into text once."""
    texts: dict[int, str] = {}
    rows = [
        {
            "execution_id": each.execution.id,
            "revision": revision,
            "entry": texts.get(id(entry)) or texts.setdefault(id(entry), entry.to_text()),
        }
        for each in changes
        for revision, entry in enumerate(each.entries, each.execution.revision + 1)
    ]
    if rows:
        connection.execute(_RECORD, rows)


def change_timers(connection: sa.Connection, changes: Sequence[Commit]) -> None:
    """Timers that are answered or void go; then come the new ones."""
    answered, void = defaultdict[Any, list[str]](list), defaultdict[Any, list[str]](list)
    for each in changes:
        for timer in each.fired_timers:
            answered[timer].append(each.execution.id)
        is_over = each.outcome is not None and each.execution.deadline_at is not None
        if numbers := (*each.dropped, *((0,) if is_over else ())):
            void[numbers].append(each.execution.id)
    for (kind, number), ids in answered.items():
        connection.execute(_ANSWER_TIMER, {"b_ids": ids, "b_number": number, "b_kind": kind.value})
    for numbers, ids in void.items():
        connection.execute(_VOID_TIMERS, {"b_ids": ids, "b_numbers": numbers})
    for each in changes:
        insert_timers(connection, each.execution.id, each.timers)


def change_suspensions(connection: sa.Connection, changes: Sequence[Commit]) -> None:
    """New suspensions, those that are void, and those that are answered."""
    void = defaultdict[Any, list[str]](list)
    for each in changes:
        for new in each.suspensions:
            connection.execute(sa.insert(suspensions).values(_suspension_row(each.execution.id, new)))
        if each.dropped:
            void[each.dropped].append(each.execution.id)
    for numbers, ids in void.items():
        connection.execute(_VOID_SUSPENSIONS, {"b_ids": ids, "b_numbers": numbers})
    for each in changes:
        for answer in each.resolutions:
            _resolve(connection, each.execution.id, answer)


def _suspension_row(execution_id: str, new: NewSuspension) -> dict[str, Any]:
    return {
        "execution_id": execution_id,
        "task_number": new.number,
        "attempt": new.attempt,
        "state": SuspensionState.PENDING.value,
        "terms": to_json_text(new.terms),
        "is_timer": new.is_timer,
        "expires_at": None if new.expire_after_s is None else later(new.expire_after_s),
    }


def _resolve(connection: sa.Connection, execution_id: str, answer: Resolution) -> None:
    waiting = sa.update(suspensions).where(
        suspensions.c.execution_id == execution_id,
        suspensions.c.state == SuspensionState.PENDING.value,
        suspensions.c.task_number == answer.number,
        suspensions.c.attempt == answer.attempt,
    )
    answered = waiting.values(
        state=answer.state.value,
        resolved_at=now(),
        resolver=answer.resolver,
        result=None if answer.result is None else to_json_text(to_value(answer.result)),
    )
    if connection.execute(answered).rowcount != 1:
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


def join_of(change: Commit) -> AttemptKey | None:
    """The join that counts this execution when it is over, if anything waits for it."""
    parent = change.execution.parent
    if parent is None or parent.round is None:
        return None
    number, attempt = parent.number, parent.attempt
    return AttemptKey(execution_id=parent.execution_id, number=number, attempt=attempt, round=parent.round)


def arrive(connection: sa.Connection, key: AttemptKey, *, count: int = 1) -> Iterable[Fired]:
    """Count executions in their parent's join. None can count twice: an execution becomes final once."""
    row = connection.execute(ARRIVE, bind(key) | {"b_count": count}).one_or_none()
    if row is not None and row.phase == Phase.JOIN:
        yield Fired(key=key, executor=row.executor)


def drop_chunks(connection: sa.Connection, *, of: Collection[AttemptKey] = ()) -> tuple[Fired, ...]:
    """The end of all chunks that nobody has claimed, of executions that have a signal and of these attempts.

    Call it once the executions are locked and marked, and before their live attempts are changed.

    Returns:
        The joins that it made due.
    """
    marked = chunks.c.execution_id.in_(sa.select(executions.c.id).where(executions.c.signal.is_not(None)))
    ending = [
        sa.and_(
            chunks.c.execution_id == each.execution_id,
            chunks.c.task_number == each.number,
            chunks.c.attempt == each.attempt,
        )
        for each in of
    ]
    dropping = sa.delete(chunks).where(chunks.c.worker.is_(None), sa.or_(marked, *ending))
    left: Counter[AttemptKey] = Counter()
    for row in connection.execute(dropping.returning(*(each for each in chunks.c if each is not chunks.c.inputs))):
        left[to_chunk_key(row).join] += row.size - row.done
    in_order = sorted(left, key=attrgetter("execution_id", "number"))
    return tuple(fired for join in in_order for fired in arrive(connection, join, count=left[join]))

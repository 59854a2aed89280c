"""Marks: a signal at every live execution of a tree, and which of them have not come to their end.

What must not happen: an execution that begins below a marked one and is not marked itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa

from orchestrator.model.states import FINAL_EXECUTION_STATES
from orchestrator.store.kinds import AttemptKey, Signal
from orchestrator.store.tables import executions


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


def tree(execution_id: str) -> sa.Select[tuple[str]]:
    """The ids of an execution and everything below it."""
    top = sa.select(executions.c.id).where(executions.c.id == execution_id).cte("tree", recursive=True)
    return sa.select(top.union_all(sa.select(executions.c.id).join(top, executions.c.parent_id == top.c.id)).c.id)


def marked_below(connection: sa.Connection, execution_ids: Sequence[str]) -> list[list[str]]:
    """The marked executions at and below these, level by level, the deepest first; siblings beside each other.

    One that is below several of them is on the deepest of its levels: always above what is below it.
    """
    row = (executions.c.id, executions.c.parent_id, executions.c.signal)
    top = sa.select(*row, sa.literal(0).label("depth")).where(executions.c.id.in_(execution_ids))
    below = top.cte("below", recursive=True)
    children = sa.select(*row, below.c.depth + 1).join(below, executions.c.parent_id == below.c.id)
    below = below.union_all(children)
    marked = sa.select(below.c.id, sa.func.max(below.c.depth)).where(below.c.signal.is_not(None))
    levels: dict[int, list[str]] = defaultdict(list)
    for execution_id, depth in connection.execute(
        marked.group_by(below.c.id, below.c.parent_id).order_by(below.c.parent_id, below.c.id)
    ):
        levels[depth].append(execution_id)
    return [levels[depth] for depth in sorted(levels, reverse=True)]

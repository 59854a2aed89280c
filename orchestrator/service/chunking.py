"""Chunking: whether a round of sub-executions runs in chunks, and how it is cut into them.

It does if there are more than ``FEW``, all of the same integration and trigger, and each is bound to run through in the
process that begins it: light tasks and nothing else, in no other pool, with no rollback, no limit and no time to keep.
That is looked at once a round; a limit that is set later holds for rounds that start later, as it would for executions.

Their inputs are bound here and not where they run: one that does not fit is the failure of the task that starts them,
before anything is stored, whichever way they run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from orchestrator.engine.inputs import Inputs
from orchestrator.engine.plan import Plan, PlannedTask
from orchestrator.model.task_types import Child, TaskTypes
from orchestrator.store.kinds import AttemptKey, ChunkKey
from orchestrator.store.rows import NewChunk, dump_parameters

FEW: Final = 20  # each of so many may as well have a message of its own
MOST: Final = 250  # sub-executions a chunk: for each there is a message, a claim and a commit
MOST_OF_A_BUNDLE: Final = 100  # executions
SHARES: Final = 8  # a round that is not very large is cut into so many chunks, to keep several processes busy
MOST_TASKS: Final = 100  # of one sub-execution: it is written as a whole, and a crash loses it as a whole


def is_chunkable(plan: Plan, types: TaskTypes, *, executor: str) -> bool:
    """Whether an execution of this plan can be expected to run through without a message, a timer or a wait.

    Args:
        plan: what it runs.
        types: that its workers know.
        executor: whose workers begin it.
    """
    unlimited = plan.version.limits is None and len(plan.tasks) <= MOST_TASKS
    return unlimited and all(_runs_through(task, types, executor) for task in plan.tasks.values())


def _runs_through(task: PlannedTask, types: TaskTypes, executor: str) -> bool:
    config, task_type = task.config, types.get(task.config.task)
    if not task.is_light or task_type is None or task_type.join is not None or task_type.suspends:
        return False
    is_timed = config.queue_timeout_ms is not None  # no light task has a timeout
    is_elsewhere = config.executor_id not in {None, executor}
    return not (is_timed or config.suspends or is_elsewhere or config.rollback is not None)


def cut(
    wanted: Sequence[Child],
    plan: Plan,
    *,
    version_id: str,
    join: AttemptKey,
    first_position: int,
    executor: str,
    priority: int,
) -> tuple[NewChunk, ...]:
    """The chunks of a round.

    Args:
        wanted: its sub-executions, all of this plan.
        plan: what each of them runs.
        version_id: likewise.
        join: what waits for them.
        first_position: of the first one, among all that the attempt has started.
        executor: whose workers run them.
        priority: of their messages.

    Raises:
        InputError: the inputs of one of them do not fit.
    """
    inputs = Inputs(plan.version)
    requests = [dump_parameters(inputs.bind(child.parameters)) for child in wanted]
    return tuple(
        NewChunk(
            key=ChunkKey(
                execution_id=join.execution_id,
                number=join.number,
                attempt=join.attempt,
                round=join.round,
                first_position=first_position + start,
            ),
            requests=tuple(requests[start:end]),
            version_id=version_id,
            trigger_id=plan.trigger.id,
            executor=executor,
            priority=priority,
        )
        for start, end in slices(len(wanted), most=MOST)
    )


def slices(count: int, *, most: int) -> Iterator[tuple[int, int]]:
    """Where each chunk, or bundle, of so many starts and ends: as alike as can be, and ``most`` in each."""
    number = -(-count // min(max(count // SHARES, FEW), most))
    for index in range(number):
        yield count * index // number, count * (index + 1) // number

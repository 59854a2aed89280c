"""The two state machines: one table of arrows each, one function that looks an arrow up.

Execution::

                 +-- each leads to each other -----------------+    (but RETRY_ON_HOLD not to SUSPENDED)
    PENDING -------> PROCESSING    RETRY_ON_HOLD    SUSPENDED  | ---> SUCCEEDED | FAILED | CANCELLED
       |         +---------------------------------------------+                         ^
       +---------------------------------------------------------------------------------+

Task::

    PENDING_EXECUTION --> IN_PROCESS --> SUCCEED --> PENDING_ROLLBACK <--> ROLLBACK_IN_PROCESS --> ROLLEDBACK
           |      ^           |  |
           v      +-----------+  +-----> FAILED | FATAL | CANCELLED
        SKIPPED   (given back)   |
                                 +-----> RETRY_ON_HOLD --> IN_PROCESS | CANCELLED
                                 +-----> SUSPENDED     --> SUCCEED | FAILED | CANCELLED

A restart of the whole execution (RESTART_INTEGRATION_WITH_BACKOFF) takes every task that was reached back to
PENDING_EXECUTION; nothing of it runs then. ``docs/states.md`` draws both machines from these tables.

The names are those of the Integrations API v1 (executions, ``state`` and ``taskExecutionState``): SUCCEED has no -ED.
What must not happen: a state written anywhere without an arrow of these tables.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from orchestrator.errors import IllegalArrow


class ExecutionState(StrEnum):
    """Where an execution stands. The last three are final: they never change."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    RETRY_ON_HOLD = "RETRY_ON_HOLD"
    SUSPENDED = "SUSPENDED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether nothing can change it any more."""
        return self in FINAL_EXECUTION_STATES


class TaskState(StrEnum):
    """Where a task of an execution stands."""

    PENDING_EXECUTION = "PENDING_EXECUTION"
    IN_PROCESS = "IN_PROCESS"
    SUCCEED = "SUCCEED"
    FAILED = "FAILED"
    FATAL = "FATAL"
    RETRY_ON_HOLD = "RETRY_ON_HOLD"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"
    PENDING_ROLLBACK = "PENDING_ROLLBACK"
    ROLLBACK_IN_PROCESS = "ROLLBACK_IN_PROCESS"
    ROLLEDBACK = "ROLLEDBACK"
    SUSPENDED = "SUSPENDED"

    @property
    def is_final(self) -> bool:
        """Whether the task's own work is over; a rollback may still undo a SUCCEED."""
        return self in FINAL_TASK_STATES


class ExecutionEvent(StrEnum):
    """What moves an execution from one state to another."""

    STARTED = "started"
    WORKING = "working"  # some task is ready or running again
    HELD = "held"  # nothing runs, a retry is due later, or a task waits for its release
    SUSPENDED = "suspended"  # nothing runs, a task waits for a person or an outside system
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskEvent(StrEnum):
    """What moves a task from one state to another."""

    CLAIMED = "claimed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    FAILED_FATALLY = "failed fatally"
    HELD = "held"
    SUSPENDED = "suspended"
    LIFTED = "lifted"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    RETURNED = "returned"  # its worker gave it back or died: a system retry
    RESTARTED = "restarted"  # with the whole execution, from the beginning
    ROLLBACK_WANTED = "rollback wanted"
    ROLLBACK_STARTED = "rollback started"
    ROLLED_BACK = "rolled back"


FINAL_EXECUTION_STATES: Final = frozenset({ExecutionState.SUCCEEDED, ExecutionState.FAILED, ExecutionState.CANCELLED})
FINAL_TASK_STATES: Final = frozenset(
    {
        TaskState.SUCCEED,
        TaskState.FAILED,
        TaskState.FATAL,
        TaskState.SKIPPED,
        TaskState.CANCELLED,
        TaskState.ROLLEDBACK,
    }
)

_X, _E = ExecutionState, ExecutionEvent
EXECUTION_ARROWS: Final[dict[tuple[ExecutionState, ExecutionEvent], ExecutionState]] = {
    (_X.PENDING, _E.STARTED): _X.PROCESSING,
    (_X.PENDING, _E.CANCELLED): _X.CANCELLED,
    (_X.PENDING, _E.FAILED): _X.FAILED,
    **{
        (state, event): target
        for state in (_X.PROCESSING, _X.RETRY_ON_HOLD, _X.SUSPENDED)
        for event, target in (
            (_E.WORKING, _X.PROCESSING),
            (_E.HELD, _X.RETRY_ON_HOLD),
            (_E.SUSPENDED, _X.SUSPENDED),
            (_E.SUCCEEDED, _X.SUCCEEDED),
            (_E.FAILED, _X.FAILED),
            (_E.CANCELLED, _X.CANCELLED),
        )
        # While a task is on hold and nothing runs, no event suspends another one.
        if (state, event) != (_X.RETRY_ON_HOLD, _E.SUSPENDED)
    },
}

_T, _V = TaskState, TaskEvent
TASK_ARROWS: Final[dict[tuple[TaskState, TaskEvent], TaskState]] = {
    (_T.PENDING_EXECUTION, _V.CLAIMED): _T.IN_PROCESS,
    (_T.PENDING_EXECUTION, _V.SKIPPED): _T.SKIPPED,
    (_T.IN_PROCESS, _V.SUCCEEDED): _T.SUCCEED,
    (_T.IN_PROCESS, _V.FAILED): _T.FAILED,
    (_T.IN_PROCESS, _V.FAILED_FATALLY): _T.FATAL,
    (_T.IN_PROCESS, _V.HELD): _T.RETRY_ON_HOLD,
    (_T.IN_PROCESS, _V.SUSPENDED): _T.SUSPENDED,
    (_T.IN_PROCESS, _V.CANCELLED): _T.CANCELLED,
    (_T.IN_PROCESS, _V.RETURNED): _T.PENDING_EXECUTION,
    (_T.RETRY_ON_HOLD, _V.CLAIMED): _T.IN_PROCESS,
    (_T.RETRY_ON_HOLD, _V.CANCELLED): _T.CANCELLED,
    (_T.SUSPENDED, _V.LIFTED): _T.SUCCEED,
    (_T.SUSPENDED, _V.REJECTED): _T.FAILED,
    (_T.SUSPENDED, _V.CANCELLED): _T.CANCELLED,
    (_T.SUCCEED, _V.ROLLBACK_WANTED): _T.PENDING_ROLLBACK,
    (_T.PENDING_ROLLBACK, _V.ROLLBACK_STARTED): _T.ROLLBACK_IN_PROCESS,
    (_T.ROLLBACK_IN_PROCESS, _V.HELD): _T.PENDING_ROLLBACK,
    (_T.ROLLBACK_IN_PROCESS, _V.ROLLED_BACK): _T.ROLLEDBACK,
    **{
        (state, _V.RESTARTED): _T.PENDING_EXECUTION
        for state in (_T.SUCCEED, _T.FAILED, _T.SKIPPED, _T.CANCELLED, _T.RETRY_ON_HOLD)
    },
}


def next_execution_state(state: ExecutionState, event: ExecutionEvent) -> ExecutionState:
    """Follow one arrow of the execution's table.

    Raises:
        IllegalArrow: the table has no such arrow.
    """
    try:
        return EXECUTION_ARROWS[state, event]
    except KeyError:
        raise IllegalArrow(state, event) from None


def next_task_state(state: TaskState, event: TaskEvent) -> TaskState:
    """Follow one arrow of the task's table.

    Raises:
        IllegalArrow: the table has no such arrow.
    """
    try:
        return TASK_ARROWS[state, event]
    except KeyError:
        raise IllegalArrow(state, event) from None

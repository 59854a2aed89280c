"""Explanations: why a task, or an execution as a whole, stands as it does, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.model.json_text import Json


class Reason(StrEnum):
    """Why. A program looks at this; ``facts`` of the explanation has what the comment names."""

    # it has not begun
    SCHEDULED = "SCHEDULED"  # at
    LIMIT_FULL = "LIMIT_FULL"  # limit, running, maxRunning, rate, holders, ahead
    ADMITTED = "ADMITTED"  # a limit let it in, and it is about to start
    # a task waits for others
    WAITS_FOR_TASKS = "WAITS_FOR_TASKS"  # tasks
    CATCHER_NOT_CALLED = "CATCHER_NOT_CALLED"  # catcher
    # a task is ready: executor, queue, readyAt, waitedS, workers, losses
    NO_LIVE_WORKER = "NO_LIVE_WORKER"  # none consumes its queue
    NOT_TAKEN_YET = "NOT_TAKEN_YET"  # there are some, and none has taken it
    # a task runs
    RUNNING = "RUNNING"  # since, worker
    WAITS_FOR_CHILDREN = "WAITS_FOR_CHILDREN"  # total, over, states
    BEING_ENDED = "BEING_ENDED"  # since, worker, and those of what stopped the execution or killed the task
    # a task did not run: edges, each with source, condition, because and a reason of its own
    CONDITION_FALSE = "CONDITION_FALSE"
    OTHER_EDGE_TAKEN = "OTHER_EDGE_TAKEN"
    SOURCE_FAILED = "SOURCE_FAILED"
    SOURCE_SKIPPED = "SOURCE_SKIPPED"
    SOURCE_CANCELLED = "SOURCE_CANCELLED"
    NO_EDGE_TRUE = "NO_EDGE_TRUE"  # several edges, each for a reason of its own
    # what stopped an execution, and with it whatever had not ended
    FATAL = "FATAL"  # task, error
    KILLED = "KILLED"  # actor, impersonator, message, execution, at
    DEADLINE_PASSED = "DEADLINE_PASSED"  # at
    PARENT_STOPPED = "PARENT_STOPPED"  # execution, and those of what stopped that
    PARENT_GAVE_UP = "PARENT_GAVE_UP"  # execution, task, error: the attempt that had started it is over
    RESTART_TO_COME = "RESTART_TO_COME"  # at, task, error, run, runs
    # what ended one task
    TASK_KILLED = "TASK_KILLED"  # actor, impersonator, message, at
    # it waits for the clock or for a person
    RETRY_TO_COME = "RETRY_TO_COME"  # at, attempt, attempts, error
    WAITS_FOR_ANSWER = "WAITS_FOR_ANSWER"  # suspension, since, whoMayResolve, expiresAt, message
    WAITS_FOR_TIME = "WAITS_FOR_TIME"  # suspension, since, expiresAt
    QUARANTINED = "QUARANTINED"  # since, error
    # a task is over
    SUCCEEDED = "SUCCEEDED"  # at, attempt, worker
    LIFTED = "LIFTED"  # at, actor
    REJECTED = "REJECTED"  # at, actor, error
    FAILED = "FAILED"  # error, attempt, attempts: no policy tries it again
    RETRIES_USED_UP = "RETRIES_USED_UP"  # likewise
    NOT_RETRIED = "NOT_RETRIED"  # likewise: the execution was stopping
    IGNORED = "IGNORED"  # likewise
    CAUGHT = "CAUGHT"  # likewise; catcher
    REPLAYED = "REPLAYED"  # execution: it was so there
    # rollback
    WAITS_FOR_ROLLBACKS = "WAITS_FOR_ROLLBACKS"  # tasks
    ROLLED_BACK = "ROLLED_BACK"  # at, worker
    ROLLBACK_FAILED = "ROLLBACK_FAILED"  # at, worker, error
    # an execution is over
    ALL_DONE = "ALL_DONE"
    LAST_TASK_FAILED = "LAST_TASK_FAILED"  # task, error
    NO_LAST_TASK_SUCCEEDED = "NO_LAST_TASK_SUCCEEDED"  # task, error


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Why something stands as it does.

    Attributes:
        task_number: 0 is the execution as a whole.
        state: of the task or of the execution.
        reason: for programs.
        sentence: for people, without a full stop.
        facts: what the sentence is made of; times as RFC 3339.
    """

    task_number: int
    state: str
    reason: Reason
    sentence: str
    facts: Mapping[str, Json] = field(default_factory=dict)

    def to_document(self) -> dict[str, Json]:
        """As JSON data."""
        return {
            "taskNumber": self.task_number,
            "state": self.state,
            "reason": self.reason.value,
            "sentence": self.sentence,
            "facts": dict(self.facts),
        }

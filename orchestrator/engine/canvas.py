"""Canvas: what a decision makes ready, as the messages and chords that Celery will carry.

A message carries ids only, so its size does not depend on the depth, the width or the parameters of the tree:

* a task that became ready is one message, named after its task type, to the queue of its executor;
* a round of sub-executions is a chord: the header is the children's start tasks, or their chunks, the body the parent's
  join. One level at a time: a child's own children are a chord of their own, when their time comes.

Celery ids are the keys themselves, written out: ``<execution>.<task>.<attempt>``, with ``.<round>`` behind it for the
join of a round, and ``.chunk<first position>`` behind that for a chunk of it; a bundle has the key of its first, and
``.bundle`` behind it. So a kill knows what to revoke, and the
result backend what to answer, without a look-up.

This module builds values; ``runtime.publisher`` turns them into Celery signatures, so the engine stays free of Celery.

Two things differ from the first design. There is no separate ``run_execution`` message: an execution's start is
decided when it is created, so the message of its start task is the one that starts it, under a name that says in
Flower what it does, and a level of the tree costs one message fewer. And a round of one child is no chord: Celery
turns such a chord into a chain, whose body goes out when the message returns, not when the child is final.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.model.values import INT64_MAX

JOIN_TASK: Final = "orchestrator.join"  # every worker has it, so it also ends attempts of types a worker lacks
CHUNK_TASK: Final = "orchestrator.chunk"  # runs a chunk of a round of sub-executions
BUNDLE_TASK: Final = "orchestrator.bundle"  # runs the start tasks of many executions
NOTIFY_TASK: Final = "orchestrator.notify"  # tells those who may answer a suspension
QUEUE_PREFIX: Final = "executor."
MOST_URGENT: Final = 9  # of priorities from 0; joins have it: what is nearly done goes before what has not begun

_CELERY_ID: Final = re.compile(
    r"(?P<execution>[A-Za-z0-9-]{1,36})\.(?P<number>0|[1-9][0-9]{0,18})\.(?P<attempt>0|[1-9][0-9]{0,18})"
    r"(?:\.(?P<bundle>bundle)|\.(?P<round>[1-9][0-9]{0,18})(?:\.chunk(?P<chunk>0|[1-9][0-9]{0,18}))?)?"
)
_EXECUTION_ID: Final = re.compile(r"[A-Za-z0-9-]{1,36}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One task message. ``round`` 0 runs the attempt; a higher one joins that round of sub-executions.

    That of a notice (``NOTIFY_TASK``) has the number of its reminder for a round, and an id that is no attempt's. That
    of a chunk (``CHUNK_TASK``) has the position of its first sub-execution. That of a bundle (``BUNDLE_TASK``) names
    the first of its executions (``store.bundles``).
    """

    name: str
    execution_id: str
    number: int
    attempt: int
    round: int
    executor: str
    priority: int = MOST_URGENT
    first_position: int | None = None

    @property
    def celery_id(self) -> str:
        """The Celery task id."""
        if self.name == NOTIFY_TASK:
            return f"{to_celery_id(self.execution_id, self.number, self.attempt)}.notice{self.round}"
        if self.name == BUNDLE_TASK:
            return f"{to_celery_id(self.execution_id, self.number, self.attempt)}.bundle"
        joins = to_celery_id(self.execution_id, self.number, self.attempt, self.round)
        return joins if self.first_position is None else f"{joins}.chunk{self.first_position}"

    @property
    def arguments(self) -> tuple[str | int, ...]:
        """What the task is called with."""
        attempt = (self.execution_id, self.number, self.attempt, self.round)
        return attempt if self.first_position is None else (*attempt, self.first_position)

    @property
    def queue(self) -> str:
        """The Celery queue."""
        return queue_of(self.executor)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chord:
    """A round of sub-executions: the header goes out now, the body when all of them are final."""

    header: Sequence[Message]
    body: Message


def queue_of(executor: str) -> str:
    """The queue that an executor's workers read."""
    return QUEUE_PREFIX + executor


def executor_of(queue: str) -> str | None:
    """The executor of a queue; None if it is not ours."""
    return queue.removeprefix(QUEUE_PREFIX) if queue.startswith(QUEUE_PREFIX) else None


def to_celery_id(execution_id: str, number: int, attempt: int, round: int = 0) -> str:  # noqa: A002 - the word is ours
    """The Celery id of one phase of an attempt."""
    return f"{execution_id}.{number}.{attempt}" + (f".{round}" if round else "")


def parse_celery_id(celery_id: str) -> tuple[str, int, int, int] | None:
    """The inverse of ``to_celery_id``; None if it would not write this id, or a database could not keep its numbers.

    The id of a chunk stands for the join that waits for it: its sub-executions have ids of their own once they ran.
    That of a bundle stands for its first attempt, and ``is_bundle_id`` knows it.
    """
    match = _CELERY_ID.fullmatch(celery_id)
    if match is None:
        return None
    number, attempt, phase = int(match["number"]), int(match["attempt"]), int(match["round"] or 0)
    is_kept = max(number, attempt, phase, int(match["chunk"] or 0)) <= INT64_MAX
    return (match["execution"], number, attempt, phase) if is_kept else None


def is_bundle_id(celery_id: str) -> bool:
    """Whether this is the Celery id of a bundle."""
    match = _CELERY_ID.fullmatch(celery_id)
    return match is not None and match["bundle"] is not None


def is_execution_id(text: str) -> bool:
    """Whether this can be the id of an execution."""
    return _EXECUTION_ID.fullmatch(text) is not None

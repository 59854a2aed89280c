"""Timer: wait for a time, and go on.

What it takes from the task: ``delaySeconds``, a number from 0 to 2,678,400 (the product's 44,640 minutes, 31 days);
120 without it, as in the product. The product does not publish under which name definitions hold its Timer, nor its
parameters: ``TimerTask`` and ``delaySeconds`` are ours.

Nothing waits here, and no worker is held: it is a suspension that the clock lifts, kept in the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from orchestrator.errors import InvalidValue, TaskError
from orchestrator.model.parameters import references_in
from orchestrator.model.task_types import TASK_TYPES, Suspend, TaskContext, TaskType
from orchestrator.model.values import DataType, Value, coerce, text_of

DEFAULT_S: Final = 120.0
MAX_S: Final = 44_640 * 60.0


def run(context: TaskContext) -> Suspend:
    """Describe the wait."""
    try:
        delay_s = _delay_s(context.value("delaySeconds"), is_written="delaySeconds" in context.config)
    except InvalidValue as error:
        raise TaskError(str(error), "INVALID_ARGUMENT") from error
    return Suspend(expire_after_s=delay_s, lift_when_expired=True, is_timer=True)


def check(config: Mapping[str, Value]) -> Iterable[str]:
    """The delay must be a number in its range; a reference is left to the run."""
    written = config.get("delaySeconds")
    if written is None or references_in(text_of(written)):
        return
    try:
        _delay_s(written, is_written=True)
    except InvalidValue as error:
        yield str(error)


def _delay_s(value: Value | None, *, is_written: bool) -> float:
    expected = f"a number of seconds from 0 to {MAX_S:.0f}"
    if value is None:
        if is_written:  # a reference to nothing: not waiting as long as was meant would be worse than failing
            raise InvalidValue("delaySeconds", "a reference to nothing", expected)
        return DEFAULT_S
    delay_s = coerce(value, DataType.DOUBLE, "delaySeconds").data
    if not isinstance(delay_s, float) or not 0 <= delay_s <= MAX_S:
        raise InvalidValue("delaySeconds", f"{delay_s!r}", expected)
    return delay_s


TASK_TYPES.add(TaskType(name="TimerTask", run=run, light=True, suspends=True, celery_name="tasks.timer", check=check))

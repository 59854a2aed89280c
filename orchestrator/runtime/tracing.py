"""What runs a task of ours in a pool process: Celery's tracer without what ours never have.

A message of ours has no callbacks, chain or retry of Celery's, and its result is rows that are committed already. What
Celery's tracer does for these is a tenth of what a small task costs. It goes on doing all of it as soon as somebody
listens: a receiver of a task's signals (Sentry, OpenTelemetry) gets what it expects.

Celery hands a task its tracer by setting ``__trace__`` when a worker and each of its processes begin.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from celery import Task, signals, states
from celery._state import _task_stack  # type: ignore[attr-defined]  # its types leave it out
from celery.app.task import Context
from celery.app.trace import TraceInfo, trace_ok_t

Tracer: TypeAlias = Callable[..., trace_ok_t]
"""Of the id, arguments and request of a message; gives the result, what went wrong, the seconds, the result as text."""

_HEARD: Final = (
    signals.task_prerun,
    signals.task_postrun,
    signals.task_success,
    signals.task_failure,
    signals.task_internal_error,
)


class AttemptTask(Task):  # type: ignore[type-arg]
    """The Celery task of a task type."""

    abstract = True
    _trace: Tracer | None = None

    @property
    def __trace__(self) -> Tracer | None:
        return self._trace

    @__trace__.setter
    def __trace__(self, celerys: Tracer | None) -> None:
        self._trace = None if celerys is None else _quicker(self, celerys)


def _quicker(task: AttemptTask, celerys: Tracer) -> Tracer:
    def trace(
        uuid: str, args: Sequence[Any], kwargs: Mapping[str, Any], request: Mapping[str, Any] | None = None
    ) -> trace_ok_t:
        if any(each.receivers for each in _HEARD):
            return celerys(uuid, args, kwargs, request)
        context = Context.__new__(Context)  # its __init__ looks for headers that ours do not have
        context.__dict__.update(request or {}, called_directly=False)
        began = time.monotonic()
        _task_stack.push(task)
        task.request_stack.push(context)
        try:
            task.run(*args, **kwargs)
        except Exception as error:
            failure = TraceInfo(states.FAILURE, error)
            return trace_ok_t(failure.handle_error_state(task, context, call_errbacks=False), failure, None, None)
        finally:
            task.request_stack.pop()
            _task_stack.pop()
        return trace_ok_t(None, None, time.monotonic() - began, "None")

    return trace

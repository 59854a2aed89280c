"""The tracer of our tasks says what Celery's own would say."""

import pytest
from celery import Celery, signals, states
from celery.app.trace import build_tracer

from orchestrator.runtime.tracing import AttemptTask

REQUEST = {"id": "some-id", "hostname": "worker@here", "delivery_info": {"priority": 4}, "task": "traced"}


class Failure(Exception):
    pass


@pytest.fixture
def traced():
    app = Celery("traced", broker="memory://", backend="cache+memory://", set_as_current=False)
    seen = []

    def run(task, what):
        seen.append((task.request.id, task.request.hostname, task.request.called_directly, app.current_task is task))
        if what == "fail":
            raise Failure("on purpose")
        if what == "exit":
            raise SystemExit(3)

    task = app.task(name="traced", base=AttemptTask, bind=True, shared=False)(run)
    app.finalize()
    task = app.tasks["traced"]
    task.seen = seen
    task.celerys = build_tracer("traced", task, app=app)
    task.__trace__ = task.celerys
    return task


def trace(tracer, *args):
    return tracer("some-id", args, {}, {**REQUEST, "args": args, "kwargs": {}})


@pytest.fixture(params=["quick", "celery's"])
def tracer(request, traced):
    return traced.__trace__ if request.param == "quick" else traced.celerys


def test_the_tracer_is_not_celerys(traced):
    assert traced.__trace__ is not traced.celerys


def test_a_task_that_succeeds(traced, tracer):
    result, info, runtime, shown = trace(tracer, "succeed")
    assert (result, info, shown) == (None, None, "None")
    assert runtime >= 0
    assert traced.seen == [("some-id", "worker@here", False, True)]
    assert traced.request_stack.top is None


def test_a_task_that_raises(traced, tracer):
    result, info, _, _ = trace(tracer, "fail")
    assert info.state == states.FAILURE
    assert isinstance(info.retval, Failure)
    assert "on purpose" in str(result.exception)
    assert "Failure" in result.traceback
    assert traced.request_stack.top is None


def test_what_ends_the_process_is_not_caught(traced, tracer):
    with pytest.raises(SystemExit):
        trace(tracer, "exit")
    assert traced.request_stack.top is None


def test_who_listens_to_celerys_signals_hears_them(traced):
    heard = []

    def note(signal=None, **_):
        heard.append(signal.name)

    wanted = (signals.task_prerun, signals.task_success, signals.task_postrun)
    for each in wanted:
        each.connect(note)
    try:
        trace(traced.__trace__, "succeed")
    finally:
        for each in wanted:
            each.disconnect(note)
    assert heard == [each.name for each in wanted]

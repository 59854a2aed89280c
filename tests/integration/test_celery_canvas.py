"""Ordinary Celery canvases in a real worker process with our result backend: what Celery's own Redis backend does."""

import subprocess
import sys
import uuid
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError
from celery.result import GroupResult

from tests.services import postgres_database, redis_url, sqlite_database, stop

pytestmark = pytest.mark.services
LIMIT_S = 60
ROOT = Path(__file__).parents[2]
APP = "tests.integration.canvas_app"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def tasks(request, tmp_path_factory):
    """The user's module, with a worker that runs its tasks."""
    folder = tmp_path_factory.mktemp("canvas")
    with ExitStack() as stack:
        broker = redis_url()
        database = stack.enter_context(sqlite_database(folder) if request.param == "sqlite" else postgres_database())
        url = database.url.render_as_string(hide_password=False)
        backend = f"orchestrator.runtime.backend:ExecutionBackend+{url}"
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in (("CANVAS_BROKER", broker), ("CANVAS_BACKEND", backend), ("PYTHONPATH", str(ROOT))):
            patch.setenv(name, value)
        patch.delitem(sys.modules, APP, raising=False)
        module = import_module(APP)
        stack.callback(close, module.app)
        stack.callback(stop, start_worker(folder / "worker.log"))
        assert module.add.delay(1, 2).get(timeout=LIMIT_S) == 3, (folder / "worker.log").read_text()
        yield module


def start_worker(log_file):
    options = "worker --pool=prefork --concurrency=2 --without-mingle --without-gossip --loglevel=INFO"
    with log_file.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", APP, *options.split()],
            stdout=log,
            stderr=log,
        )


def close(app):
    app.backend.database.close()
    app.close()


def outcome(tasks, result):
    """Of this task alone: ``result.get`` would raise what a parent raised."""
    return tasks.app.AsyncResult(result.id).get(timeout=LIMIT_S)


def test_a_chord_of_50(tasks):
    result = chord([tasks.add.s(number, number) for number in range(50)], tasks.shape.s())()

    assert result.get(timeout=LIMIT_S) == [2 * number for number in range(50)]


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_small_chord(tasks, size):
    assert chord([tasks.add.s(1, 1)] * size, tasks.shape.s())().get(timeout=LIMIT_S) == [2] * size


def test_a_chord_over_a_generator(tasks):
    result = chord((tasks.add.s(number, 1) for number in range(5)), tasks.shape.s())()

    assert result.get(timeout=LIMIT_S) == [1, 2, 3, 4, 5]


def nested(tasks):
    return chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.total.s())


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (nested, 6),
        (lambda tasks: chain(tasks.add.s(1, 1), tasks.add.s(5)), 7),
        (lambda tasks: chain(tasks.add.s(1, 1), group(tasks.add.s(2), tasks.add.s(3))), [4, 5]),
        (
            lambda tasks: chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], group(tasks.total.s(), tasks.shape.s())),
            [6, [2, 4]],
        ),
        (lambda tasks: chord([nested(tasks), tasks.add.s(1, 1)], tasks.total.s()), 8),
        (lambda tasks: tasks.become.s(), 6),
    ],
    ids=["chord", "chain", "chain with group", "chord with group body", "chord in chord", "task replaced by a chord"],
)
def test_a_header_member_may_be_a_canvas(tasks, member, expected):
    result = chord([member(tasks), tasks.add.s(3, 3)], tasks.shape.s())()

    assert result.get(timeout=LIMIT_S) == [expected, 6]


def test_a_group_in_a_header_is_unrolled(tasks):
    result = chord([group(tasks.add.s(1, 1), tasks.add.s(2, 2)), tasks.add.s(3, 3)], tasks.total.s())()

    assert result.get(timeout=LIMIT_S) == 12


def test_a_header_task_may_add_another(tasks):
    result = chord([tasks.widen.s(), tasks.add.s(3, 3)], tasks.shape.s())()

    assert sorted(result.get(timeout=LIMIT_S)) == [1, 6, 100]


def test_a_chain_of_groups(tasks):
    add, total = tasks.add, tasks.total
    result = chain(group(add.s(1, 1), add.s(2, 2)), total.s(), group(add.s(1), add.s(2)), total.s())()

    assert result.get(timeout=LIMIT_S) == 15


def test_a_failing_header_fails_the_body_and_calls_the_errback(tasks):
    noted = str(uuid.uuid4())
    body = tasks.shape.s().on_error(tasks.note.s().set(task_id=noted))

    result = chord([tasks.fail.s("no"), tasks.add.s(3, 3)], body)()

    with pytest.raises(ChordError, match=r"raised ValueError\('no'\)"):
        outcome(tasks, result)
    assert tasks.app.AsyncResult(noted).get(timeout=LIMIT_S) == result.id


@pytest.mark.parametrize(
    "member",
    [
        lambda tasks: chord([tasks.fail.s("no"), tasks.add.s(2, 2)], tasks.total.s()),
        lambda tasks: chain(tasks.fail.si("no"), tasks.add.s(2, 2)),
        lambda tasks: chord([tasks.fail.s("no")] * 2, group(tasks.total.s(), tasks.shape.s())),
        lambda tasks: chord([tasks.fail.s("no")] * 2, chain(tasks.total.s(), tasks.add.s(1))),
    ],
    ids=["chord", "chain", "chord with group body", "chord with chain body"],
)
def test_a_failure_deep_in_a_header_reaches_the_outer_body(tasks, member):
    result = chord([member(tasks), tasks.add.s(3, 3)], tasks.shape.s())()

    with pytest.raises(ChordError, match="ValueError"):
        outcome(tasks, result)


def test_a_group_is_saved_and_restored(tasks):
    group(tasks.add.s(number, 1) for number in range(4))().save()
    saved = group(tasks.add.s(number, 1) for number in range(4))()
    saved.save()

    assert GroupResult.restore(saved.id, app=tasks.app).get(timeout=LIMIT_S) == [1, 2, 3, 4]


def test_a_failure_is_raised_where_it_is_awaited(tasks):
    with pytest.raises(ValueError, match="no"):
        tasks.fail.delay("no").get(timeout=LIMIT_S)


def test_the_command_line_prints_a_result(tasks):
    result = tasks.add.delay(20, 22)
    result.get(timeout=LIMIT_S)

    said = subprocess.run(
        [sys.executable, "-m", "celery", "-A", APP, "result", result.id],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )

    assert said.stdout.strip() == "42"

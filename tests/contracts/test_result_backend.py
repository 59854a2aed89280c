"""What Celery's result backend promises, with our rows and with plain tasks, on both databases."""

import itertools
import os
import pickle
import tomllib
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest
import sqlalchemy as sa
from celery import Celery, chord, states
from celery.app.backends import by_url
from celery.app.task import Context
from celery.exceptions import ChordError, ImproperlyConfigured, TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult, GroupResult
from celery.utils.functional import regen
from celery.utils.imports import symbol_by_name

from orchestrator.errors import TaskError
from orchestrator.model.history import Entry, EntryKind, ErrorInfo, Outcome
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import DataType, Value, to_json_text
from orchestrator.runtime import backend as backend_module
from orchestrator.runtime.backend import ExecutionBackend
from orchestrator.runtime.metas import is_ours
from orchestrator.store.changes import NewAttempt, NewExecution
from orchestrator.store.database import Database
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.kinds import AttemptKey, Method, Phase
from orchestrator.store.results import ResultStore
from orchestrator.store.rows import dump_parameters
from orchestrator.store.tables import (
    celery_chord_parts,
    celery_chords,
    celery_groups,
    celery_results,
    executions,
    history,
    live_attempts,
    versions,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ERROR = ErrorInfo(message="no such file", code=404, traceback="Traceback: ...")
NUMBER = Value(DataType.INT, 2**53 + 1)


@pytest.fixture
def app(database):
    made = Celery("test", set_as_current=False, broker="memory://localhost")
    url = database.url.render_as_string(hide_password=False)
    made.conf.result_backend = f"orchestrator.runtime.backend:ExecutionBackend+{url}"

    made.noted = []

    @made.task(name="total", shared=False)
    def total(numbers):
        return sum(numbers)

    @made.task(name="note", shared=False)
    def note(task_id):
        made.noted.append(task_id)

    yield made
    made.backend.database.close()
    made.close()


@pytest.fixture
def backend(app):
    return app.backend


@pytest.fixture
def published(app, monkeypatch):
    """What would have gone to the broker, as (body, results)."""
    sent = []
    monkeypatch.setattr(app.amqp, "_retry_publish", lambda publish, results: sent.append((publish.__self__, results)))
    return sent


def make_body(app, **options):
    return app.signature("total", options={"task_id": uuid.uuid4().hex, **options})


def make_request(body, *, group_id="g", index=0, task_id=None):
    return Context(id=task_id or f"part-{index}", group=group_id, group_index=index, chord=body)


def open_chord(backend, body, *, size=None, group_id="g"):
    backend.apply_chord((group_id, []), body)
    if size is not None:
        backend.set_chord_size(group_id, size)


def count(database, table):
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def store_execution(database, *, state=ExecutionState.PENDING, response=None, error=None, ready=()):
    """A row as the store leaves it."""
    execution_id = str(uuid.uuid4())
    version_id = str(uuid.uuid4())
    place = {"project": "default", "location": "local", "integration": "flow"}
    with database.begin() as connection:
        connection.execute(
            sa.insert(versions).values(
                id=version_id,
                snapshot_number=hash(version_id) % 2**31,
                state="ACTIVE",
                digest="",
                document="{}",
                **place,
            )
        )
    new = NewExecution(
        id=execution_id,
        version_id=version_id,
        trigger_id="api_trigger/flow",
        method=Method.POST,
        executor="default",
        progress="",
        request={},
        root_id=execution_id,
        ready=tuple(ready),
        outcome=Outcome(state=state) if state.is_final else None,
        **place,
    )
    ExecutionStore(database).create([new])
    values = {
        "state": state.value,
        "response": None if response is None else dump_parameters(response),
        "error": None if error is None else to_json_text(error.to_json()),
    }
    with database.begin() as connection:
        connection.execute(sa.update(executions).where(executions.c.id == execution_id).values(**values))
    return execution_id


def ready(number=1, attempt=1):
    return NewAttempt(number=number, attempt=attempt, task_type="Noop", executor="default")


def store_history(database, execution_id, *entries):
    with database.begin() as connection:
        for revision, entry in enumerate(entries, 1):
            connection.execute(
                sa.insert(history).values(
                    execution_id=execution_id, revision=revision, entry=to_json_text(entry.to_json())
                )
            )


def make_entry(kind=EntryKind.SUCCEEDED, *, number=1, attempt=1, **more):
    return Entry(kind=kind, task_number=number, attempt=attempt, started_at=NOON, ended_at=NOON, **more)


# -- selecting it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["orchestrator.runtime.backend:ExecutionBackend", "orchestrator"])
@pytest.mark.parametrize("url", ["postgresql+psycopg://u:p@h:5432/d", "sqlite:////tmp/a+b.db"])
def test_celery_finds_it_by_its_url_and_splits_at_the_first_plus(name, url):
    loader = Celery(set_as_current=False).loader
    loader.override_backends = {"orchestrator": "orchestrator.runtime.backend:ExecutionBackend"}

    found, rest = by_url(f"{name}+{url}", loader)

    assert (found, rest) == (ExecutionBackend, url)


def test_the_entry_point_names_the_class():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())

    assert (
        symbol_by_name(project["project"]["entry-points"]["celery.result_backends"]["orchestrator"]) is ExecutionBackend
    )


def test_another_serializer_is_refused():
    app = Celery(set_as_current=False, backend=ExecutionBackend)
    app.conf.result_serializer = "pickle"

    with pytest.raises(ImproperlyConfigured, match="pickle"):
        app.backend  # noqa: B018


@pytest.mark.parametrize("url", ["mysql://user:hidden@host/name", "http://user:hidden@host"])
def test_another_database_is_refused_without_repeating_the_password(url):
    app = Celery(set_as_current=False, backend=f"orchestrator.runtime.backend:ExecutionBackend+{url}")

    with pytest.raises(ImproperlyConfigured, match="sqlite") as refused:
        app.backend  # noqa: B018

    assert "hidden" not in str(refused.value)


def test_without_a_url_the_first_use_says_so():
    with pytest.raises(ImproperlyConfigured, match="names no database"):
        Celery(set_as_current=False, backend=ExecutionBackend).backend.get_state("a")


def test_a_database_can_be_handed_in(database):
    backend = Celery(set_as_current=False, backend=ExecutionBackend).backend
    backend.database = database

    backend.store_result("a", 1, states.SUCCESS)

    assert count(database, celery_results) == 1


def test_it_can_be_pickled(app, backend):
    app.set_current()
    again = pickle.loads(pickle.dumps(backend))

    assert (type(again), again.url, again.expires) == (ExecutionBackend, backend.url, backend.expires)


def test_all_threads_of_an_app_share_one(app, backend):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: app.backend).result() is backend


def test_a_forked_process_connects_anew_and_leaves_the_parents_connections_alone(backend, monkeypatch):
    backend.get_state("a")
    database, pool, parent = backend.database, backend.database.engine.pool, os.getpid()
    monkeypatch.setattr(backend_module.os, "getpid", lambda: parent + 1)

    backend.get_state("a")

    assert backend.database is database
    assert database.engine.pool is not pool
    assert backend_module._abandoned.pop() is pool
    pool.dispose()


# -- plain tasks: results --------------------------------------------------------------------------------------------


def test_an_unknown_task_is_pending(backend):
    assert backend.get_task_meta("a") == {"status": states.PENDING, "result": None}
    assert not backend.task_result_exists("a")


def test_a_result_comes_back(app, backend):
    backend.store_result("a", {"x": [1, None, "\0\ud800"]}, states.SUCCESS)

    assert app.AsyncResult("a").get(timeout=0) == {"x": [1, None, "\0\ud800"]}
    assert backend.get_task_meta("a")["task_id"] == "a"
    assert backend.task_result_exists("a")


def test_a_failure_comes_back_as_its_exception(app, backend):
    backend.store_result("a", ValueError("x", 1), states.FAILURE, traceback="there")

    failed = app.AsyncResult("a")

    with pytest.raises(ValueError, match=r"\('x', 1\)"):
        failed.get(timeout=0)
    assert failed.traceback == "there"


def test_the_first_success_stays(backend):
    for result, state in ((1, states.STARTED), (2, states.SUCCESS), (3, states.SUCCESS), (4, states.REVOKED)):
        backend.store_result("a", result, state)

    assert backend.get_result("a") == 2


def test_a_later_state_replaces_anything_else(backend):
    for result, state in ((None, states.RETRY), (ValueError(), states.FAILURE), (2, states.SUCCESS)):
        backend.store_result("a", result, state)

    assert backend.get_state("a") == states.SUCCESS


def test_a_forgotten_result_is_pending_again(app, backend):
    backend.store_result("a", 1, states.SUCCESS)

    app.AsyncResult("a").forget()

    assert backend.get_state("a") == states.PENDING


def test_a_pickled_row_is_refused_and_not_executed(app, backend, database, tmp_path):
    app.conf.accept_content = ["json", "pickle"]
    made = tmp_path / "made"
    bad = pickle.dumps(_Touch(str(made)), protocol=0).decode()
    with database.begin() as connection:
        connection.execute(sa.insert(celery_results).values(task_id="a", status="SUCCESS", meta=bad))

    with pytest.raises(Exception, match="Expecting"):
        backend.get_task_meta("a")

    assert not made.exists()


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_a_row_cannot_name_a_function_as_its_exception(backend, database):
    bad = '{"status": "FAILURE", "result": {"exc_type": "system", "exc_message": "true", "exc_module": "os"}}'
    with database.begin() as connection:
        connection.execute(sa.insert(celery_results).values(task_id="a", status="FAILURE", meta=bad))

    with pytest.raises(Exception, match="Expected an exception class"):
        backend.get_task_meta("a")


# -- plain tasks: waiting and groups -----------------------------------------------------------------------------------


def test_waiting_ends_when_the_result_is_there(backend):
    def store():
        backend.store_result("a", 1, states.SUCCESS)

    looks = []
    meta = backend.wait_for("a", timeout=10, on_interval=lambda: looks.append(1) or store())

    assert (meta["result"], len(looks)) == (1, 1)


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_waiting_gives_up_at_its_time(app, backend, timeout):
    with pytest.raises(CeleryTimeoutError):
        app.AsyncResult("a").get(timeout=timeout)
    with pytest.raises(CeleryTimeoutError):
        list(backend.get_many(["a"], timeout=timeout))


def test_many_results_come_as_they_are_ready(backend):
    ids = {f"t{number}" for number in range(1200)}
    late = ids - {"t0"}
    backend.store_result("t0", 0, states.SUCCESS)

    def store_the_rest():
        while late:
            backend.store_result(late.pop(), 1, states.SUCCESS)

    found = list(backend.get_many(ids, timeout=60, on_interval=store_the_rest))

    assert found[0][0] == "t0"
    assert {task_id for task_id, _ in found} == ids


def test_a_group_is_joined_natively_and_in_order(app, backend):
    for number in range(3):
        backend.store_result(f"t{number}", number, states.SUCCESS)
    joined = GroupResult("g", [AsyncResult(f"t{number}", app=app) for number in (2, 0, 1)])

    assert joined.supports_native_join
    assert joined.get(timeout=0) == [2, 0, 1]


def test_a_group_is_saved_restored_and_deleted(app, backend):
    inner = app.GroupResult("inner", [AsyncResult("b", app=app)])
    saved = app.GroupResult("g", [AsyncResult("a", app=app), inner])
    saved.save()
    saved.save()

    assert GroupResult.restore("g", app=app) == saved
    saved.delete()
    assert GroupResult.restore("g", app=app) is None


# -- plain tasks: chords -----------------------------------------------------------------------------------------------


def test_the_last_part_publishes_the_body_with_results_in_header_order(app, backend, published, database):
    body = make_body(app)
    open_chord(backend, body, size=3)
    for index in (2, 0, 1):
        assert published == []
        backend.on_chord_part_return(make_request(body, index=index), states.SUCCESS, index * 10)

    assert [(sent.id, results) for sent, results in published] == [(body.id, [0, 10, 20])]
    assert count(database, celery_chord_parts) == 0


def test_a_part_that_comes_twice_counts_once(app, backend, published):
    body = make_body(app)
    open_chord(backend, body, size=2)

    for result in (1, 2):
        backend.on_chord_part_return(make_request(body, index=0), states.SUCCESS, result)
    assert published == []
    backend.on_chord_part_return(make_request(body, index=1), states.SUCCESS, 3)

    assert [results for _, results in published] == [[1, 3]]


def test_a_copy_of_a_part_after_the_body_fires_nothing(app, backend, published, database):
    body = make_body(app)
    open_chord(backend, body, size=1)

    for _ in range(3):
        backend.on_chord_part_return(make_request(body), states.SUCCESS, 1)

    assert len(published) == 1
    assert count(database, celery_chord_parts) == 0


def test_the_same_chord_published_again_runs_no_second_body(app, backend, published):
    body = make_body(app)
    for _ in range(2):
        open_chord(backend, body, size=1)
        backend.on_chord_part_return(make_request(body), states.SUCCESS, 1)

    assert len(published) == 1


def test_a_size_that_comes_last_fires_too(app, backend, published):
    body = make_body(app)
    open_chord(backend, body)
    for index in range(2):
        backend.on_chord_part_return(make_request(body, index=index), states.SUCCESS, index)
    assert published == []

    backend.set_chord_size("g", 2)

    assert [results for _, results in published] == [[0, 1]]


def test_a_size_without_a_body_leaves_the_body_to_the_next_part(app, backend, published):
    body = make_body(app)
    backend.on_chord_part_return(make_request(body, index=0), states.SUCCESS, 0)
    backend.set_chord_size("g", 2)
    assert published == []

    backend.on_chord_part_return(make_request(body, index=1), states.SUCCESS, 1)

    assert [results for _, results in published] == [[0, 1]]


def test_a_worker_that_died_before_firing_is_made_good_by_its_message(app, backend, published, database):
    """The part is committed, and the look at the count never came."""
    body = make_body(app)
    open_chord(backend, body, size=1)
    _add_part_only(database)

    backend.on_chord_part_return(make_request(body), states.SUCCESS, 7)

    assert [results for _, results in published] == [[7]]


def _add_part_only(database):
    with database.begin() as connection:
        part = {"group_id": "g", "task_id": "part-0", "position": 0, "state": states.SUCCESS, "result": "7"}
        connection.execute(sa.insert(celery_chord_parts).values(**part))


def test_a_worker_that_died_before_publishing_leaves_a_fired_chord_with_its_parts(app, backend, published, database):
    body = make_body(app)
    open_chord(backend, body, size=1)
    _add_part_only(database)
    ResultStore(database).fire("g")

    backend.on_chord_part_return(make_request(body), states.SUCCESS, 7)

    assert published == []
    assert count(database, celery_chord_parts) == 1


@pytest.mark.parametrize("round_", range(5))
def test_of_two_last_parts_at_once_one_publishes(app, backend, published, round_):
    body = make_body(app)
    open_chord(backend, body, size=2)
    barrier = Barrier(2)

    def arrive(index):
        barrier.wait(60)
        backend.on_chord_part_return(make_request(body, index=index), states.SUCCESS, index)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(arrive, range(2)))

    assert [results for _, results in published] == [[0, 1]]


def test_a_size_and_the_last_part_at_once_publish_once(app, backend, published):
    body = make_body(app)
    open_chord(backend, body)
    barrier = Barrier(2)

    def at_once(call):
        barrier.wait(60)
        call()

    with ThreadPoolExecutor(2) as pool:
        list(
            pool.map(
                at_once,
                [
                    lambda: backend.set_chord_size("g", 1),
                    lambda: backend.on_chord_part_return(make_request(body), states.SUCCESS, 1),
                ],
            )
        )

    assert len(published) == 1


def test_a_part_that_failed_fails_the_body_when_all_are_there(app, backend, published, database):
    body = make_body(app)
    open_chord(backend, body, size=2)
    backend.on_chord_part_return(make_request(body, index=0), states.FAILURE, ValueError("x"))
    assert backend.get_state(body.id) == states.PENDING

    backend.on_chord_part_return(make_request(body, index=1), states.SUCCESS, 1)

    with pytest.raises(ChordError, match="part-0 raised ValueError"):
        app.AsyncResult(body.id).get(timeout=0)
    assert published == []
    assert count(database, celery_chord_parts) == 0


def test_a_revoked_part_fails_the_body(app, backend):
    body = make_body(app)
    open_chord(backend, body, size=1)

    backend.mark_as_revoked("part-0", "revoked", request=make_request(body))

    with pytest.raises(ChordError, match="TaskRevokedError"):
        app.AsyncResult(body.id).get(timeout=0)


def test_a_failed_chord_calls_the_errback(app, backend):
    app.conf.task_always_eager = app.conf.task_store_eager_result = True
    body = make_body(app, link_error=[app.signature("note")])
    open_chord(backend, body, size=1)

    backend.on_chord_part_return(make_request(body), states.FAILURE, ValueError("x"))

    assert app.noted == [body.id]


def test_a_body_that_cannot_be_published_fails(app, backend, monkeypatch):
    def refuse(*_):
        raise OSError("no broker")

    monkeypatch.setattr(app.amqp, "_retry_publish", refuse)
    body = make_body(app)
    open_chord(backend, body, size=1)

    backend.on_chord_part_return(make_request(body), states.SUCCESS, 1)

    with pytest.raises(ChordError, match="Callback error: OSError"):
        app.AsyncResult(body.id).get(timeout=0)


def test_an_inner_chord_that_failed_fails_the_outer_one(app, backend):
    """Celery 5.7 leaves the outer body pending for ever."""
    outer = make_body(app)
    inner = make_body(app, chord=outer, group_id="outer", group_index=0)
    open_chord(backend, outer, size=1, group_id="outer")
    open_chord(backend, inner, size=1)

    backend.on_chord_part_return(make_request(inner), states.FAILURE, ValueError("x"))

    assert [backend.get_state(each.id) for each in (inner, outer)] == [states.FAILURE, states.FAILURE]


def test_a_header_with_groups_keeps_its_shape(app, backend, published):
    body = make_body(app)
    leaves = [AsyncResult(f"part-{index}", app=app) for index in range(3)]
    backend.apply_chord(("g", [leaves[0], app.GroupResult("inner", leaves[1:])]), body)
    backend.set_chord_size("g", 3)

    for index in (2, 1, 0):
        backend.on_chord_part_return(make_request(body, index=index), states.SUCCESS, index)

    assert [results for _, results in published] == [[0, [1, 2]]]


def test_a_generated_header_is_not_run_to_its_end_before_it_is_published(app, backend):
    made = []
    results = regen(made.append(number) or AsyncResult(str(number), app=app) for number in range(3))

    backend.apply_chord(("g", results), make_body(app))

    assert made == []


def test_a_header_task_can_add_another(app, backend, published):
    body = make_body(app)
    open_chord(backend, body, size=1)
    backend.add_to_chord("g", AsyncResult("part-1", app=app))

    backend.on_chord_part_return(make_request(body, index=0), states.SUCCESS, 0)
    assert published == []
    backend.on_chord_part_return(make_request(body, index=1), states.SUCCESS, 1)

    assert [results for _, results in published] == [[0, 1]]


def test_parts_without_a_group_are_ignored(app, backend, database):
    backend.on_chord_part_return(make_request(make_body(app), group_id=None), states.SUCCESS, 1)

    assert count(database, celery_chord_parts) == 0


# -- cleaning ----------------------------------------------------------------------------------------------------------


def test_cleanup_deletes_what_is_expired_and_only_that(app, backend, database):
    for name in ("old", "new"):
        backend.store_result(name, 1, states.SUCCESS)
        app.GroupResult(name, []).save()
        open_chord(backend, make_body(app), size=5, group_id=name)
        backend.on_chord_part_return(make_request(make_body(app), group_id=name), states.SUCCESS, 1)
    _age(database, "old")

    backend.cleanup()

    assert [count(database, each) for each in (celery_results, celery_groups, celery_chords, celery_chord_parts)] == [
        1
    ] * 4
    assert backend.get_state("new") == states.SUCCESS


def _age(database, name):
    with database.begin() as connection:
        for key, at in (
            (celery_results.c.task_id, "done_at"),
            (celery_groups.c.group_id, "done_at"),
            (celery_chords.c.group_id, "created_at"),
        ):
            connection.execute(sa.update(key.table).where(key == name).values({at: LONG_AGO}))


def test_cleanup_goes_in_batches(backend, database, monkeypatch):
    monkeypatch.setattr("orchestrator.store.results.CLEANUP_BATCH", 2)
    with database.begin() as connection:
        rows = [{"task_id": f"t{n}", "status": "SUCCESS", "meta": "{}", "done_at": LONG_AGO} for n in range(5)]
        connection.execute(sa.insert(celery_results), rows)

    backend.cleanup()

    assert count(database, celery_results) == 0


def test_cleanup_gives_parts_without_a_chord_an_age(app, backend, database):
    backend.on_chord_part_return(make_request(make_body(app)), states.SUCCESS, 1)

    backend.cleanup()
    assert count(database, celery_chord_parts) == 1
    _age(database, "g")
    backend.cleanup()

    assert count(database, celery_chord_parts) == 0


# -- our ids: executions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (ExecutionState.PENDING, states.PENDING),
        (ExecutionState.PROCESSING, states.STARTED),
        (ExecutionState.RETRY_ON_HOLD, states.RETRY),
        (ExecutionState.SUSPENDED, "SUSPENDED"),
        (ExecutionState.SUCCEEDED, states.SUCCESS),
        (ExecutionState.FAILED, states.FAILURE),
        (ExecutionState.CANCELLED, states.REVOKED),
    ],
)
def test_an_executions_state_is_told_in_celerys_words(backend, database, state, status):
    execution_id = store_execution(database, state=state)

    assert backend.get_state(execution_id) == status
    assert backend.task_result_exists(execution_id)


def test_an_executions_result_is_its_response_as_plain_json(app, database):
    items = Value(DataType.STRING_ARRAY, ("a", "b"))
    execution_id = store_execution(
        database, state=ExecutionState.SUCCEEDED, response={"number": NUMBER, "items": items}
    )

    result = app.AsyncResult(execution_id)

    assert result.get(timeout=0) == {"number": 2**53 + 1, "items": ["a", "b"]}
    assert result.date_done.tzinfo is not None


def test_a_failed_execution_raises_its_error(app, database):
    execution_id = store_execution(database, state=ExecutionState.FAILED, error=ERROR)

    with pytest.raises(TaskError, match="no such file") as raised:
        app.AsyncResult(execution_id).get(timeout=0)

    assert raised.value.code == 404
    assert app.AsyncResult(execution_id).traceback == ERROR.traceback


def test_a_cancelled_execution_raises_that_it_was_revoked(app, database):
    execution_id = store_execution(database, state=ExecutionState.CANCELLED)

    with pytest.raises(TaskRevokedError):
        app.AsyncResult(execution_id).get(timeout=0)


def test_executions_and_plain_tasks_are_read_together(backend, database):
    execution_id = store_execution(database, state=ExecutionState.SUCCEEDED, response={"number": NUMBER})
    backend.store_result("a", 1, states.SUCCESS)

    found = dict(backend.get_many([execution_id, "a"], timeout=0))

    assert {task_id: meta["result"] for task_id, meta in found.items()} == {execution_id: {"number": 2**53 + 1}, "a": 1}


# -- our ids: attempts -----------------------------------------------------------------------------------------------


def test_an_attempt_that_nobody_has_claimed_is_pending(backend, database):
    execution_id = store_execution(database, ready=[ready()])

    assert backend.get_state(f"{execution_id}.1.1") == states.PENDING
    assert backend.task_result_exists(f"{execution_id}.1.1")
    assert not backend.task_result_exists(f"{execution_id}.2.1")


def test_a_claimed_attempt_is_started_and_names_its_worker(backend, database):
    execution_id = store_execution(database, ready=[ready()])
    ExecutionStore(database).claim(AttemptKey(execution_id=execution_id, number=1, attempt=1), worker="w@host/7")

    meta = backend.get_task_meta(f"{execution_id}.1.1")

    assert (meta["status"], meta["result"], meta["name"]) == (states.STARTED, {"hostname": "w@host/7"}, "Noop")


@pytest.mark.parametrize("phase", [Phase.WAIT, Phase.JOIN])
def test_an_attempt_with_sub_executions_is_started(backend, database, phase):
    execution_id = store_execution(database, ready=[ready()])
    with database.begin() as connection:
        connection.execute(sa.update(live_attempts).values(phase=phase.value, round=1))

    assert backend.get_state(f"{execution_id}.1.1") == states.STARTED
    assert backend.get_state(f"{execution_id}.1.1.1") == states.STARTED


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (EntryKind.SUCCEEDED, states.SUCCESS),
        (EntryKind.FAILED, states.FAILURE),
        (EntryKind.STOPPED, states.REVOKED),
        (EntryKind.SUSPENDED, "SUSPENDED"),
        (EntryKind.CHILDREN_STARTED, states.PENDING),
        (EntryKind.LATE, states.PENDING),
    ],
)
def test_an_attempt_that_is_over_answers_from_its_history(backend, database, kind, status):
    execution_id = store_execution(database)
    store_history(database, execution_id, make_entry(kind, number=1, attempt=2))

    assert backend.get_state(f"{execution_id}.1.2") == status


def test_the_newest_entry_of_this_attempt_counts(app, database):
    execution_id = store_execution(database)
    store_history(
        database,
        execution_id,
        make_entry(EntryKind.FAILED, attempt=1, error=ERROR),
        make_entry(EntryKind.SUSPENDED, attempt=2),
        make_entry(parameters={"number": NUMBER}, attempt=2),
        make_entry(number=11, attempt=2),
        make_entry(EntryKind.LATE, attempt=2),
    )

    assert app.AsyncResult(f"{execution_id}.1.2").get(timeout=0) == {"number": 2**53 + 1}
    with pytest.raises(TaskError, match="no such file"):
        app.AsyncResult(f"{execution_id}.1.1").get(timeout=0)


def test_text_inside_an_entry_is_not_taken_for_its_beginning(backend, database):
    execution_id = store_execution(database)
    lure = {"kind": "task succeeded", "task": 5, "attempt": 1, "start": ""}
    text = Value(DataType.STRING, to_json_text(lure))
    store_history(database, execution_id, make_entry(details={"x": lure}, parameters={"x": text}))

    assert backend.get_state(f"{execution_id}.5.1") == states.PENDING


def test_a_live_attempt_hides_older_ones(backend, database):
    execution_id = store_execution(database, ready=[ready(attempt=2)])
    store_history(database, execution_id, make_entry(EntryKind.FAILED, attempt=1, error=ERROR))

    assert backend.get_state(f"{execution_id}.1.1") == states.FAILURE
    assert backend.get_state(f"{execution_id}.1.2") == states.PENDING


def test_many_attempts_are_read_at_once(backend, database):
    execution_id = store_execution(database, ready=[ready(number) for number in range(1, 401)])
    store_history(database, execution_id, make_entry(number=999))
    ids = [f"{execution_id}.{number}.1" for number in (*range(1, 401), 999)]

    found = dict(backend.get_many(ids, max_iterations=1))

    assert list(found) == [f"{execution_id}.999.1"]


# -- our ids: the rows are the truth -----------------------------------------------------------------------------------


def everything(database):
    tables = (celery_results, celery_groups, celery_chords, celery_chord_parts, executions, live_attempts)
    with database.read() as connection:
        return [[tuple(row) for row in connection.execute(sa.select(table))] for table in tables]


def test_nothing_that_celery_says_about_our_ids_is_written(app, backend, database):
    execution_id = store_execution(database, ready=[ready()])
    body = make_body(app)
    before = everything(database)

    for celery_id in (execution_id, f"{execution_id}.1.1", f"{execution_id}.1.1.1"):
        backend.mark_as_started(celery_id, hostname="w")
        backend.mark_as_done(celery_id, 1, request=Context(id=celery_id))
        backend.mark_as_failure(celery_id, ValueError(), request=Context(id=celery_id))
        backend.mark_as_retry(celery_id, ValueError())
        backend.mark_as_revoked(celery_id, "revoked", request=Context(id=celery_id))
        backend.forget(celery_id)
    join_id = f"{execution_id}.1.1.1"
    open_chord(backend, body, size=1, group_id=join_id)
    backend.add_to_chord(join_id, AsyncResult("a", app=app))
    backend.on_chord_part_return(make_request(body, group_id=join_id), states.SUCCESS, 1)
    backend.on_chord_part_return(make_request(body, group_id=join_id), states.FAILURE, ValueError())

    assert everything(database) == before
    assert backend.get_state(execution_id) == states.PENDING


def test_a_published_round_of_sub_executions_leaves_no_row(app, database):
    """The chord's own task id becomes that of the group; a group's is lost on the way (Celery 5.7)."""
    join_id = f"{uuid.uuid4()}.1.1.1"
    header = [app.signature("total", args=([],), task_id=f"{uuid.uuid4()}.1.1") for _ in range(3)]
    before = everything(database)

    published = chord(
        header, app.signature("total", immutable=True, args=([],)), app=app, task_id=join_id
    ).apply_async()

    assert (published.id, published.parent.id) == (join_id, join_id)
    assert everything(database) == before


@pytest.mark.parametrize(
    ("celery_id", "expected"),
    [("e.1.1", True), ("e.1.1.2", True), ("report.2024.01", False), ("e.1", False), ("e.1.1.0", False), ("e", False)],
)
def test_only_ids_that_we_would_write_are_ours(celery_id, expected):
    assert is_ours(celery_id) is expected


def test_one_query_a_table_answers_many_ids(database, app):
    statements = itertools.count()
    store = ResultStore(Database(database.url.render_as_string(hide_password=False)))
    sa.event.listen(store.database.engine, "before_cursor_execute", lambda *_: next(statements))

    store.results([f"t{number}" for number in range(500)])

    store.database.close()
    assert next(statements) <= 2 + 5  # what SQLite's connection is prepared with

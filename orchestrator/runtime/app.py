"""The Celery app: its configuration, and one Celery task for each task type.

``celery -A orchestrator worker -Q executor.default`` and ``orchestrator worker`` both load ``default_app``. The
configuration loses nothing where Celery can help it: JSON only, late acks, no message fetched that is not soon begun
(``runtime.parcels``), nothing that turns a lost connection into a lost task. What a worker does with a message is
``service.drive``.
"""

from __future__ import annotations

import functools
import os
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from itertools import groupby
from typing import Any, Final

from celery import Celery, Task, signals

from orchestrator.engine.canvas import (
    BUNDLE_TASK,
    CHUNK_TASK,
    JOIN_TASK,
    MOST_URGENT,
    NOTIFY_TASK,
    parse_celery_id,
    queue_of,
)
from orchestrator.errors import InvalidSetting
from orchestrator.failpoints import arm, failpoint
from orchestrator.model.task_types import TASK_TYPES, TaskType, TaskTypes
from orchestrator.processes.leash import die_with_parent
from orchestrator.runtime import file_broker
from orchestrator.runtime.guard import ProcessGuard, listen
from orchestrator.runtime.identity import Identity
from orchestrator.runtime.publisher import CeleryPublisher
from orchestrator.runtime.tracing import AttemptTask
from orchestrator.service.ahead import AHEAD
from orchestrator.service.bundles import drive_bundle, drive_together
from orchestrator.service.chunks import drive_chunk
from orchestrator.service.drive import drive
from orchestrator.service.notices import notify
from orchestrator.service.services import Services
from orchestrator.settings import Settings, scheme_of
from orchestrator.store.database import Database
from orchestrator.store.kinds import DEFAULT_EXECUTOR, AttemptKey, ChunkKey

ENTRY_POINTS: Final = "orchestrator.task_types"
_VISIBILITY_TIMEOUT_S: Final = 6 * 3600  # when Redis hands a message out again that it has noted; a claim drops ours


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """The real implementations, put together once a process."""

    settings: Settings
    app: Celery
    database: Database
    services: Services
    identity: Identity


def bootstrap(settings: Settings, *, raises: bool) -> Runtime:
    """Put everything together. Nothing is connected yet.

    Args:
        settings: with a broker; an embedded one has been started before.
        raises: whether publishing raises when the broker is away (a client's way, not a worker's).
    """
    if settings.failpoints and arm(settings.failpoints):
        signals.before_task_publish.connect(_pass_message, weak=False)
    types = load_task_types(settings.include)
    database = Database(settings.resolved_database_url)
    app = make_app(settings)
    services = Services.of(
        database,
        types=types,
        publisher=CeleryPublisher(app, raises=raises),
        guard=ProcessGuard(),
        surroundings=settings.surroundings(),
        jitter=random.random,
        max_queue_depth=settings.max_queue_depth,
    )
    identity = Identity()
    register_tasks(app, types, services, identity)
    return Runtime(settings=settings, app=app, database=database, services=services, identity=identity)


def _pass_message(**_: object) -> None:
    failpoint("publish.message")


def load_task_types(include: Iterable[str] = ()) -> TaskTypes:
    """Import the packages that register task types: those of the entry-point group, and ``include``.

    Raises:
        InvalidSetting: a module of ``include`` cannot be imported.
    """
    for entry_point in entry_points(group=ENTRY_POINTS):
        entry_point.load()
    for module in include:
        _import(module)
    return TASK_TYPES


def _import(module: str) -> None:
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109 - sys.path holds strings
        sys.path.insert(0, here)  # as for ``python -m``: a user's module beside the command line
    try:
        import_module(module)
    except ImportError as error:
        expected = f"a module that can be imported from here ({error})"
        raise InvalidSetting("include", repr(module), expected) from error


def make_app(settings: Settings) -> Celery:
    """A configured Celery app without our tasks."""
    app = Celery("orchestrator", control="orchestrator.runtime.control:LastingControl", set_as_current=False)
    broker_url = settings.broker_url or "memory://"  # never used: a client without a broker only reads
    app.conf.update(
        broker_url=broker_url,
        broker_transport_options=transport_options(broker_url),
        broker_connection_retry_on_startup=True,
        result_backend=f"orchestrator.runtime.backend:ExecutionBackend+{settings.resolved_database_url}",
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        task_default_queue=queue_of(DEFAULT_EXECUTOR),
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_track_started=True,
        task_queue_max_priority=MOST_URGENT,  # for RabbitMQ; Redis takes priorities without being told
        worker_prefetch_multiplier=1,
        worker_concurrency=settings.concurrency,
        worker_send_task_events=True,  # what Flower shows; that a message was sent it shows when a worker has it
    )
    app.conf.update(file_broker.celery_settings(broker_url))
    return app


def transport_options(broker_url: str) -> dict[str, Any]:
    """How kombu talks to this broker."""
    match scheme_of(broker_url):
        case "redis" | "rediss":
            return {
                "visibility_timeout": _VISIBILITY_TIMEOUT_S,
                "socket_timeout": 10,
                "socket_connect_timeout": 5,
                "socket_keepalive": True,
                "health_check_interval": 10,
            }
        case "redis+socket":
            return {"visibility_timeout": _VISIBILITY_TIMEOUT_S}
        case "amqp" | "amqps":
            return {"confirm_publish": True}
        case _:
            return {}


def register_tasks(app: Celery, types: TaskTypes, services: Services, identity: Identity) -> None:
    """Give every task type a Celery task of its own name, so that Flower shows what runs; all do the same."""

    def run(task: Task[..., None], execution_id: str, number: int, attempt: int, round: int) -> None:  # noqa: A002
        key = AttemptKey(execution_id=execution_id, number=number, attempt=attempt, round=round)
        worker = identity.process_name(str(task.request.hostname), os.getpid())
        if companions := AHEAD.take_companions():
            drive_together([key, *companions], worker=worker, services=services)
        drive(key, worker=worker, services=services)

    def run_chunk(  # noqa: PLR0917 - the arguments of the message
        task: Task[..., None],
        execution_id: str,
        number: int,
        attempt: int,
        round: int,  # noqa: A002
        first_position: int,
    ) -> None:
        key = ChunkKey(
            execution_id=execution_id, number=number, attempt=attempt, round=round, first_position=first_position
        )
        drive_chunk(key, worker=identity.process_name(str(task.request.hostname), os.getpid()), services=services)

    def run_bundle(task: Task[..., None], execution_id: str, number: int, attempt: int, round: int) -> None:  # noqa: A002, ARG001 - shown in Flower
        worker = identity.process_name(str(task.request.hostname), os.getpid())
        drive_bundle(execution_id, worker=worker, services=services)

    _register(app, BUNDLE_TASK, run_bundle, services, identity)
    _register(app, CHUNK_TASK, run_chunk, services, identity)
    _register(app, JOIN_TASK, run, services, identity)
    by_name = groupby(sorted(types, key=_celery_name), key=_celery_name)
    for name, some in by_name:
        _register(app, name, run, services, identity, is_light=all(each.light for each in some))
    _register_notices(app, services)


def _celery_name(task_type: TaskType) -> str:
    return task_type.celery_name or task_type.name


def _register_notices(app: Celery, services: Services) -> None:
    """A notice is given once or not at all, so its message is gone before it is worked on. It has no result."""

    def tell(execution_id: str, number: int, attempt: int, reminder: int) -> None:  # noqa: ARG001 - shown in Flower
        notify(AttemptKey(execution_id=execution_id, number=number, attempt=attempt), services)

    app.task(name=NOTIFY_TASK, shared=False, acks_late=False, ignore_result=True)(tell)


def _register(
    app: Celery,
    name: str,
    run: Callable[..., None],
    services: Services,
    identity: Identity,
    *,
    is_light: bool = False,
) -> None:
    # The request's class by name: only a worker imports it. It finds the services and the identity on the task.
    request = "orchestrator.runtime.requests:AttemptRequest"
    app.task(
        name=name,
        base=AttemptTask,
        bind=True,
        shared=False,
        trail=False,
        Request=request,
        services=services,
        identity=identity,
        is_light=is_light,
    )(run)


@functools.cache
def default_runtime() -> Runtime:
    """Everything of this process, by the settings of its environment."""
    from orchestrator.runtime.equipment import equip  # not for clients

    runtime = bootstrap(Settings(), raises=False)
    equip(runtime)

    @signals.worker_process_init.connect(weak=False)
    def prepare_child(**_: object) -> None:
        die_with_parent()
        listen()
        runtime.database.after_fork()
        runtime.database.keep_connection()
        runtime.services.plans.after_fork()

    @signals.task_unknown.connect(weak=False)
    def take_all_the_same(message: Any, id: str, **_: object) -> None:  # noqa: A002 - Celery's name
        """Celery drops what it has no task for, and the execution would wait for ever: have it fail and say why."""
        key = parse_celery_id(id)
        if key is not None:
            queue = str(message.delivery_info.get("routing_key", ""))
            runtime.app.send_task(JOIN_TASK, args=key, task_id=id, queue=queue)

    return runtime


def default_app() -> Celery:
    """The app of this process: what ``celery -A orchestrator`` loads."""
    return default_runtime().app

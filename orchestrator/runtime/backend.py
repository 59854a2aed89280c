"""The Celery result backend: what ``AsyncResult``, chords and Flower ask, answered from the database.

``result_backend = "orchestrator.runtime.backend:ExecutionBackend+postgresql+psycopg://..."`` or, by the entry point,
``"orchestrator+sqlite:////..."``: Celery splits at the first plus, what follows is the database's URL.

It serves two kinds of ids:

* **Ours**: ``<execution>.<task>.<attempt>[.<round>]``, and an execution's own id. The rows are the truth, so nothing
  that Celery says is written: no state, no result, no revocation. The id of a round answers for its attempt. For a
  round of sub-executions (whose group id and body id are the join's id) the chord calls do nothing either: the join
  counter has changed in the very commit that made the child final, and whoever committed the last one publishes the
  join. So there is no window between a result and its count, and what Celery counts by messages is not asked.
* **Foreign**: tasks of users that share the app. Their results, groups and chords are kept in ``celery_*``. The first
  SUCCESS of a task stays. An id stands for one run: publishing a frozen chord again counts the parts that are missing
  and never runs its body a second time (Celery's Redis backend would).

A foreign chord has these windows (``store.results`` draws the steps). A worker that dies

* between a task's result and its part: Celery's own window; the part is counted when the message comes again;
* between the last part and firing: any part or size that comes again fires it;
* between firing and the body: the body is lost, and a fired chord with parts records it. (The same if the database
  has fired it and its answer got lost.)

JSON only: a row is never unpickled, whatever it holds. Connections never cross a fork.

Must not: decide anything, or write a row of ours.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from celery import group, states
from celery.backends.base import BaseBackend
from celery.canvas import maybe_signature
from celery.exceptions import ChordError, ImproperlyConfigured, TimeoutError  # noqa: A004 - Celery's own
from celery.result import GroupResult, result_from_tuple
from celery.utils.functional import LRUCache
from kombu.serialization import loads

from orchestrator.errors import Unreachable
from orchestrator.runtime.metas import attempt_meta, execution_meta, is_ours, to_key
from orchestrator.store.database import Database
from orchestrator.store.results import ExecutionResult, Expiry, Part, ResultStore

log = logging.getLogger(__name__)

FIRST_POLL_S: Final = 0.005
LONGEST_POLL_S: Final = 0.1  # one look-up by primary key; Celery's 0.5 would show in every short task
POLL_GROWTH: Final = 1.5
WAITING_CHORD_S: Final = timedelta(days=30).total_seconds()  # an unfinished chord may outlive results by far
_BODIES: Final = 1000  # chords whose header is being published in this process
_RETRIES: Final = 3  # as in Celery's own database backend
_RETRYABLE: Final = (sa.exc.OperationalError, sa.exc.InterfaceError, Unreachable)
_JSON: Final = "application/json"

_abandoned: list[sa.Pool] = []  # the parent's connections: closed by no child, not even by its garbage collector


class ExecutionBackend(BaseBackend):
    """Celery's result backend over one database.

    Attributes:
        database: made from the URL when first used; a process that has one already may set it.
    """

    supports_native_join = True

    # What celery-types leaves out of the base class.
    app: Any
    url: str | None
    expires: float | None
    always_retry: bool
    max_retries: float
    thread_safe: bool
    _cache: Any
    _fail_chain: Callable[..., None]
    _ensure_not_eager: Callable[[], None]
    _ensure_retryable: Callable[..., Any]
    _get_result_meta: Callable[..., dict[str, Any]]

    def __init__(self, app: Any, url: str | None = None, **options: Any) -> None:
        serializer = options.get("serializer") or app.conf.result_serializer
        if serializer != "json":
            raise ImproperlyConfigured(f"result_serializer is {serializer!r}: this backend keeps JSON and nothing else")
        super().__init__(app, url=_checked(url or app.conf.database_url), **options)
        self.thread_safe = True  # one for all threads, and so one pool of connections
        if not app.conf.value_set_for("result_backend_always_retry"):
            self.always_retry = True
        if not app.conf.value_set_for("result_backend_max_retries"):
            self.max_retries = _RETRIES
        self._bodies: LRUCache[str, Any] = LRUCache(limit=_BODIES)
        self._database: Database | None = None
        self._pid = os.getpid()

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(  # type: ignore[call-arg] # Celery's takes the arguments to build it again with
            args, {**(kwargs or {}), "url": self.url, "expires": self.expires}
        )

    @property
    def database(self) -> Database:
        """The database of this process."""
        if self._database is None:
            if not self.url:
                raise ImproperlyConfigured(
                    "result_backend names no database: append +sqlite:////file or +postgresql://"
                )
            self._database, self._pid = Database(self.url), os.getpid()
        elif self._pid != os.getpid():
            _abandoned.append(self._database.engine.pool)
            self._database.after_fork()
            self._pid = os.getpid()
        return self._database

    @database.setter
    def database(self, database: Database) -> None:
        self._database, self._pid = database, os.getpid()

    @property
    def _store(self) -> ResultStore:
        return ResultStore(self.database)

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether the database may answer next time."""
        return isinstance(exc, _RETRYABLE)

    def decode(self, payload: Any) -> Any:
        """Read JSON, and only JSON, whatever the app accepts elsewhere."""
        return None if payload is None else loads(payload, _JSON, "utf-8", accept={_JSON})

    def _text(self, data: Any) -> str:
        return str(self.encode(data))

    # -- results -----------------------------------------------------------------------------------------------------

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **_: Any
    ) -> Any:
        if not is_ours(task_id):
            meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
            meta["task_id"] = str(task_id)
            self._store.save_result(str(task_id), status=state, meta=self._text(meta))
        return result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        return self._metas([task_id]).get(task_id) or {"status": states.PENDING, "result": None}

    def task_result_exists(self, task_id: str) -> bool:
        """Whether there is a row, also that of an execution that is still PENDING."""
        return bool(self._ensure_retryable(self._metas, [task_id]))

    def _metas(self, ids: Collection[str]) -> dict[str, dict[str, Any]]:
        keys = {each: key for each in ids if (key := to_key(each)) is not None}
        attempts = self._store.attempts(keys.values()) if keys else {}
        metas = {each: attempt_meta(attempts[key]) for each, key in keys.items() if key in attempts}
        if others := [each for each in ids if each not in keys]:
            metas |= {
                each: execution_meta(found) if isinstance(found, ExecutionResult) else self.decode(found)
                for each, found in self._store.results(others).items()
            }
        return {each: self.meta_from_decoded({**meta, "task_id": each}) for each, meta in metas.items()}

    def _forget(self, task_id: str) -> None:
        if not is_ours(task_id):
            self._store.forget(task_id)

    # -- waiting -----------------------------------------------------------------------------------------------------

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float | None = None,
        no_ack: bool = True,  # noqa: ARG002 - Celery's signature
        on_interval: Callable[[], object] | None = None,
    ) -> dict[str, Any]:
        """Poll until the task is over; raises Celery's ``TimeoutError``."""
        self._ensure_not_eager()
        patience = _Patience(timeout, interval)
        while (meta := self.get_task_meta(task_id))["status"] not in self.READY_STATES:
            if on_interval:
                on_interval()
            patience.pause()
        return meta

    def get_many(  # noqa: PLR0917 - Celery's signature
        self,
        task_ids: Collection[str],
        timeout: float | None = None,
        interval: float | None = None,
        no_ack: bool = True,  # noqa: ARG002 - likewise
        on_message: Callable[[Any], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        max_iterations: int | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the tasks that are over as they come, with few queries for all; raises Celery's ``TimeoutError``."""
        waiting, patience = set(task_ids), _Patience(timeout, interval)
        for looks in itertools.count(1):
            for task_id, meta in self._ready(waiting).items():
                waiting.discard(task_id)
                if on_message:
                    on_message(meta)
                yield task_id, meta
            if not waiting or looks == max_iterations:
                return
            if on_interval:
                on_interval()
            patience.pause()

    def _ready(self, ids: Collection[str]) -> dict[str, dict[str, Any]]:
        cached = {each: meta for each in ids if (meta := self._cache.get(each)) and "status" in meta}
        found = self._ensure_retryable(self._metas, [each for each in ids if each not in cached])
        ready = {each: meta for each, meta in (cached | found).items() if meta["status"] in self.READY_STATES}
        self._cache.update(ready)
        return ready

    # -- groups ------------------------------------------------------------------------------------------------------

    def _save_group(self, group_id: str, result: Any) -> Any:
        self._store.save_group(group_id, self._text(result.as_tuple()))
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        text = self._store.group(group_id)
        return None if text is None else {"result": result_from_tuple(self.decode(text), self.app)}

    def _delete_group(self, group_id: str) -> None:
        self._store.delete_group(group_id)

    # -- chords ------------------------------------------------------------------------------------------------------

    def apply_chord(self, header_result_args: tuple[Any, Any], body: Any, **_: Any) -> None:
        """Note a chord before its header goes out."""
        group_id, results = header_result_args
        if is_ours(group_id):
            return
        tree = None
        # Not isinstance: a generator's results are a list that would run the generator to its end if asked.
        if type(results) is list and any(isinstance(each, GroupResult) for each in results):
            tree = self._text(self.app.GroupResult(group_id, results).as_tuple())
        self._ensure_retryable(self._store.open_chord, group_id, tree=tree)
        self._bodies[group_id] = body  # set_chord_size gets none

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Note how many parts a chord has; all of them may be there already."""
        if is_ours(group_id):
            return
        self._ensure_retryable(self._store.set_size, group_id, chord_size)
        body = self._bodies.pop(group_id, None)
        if body is not None:
            self._fire(group_id, body)

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """A header task adds one to its own chord (``Task.add_to_chord``)."""
        if not is_ours(chord_id):
            self._ensure_retryable(self._store.expect_part, chord_id, result.id)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        """Count a header task that is over; whoever makes the chord complete publishes its body."""
        group_id, task_id = request.group, request.id
        if not group_id or not task_id or is_ours(group_id):
            return
        part = Part(
            task_id=task_id,
            position=request.group_index,
            state=state,
            result=self._text(self.encode_result(result, state)),
        )
        self._ensure_retryable(self._store.add_part, group_id, part)
        self._fire(group_id, request.chord)

    def _fire(self, group_id: str, body: Any) -> None:
        parts = self._ensure_retryable(self._store.fire, group_id)
        if parts is None:
            return
        callback: Any = maybe_signature(body, app=self.app)
        try:
            results = self._joined(group_id, parts)
            self._publish(callback, results)
        except Exception as error:  # whatever it is, it is the body's failure now
            log.exception("chord failed", extra={"group_id": group_id})
            self._fail(callback, error if isinstance(error, ChordError) else _join_error(error))
        self._ensure_retryable(self._store.close_chord, group_id)

    def _fail(self, callback: Any, error: ChordError) -> None:
        """The body fails without having run. Call this while the exception is handled: Celery takes its traceback.

        A body may be a header task of an outer chord. Celery 5.7 forgets to count it there, which leaves the outer body
        pending for ever; so that comes first here, as for the rest of a failed chain.
        """
        members = callback.tasks if isinstance(callback, group) else [callback]
        self._fail_chain([each for each in members if each.options.get("chord")], error)
        self.chord_error_from_stack(callback, error)

    def _publish(self, callback: Any, results: list[Any]) -> None:
        try:
            self.app.amqp._retry_publish(callback.delay, results)
        except Exception as error:
            raise ChordError(f"Callback error: {error!r}") from error

    def _joined(self, group_id: str, parts: list[Part]) -> list[Any]:
        values = {part.task_id: self._value(part) for part in parts}
        text = self._store.group(group_id)
        if text is None:
            return list(values.values())
        _, nodes = self.decode(text)
        return [_nested(node, values) for node in nodes]

    def _value(self, part: Part) -> Any:
        value = self.decode(part.result)
        if part.state in states.EXCEPTION_STATES:
            value = self.exception_to_python(value)
        if part.state in states.PROPAGATE_STATES:
            raise ChordError(f"Dependency {part.task_id} raised {value!r}") from value
        return value

    # -- cleaning ----------------------------------------------------------------------------------------------------

    @property
    def expiry(self) -> Expiry | None:
        """When rows of plain tasks are too old; None if they are kept for ever."""
        if not self.expires:
            return None
        waiting_s = self.app.conf.get("result_chord_expires") or max(self.expires, WAITING_CHORD_S)
        return Expiry(results_s=self.expires, chords_s=waiting_s)

    def cleanup(self) -> None:
        """Delete expired rows of plain tasks (``celery.backend_cleanup``); ours go with ``service.prune``."""
        if self.expiry:
            self._ensure_retryable(self._store.delete_expired, self.expiry)


# -- small parts -------------------------------------------------------------------------------------------------------


class _Patience:
    """Pauses between two looks: short at first, so that a quick task shows at once, then longer up to a limit."""

    def __init__(self, timeout_s: float | None, interval_s: float | None) -> None:
        self.timeout_s = timeout_s
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._longest_s = LONGEST_POLL_S if interval_s is None else min(interval_s, LONGEST_POLL_S)
        self._next_s = FIRST_POLL_S

    def pause(self) -> None:
        left_s = self._next_s if self._deadline is None else self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"not over after {self.timeout_s:g} s")
        time.sleep(min(self._next_s, left_s))
        self._next_s = max(FIRST_POLL_S, min(self._next_s * POLL_GROWTH, self._longest_s))


def _nested(node: Any, values: Mapping[str, Any]) -> Any:
    """The values in the shape of a header with groups inside: ``[[id, parent], children or None]``."""
    (task_id, _), children = node
    return values[task_id] if children is None else [_nested(child, values) for child in children]


def _join_error(error: Exception) -> ChordError:
    made = ChordError(f"Join error: {error!r}")
    made.__cause__ = error
    return made


def _checked(url: str | None) -> str | None:
    """Refuse what is no URL of our databases, here and not at the first result. Its password is not repeated."""
    if not url:
        return None
    try:
        name = sa.make_url(url).get_backend_name()
    except sa.exc.ArgumentError:
        name = "no URL"
    if name not in ("sqlite", "postgresql"):
        raise ImproperlyConfigured(f"result_backend: {name} is neither sqlite:////file nor postgresql://host/name")
    return url

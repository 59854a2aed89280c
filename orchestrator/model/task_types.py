"""Task types: the contract between the system, which knows them by name, and the code that does a task's work.

A task type is a name, some facts about it, and a function ``run(context) -> Step``. A step is one of

* ``Done(outputs)``          the task SUCCEEDs and these parameters change
* ``StartChildren(...)``     sub-executions run first; when all are final, ``join(context, join) -> Step`` decides on
* ``Suspend(...)``           the task waits for a person or an outside system, or for a time

and a raised ``TaskError`` (or any exception) is the attempt's failure. Built-in types live in the package ``tasks``; a
user's package adds its own with ``@task_type`` and the entry-point group ``orchestrator.task_types``.

What must not happen: a ``run`` of a *light* type that waits, talks to the outside or has a side effect, because light
tasks run in line and may run again after a crash.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

from orchestrator.errors import InvalidValue, SettingsError
from orchestrator.model.json_text import Json
from orchestrator.model.parameters import name_in, resolve, resolve_text
from orchestrator.model.quick_dataclass import quick_dataclass
from orchestrator.model.values import Value

MAX_WAIT_S: Final = 100 * 365 * 86_400.0  # 100 years: how long a suspension may wait for an answer

# -- what a step can be --------------------------------------------------------------------------------------------


@quick_dataclass
class Done:
    """The task succeeded. ``outputs`` become parameters of the execution; system variables keep their backticks."""

    outputs: Mapping[str, Value] = field(default_factory=dict)


@quick_dataclass
class Child:
    """One sub-execution to start. ``integration`` may be empty: then the trigger alone names it."""

    integration: str
    trigger_id: str
    parameters: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class StartChildren:
    """Sub-executions to run, in this order in ``directSubExecutions``; all at the same time.

    ``carry`` is given back to the join: what the task must remember between rounds, small. With ``wait=False`` the
    task does not wait: it succeeds at once with ``outputs``, and the children run on their own.
    """

    children: Sequence[Child]
    carry: Json = None
    wait: bool = True
    outputs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspend:
    """The task waits until someone lifts or rejects it. Times count from now, in seconds.

    Attributes:
        message: what those are asked who may answer.
        outputs: parameters that change at once.
        result_name: the parameter that takes the answer, true or false. With one this is a question, which a no answers
            as well; without one it is a wait, and who rejects it has the task FAIL.
        payload_name: the parameter that takes what the suspension is lifted with. Without one ``result_name`` does.
        who_may_resolve: nobody else may answer, and they are told (``TaskType.notify``); empty for anybody.
        remind_after_s: tell them again after this time, and again.
        expire_after_s: when the clock answers: it rejects, or lifts if ``lift_when_expired``.
        is_timer: nobody is asked: it is the clock's turn, and whoever waits for the execution goes on waiting.
    """

    message: str = ""
    outputs: Mapping[str, Value] = field(default_factory=dict)
    result_name: str | None = None
    payload_name: str | None = None
    who_may_resolve: Sequence[str] = ()
    remind_after_s: float | None = None
    expire_after_s: float | None = None
    lift_when_expired: bool = False
    is_timer: bool = False

    def __post_init__(self) -> None:
        """No database can keep a time past the year 9999: it is refused here, as the failure of the attempt."""
        for name, after_s in (("remind_after_s", self.remind_after_s), ("expire_after_s", self.expire_after_s)):
            if after_s is not None and not 0 <= after_s <= MAX_WAIT_S:
                raise InvalidValue(name, f"{after_s!r}", f"0 to {MAX_WAIT_S:.0f} seconds")


Step: TypeAlias = Done | StartChildren | Suspend


@quick_dataclass
class ChildOutcome:
    """How one sub-execution ended. ``error`` is None if it SUCCEEDED."""

    execution_id: str
    state: str
    parameters: Mapping[str, Value]
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Join:
    """What a join has to go by: the latest round's outcomes in order, what the task carried, and all rounds on demand.

    ``round`` counts from 1. ``all_outcomes()`` reads every round's outcomes, oldest first; call it once, at the end.
    """

    round: int
    outcomes: Sequence[ChildOutcome]
    carry: Json
    all_outcomes: Callable[[], Sequence[ChildOutcome]]


# -- what a task is told -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class MailServer:
    """Where mail goes. Without a host it is written to ``outbox`` as .eml files."""

    outbox: Path
    host: str | None = None
    port: int = 25
    user: str | None = None
    password: str | None = None
    starttls: bool = False
    sender: str = "orchestrator@localhost"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSurroundings:
    """What the environment gives to task types, from the settings; the same for every task of a worker.

    Attributes:
        mail: where mail goes.
        url_overrides: URL prefix -> replacement.
        rest_timeout_s: the longest wait for an answer.
        artifacts_url: the store of what is too large for a row.
        runs: the folder for the folders of commands that run, absolute.
        environment: what the environment of every command begins with.
    """

    mail: MailServer
    url_overrides: Mapping[str, str] = field(default_factory=dict)
    rest_timeout_s: float = 120.0
    artifacts_url: str = "/nonexistent"
    runs: Path = Path("/nonexistent")
    environment: Mapping[str, str] = field(default_factory=dict)


def _never() -> bool:
    return False


def _nobody(_: object) -> None:
    """Nobody is told."""


@quick_dataclass
class TaskContext:
    """One attempt of one task, as its code sees it.

    ``config`` holds the task's parameters as the definition writes them; ``parameters`` the execution's parameters as
    they are now. ``now`` is the database's time at the start of the attempt, aware UTC.

    ``cancelled()`` says whether the attempt is to end, because it took too long or its execution is to stop. Code that
    can stop by itself asks it, in any thread and as often as it likes; it is told within about a second. What such
    code returns is dropped.

    ``set_grace(seconds)`` says how long the code needs to end once it has been told to; without it that is 5 s, and
    then its process is ended. ``record(details)`` notes facts of the attempt, small ones as JSON: they are kept in its
    entry of the history in whichever way it ends, unless its process dies. A later note of a key replaces an earlier.
    """

    execution_id: str
    integration: str
    project: str
    location: str
    task_number: int
    attempt: int
    now: datetime
    config: Mapping[str, Value]
    parameters: Mapping[str, Value]
    surroundings: TaskSurroundings
    is_sync: bool = False
    cancelled: Callable[[], bool] = field(default=_never, repr=False, compare=False)
    set_grace: Callable[[float], None] = field(default=_nobody, repr=False, compare=False)
    record: Callable[[Mapping[str, Json]], None] = field(default=_nobody, repr=False, compare=False)

    def value(self, key: str) -> Value | None:
        """The task's parameter ``key`` with its references replaced; None if absent or a reference to nothing."""
        written = self.config.get(key)
        return None if written is None else resolve(written, self.parameters)

    def text(self, key: str, default: str = "") -> str:
        """The task's parameter ``key`` as text with its references replaced; ``default`` if absent or empty."""
        written = self.config.get(key)
        if written is None or not isinstance(written.data, str):
            return default
        return resolve_text(written.data, self.parameters) or default

    def flag(self, key: str, *, default: bool = False) -> bool:
        """The task's boolean parameter ``key``; the text "true" or "false" counts as well."""
        value = self.value(key)
        data = value.data if value is not None else None
        if isinstance(data, str) and data.strip().lower() in ("true", "false"):
            return data.strip().lower() == "true"
        return data if isinstance(data, bool) else default

    def output_name(self, key: str) -> str | None:
        """The parameter that the task's output ``key`` goes to.

        The product writes it as a list of one reference, ``["$`Task_1_responseBody`$"]``; a plain reference counts
        as well.
        """
        written = self.config.get(key)
        return None if written is None else name_in(written)


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """That a suspension waits, for those who may answer it. ``reminder`` counts from 0, the first notice."""

    name: str  # of the suspension, within its execution
    message: str
    addressees: Sequence[str]
    expires_at: datetime | None
    reminder: int


# -- the type itself -----------------------------------------------------------------------------------------------

Run: TypeAlias = Callable[[TaskContext], Step]
JoinStep: TypeAlias = Callable[[TaskContext, Join], Step]
Notify: TypeAlias = Callable[[TaskContext, Notice], None]
Check: TypeAlias = Callable[[Mapping[str, Value]], Iterable[str]]


def _no_problem(config: Mapping[str, Value]) -> Iterable[str]:  # noqa: ARG001
    return ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskType:
    """A task type.

    Attributes:
        name: as definitions write it in ``task``.
        run: does the work of one attempt.
        join: decides on when a round of sub-executions is final; needed by types that start children and wait.
        light: quick, local and free of side effects: runs in line, without a message.
        suspends: its code returns ``Suspend``. To leave it out costs time only, where many are started at once.
        celery_name: the name that Flower shows, ``tasks.rest``.
        check: looks at the task's parameters before anything is stored; one sentence for each problem.
        notify: tells ``Suspend.who_may_resolve`` that the task waits. It is called in a worker, after the suspension is
            stored, at most once for the beginning and for each reminder. What it raises is logged and changes nothing.
    """

    name: str
    run: Run
    join: JoinStep | None = None
    light: bool = False
    suspends: bool = False
    celery_name: str = ""
    check: Check = _no_problem
    notify: Notify | None = None


class TaskTypes:
    """The task types that this process knows, by name."""

    def __init__(self, types: Iterable[TaskType] = ()) -> None:
        self._types: dict[str, TaskType] = {}
        for each in types:
            self.add(each)

    def add(self, new: TaskType) -> None:
        """Register a type.

        Raises:
            DuplicateTaskType: another type has this name already.
        """
        known = self._types.get(new.name)
        if known is not None and known is not new:
            raise DuplicateTaskType(new.name)
        self._types[new.name] = new

    def get(self, name: str) -> TaskType | None:
        """The type of this name, or None."""
        return self._types.get(name)

    def __iter__(self) -> typing.Iterator[TaskType]:
        return iter(self._types.values())

    def __contains__(self, name: object) -> bool:
        return name in self._types


class DuplicateTaskType(SettingsError):
    """Two packages register a task type of the same name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"task type {self.name!r} is registered twice; give one of them another name"


TASK_TYPES: Final = TaskTypes()
"""The registry that ``@task_type`` fills."""

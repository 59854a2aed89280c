"""An integration version in our words: tasks, edges, triggers, parameters, error catchers, and how to look them up.

Values only: everything is frozen, and treated as read-only all the way down. Reading Google's JSON into these classes
is ``definition.py``; whether they make sense together is ``engine/validate.py``; what they mean at run time is
``engine/plan.py``. So nothing here refuses anything, except a look-up that finds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from orchestrator.errors import UnknownTrigger
from orchestrator.model.cron import CronSchedule
from orchestrator.model.limits import Limits
from orchestrator.model.policies import ConditionalFailurePolicies, FailurePolicy
from orchestrator.model.values import DataType, Value

API_TRIGGER_PREFIX: Final = "api_trigger/"
CRON_TRIGGER_PREFIX: Final = "cron_trigger/"
CRON_TRIGGER_TYPES: Final = frozenset({"CRON", "CLOUD_SCHEDULER"})
EXECUTOR_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""The names that an executor can have: each becomes the name of a queue."""


class JoinStrategy(StrEnum):
    """When a task with several parents runs (``taskExecutionStrategy``)."""

    WHEN_ALL_SUCCEED = "WHEN_ALL_SUCCEED"
    WHEN_ANY_SUCCEED = "WHEN_ANY_SUCCEED"
    WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED = "WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED"


class ForkPolicy(StrEnum):
    """Which true edges are followed (``nextTasksExecutionPolicy``); RUN_FIRST_MATCH goes by definition order."""

    RUN_ALL_MATCH = "RUN_ALL_MATCH"
    RUN_FIRST_MATCH = "RUN_FIRST_MATCH"


class InputOutput(StrEnum):
    """Whether a parameter comes from the caller, goes back to it, both, or neither."""

    NONE = "NONE"
    IN = "IN"
    OUT = "OUT"
    IN_OUT = "IN_OUT"

    @property
    def is_input(self) -> bool:
        """Whether a run needs a value for it from the start."""
        return self in {InputOutput.IN, InputOutput.IN_OUT}

    @property
    def is_output(self) -> bool:
        """Whether it belongs to the answer."""
        return self in {InputOutput.OUT, InputOutput.IN_OUT}


@dataclass(frozen=True, kw_only=True, slots=True)
class NextTask:
    """An edge to the task ``number``. An empty condition is true."""

    number: int
    condition: str = ""
    display_name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollback:
    """What undoes a task that has succeeded. Our extension ``rollback``: ``{task, parameters, failurePolicy}``.

    The policy says how often it is tried again; a rollback that fails for good is recorded and holds nothing up.
    """

    task: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    failure_policy: FailurePolicy | None = None


def task_place(number: int, display_name: object = "", task: str = "") -> str:
    """What messages call a task: ``task 3 'Charge card' (RestTask)``."""
    label = f" {display_name[:60]!r}" if isinstance(display_name, str) and display_name else ""
    return f"task {number}{label}" + (f" ({task[:60]})" if task else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskConfig:
    """One node of the graph.

    Attributes:
        number: ``taskId``; task numbers are what edges, messages and rows speak of.
        task: the name of the task type.
        failure_policy: for asynchronous runs; ``sync_failure_policy`` for synchronous ones;
            ``conditional_failure_policies``, if present, stand before both.
        suspends: the task waits for a person or an outside system (``successPolicy.finalState`` SUSPENDED).
        executor_id: the pool of workers it runs on (our extension ``executorId``); None is the integration's.
        timeout_ms: how long one attempt may take (our extension ``timeoutMs``).
        queue_timeout_ms: how long it may wait for a worker to take it (our extension ``queueTimeoutMs``).
        masked: the keys of parameters that must not be shown.
    """

    number: int
    task: str
    display_name: str = ""
    description: str = ""
    parameters: Mapping[str, Value] = field(default_factory=dict)
    next_tasks: tuple[NextTask, ...] = ()
    fork: ForkPolicy = ForkPolicy.RUN_ALL_MATCH
    join: JoinStrategy = JoinStrategy.WHEN_ALL_SUCCEED
    failure_policy: FailurePolicy | None = None
    sync_failure_policy: FailurePolicy | None = None
    conditional_failure_policies: ConditionalFailurePolicies | None = None
    suspends: bool = False
    error_catcher_id: str = ""
    external_task_type: str = "NORMAL_TASK"
    json_validation: str = "SKIP"
    executor_id: str | None = None
    timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    rollback: Rollback | None = None
    masked: frozenset[str] = frozenset()

    @property
    def place(self) -> str:
        """What messages call it: ``task 3 'Charge card' (RestTask)``."""
        return task_place(self.number, self.display_name, self.task)

    def policies(self) -> Iterator[tuple[str, FailurePolicy]]:
        """Every failure policy, with the key it stands at in the definition."""
        if self.failure_policy:
            yield "failurePolicy", self.failure_policy
        if self.sync_failure_policy:
            yield "synchronousCallFailurePolicy", self.sync_failure_policy
        conditional = self.conditional_failure_policies
        for index, policy in enumerate(conditional.policies if conditional else ()):
            yield f"conditionalFailurePolicies, failurePolicies[{index}]", policy
        if conditional and conditional.default:
            yield "conditionalFailurePolicies, defaultFailurePolicy", conditional.default
        if self.rollback and self.rollback.failure_policy:
            yield "rollback, failurePolicy", self.rollback.failure_policy


@dataclass(frozen=True, kw_only=True, slots=True)
class TriggerConfig:
    """An entry into the graph. No start tasks means the default ones: the tasks without incoming edges.

    Attributes:
        cron: when it starts executions by itself, as written; None if it waits to be called.
    """

    number: int
    id: str
    type: str = "API"
    label: str = ""
    start_tasks: tuple[NextTask, ...] = ()
    fork: ForkPolicy = ForkPolicy.RUN_ALL_MATCH
    properties: Mapping[str, str] = field(default_factory=dict)
    error_catcher_id: str = ""
    input_variables: tuple[str, ...] = ()
    output_variables: tuple[str, ...] = ()
    cron: CronSchedule | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class IntegrationParameter:
    """A declared variable of the integration. ``json_schema`` is the decoded schema, or None."""

    key: str
    data_type: DataType
    default: Value | None = None
    direction: InputOutput = InputOutput.NONE
    json_schema: object | None = None
    masked: bool = False
    display_name: str = ""
    is_transient: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorCatcher:
    """Where the flow goes on after a failure that no policy has mended."""

    id: str
    number: int
    start_tasks: tuple[NextTask, ...] = ()
    label: str = ""


class TriggerNotNamed(UnknownTrigger):
    """No trigger was named, and the integration does not have exactly one to choose."""

    def __str__(self) -> str:
        return f"name one of the triggers of this integration: {', '.join(self.known) or 'it has none'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class IntegrationVersion:
    """One version of an integration. ``document`` is the definition as it was read, for storing it unchanged.

    ``limits`` says how many of its executions may run at once (our extension).
    Two versions are equal if they mean the same, however they are written: ``document`` does not count.
    """

    name: str
    tasks: tuple[TaskConfig, ...] = ()
    triggers: tuple[TriggerConfig, ...] = ()
    parameters: tuple[IntegrationParameter, ...] = ()
    error_catchers: tuple[ErrorCatcher, ...] = ()
    description: str = ""
    user_label: str = ""
    limits: Limits | None = None
    document: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)

    def task(self, number: int) -> TaskConfig:
        """The task config of this number; KeyError if there is none, which validation has ruled out."""
        found = next((task for task in self.tasks if task.number == number), None)
        if found is None:
            raise KeyError(number)
        return found

    def trigger(self, trigger_id: str | None = None) -> TriggerConfig:
        """The trigger of this id; ``NAME`` stands for ``api_trigger/NAME``.

        Args:
            trigger_id: None or empty for the only API trigger, or else the only trigger of any type.

        Raises:
            UnknownTrigger: no trigger has this id.
            TriggerNotNamed: none was named, and there is more than one to choose from, or none.
        """
        known = tuple(trigger.id for trigger in self.triggers)
        if not trigger_id:
            api_triggers = [trigger for trigger in self.triggers if trigger.type == "API"]
            for candidates in (api_triggers, self.triggers):
                if len(candidates) == 1:
                    return candidates[0]
            raise TriggerNotNamed("", known)
        for wanted in (trigger_id, API_TRIGGER_PREFIX + trigger_id):
            for trigger in self.triggers:
                if trigger.id == wanted:
                    return trigger
        raise UnknownTrigger(trigger_id, known)

    def defaults(self) -> dict[str, Value]:
        """The parameters that have a default value, in the order of the definition."""
        return {each.key: each.default for each in self.parameters if each.default is not None}

"""What all requests to run something have in common: a trigger, parameters, and how long the caller waits.

The twins ``parameters`` and ``parameterEntries`` are read as well; ``inputParameters`` stand over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final

from fastapi import Query
from pydantic import FailFast, Field

from orchestrator.model.keys import Caller, check_executor
from orchestrator.model.values import Value
from orchestrator.service.calling import Call, call
from orchestrator.service.reach import executors_in_reach
from orchestrator.service.services import Services
from orchestrator.service.submit import Place
from orchestrator.wire.google.bodies import Body, ValueType
from orchestrator.wire.google.violations import invalid

INTEGRATION: Final = "/v1/projects/{project}/locations/{location}/integrations/{integration}"
WAIT_S: Final = 55.0  # the client gives up after 60
MAX_WAIT_S: Final = 120.0

Timeout = Annotated[float, Query(alias="timeout", ge=0, le=MAX_WAIT_S)]


class ParameterEntry(Body):
    """One parameter of the older kind."""

    key: str
    value: ValueType | None = None
    data_type: str = ""
    masked: bool = False


Entries = Annotated[list[ParameterEntry], FailFast()]
"""Only the first that is wrong is told: each may have as many faults as a message can have."""


class EventParameters(Body):
    """A list of them."""

    parameters: Entries = Field(default_factory=list)


class Inputs(Body):
    """What every request to run something has."""

    trigger_id: str = ""
    input_parameters: dict[str, ValueType] = Field(default_factory=dict)
    parameters: EventParameters = EventParameters()
    parameter_entries: Entries = Field(default_factory=list)

    @property
    def given(self) -> dict[str, Value]:
        """All parameters; one without a value is not given."""
        entries = [*self.parameter_entries, *self.parameters.parameters]
        twins = {each.key: each.value for each in entries if each.value is not None}
        return {**twins, **self.input_parameters}

    @property
    def trigger(self) -> str:
        """The trigger, which has to be named."""
        if not self.trigger_id:
            raise invalid("trigger_id", "Required field 'trigger_id' is missing.")
        return self.trigger_id


def start(version_ids: Sequence[str], wanted: Call, services: Services, *, place: Place, caller: Caller) -> list[str]:
    """Start an execution of each of some versions for a caller; if they are bound to an executor, there.

    Raises:
        OtherExecutor: the caller's key is bound to an executor, and more than that would be used; nothing was stored.
        InputError, QueueFull, ExecutionExists, Unreachable: as ``service.calling.call``.
    """
    bound = replace(wanted, executor=caller.executor or wanted.executor, actor=caller.actor)
    if caller.executor is not None:
        for each in version_ids:
            check_executor(caller, executors_in_reach(each, services, executor=bound.executor, place=place))
    return call(version_ids, bound, services, place=place)

"""What all requests to run something have in common: a trigger, parameters, and how long the caller waits.

The twins ``parameters`` and ``parameterEntries`` are read as well; ``inputParameters`` stand over them.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query
from pydantic import Field

from orchestrator.model.keys import Caller
from orchestrator.model.values import Value
from orchestrator.store.kinds import DEFAULT_EXECUTOR
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


class EventParameters(Body):
    """A list of them."""

    parameters: list[ParameterEntry] = Field(default_factory=list)


class Inputs(Body):
    """What every request to run something has."""

    trigger_id: str = ""
    input_parameters: dict[str, ValueType] = Field(default_factory=dict)
    parameters: EventParameters = EventParameters()
    parameter_entries: list[ParameterEntry] = Field(default_factory=list)

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


def executor_of(caller: Caller) -> str:
    """Where what a caller starts runs, as far as tasks name no executor of their own."""
    return caller.executor or DEFAULT_EXECUTOR

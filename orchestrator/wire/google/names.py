"""Resource names, such as ``projects/P/locations/L/integrations/I/executions/E``: out of paths, and back.

``-`` stands for any of a collection where something is looked for: any project or location in the name of one
execution, and all integrations of a location in a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Self

from fastapi import Depends

from orchestrator.errors import InvalidValue
from orchestrator.model.execution import Execution
from orchestrator.model.fields import is_storable
from orchestrator.service.submit import Place

ANY: Final = "-"
MAX_ID: Final = 512  # characters of one segment


@dataclass(frozen=True, slots=True)
class IntegrationName:
    """The name of an integration; ``integration`` may be ``-``: all of the location."""

    project: str
    location: str
    integration: str

    @property
    def place(self) -> Place:
        """Where it belongs."""
        return Place(project=self.project, location=self.location)

    @property
    def is_any(self) -> bool:
        """Whether all integrations of the location are meant."""
        return self.integration == ANY

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/integrations/{self.integration}"


@dataclass(frozen=True, slots=True)
class ExecutionName:
    """The name of an execution. Its id is unique, so each part before it may be ``-``."""

    parent: IntegrationName
    execution: str

    @classmethod
    def of(cls, execution: Execution) -> Self:
        """The name of this execution."""
        return cls(IntegrationName(execution.project, execution.location, execution.integration), execution.id)

    def fits(self, execution: Execution) -> bool:
        """Whether it is this execution's name."""
        parts = (self.parent.project, execution.project), (self.parent.location, execution.location)
        return all(meant in (ANY, found) for meant, found in (*parts, (self.parent.integration, execution.integration)))

    def __str__(self) -> str:
        return f"{self.parent}/executions/{self.execution}"


@dataclass(frozen=True, slots=True)
class SuspensionName:
    """The name of a suspension."""

    parent: ExecutionName
    suspension: str

    def __str__(self) -> str:
        return f"{self.parent}/suspensions/{self.suspension}"


# -- out of the path -----------------------------------------------------------------------------------------------


async def integration_name(project: str, location: str, integration: str) -> IntegrationName:
    """The integration that a path names, or all of its location.

    Raises:
        InvalidValue: a part of it can be no name.
    """
    for kind, each in (("project", project), ("location", location), ("integration", integration)):
        check_id(each, kind)
    return IntegrationName(project, location, integration)


OfIntegration = Annotated[IntegrationName, Depends(integration_name)]
"""How a handler names the integration of its path among its arguments."""


async def execution_name(
    parent: Annotated[IntegrationName, Depends(integration_name)], execution: str
) -> ExecutionName:
    """The execution that a path names.

    Raises:
        InvalidValue: a part of it can be no name.
    """
    check_id(execution, "execution")
    return ExecutionName(parent, execution)


OfExecution = Annotated[ExecutionName, Depends(execution_name)]
"""Likewise, the execution of its path."""


async def suspension_name(parent: OfExecution, suspension: str) -> SuspensionName:
    """The suspension that a path names.

    Raises:
        InvalidValue: a part of it can be no name.
    """
    check_id(suspension, "suspension")
    return SuspensionName(parent, suspension)


OfSuspension = Annotated[SuspensionName, Depends(suspension_name)]
"""Likewise, the suspension of its path."""


def check_id(text: str, kind: str, *, place: str = "in the path") -> None:
    """Go on only if a text can be a part of a name; no database has to be asked otherwise.

    Raises:
        InvalidValue: it cannot.
    """
    if len(text) > MAX_ID or not text.strip() or not is_storable(text):
        expected = f"the name of one {kind}: 1 to {MAX_ID} characters, without NUL and lone surrogates"
        raise InvalidValue(f"the {kind} {place}", repr(text[:60]), expected)

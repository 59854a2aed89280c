"""Expressions, ready to be evaluated: an initial value and the functions applied to it in order.

``syntax`` reads them out of a definition, once; they are evaluated often. A function that fails is named before its
message, with those around it: ``stringArray FOR_EACH: string CONCAT: ...``. Loops and results have limits, because a
light task runs in line: nothing here may take more than seconds, whatever the definition says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from orchestrator.errors import InvalidValue, TaskError
from orchestrator.model.parameters import look_up
from orchestrator.model.task_types import TaskContext
from orchestrator.model.values import DataType, Value
from tasks.mapping.registry import (
    MAX_WEIGHT,
    Lambda,
    MappingFunction,
    check_weight,
    refusal,
    to_argument,
    to_input,
    too_large,
)

MAX_ROUNDS: Final = 1_000_000
"""How often the loops of one task may go round together: a light task runs in line and must end soon."""


@dataclass(slots=True)
class Budget:
    """The rounds that are left to the loops of one task."""

    rounds: int = MAX_ROUNDS

    def spend(self) -> None:
        """Count one round."""
        self.rounds -= 1
        if self.rounds < 0:
            raise refusal(f"the loops of one task may go round {MAX_ROUNDS:,} times together; map less at a time")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What an expression can see: the context, the parameters as earlier fields left them, and the loops' elements."""

    context: TaskContext
    parameters: dict[str, Value]
    elements: Mapping[str, Value]
    budget: Budget


class Readable(Protocol):
    """Something that has a value in a scope, or none."""

    def read(self, scope: Scope) -> Value | None:
        """The value."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that the definition writes."""

    value: Value | None

    def read(self, _: Scope) -> Value | None:
        """The value."""
        return self.value


@dataclass(frozen=True, slots=True)
class Reference:
    """``$name$`` or ``$name.path$``, kept without the dollar signs."""

    name: str

    def read(self, scope: Scope) -> Value | None:
        """The parameter's value, or none."""
        return look_up(scope.parameters, self.name)


@dataclass(frozen=True, slots=True)
class Element:
    """``~x`` or ``~x.path``, kept without the tilde."""

    name: str

    def read(self, scope: Scope) -> Value | None:
        """The loop's element, or the part of it."""
        return look_up(scope.elements, self.name)


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of a function: an expression, and the type that the function wants."""

    expression: Readable
    type: DataType
    place: str

    def given(self, scope: Scope) -> object:
        """The plain data."""
        return to_argument(self.expression.read(scope), self.type, self.place)


@dataclass(frozen=True, slots=True)
class LoopBody:
    """The parameter of a loop: an expression on its element."""

    expression: Readable
    name: str | None

    def given(self, scope: Scope) -> Lambda:
        """A function from an element to what the expression makes of it; it also minds the limits."""
        weight = 0

        def of_element(element: Value) -> Value | None:
            nonlocal weight
            scope.budget.spend()
            inside = scope if self.name is None else replace(scope, elements={**scope.elements, self.name: element})
            value = self.expression.read(inside)
            weight += 0 if value is None else check_weight(value.data)
            if weight > MAX_WEIGHT:
                raise too_large()
            return value

        return of_element


@dataclass(frozen=True, slots=True)
class Step:
    """One function applied, with its parameters."""

    function: MappingFunction
    arguments: tuple[Argument | LoopBody, ...]

    def apply(self, value: Value | None, scope: Scope) -> Value | None:
        """What the function makes of the value.

        Raises:
            TaskError: with the function's name before what was wrong.
        """
        function = self.function
        try:
            first = scope.context if function.input_type is None else to_input(value, function.input_type, "input")
            given = [argument.given(scope) for argument in self.arguments]
            if function.with_parameters:
                given.append(scope.parameters)
            return function.to_result(function.work(first, *given))
        except InvalidValue as error:
            raise refusal(f"{function.label}: {error}") from error
        except TaskError as error:
            raise TaskError(f"{function.label}: {error.message}", error.code) from error


@dataclass(frozen=True, slots=True)
class Start:
    """A base function as the initial value."""

    step: Step

    def read(self, scope: Scope) -> Value | None:
        """What the function gives."""
        return self.step.apply(None, scope)


@dataclass(frozen=True, slots=True)
class Expression:
    """An initial value and the functions after it."""

    initial: Readable
    steps: tuple[Step, ...]

    def read(self, scope: Scope) -> Value | None:
        """The value after the last function."""
        value = self.initial.read(scope)
        for step in self.steps:
            value = step.apply(value, scope)
        return value

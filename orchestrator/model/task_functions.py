"""Plain typed functions as task types: ``@task_type``.

Arguments are the task's parameters of the same names, checked by their annotations with pydantic; what the function
returns becomes output parameters. What cannot work is refused when the module is imported, not when a task runs.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final, TypeGuard, TypeVar, overload

from orchestrator.errors import InvalidValue, SettingsError, TaskError
from orchestrator.model.first_use import on_first_use
from orchestrator.model.json_text import check_json
from orchestrator.model.task_types import TASK_TYPES, Done, Step, Suspend, TaskContext, TaskType, TaskTypes
from orchestrator.model.values import Value, from_python

if TYPE_CHECKING:
    import pydantic
else:
    pydantic = on_first_use("pydantic")  # for functions that need it: 6 MB

F = TypeVar("F", bound=Callable[..., Any])

_NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_PLAIN: Final = (str, int, float, bool)  # pydantic gives back a value of exactly this type as it is


class UnusableFunction(SettingsError):
    """A function cannot be a task type."""

    def __init__(self, name: str, found: str, expected: str) -> None:
        super().__init__(name, found, expected)
        self.name, self.found, self.expected = name, found, expected

    def __str__(self) -> str:
        return f"task type {self.name!r}: found {self.found}, expected {self.expected}"


@overload
def task_type(name: F) -> F: ...
@overload
def task_type(name: str, *, light: bool = False, types: TaskTypes = TASK_TYPES) -> Callable[[F], F]: ...
def task_type(name: str | F, *, light: bool = False, types: TaskTypes = TASK_TYPES) -> F | Callable[[F], F]:
    r"""Make a plain typed function a task type.

    An argument annotated ``TaskContext`` is given the context. A mapping, a dataclass or a pydantic model that is
    returned becomes one output parameter for each key; None none; a step (``Done``, ``Suspend``) is taken as it is;
    anything else is ``\`Task_<number>_result\```.

    Example::

        @task_type("billing.export")
        def export(month: str, limit: int = 100) -> dict[str, int]:
            return {"exported": ...}

    Args:
        name: the name that definitions write in ``task``; also Celery's task name. Default: module and function name.
        light: True if it is quick, local and free of side effects; it then runs in line.
        types: where to register it.

    Raises:
        UnusableFunction: it is a coroutine, or has arguments that cannot be named.
        DuplicateTaskType: another type has this name.
    """
    if callable(name):
        return _register(name, f"{name.__module__}.{name.__name__}", light=light, types=types)
    return functools.partial(_register, name=name, light=light, types=types)


def _register(function: F, name: str, *, light: bool, types: TaskTypes) -> F:
    signature = _read(function, name)

    def run(context: TaskContext) -> Step:
        returned = function(**_bind(signature, context))
        return returned if isinstance(returned, Done | Suspend) else Done(outputs=_to_outputs(returned, context))

    def check(config: Mapping[str, Value]) -> Iterable[str]:
        for key, argument in signature.arguments.items():
            if argument.is_required and key not in config:
                yield f"parameter {key!r} of {name} is required"
        for key in config:
            if key not in signature.arguments:
                yield f"{name} takes no parameter {key!r}; it takes: {', '.join(signature.arguments) or 'none'}"

    types.add(TaskType(name=name, run=run, light=light, celery_name=name, check=check))
    return function


# -- arguments -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Argument:
    hint: Any
    is_required: bool

    @functools.cached_property
    def adapter(self) -> pydantic.TypeAdapter[Any]:
        return pydantic.TypeAdapter(self.hint)


@dataclass(frozen=True, slots=True)
class _Signature:
    """What a function takes, read once: ``contexts`` are the arguments that get the context."""

    arguments: Mapping[str, _Argument]
    contexts: tuple[str, ...]


def _read(function: Callable[..., object], name: str) -> _Signature:
    if inspect.iscoroutinefunction(function):
        raise UnusableFunction(name, "a coroutine (async def)", "a plain function: a worker process runs one at a time")
    hints = typing.get_type_hints(function, include_extras=True)
    arguments, contexts = {}, []
    for key, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in _NAMED:
            raise UnusableFunction(name, f"argument {str(parameter)!r}", "arguments that can be given by name")
        if hints.get(key) is TaskContext:
            contexts.append(key)
        else:
            is_required = parameter.default is inspect.Parameter.empty
            arguments[key] = _Argument(hints.get(key, Any), is_required)
            if arguments[key].hint not in _PLAIN:
                _ = arguments[key].adapter  # now, in case that it is nothing to check by
    return _Signature(arguments, tuple(contexts))


def _bind(signature: _Signature, context: TaskContext) -> dict[str, object]:
    bound: dict[str, object] = dict.fromkeys(signature.contexts, context)
    for key, argument in signature.arguments.items():
        value = context.value(key)
        if value is not None:
            bound[key] = _validated(argument, value, key)
        elif argument.is_required:
            raise TaskError(f"parameter {key!r} has no value", "INVALID_ARGUMENT")
    return bound


def _validated(argument: _Argument, value: Value, key: str) -> object:
    if argument.hint in _PLAIN and type(value.python) is argument.hint:
        return value.python
    try:
        return argument.adapter.validate_python(value.python)
    except pydantic.ValidationError as error:
        reasons = "; ".join(each["msg"] for each in error.errors())
        raise TaskError(f"parameter {key!r}: {reasons}", "INVALID_ARGUMENT") from error


# -- outputs -------------------------------------------------------------------------------------------------------


def _to_outputs(returned: object, context: TaskContext) -> dict[str, Value]:
    if returned is None:
        return {}
    if _is_model(returned):
        returned = {key: getattr(returned, key) for key in type(returned).model_fields}
    elif is_dataclass(returned) and not isinstance(returned, type | Value):
        returned = {each.name: getattr(returned, each.name) for each in fields(returned)}
    if not isinstance(returned, Mapping):
        returned = {f"`Task_{context.task_number}_result`": returned}
    return {str(key): _to_output(content, f"output {str(key)!r}") for key, content in returned.items()}


def _to_output(content: object, place: str) -> Value:
    """A value as it is; plain data by the narrowest type; anything else (a date, a model) as pydantic writes JSON."""
    if isinstance(content, Value):
        return content
    try:
        return from_python(content, place)
    except InvalidValue:
        plain = check_json(_any().dump_python(content, mode="json"), place)
        return from_python(plain, place)


def _is_model(returned: object) -> TypeGuard[pydantic.BaseModel]:
    return "pydantic" in sys.modules and isinstance(returned, pydantic.BaseModel)


@functools.cache
def _any() -> pydantic.TypeAdapter[Any]:
    """NaN stays NaN here, so that it is refused: pydantic would make it null."""
    return pydantic.TypeAdapter[Any](Any, config=pydantic.ConfigDict(ser_json_inf_nan="constants"))

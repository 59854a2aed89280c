"""The arguments of a handler that follow from its request alone, without the work that FastAPI has with them.

FastAPI looks at each parameter of each dependency again for every request, which takes three times as long as all the
rest of a small answer. For most handlers of this wire there is nothing to look at: they take the request, parts of its
path, and what functions of ours make of these. How those are called is put together once.

Whatever is more than that is FastAPI's, and so is a query parameter of a handler whenever it is given: it has to be
checked. The results are the same, in the same order; and what a handler takes is still in its signature, where
``/openapi.json`` has it from.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.params import Depends, Query

_Source: TypeAlias = Callable[[Request, list[Any]], Any]
"""Where an argument comes from: the request, and what the functions before have made."""


class _NotPlain(Exception):
    """There is a parameter that is FastAPI's."""


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[..., Any]
    is_async: bool
    arguments: tuple[tuple[str, _Source], ...]

    async def run(self, request: Request, made: list[Any]) -> Any:
        given = {name: source(request, made) for name, source in self.arguments}
        if self.is_async:
            return await self.function(**given)
        return await run_in_threadpool(self.function, **given)


@dataclass(slots=True)
class Plain:
    """How a handler is called.

    Attributes:
        optional: the query parameters that it has; it is FastAPI's to call it when one is given.
    """

    path: str
    optional: set[str] = field(default_factory=set)
    _calls: list[_Call] = field(default_factory=list)
    _places: dict[Callable[..., Any], int] = field(default_factory=dict)  # of what each function makes

    @classmethod
    def of(cls, handler: Callable[..., Any], path: str, before: Sequence[Depends] = ()) -> Plain | None:
        """How to call a handler of this path that answers a ``Response``; None if that is FastAPI's.

        ``before`` has what its route depends on without handing it on.
        """
        plain = cls(path)
        try:
            answer = get_type_hints(handler).get("return")
            if not (isinstance(answer, type) and issubclass(answer, Response)):
                return None
            for each in before:
                plain._add(_function_of(each))
            plain._add(handler)
        except _NotPlain:
            return None
        return plain

    def fits(self, request: Request) -> bool:
        """Whether this request has nothing that FastAPI has to look at."""
        return not self.optional or self.optional.isdisjoint(request.query_params)

    async def answer(self, request: Request) -> Response:
        """What the handler answers."""
        made: list[Any] = []
        for call in self._calls:
            made.append(await call.run(request, made))
        response: Response = made[-1]
        return response

    def _add(self, function: Callable[..., Any]) -> int:
        """Have a function called, after those that it depends on; where its result is."""
        if function in self._places:
            return self._places[function]
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise _NotPlain
        named = function.func if isinstance(function, partial) else function
        hints, parameters = get_type_hints(named, include_extras=True), inspect.signature(function).parameters
        arguments = tuple((name, self._source(each, hints.get(name))) for name, each in parameters.items())
        self._calls.append(_Call(function, inspect.iscoroutinefunction(function), arguments))
        self._places[function] = len(self._calls) - 1
        return self._places[function]

    def _source(self, parameter: inspect.Parameter, hint: Any) -> _Source:
        name, default = parameter.name, parameter.default
        if hint is Request:
            return _request
        if hint is str and f"{{{name}}}" in self.path and default is parameter.empty:
            return lambda request, made: request.path_params[name]  # noqa: ARG005
        marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        match marks:
            case (Depends(),):
                place = self._add(_function_of(marks[0]))
                return lambda request, made: made[place]  # noqa: ARG005
            case (Query(alias=None, validation_alias=None),) if default is None:
                self.optional.add(name)
                return _none
        raise _NotPlain


def _function_of(depends: Depends) -> Callable[..., Any]:
    """What is called for it, once a request."""
    if type(depends) is not Depends or depends.dependency is None or not depends.use_cache:
        raise _NotPlain
    return depends.dependency


def _request(request: Request, made: list[Any]) -> Request:  # noqa: ARG001
    return request


def _none(request: Request, made: list[Any]) -> None:  # noqa: ARG001
    return None

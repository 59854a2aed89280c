"""What every handler of every wire needs of its request: the services, and who asks.

``web`` puts both there: ``app.state.services`` when the server starts, ``request.state.caller`` once it knows the key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from orchestrator.errors import NotAllowed
from orchestrator.model.keys import Caller, Scope
from orchestrator.service.services import Services


def services_of(request: Request) -> Services:
    """The services of this server."""
    services: Services = request.app.state.services
    return services


def requires(scope: Scope) -> Callable[[Request], Caller]:
    """What a handler depends on that only callers with this scope may use: it gives the caller.

    Raises:
        NotAllowed: when a request comes of someone who may not.
    """

    def caller_with_scope(request: Request) -> Caller:
        caller: Caller = request.state.caller
        if not caller.may(scope):
            raise NotAllowed(caller.actor, scope.value)
        return caller

    return caller_with_scope


Asked = Annotated[Services, Depends(services_of)]
"""How a handler names the services among its arguments."""
Reader = Annotated[Caller, Depends(requires(Scope.READ))]
Runner = Annotated[Caller, Depends(requires(Scope.RUN))]
Controller = Annotated[Caller, Depends(requires(Scope.CONTROL))]
Definer = Annotated[Caller, Depends(requires(Scope.DEFINE))]

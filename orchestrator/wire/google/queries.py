"""Parameters of the query: both spellings of a name, and nothing that the method does not have.

What is not known is refused, as Google does: a filter whose name is misspelt would show everything instead.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

from fastapi import Depends, Request
from pydantic.alias_generators import to_camel

from orchestrator.errors import InvalidValue
from orchestrator.wire.google.violations import InvalidRequest, Violation

_OF_ALL: Final = frozenset(
    {"alt", "fields", "key", "quotaUser", "userIp", "prettyPrint", "accessToken", "oauthToken", "callback"}
    | {"uploadType", "uploadProtocol", "upload_protocol", "access_token", "oauth_token", "trace"}
)
"""What every method takes; whatever begins with a dollar sign is likewise."""
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,10}")
DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 1000


class Query:
    """The parameters of one request, by their names in camelCase.

    Args:
        request: whose query.
        known: what the method takes, beside what every method takes; ``x.*`` is whatever is inside of ``x``.

    Raises:
        InvalidRequest: there is something else.
    """

    def __init__(self, request: Request, known: Iterable[str]) -> None:
        names, self._given = set(known), dict[str, list[str]]()
        unknown: list[str] = []
        for spelling, text in request.query_params.multi_items():
            name = ".".join(to_camel(part) if "_" in part else part for part in spelling.split("."))
            if name in names or f"{name.partition('.')[0]}.*" in names:
                self._given.setdefault(name, []).append(text)
            elif spelling not in _OF_ALL and not spelling.startswith("$"):
                unknown.append(spelling[:100])
        if unknown:
            raise InvalidRequest([Violation(each, _sentence(each)) for each in dict.fromkeys(unknown)])

    def text(self, name: str) -> str:
        """One text; blank if it is not given.

        Raises:
            InvalidValue: it is given more than once.
        """
        found = self.texts(name)
        if len(found) > 1:
            raise InvalidValue(name, f"{len(found)} of them", "one")
        return found[0] if found else ""

    def texts(self, name: str) -> Sequence[str]:
        """All texts that are given."""
        return self._given.get(name, [])

    def flag(self, name: str) -> bool:
        """One boolean; absent is False.

        Raises:
            InvalidValue: it is neither true nor false.
        """
        text = self.text(name)
        if text.lower() not in ("", "true", "false"):
            raise InvalidValue(name, repr(text[:60]), "true or false")
        return text.lower() == "true"

    def page_size(self) -> int:
        """How many are wanted: ``DEFAULT_PAGE`` if it is not said, and at most ``MAX_PAGE``.

        Raises:
            InvalidValue: it is no such number, or below 0.
        """
        text = self.text("pageSize")
        if not text:
            return DEFAULT_PAGE
        if not _WHOLE.fullmatch(text) or int(text) < 0:
            raise InvalidValue("pageSize", repr(text[:60]), f"a number from 0 (then {DEFAULT_PAGE}) up")
        return min(int(text) or DEFAULT_PAGE, MAX_PAGE)

    def inside(self, name: str) -> dict[str, Sequence[str]]:
        """What is given inside of a name, such as ``filterParams``."""
        prefix = f"{name}."
        return {each.removeprefix(prefix): texts for each, texts in self._given.items() if each.startswith(prefix)}


def query_of(*known: str) -> Callable[[Request], Awaitable[Query]]:
    """What a handler depends on to be given its query: ``query: Annotated[Query, Depends(query_of("filter"))]``.

    Raises:
        InvalidRequest: when a query has something else.
    """
    return partial(read_query, known)


async def read_query(known: Sequence[str], request: Request) -> Query:
    """The query of a request; ``async`` because it never waits."""
    return Query(request, known)


NO_QUERY: Final = Depends(query_of())
"""What a route depends on whose query has nothing of its own."""


def _sentence(name: str) -> str:
    return (
        f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
        f"Field '{name}' could not be found in request message."
    )

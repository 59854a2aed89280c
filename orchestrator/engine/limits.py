"""Which limits hold for an execution, and whose turn it is when there is room. Pure: ``store.limits`` keeps the rows.

A limit is a name, and counts what runs under it:

    executor/EXECUTOR                              root executions on an executor: a tree counts once
    integration/PROJECT/LOCATION/NAME              executions of an integration
    integration/PROJECT/LOCATION/NAME/key/KEY      those of them with one key: JSON text, or its SHA-256 if that is long

An execution takes a slot of each of its limits at once, or waits and takes none. While it waits it **stands in line**
at one limit that has no room for it, the most special one. When that limit has room it is its **turn**, in the order of
turns (most urgent, then first come). If another of its limits is full then, it loses the turn, goes over to the line
there, and keeps its place in the order:

    arrives --> in line at K --turn, all have room--> runs
                     |  ^
              turn, but I is full: lost
                     v  |
                in line at I --turn, all have room--> runs

So a full limit holds up only those that need it. And nobody waits for ever behind those who came later:

- In each line the order is strict, also for newcomers: one that comes takes no slot past somebody who stands in line.
- Who has a key's slot has its integration's too, and gives both back at once. So the first in line at the key finds
  room at the integration, or is the first in line there when the next slot is free. (Unless an ancestor holds the
  integration's: a recursion that changes the key goes first, because what is running waits for it.)
- An executor and an integration are unlike that: others may always take the one while it waits for the other. Whoever
  has lost ``PATIENCE`` turns at its executor has a slot there **kept** for it from then on, which those behind it in
  the order cannot take. A kept slot is idle for a while, so it is not kept at once. It cannot lead to a deadlock: only
  roots stand in line at an executor, and a root that waits holds nothing that anybody waits for.

Each decision is for one moment, so what a crash prevents is decided by the next look.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.limits import key_text, parse_key
from orchestrator.model.values import Value

LIMIT_NAME: Final = re.compile(
    r"executor/[A-Za-z0-9_.-]{1,128}|integration/[^/]{1,64}/[^/]{1,64}/[^/]{1,256}(?:/key(?:/.{1,200})?)?", re.DOTALL
)
"""What a limit can be called. ``.../key`` alone says how many run of each key that has no numbers of its own."""

PATIENCE: Final = 2  # turns that may be lost at an executor before a slot is kept
_EXECUTOR: Final = "executor/"
_MAX_KEY: Final = 200  # characters of a key in a name; the longest name then fits its column, and an index

Turn: TypeAlias = tuple[
    int, datetime, str
]  # rank (9 minus the priority), since when, execution id: the lowest is first

# -- names ---------------------------------------------------------------------------------------------------------


def limits_for(
    version: IntegrationVersion,
    values: Mapping[str, Value],
    *,
    project: str,
    location: str,
    executor: str,
    is_root: bool,
) -> tuple[str, ...]:
    """The names of the limits that may hold for a new execution; which of them exist, the store knows.

    Args:
        version: what it runs.
        values: the parameters it starts with.
        project: where it belongs.
        location: likewise.
        executor: whose workers run it.
        is_root: whether nobody's task has started it.
    """
    integration = integration_limit(project, location, version.name)
    names = [executor_limit(executor)] if is_root else []
    names.append(integration)
    if version.limits is not None and version.limits.key:
        names.append(key_limit(integration, key_text(parse_key(version.limits.key), values)))
    return tuple(names)


def executor_limit(executor: str) -> str:
    """The name of the limit of an executor."""
    return _EXECUTOR + executor


def integration_limit(project: str, location: str, integration: str) -> str:
    """The name of the limit of an integration."""
    return f"integration/{project}/{location}/{integration}"


def key_limit(integration: str, key: str) -> str:
    """The name of the limit of one key.

    Args:
        integration: the name of the integration's limit.
        key: JSON text in ASCII.
    """
    if len(key) > _MAX_KEY:
        key = "sha256:" + hashlib.sha256(key.encode()).hexdigest()  # no JSON text begins like this
    return f"{every_key(integration)}/{key}"


def every_key(integration: str) -> str:
    """The name under which the numbers of all keys of an integration stand."""
    return f"{integration}/key"


def general_name(name: str) -> str:
    """Where the numbers of a limit stand if it has none of its own: those of a key with the other keys'."""
    parts = name.split("/", 5)
    return "/".join(parts[:5]) if len(parts) == 6 and parts[0] == "integration" and parts[4] == "key" else name


# -- turns ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiter:
    """An execution that waits. ``line`` is where it stands, ``lost`` how many turns it has lost there."""

    execution_id: str
    rank: int
    since: datetime
    needs: tuple[str, ...]
    line: str
    lost: int = 0

    @property
    def turn(self) -> Turn:
        """Its place in the order."""
        return self.rank, self.since, self.execution_id


@dataclass(kw_only=True, slots=True)
class Room:
    """What is left of a limit while turns are given.

    Attributes:
        free: how many slots; None for any number.
        kept_for: whose turns a slot of an executor is kept for.
        first_in_line: the first of those in line whose turn is not decided here.
    """

    free: int | None
    kept_for: list[Turn] = field(default_factory=list)
    first_in_line: Turn | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything is free."""
        return self.free is None or self.free > 0

    def has_place_for(self, turn: Turn) -> bool:
        """Whether this one could take a slot without passing another."""
        if self.first_in_line is not None and self.first_in_line < turn:
            return False
        return self.free is None or self.free > sum(kept < turn for kept in self.kept_for)

    def take(self, turn: Turn) -> None:
        """One slot less."""
        if self.free is not None:
            self.free -= 1
        if turn in self.kept_for:
            self.kept_for.remove(turn)


@dataclass(kw_only=True, slots=True)
class Turns:
    """What was decided: who runs, in order, and who goes over to which line."""

    admitted: list[Waiter] = field(default_factory=list)
    moved: list[tuple[Waiter, str]] = field(default_factory=list)


def full_limit(needs: Iterable[str], rooms: Mapping[str, Room], turn: Turn) -> str | None:
    """The most special of the limits that have no room for this one; None if all have.

    A line at the most special limit holds up the fewest: the first in line at a full key are not in the integration's.
    """
    names = sorted(needs, reverse=True)  # a key's name begins with its integration's; executors come before both
    return next((name for name in names if not rooms[name].has_place_for(turn)), None)


def give_turns(waiters: Iterable[Waiter], rooms: MutableMapping[str, Room]) -> Turns:
    """Decide in order; ``rooms`` is what is left then.

    Args:
        waiters: those in front of the lines that are looked at.
        rooms: of every limit that one of them needs.
    """
    turns = Turns()
    for waiter in sorted(waiters, key=lambda each: each.turn):
        if not rooms[waiter.line].has_place_for(waiter.turn):
            continue  # it is not its turn
        full = full_limit(waiter.needs, rooms, waiter.turn)
        if full is None:
            turns.admitted.append(waiter)
            for name in waiter.needs:
                rooms[name].take(waiter.turn)
        else:
            turns.moved.append((waiter, full))
            if is_kept(waiter.line, waiter.lost + 1):
                rooms[waiter.line].kept_for.append(waiter.turn)
    return turns


def is_kept(name: str, lost: int) -> bool:
    """Whether a slot of this limit is kept for somebody who has lost so many turns there."""
    return name.startswith(_EXECUTOR) and lost >= PATIENCE

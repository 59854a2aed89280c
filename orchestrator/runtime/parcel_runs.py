"""Running a parcel: the part of ``runtime.parcels`` that is in a process of the pool.

How far it has come stands on a board, memory that it shares with the main process: a step on it costs nothing, where a
message through the pool's pipes costs a tenth of a millisecond at both ends. The main process writes on it, too: what
it has taken out of a parcel is not to be begun.

Both may write at the same moment, and then a task is begun that has been given back. Its claim decides: whoever comes
second finds nothing to claim, and drops the message.
"""

from __future__ import annotations

import functools
import mmap
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from celery.app.trace import fast_trace_task

from orchestrator.engine.canvas import BUNDLE_TASK, CHUNK_TASK
from orchestrator.service.ahead import AHEAD
from orchestrator.store.kinds import AttemptKey

PLACES: Final = 4096  # more than a worker has processes
_PLACE: Final = struct.Struct("=hh")  # how many tasks of a parcel were begun, and how many are to be begun
_WITHOUT_END: Final = 2**15 - 1


class Board:
    """Where the parcels stand that are on their way, each at a place of its own.

    Processes that do not inherit the main process's memory see an empty board. Then a parcel seems to stand at its
    first task, and what is taken out of it is begun all the same; see above.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, PLACES * _PLACE.size)
        self._free = list(range(PLACES - 1, -1, -1))

    def take(self) -> int:
        """A place for a parcel, which has not begun."""
        place = self._free.pop()
        _PLACE.pack_into(self._memory, place * _PLACE.size, 0, _WITHOUT_END)
        return place

    def free(self, place: int) -> None:
        """The parcel is over."""
        self._free.append(place)

    def begin(self, place: int, position: int) -> bool:
        """Note that the task at this position begins. False: it must not."""
        if not self.may_begin(place, position):
            return False
        struct.pack_into("=h", self._memory, place * _PLACE.size, position + 1)
        return True

    def may_begin(self, place: int, position: int) -> bool:
        """Whether the task at this position is to begin, as things stand."""
        return bool(position < _PLACE.unpack_from(self._memory, place * _PLACE.size)[1])

    def begun(self, place: int) -> int:
        """How many tasks were begun."""
        return int(_PLACE.unpack_from(self._memory, place * _PLACE.size)[0])

    def end(self, place: int) -> int:
        """Have no further task begin; how many were begun."""
        begun = self.begun(place)
        struct.pack_into("=h", self._memory, place * _PLACE.size + 2, begun)
        return begun


BOARD: Final = Board()  # made before the first process is forked


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What became of a message.

    Attributes:
        result: as Celery hands it on: whether it failed, what it returned or what went wrong, the seconds it took.
        began_at: of the monotonic clock, which all processes of a machine share.
        seconds: from there to its end.
    """

    result: tuple[Any, Any, float]
    began_at: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What a process needs to know of a message.

    Attributes:
        name: of its Celery task.
        id: its Celery id.
        request: as Celery hands it to the task.
        body: decoded: arguments, keywords, and what else Celery keeps there.
        is_light: whether the task is.
    """

    name: str
    id: str
    request: dict[str, Any]
    body: tuple[Any, Any, Any]
    is_light: bool

    @property
    def attempt(self) -> AttemptKey | None:
        """What it asks for, if that is a single attempt."""
        if self.name in {CHUNK_TASK, BUNDLE_TASK}:
            return None
        execution_id, number, attempt, round_ = self.body[0]
        return AttemptKey(execution_id=execution_id, number=number, attempt=attempt, round=round_)


def run_parcel(place: int, orders: Sequence[Order]) -> list[Ran]:
    """Run the tasks of a parcel, one after another.

    Args:
        place: on the board.
        orders: for each message.

    Returns:
        What became of those that were begun: all, but for what was taken out.
    """
    ran: list[Ran] = []
    keys = [each.attempt for each in orders]
    for position, order in enumerate(orders):
        if not BOARD.begin(place, position) and not any(map(AHEAD.knows, keys[position:])):
            break
        companions = [] if AHEAD.knows(keys[position]) else _companions(orders, keys, position)
        following = keys[position + 1] if position + 1 < len(keys) and not companions else None
        may_begin = functools.partial(BOARD.may_begin, place, position + 1)
        AHEAD.offer(following, is_wanted=may_begin, companions=companions)
        began_at = time.monotonic()
        result = fast_trace_task(order.name, order.id, order.request, order.body, None, None)
        ran.append(Ran(result=result, began_at=began_at, seconds=time.monotonic() - began_at))
    AHEAD.forget()
    return ran


def _companions(orders: Sequence[Order], keys: Sequence[AttemptKey | None], position: int) -> list[AttemptKey]:
    """The light attempts that follow a light one."""
    following = takewhile(lambda each: orders[each].is_light, range(position, len(orders)))
    return [key for each in following if each > position and (key := keys[each]) is not None]

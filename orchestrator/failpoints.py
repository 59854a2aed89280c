"""Failpoints: named places in our code where a test has a process die, fail or stop at exactly that moment.

They do nothing unless a setting arms them: ``ORCHESTRATOR_FAILPOINTS`` is a list, separated by commas, of ::

    POINT=ACTION             at every pass
    POINT=ACTION@3           at the third pass, once
    POINT=ACTION%5/7         at five percent of the passes, drawn with the seed 7 (0 if there is none)

    kill9           SIGKILL to this process
    kill9-parent    SIGKILL to the process that armed the points (a worker's main process), and with it to this one
    term            SIGTERM to this process, which goes on
    exit            SystemExit, as after a SIGTERM in a pool process
    raise           InjectedFault
    block:FIFO      wait until somebody opens the pipe FIFO to write; FIFO.waiting gets a line before
    hang            wait for ever

Passes are counted over a process and all that it forks after arming, in a pipe that they share: what is going to
happen lies in it, a byte a pass, and who passes takes the next one. So no lock can be left behind by who is killed,
and a child that replaces a killed one does not begin to count again.

What must not happen: a point that costs anything while nothing is armed (it is one look at a global), a point whose
name is not in ``POINTS``, or one used in production. They are for finding out what a crash leaves.
"""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from orchestrator.errors import InvalidSetting

log = logging.getLogger(__name__)

POINTS: Final[Mapping[str, str]] = {
    "submit.before": "a client has checked everything and stored nothing",
    "submit.committed": "a client has stored an execution and published nothing",
    "submit.published": "a client has published an execution and not come back yet",
    "claim.committed": "a worker has claimed an attempt and not begun it",
    "bundle.execution": "an execution of a bundle is over, or as far as light tasks lead, and not written",
    "chunk.child": "a sub-execution of a chunk is over, and not written",
    "commit.before": "a change is decided and its transaction not begun",
    "commit.inside": "a change is written and its transaction not committed",
    "commit.after": "a change is committed, and nothing follows from it yet",
    "publish.before": "messages are about to be sent",
    "publish.message": "one message is about to be sent; the members of a chord pass one by one",
    "publish.after": "messages have been sent",
    "timer.taken": "a timer is taken and not fired",
    "timer.fired": "a timer is fired, and what else is due not yet",
    "schedule.due": "a schedule is due and its execution not stored",
    "schedule.advanced": "the execution of a schedule is stored and not published",
    "takeover.begun": "a dead worker's attempt is about to be taken back",
    "republish.taken": "attempts without a message are marked as sent again, and not sent",
    "prune.artifacts": "artifacts of old executions are deleted, and their rows are not",
    "prune.inside": "rows of old executions are deleted, and the transaction is not committed",
    "prune.deleted": "old executions are deleted, and the rest of their tree or of the others is not yet",
}
"""Every point, and what has happened when a process passes it."""

MOST_PASSES: Final = 4096  # what every pipe holds
_WRITTEN: Final = re.compile(
    r"(?P<point>[a-z.]+)=(?P<action>[a-z0-9-]+)(?::(?P<argument>[^@%,]+))?"
    r"(?:@(?P<nth>[1-9]\d*)|%(?P<percent>\d+(?:\.\d+)?)(?:/(?P<seed>\d+))?)?"
)
_GO_ON, _ACT = b".", b"!"


class InjectedFault(Exception):
    """What ``raise`` raises: no error of ours, so that nobody is prepared for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Armed:
    """An action at a point. ``passes`` is the reading end of the pipe with what happens; None: each pass."""

    act: Callable[[], object]
    passes: int | None

    def is_due(self) -> bool:
        return self.passes is None or os.read(self.passes, 1) == _ACT  # nothing more to read is no action


_armed: dict[str, list[_Armed]] = {}


def failpoint(name: str) -> None:
    """Pass a point. ``name`` is one of ``POINTS``."""
    if _armed:
        _pass(name)


def _pass(name: str) -> None:
    due = [each for each in _armed.get(name, ()) if each.is_due()]  # all of them count the pass, whatever one does
    for each in due:
        log.warning("failpoint reached", extra={"failpoint": name})
        each.act()


def arm(text: str) -> bool:
    """Arm the points of a setting in this process and in those that it forks from now on, instead of the ones before.

    Returns:
        Whether any point is armed now.

    Raises:
        InvalidSetting: a point or an action is not known, or not written as above.
    """
    parsed = [_parse(each.strip()) for each in text.split(",") if each.strip()]
    _disarm()
    for name, act, plan in parsed:
        _armed.setdefault(name, []).append(_Armed(act=act, passes=None if plan is None else _to_pipe(plan)))
    return bool(_armed)


def _disarm() -> None:
    for each in (armed for at_a_point in _armed.values() for armed in at_a_point):
        if each.passes is not None:
            os.close(each.passes)
    _armed.clear()


def _parse(text: str) -> tuple[str, Callable[[], object], bytes | None]:
    """A point, its action, and what happens at each pass; None if it is always the same."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise _refused(text, "POINT=ACTION, POINT=ACTION@NTH or POINT=ACTION%PERCENT/SEED, separated by commas")
    if found["point"] not in POINTS:
        raise _refused(found["point"], f"one of the points {', '.join(POINTS)}")
    return found["point"], _action(found["action"], found["argument"]), _plan(found)


def _action(name: str, argument: str | None) -> Callable[[], object]:
    if name == "block" and argument is not None:
        return lambda: _block(argument)
    if name not in _ACTIONS or argument is not None:
        raise _refused(name if argument is None else f"{name}:{argument}", f"one of {', '.join(_ACTIONS)}, block:FIFO")
    act, armed_by = _ACTIONS[name], os.getpid()
    return lambda: act(armed_by)


def _plan(found: re.Match[str]) -> bytes | None:
    if found["nth"] is not None:
        if int(found["nth"]) > MOST_PASSES:
            raise _refused(found["nth"], f"a pass of the first {MOST_PASSES}")
        return _GO_ON * (int(found["nth"]) - 1) + _ACT
    if found["percent"] is None:
        return None
    dice, share = random.Random(int(found["seed"] or 0)), float(found["percent"]) / 100  # noqa: S311 - not a secret
    return b"".join(_ACT if dice.random() < share else _GO_ON for _ in range(MOST_PASSES))


def _to_pipe(plan: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, plan)
    os.close(writing)
    return reading


def _refused(found: str, expected: str) -> InvalidSetting:
    return InvalidSetting("ORCHESTRATOR_FAILPOINTS", repr(found), expected)


# -- actions: they get the process that armed them -----------------------------------------------------------------


def _kill(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_parent(armed_by: int) -> None:
    os.kill(armed_by, signal.SIGKILL)
    _hang(armed_by)  # the parent-death signal is on its way


def _terminate(_: int) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _exit(_: int) -> NoReturn:
    raise SystemExit(1)


def _raise(_: int) -> NoReturn:
    raise InjectedFault("a failpoint was armed with raise")


def _hang(_: int) -> None:
    threading.Event().wait()


def _block(fifo: str) -> None:
    with Path(f"{fifo}.waiting").open("a") as waiting:
        waiting.write(f"{os.getpid()}\n")
    os.close(os.open(fifo, os.O_RDONLY))


_ACTIONS: Final[Mapping[str, Callable[[int], object]]] = {
    "kill9": _kill,
    "kill9-parent": _kill_parent,
    "term": _terminate,
    "exit": _exit,
    "raise": _raise,
    "hang": _hang,
}

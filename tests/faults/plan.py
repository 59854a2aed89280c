"""The plan of a round: what is submitted and what is broken, and when, worked out of a seed alone.

It is made beforehand, so that the same seed makes the same plan however quickly the machine goes through it. What comes
of it differs each time: which task a kill hits is up to the machine.
"""

import random
from dataclasses import dataclass

SUBMITS_S = 0.35  # the mean pause between two executions
BREAKS_S = 1.25  # between two faults
DEFINITIONS = {"chain": 4, "fan-out": 4, "nested": 2, "retried": 3, "timed": 2, "asked": 2, "light": 2, "chunks": 2}
KILLED_SHARE = 0.12
FAULTS = {
    "kill a process of a pool": 14,
    "kill a worker": 6,
    "kill all workers": 1,
    "stop a worker": 2,
    "halt a process of a pool": 2,
    "halt a worker": 3,
    "a worker with failpoints": 4,
    "forget all messages": 2,
    "restart the broker": 2,
    "reset the broker's connections": 2,
    "hold the broker's connections": 2,
}
DATABASE_FAULTS = {
    "restart the database": 2,
    "end the database's sessions": 2,
    "reset the database's connections": 2,
    "hold the database's connections": 2,
}
POINTS = (
    "claim.committed",
    "bundle.execution",
    "chunk.child",
    "commit.before",
    "commit.inside",
    "commit.after",
    "publish.before",
    "publish.message",
    "publish.after",
    "timer.taken",
    "timer.fired",
    "takeover.begun",
    "republish.taken",
)
ACTIONS = ("kill9", "kill9-parent", "exit", "raise", "term")


@dataclass(frozen=True)
class Step:
    """One thing to do. ``choice`` in [0, 1) chooses among what is there then; ``lasts_s`` is for what ends again."""

    at_s: float
    what: str
    choice: float = 0.0
    lasts_s: float = 0.0
    detail: str = ""


def make_plan(*, seed, seconds, database):
    """Everything that is to happen, in order of time."""
    dice = random.Random(f"{seed} {database}")
    return sorted([*_submits(dice, seconds), *_faults(dice, seconds, database)], key=lambda step: step.at_s)


def _submits(dice, seconds):
    for at_s in _times(dice, seconds, SUBMITS_S):
        detail = dice.choices(list(DEFINITIONS), list(DEFINITIONS.values()))[0]
        is_killed = dice.random() < KILLED_SHARE
        yield Step(at_s, "submit", lasts_s=dice.uniform(0.0, 2.0) if is_killed else 0.0, detail=detail)


def _faults(dice, seconds, database):
    weights = FAULTS | (DATABASE_FAULTS if database == "postgres" else {})
    for at_s in _times(dice, seconds, BREAKS_S):
        what = dice.choices(list(weights), list(weights.values()))[0]
        detail = _failpoints(dice) if what == "a worker with failpoints" else ""
        yield Step(at_s, what, choice=dice.random(), lasts_s=dice.uniform(0.3, 4.0), detail=detail)


def _failpoints(dice):
    """Two of them, at some early pass: a worker that dies at once again and again does nothing else."""
    points = dice.sample(POINTS, 2)
    return ", ".join(f"{point}={dice.choice(ACTIONS)}@{dice.randint(1, 12)}" for point in points)


def _times(dice, seconds, mean_s):
    at_s = dice.expovariate(1 / mean_s)
    while at_s < seconds:
        yield at_s
        at_s += dice.expovariate(1 / mean_s)

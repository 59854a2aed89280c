"""A round: executions of all kinds for some time, while everything around them breaks, and then the books.

    python -m tests.faults.round --seconds 600 --seed 7 [--database sqlite|postgres] [--workers 3]

It brings its own Redis, and PostgreSQL if that is asked for, and workers that reach both through proxies; some of them
in a process table of their own, which makes them another machine. The seed makes the plan (``plan``); it is printed, as
is what was submitted and broken. The last line is ``violations: N``; the exit code is 1 if there are any.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import redis
import sqlalchemy as sa

from orchestrator.errors import OrchestratorError, StateError, Unreachable
from orchestrator.model.states import ExecutionState
from orchestrator.store.kinds import SuspensionState
from orchestrator.store.tables import executions, suspensions
from tests.faults.flows import publish_all
from tests.faults.plan import make_plan
from tests.faults.proxy import Proxy
from tests.faults.rig import running_rig
from tests.faults.servers import PrivatePostgres, PrivateRedis
from tests.integration.processes import still_alive, tagged

STUCK_S = 90.0  # no execution ends for so long
TICK_S = 0.05
TOLD_EVERY_S = 10.0


class Round:
    """One round on one rig. ``tick`` is what an operator's machinery does all the time; steps come from the plan."""

    def __init__(self, rig, broker, database, links, *, workers):
        self.rig, self.broker, self.database, self.links, self.wanted = rig, broker, database, links, workers
        self.broken, self.later, self.unsure = Counter(), [], []
        self.submitted = self.kills = 0

    def run(self, plan, *, seconds):
        began, told_at = time.monotonic(), 0.0
        while (now_s := time.monotonic() - began) < seconds or self.later:
            while plan and plan[0].at_s <= now_s:
                self.do(plan.pop(0), now_s)
            for each in [each for each in self.later if each[0] <= now_s]:
                self.later.remove(each)
                each[1]()
            self.tick()
            if now_s - told_at >= TOLD_EVERY_S:
                told_at = now_s
                print(f"{now_s:6.0f} s: {self.submitted} submitted, {self.broken.total()} faults", flush=True)
            time.sleep(TICK_S)

    def tick(self):
        """Start who is dead, answer who asks, ask again what nobody knows to be stored."""
        self.rig.supervise()
        while len(self.rig.workers) < self.wanted:
            self.rig.start_worker(is_elsewhere=len(self.rig.workers) == 1)
        for each in list(self.unsure):
            self.unsure.remove(each)
            self.submit(*each)
        with suppress(Unreachable):
            self.answer()

    def do(self, step, now_s):
        if step.what == "submit":
            self.submitted += 1
            self.submit(step.detail, uuid.uuid4().hex, step.lasts_s, now_s)
            return
        self.broken[step.what] += 1
        _FAULTS[step.what](self, step, now_s)

    # -- executions ------------------------------------------------------------------------------------------------

    def submit(self, name, request_id, kill_after_s, now_s):
        ends = [ExecutionState.SUCCEEDED, *([ExecutionState.CANCELLED] if kill_after_s else [])]
        try:
            execution_id = self.rig.submit(name, request_id=request_id, ends=ends)
        except Unreachable:  # it may be stored: the same request again tells
            self.unsure.append((name, request_id, kill_after_s, now_s))
            return
        if kill_after_s:
            self.later.append((now_s + kill_after_s, lambda: self.kill(execution_id)))

    def kill(self, execution_id):
        with suppress(OrchestratorError):  # it is over, or the database is away
            self.rig.client.kill(execution_id)

    def answer(self):
        """Every suspension that waits for somebody is lifted."""
        waiting = sa.select(suspensions.c.execution_id).where(
            suspensions.c.state == SuspensionState.PENDING.value, suspensions.c.is_timer.is_(False)
        )
        for (execution_id,) in self.rig.rows(waiting):
            with suppress(StateError):
                self.rig.client.suspensions.lift(execution_id)

    # -- faults ----------------------------------------------------------------------------------------------------

    def worker(self, step):
        alive = [each for each in self.rig.workers if each.is_alive()]
        return alive[int(step.choice * len(alive))] if alive else None

    def pool_process(self, step):
        pool = [pid for each in self.rig.workers if each.is_alive() for pid in each.pool()]
        return pool[int(step.choice * len(pool))] if pool else None

    def kill_pool_process(self, step, _):
        self.kills += _signal(self.pool_process(step), signal.SIGKILL)

    def halt_pool_process(self, step, now_s):
        pid = self.pool_process(step)
        _signal(pid, signal.SIGSTOP)
        self.later.append((now_s + step.lasts_s, lambda: _signal(pid, signal.SIGCONT)))

    def kill_worker(self, step, _):
        if (worker := self.worker(step)) is not None:
            worker.kill()
            self.kills += 1

    def kill_all_workers(self, *_):
        for each in self.rig.workers:
            if each.is_alive():
                each.kill()
                self.kills += 1

    def stop_worker(self, step, _):
        if (worker := self.worker(step)) is not None:
            _signal(worker.pid, signal.SIGTERM)

    def halt_worker(self, step, now_s):
        if (worker := self.worker(step)) is not None:
            worker.pause()
            lasts_s = step.lasts_s * (4 if worker.is_elsewhere else 1)  # beyond its lease, now and then
            self.later.append((now_s + lasts_s, worker.resume))

    def worker_with_failpoints(self, step, _):
        if (worker := self.worker(step)) is not None:
            self.rig.dismiss(worker)
            self.rig.start_worker(failpoints=step.detail)

    def forget_messages(self, *_):
        with suppress(redis.RedisError), self.broker.client() as client:
            client.flushall()

    def restart_broker(self, *_):
        self.broker.kill()
        self.broker.start()

    def restart_database(self, *_):
        self.rig.claims_may_vanish = True
        self.database.stop_at_once()
        self.database.start()

    def end_sessions(self, *_):
        self.database.cut_connections(self.database.name)


def _signal(pid, number):
    """Whether there was anything to send it to."""
    with suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, number)
            return True
    return False


def _hold(which):
    def do(self, step, now_s):
        self.links[which].hold()
        self.later.append((now_s + step.lasts_s, self.links[which].let_pass))

    return do


_FAULTS = {
    "kill a process of a pool": Round.kill_pool_process,
    "kill a worker": Round.kill_worker,
    "kill all workers": Round.kill_all_workers,
    "stop a worker": Round.stop_worker,
    "halt a process of a pool": Round.halt_pool_process,
    "halt a worker": Round.halt_worker,
    "a worker with failpoints": Round.worker_with_failpoints,
    "forget all messages": Round.forget_messages,
    "restart the broker": Round.restart_broker,
    "reset the broker's connections": lambda self, *_: self.links["broker"].reset(),
    "hold the broker's connections": _hold("broker"),
    "restart the database": Round.restart_database,
    "end the database's sessions": Round.end_sessions,
    "reset the database's connections": lambda self, *_: self.links["database"].reset(),
    "hold the database's connections": _hold("database"),
}


# -- from the command line -----------------------------------------------------------------------------------------


def main(arguments=None):
    options = _parser().parse_args(arguments)
    plan = make_plan(seed=options.seed, seconds=options.seconds, database=options.database)
    print(f"seed {options.seed}, {options.database}: {len(plan)} steps in {options.seconds:g} s", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="round-"))
    folder.chmod(0o755)  # PostgreSQL may be another user's
    with ExitStack() as stack:
        broker = stack.enter_context(PrivateRedis(folder / "redis"))
        links = {"broker": stack.enter_context(Proxy(broker.port))}
        urls = {"broker_url": broker.url()}
        through = {"broker_url": broker.url(links["broker"].port)}
        database = None
        if options.database == "postgres":
            database = stack.enter_context(PrivatePostgres(folder / "postgres"))
            database.name = database.new_database()
            links["database"] = stack.enter_context(Proxy(database.port))
            urls["database_url"] = database.url(database.name)
            through["database_url"] = database.url(database.name, links["database"].port)
        else:
            urls["database_url"] = f"sqlite:///{folder}/round.db"
        rig = stack.enter_context(running_rig(folder, **urls, through=through))
        found = _run(Round(rig, broker, database, links, workers=options.workers), plan, options)
    if not found:
        shutil.rmtree(folder)
    else:
        print(f"what is left of it: {folder}")
    print(f"violations: {len(found)}")
    return min(len(found), 1)


def _run(round_, plan, options):
    rig = round_.rig
    publish_all(rig)
    round_.run(plan, seconds=options.seconds)
    for each in round_.links.values():
        each.let_pass()
    began = time.monotonic()
    while round_.unsure:
        round_.tick()
    _settle(rig, round_)
    settled_s = time.monotonic() - began
    found = rig.violations()
    rig.dismiss_all()
    found += [f"process {pid} is left" for pid in still_alive(tagged(str(rig.settings.home)))]
    states = Counter(row.state for row in rig.rows(sa.select(executions.c.state)))
    print(f"settled in {settled_s:.0f} s")
    print(f"executions: {states.total()}, {_told(states)}; effects: {len(rig.ledger.lines())}")
    print(f"faults: {round_.broken.total()}, {_told(round_.broken)}")
    print(f"kill -9 of workers and their processes: {round_.kills}, and those of failpoints")
    for each in found:
        print(f"violation: {each}")
    return found


def _settle(rig, round_):
    """As long as it takes, if it goes on at all: how much a machine has to catch up with is its own matter."""
    final, before = 0, -1
    while final > before:
        before = final
        rig.settle(within_s=STUCK_S, meanwhile=round_.tick)
        final = len(rig.rows(sa.select(executions.c.id).where(executions.c.ended_at.is_not(None))))


def _told(counts):
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())


def _parser():
    parser = argparse.ArgumentParser(prog="python -m tests.faults.round", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="postgres")
    parser.add_argument("--workers", type=int, default=3)
    return parser


if __name__ == "__main__":
    sys.exit(main())

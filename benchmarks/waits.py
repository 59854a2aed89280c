"""What waiting costs, and how punctual it is: ``python -m benchmarks.waits --database URL --broker URL``.

Executions in RETRY_ON_HOLD and executions scheduled for later, both spread evenly over a time; several workers compete
for them. Printed: how late each fired against its due time by the database's clock, whether any fired twice or not at
all, and what the workers' memory did meanwhile.

The spread is set by moving the due times in the database before the workers start, so that every run has the same rate.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.usage import memory, pids_below
from orchestrator.client import Orchestrator
from orchestrator.model.history import Entry, EntryKind
from orchestrator.model.json_text import parse_json_text
from orchestrator.model.states import ExecutionState
from orchestrator.model.timers import TimerKind
from orchestrator.runtime.app import bootstrap
from orchestrator.service.drive import drive
from orchestrator.settings import Settings
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.tables import executions, history, timers

EXECUTOR = "bench-waits"
DONE = {"task": "JsonnetMapperTask", "parameters": {"template": {"stringValue": "{a: 1}"}}}
FAILS_ONCE = {
    "name": "bench-holds",
    "triggerConfigs": [{"triggerId": "api_trigger/bench-holds", "startTasks": [{"taskId": "1"}]}],
    "taskConfigs": [
        {
            "taskId": "1",
            "task": "JsonnetMapperTask",
            "parameters": {"template": {"stringValue": "error 'not yet'"}},
            "failurePolicy": {"retryStrategy": "FIXED_INTERVAL", "maxRetries": 1, "intervalTime": "3600s"},
        }
    ],
}
LATER = {
    "name": "bench-later",
    "triggerConfigs": [{"triggerId": "api_trigger/bench-later", "startTasks": [{"taskId": "1"}]}],
    "taskConfigs": [{"taskId": "1", **DONE}],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; exit code 1 if anything fired twice, or never."""
    options = _parse(arguments)
    settings = Settings(database_url=options.database, broker_url=options.broker)
    runtime = bootstrap(settings, raises=True)
    runtime.database.upgrade()
    with Orchestrator(settings) as orchestrator:
        print(f"making {options.executions:,} executions of each kind ...", flush=True)
        held = _hold(orchestrator, runtime.services, options.executions)
        later = _schedule(orchestrator, options.executions)
        due = _spread(runtime.database, held + later, options.spread_s)
        with _workers(settings, options.workers) as processes:
            _settle(processes)
            before = _rss_mb(processes)
            _wait(runtime.database, due, options.spread_s)
            after = _rss_mb(processes)
        bad = _report(runtime.database, due, options)
        print(f"memory of {options.workers} workers: {before:.0f} MB before the first was due, {after:.0f} MB after")
    return 1 if bad else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waits", description=__doc__)
    parser.add_argument("--database", required=True, help="URL of an empty database")
    parser.add_argument("--broker", required=True, help="URL of a broker that nobody else uses")
    parser.add_argument("--executions", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--spread", dest="spread_s", type=float, default=180.0, metavar="S")
    return parser.parse_args(arguments)


def _hold(orchestrator: Orchestrator, services: Any, count: int) -> list[str]:
    """Executions whose only task has failed once: driven here, as a worker would."""
    ids = []
    orchestrator.publish(FAILS_ONCE)
    for _ in range(count):
        execution_id = orchestrator.submit("bench-holds", executor=f"{EXECUTOR}-nobody")
        drive(AttemptKey(execution_id=execution_id, number=1, attempt=1), worker="bench", services=services)
        ids.append(execution_id)
    return ids


def _schedule(orchestrator: Orchestrator, count: int) -> list[str]:
    orchestrator.publish(LATER)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    return [orchestrator.submit("bench-later", at=tomorrow, executor=EXECUTOR) for _ in range(count)]


def _spread(database: Any, ids: Sequence[str], spread_s: float) -> dict[str, datetime]:
    """Due times one after the other, the two kinds mixed; the executor is one that has workers."""
    start = datetime.now(UTC) + timedelta(seconds=20)
    half = len(ids) // 2
    due = {}
    for index in range(half):
        at = start + timedelta(seconds=spread_s * index / half)
        due[ids[index]] = due[ids[half + index]] = at
    with database.begin() as connection:
        connection.execute(
            sa.update(timers).where(timers.c.execution_id == sa.bindparam("b_id")).values(due_at=sa.bindparam("b_at")),
            [{"b_id": execution_id, "b_at": at} for execution_id, at in due.items()],
        )
        connection.execute(sa.update(executions).values(executor=EXECUTOR))
    return due


@contextmanager
def _workers(settings: Settings, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    environment = os.environ | {
        "ORCHESTRATOR_DATABASE_URL": str(settings.database_url),
        "ORCHESTRATOR_BROKER_URL": str(settings.broker_url),
    }
    script = "import sys; from orchestrator.cli import main; main()"
    command = [sys.executable, "-c", script, "worker", "--executor", EXECUTOR, "--concurrency", "1"]
    log = Path(os.devnull).open("wb")  # noqa: SIM115 - closed with the processes
    processes = [subprocess.Popen(command, env=environment, stdout=log, stderr=log) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(60)
        log.close()


def _settle(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    time.sleep(12)
    assert all(process.poll() is None for process in processes), "a worker has ended"


def _rss_mb(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    """Resident memory of the workers and their pool processes."""
    return sum(memory(pid).rss_mb for each in processes for pid in (each.pid, *pids_below(each.pid)))


def _wait(database: Any, due: dict[str, datetime], spread_s: float) -> None:
    deadline = time.monotonic() + spread_s + 120
    final = [ExecutionState.SUCCEEDED.value, ExecutionState.FAILED.value]
    while time.monotonic() < deadline:
        with database.read() as connection:
            over = connection.execute(
                sa.select(sa.func.count()).select_from(executions).where(executions.c.state.in_(final))
            ).scalar_one()
        print(f"\r{over:,} of {len(due):,} are over", end="", flush=True)
        if over == len(due):
            break
        time.sleep(2)
    print()


def _report(database: Any, due: dict[str, datetime], options: argparse.Namespace) -> bool:
    fired: dict[str, list[float]] = {execution_id: [] for execution_id in due}
    kinds = Counter[str]()
    with database.read() as connection:
        left = connection.execute(sa.select(sa.func.count()).select_from(timers)).scalar_one()
        for row in connection.execute(sa.select(history)):
            entry = Entry.from_json(parse_json_text(row.entry, "history"))  # type: ignore[arg-type]
            if entry.kind in (EntryKind.RETRY_DUE, EntryKind.STARTED):
                kinds[entry.kind] += 1
                fired[row.execution_id].append((entry.started_at - due[row.execution_id]).total_seconds())
    late = sorted(lateness for each in fired.values() for lateness in each)
    twice, never = sum(len(each) > 1 for each in fired.values()), sum(not each for each in fired.values())
    print(f"{options.workers} workers, {len(due):,} timers over {options.spread_s:g} s: {dict(kinds)}")
    print(
        f"late by: median {statistics.median(late):.3f} s, 99 % {late[int(len(late) * 0.99)]:.3f} s, "
        f"at most {late[-1]:.3f} s; early: {sum(each < 0 for each in late)}"
    )
    print(f"fired twice: {twice}; never: {never}; timers left: {left} ({', '.join(TimerKind)} are the kinds)")
    return bool(twice or never or left)


if __name__ == "__main__":
    sys.exit(main())

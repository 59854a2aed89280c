"""What a KILL of a wide tree takes: ``python -m benchmarks.kill --database URL [--children 10000]``.

A root starts sub-executions, by ``--levels 100 100`` on several levels, whose tasks are queued and claimed by nobody;
then it is killed. No worker and no broker: what the service does itself is measured. Printed: the seconds until the
KILL was committed, from when on nothing starts any more, and until the last execution was CANCELLED; how many
statements that took; and the memory of this process. ``--alone N`` kills N more children of a tree one by one, each by
a KILL of its own, to compare with.
"""

from __future__ import annotations

import argparse
import math
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from orchestrator.engine.canvas import Chord, Message
from orchestrator.model.definition import parse_integration
from orchestrator.model.states import ExecutionState
from orchestrator.model.task_types import Done, MailServer, TaskSurroundings, TaskType
from orchestrator.runtime.app import load_task_types
from orchestrator.runtime.guard import ProcessGuard
from orchestrator.service.control import kill
from orchestrator.service.drive import drive
from orchestrator.service.services import Services
from orchestrator.service.submit import Place, publish, submit
from orchestrator.store.database import Database
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.signals import Audit
from orchestrator.store.tables import executions, live_attempts

AUDIT = Audit(actor="bench")
QUEUED = "bench.queued"


class Nobody:
    """A broker that loses every message."""

    def publish(self, messages: Sequence[Message | Chord]) -> None:
        pass


@dataclass
class Costs:
    """What was sent to the database since the start."""

    started_at: float = field(default_factory=time.perf_counter)
    cpu_at_start: float = field(default_factory=time.process_time)
    first_commit_s: float = math.nan
    statements: int = 0  # a statement that is executed for many rows of values counts once for each
    round_trips: int = 0

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self.started_at

    @property
    def cpu_s(self) -> float:
        """Of this process: what other processes of a busy machine take is not in it, nor is the server's part."""
        return time.process_time() - self.cpu_at_start


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; exit code 1 if anything is left that is not CANCELLED."""
    options = _parse(arguments)
    services = _services(options.database)
    widths = options.levels or [options.children]
    count = sum(math.prod(widths[: level + 1]) for level in range(len(widths)))
    _say(f"making {count:,} sub-executions on {len(widths)} level(s) ...")
    root = _grow(services, widths)
    with _costs(services.store.database) as costs:
        kill(root, services, audit=AUDIT)
        over_s, cpu_s = costs.elapsed_s, costs.cpu_s
    left = _left(services.store.database)
    print(
        f"{count:,} sub-executions and their root: marked after {costs.first_commit_s:.2f} s, "
        f"the last one CANCELLED after {over_s:.2f} s ({over_s / count * 1000:.3f} ms each, "
        f"{cpu_s / count * 1000:.3f} ms of this process)"
    )
    print(
        f"statements each: {costs.statements / count:.2f}, in {costs.round_trips:,} round trips; "
        f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB; left over: {left}"
    )
    if options.alone:
        _kill_alone(services, options.alone)
    return 1 if left else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kill", description=__doc__)
    parser.add_argument("--database", required=True, help="URL of an empty database")
    parser.add_argument("--children", type=int, default=10_000)
    parser.add_argument("--levels", type=int, nargs="+", metavar="WIDTH", help="how many each execution starts")
    parser.add_argument("--alone", type=int, default=0, metavar="N")
    return parser.parse_args(arguments)


def _services(url: str) -> Services:
    database = Database(url)
    database.upgrade()
    types = load_task_types(())
    types.add(TaskType(name=QUEUED, run=lambda context: Done()))  # noqa: ARG005 - a task type's signature
    return Services.of(
        database,
        types=types,
        publisher=Nobody(),
        guard=ProcessGuard(),
        surroundings=TaskSurroundings(mail=MailServer(outbox=Path(tempfile.gettempdir()))),
        jitter=random.random,
    )


def _grow(services: Services, widths: Sequence[int]) -> str:
    """A tree whose leaves are queued; the root's id."""
    _publish(services, "bench-0", {"task": QUEUED})
    for height, width in enumerate(reversed(widths)):
        loop = {
            "workflowName": {"stringValue": f"bench-{height}"},
            "triggerId": {"stringValue": f"api_trigger/bench-{height}"},
            "listToIterate": {"jsonValue": list(range(width))},
            "iterationElementMapping": {"stringValue": "item"},
        }
        parameters = {key: {"key": key, "value": value} for key, value in loop.items()}
        version_id = _publish(
            services, f"bench-{height + 1}", {"task": "ForEachParallelTask", "parameters": parameters}
        )
    root = submit(version_id, {}, services, place=Place())
    level = [root]
    for _ in widths:
        for each in level:
            drive(AttemptKey(execution_id=each, number=1, attempt=1), worker="bench", services=services)
        level = [child for each in level for child in _children(services.store.database, each)]
    return root


def _publish(services: Services, name: str, task: dict[str, Any]) -> str:
    version = parse_integration(
        {
            "name": name,
            "triggerConfigs": [{"triggerId": f"api_trigger/{name}", "startTasks": [{"taskId": "1"}]}],
            "taskConfigs": [{"taskId": "1", **task}],
            "integrationParameters": [
                {"key": "item", "dataType": "INT_VALUE", "inputOutputType": "IN", "defaultValue": {"intValue": "0"}}
            ],
        }
    )
    version_id, _ = publish(version, services, place=Place(), source="benchmark")
    return version_id


def _children(database: Database, execution_id: str) -> list[str]:
    wanted = sa.select(executions.c.id).where(executions.c.parent_id == execution_id)
    with database.read() as connection:
        return list(connection.execute(wanted).scalars())


@contextmanager
def _costs(database: Database) -> Iterator[Costs]:
    costs = Costs()

    def note_statement(*details: Any) -> None:
        *_, parameters, _, is_many = details
        costs.statements += len(parameters) if is_many else 1
        costs.round_trips += 1

    def note_commit(connection: object) -> None:  # noqa: ARG001 - SQLAlchemy's signature
        if math.isnan(costs.first_commit_s):
            costs.first_commit_s = costs.elapsed_s

    listeners = [("before_cursor_execute", note_statement), ("commit", note_commit)]
    for name, listener in listeners:
        sa.event.listen(database.engine, name, listener)
    try:
        yield costs
    finally:
        for name, listener in listeners:
            sa.event.remove(database.engine, name, listener)


def _left(database: Database) -> int:
    """Executions that are not CANCELLED, and attempts that somebody could claim."""
    wanted = sa.select(sa.func.count()).select_from(executions)
    with database.read() as connection:
        open_ = connection.execute(wanted.where(executions.c.state != ExecutionState.CANCELLED.value)).scalar_one()
        return int(open_ + connection.execute(sa.select(sa.func.count()).select_from(live_attempts)).scalar_one())


def _kill_alone(services: Services, count: int) -> None:
    children = _children(services.store.database, _grow(services, [count]))
    with _costs(services.store.database) as costs:
        for each in children:
            kill(each, services, audit=AUDIT)
        over_s = costs.elapsed_s
    print(
        f"{count:,} killed one by one: {over_s / count * 1000:.3f} ms each, "
        f"with {costs.statements / count:.2f} statements"
    )


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""How quickly the HTTP API answers from a full database: ``python -m benchmarks.api [--executions 100000]``.

One execution of five light tasks really runs; then its rows are there as often as wanted, with other ids. One API
server answers, in a process of its own, and ``api_load`` asks, in another: 200 clients that get one execution again and
again, and 50 lists a second beside them. Printed: for each kind how many were answered, how many a second, and how long
50, 95 and 99 of 100 took at most.

A client that asks again at once keeps the server busy all the time, so its time is that of the queue: 200 divided by
the throughput. ``--pause S`` has each client pause between two requests, as people and dashboards do.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from benchmarks import api_load, report
from benchmarks.definitions import graph
from benchmarks.ours import Ours
from benchmarks.services import NoService, Servers, servers
from orchestrator.errors import OrchestratorError
from orchestrator.runtime.children import start, stop, tail
from orchestrator.settings import Settings
from orchestrator.store.database import Database
from orchestrator.store.tables import executions, later, metadata

NAME: Final = "bench-api"
GOALS_MS: Final = {"get": 100.0, "list": 200.0}  # 95 of 100
START_LIMIT_S: Final = 60.0
GRACE_S: Final = 10.0
_PREFIX: Final = "00000000-0000-7000-8000-000"
_APART_S: Final = 60.0  # between two executions


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; exit code 1 if it could not be, or something was not answered as it should."""
    options = _parse(arguments)
    try:
        with servers(options.database) as places:
            print(f"{report.machine()}\n{places.database_kind}, {options.executions:,} executions\n", flush=True)
            execution_id = fill(places, options.executions)
            with _api(places) as url:
                found = _load(url, execution_id, options)
    except OrchestratorError as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    _say(found)
    return 1 if any(each["refused"] for each in found.values()) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=200, help="that get one execution")
    parser.add_argument("--pause", type=float, default=0.0, metavar="S", help="between two requests of a client")
    parser.add_argument("--lists", type=float, default=50.0, metavar="N", help="a second")
    parser.add_argument("--database", metavar="KIND", help="postgres, sqlite, or the URL of an empty one")
    options = parser.parse_args(arguments)
    if min(options.executions, options.clients, options.seconds) <= 0 or min(options.pause, options.lists) < 0:
        parser.error("--executions, --clients and --seconds are more than 0, --pause and --lists not less")
    return options


# -- what is asked -------------------------------------------------------------------------------------------------


def fill(places: Servers, count: int) -> str:
    """Run one execution, and copy it; the id of one in the middle."""
    ours = Ours(places, 1)
    with ours.worker():
        ours.publish(graph(NAME, "light"))
        (original,) = ours.run(NAME)
    database = Database(places.database)
    try:
        with database.begin() as connection:
            for statement in _copies(original, count):
                connection.execute(statement)
            connection.exec_driver_sql("ANALYZE")  # where nobody looks after statistics yet
    finally:
        database.close()
    return f"{_PREFIX}{count // 2:09}"


def _copies(original: str, count: int) -> Iterator[sa.Insert]:
    """A statement for each table that has rows of an execution."""
    one = sa.select(sa.literal(1).label("n")).cte("numbers", recursive=True)
    numbers = one.union_all(sa.select(one.c.n + 1).where(one.c.n < count))
    digits = sa.func.substr(sa.cast(1_000_000_000 + numbers.c.n, sa.Text), 2)
    new_id = sa.literal(_PREFIX).concat(digits)
    at = later(sa.cast(-_APART_S * (count - numbers.c.n), sa.Float))
    changed: dict[str, Any] = {"id": new_id, "root_id": new_id, "created_at": at, "updated_at": at, "ended_at": at}
    yield _copy(executions, executions.c.id == original, numbers, changed)
    for table in metadata.sorted_tables:
        key = table.c.get("execution_id")
        if key is not None and key.foreign_keys:
            yield _copy(table, key == original, numbers, {"execution_id": new_id})


def _copy(table: sa.Table, which: sa.ColumnElement[bool], numbers: sa.CTE, changed: dict[str, Any]) -> sa.Insert:
    columns = [each for each in table.c if each.computed is None]
    rows = sa.select(*(changed.get(each.name, each) for each in columns)).select_from(table.join(numbers, sa.true()))
    return sa.insert(table).from_select([each.name for each in columns], rows.where(which))


# -- who asks ------------------------------------------------------------------------------------------------------


@contextmanager
def _api(places: Servers) -> Iterator[str]:
    """The base URL of a server."""
    log_file = places.folder / "api.log"
    settings = Settings(home=places.folder / "api", database_url=places.database, broker_url=places.broker)
    command = [sys.executable, "-m", "orchestrator", "api", "--no-auth", "--port", "0"]
    process = start(command, log_file, environment=settings.to_environment())
    try:
        yield _url_of(process, log_file)
    finally:
        stop([process], grace_s=GRACE_S)


def _url_of(process: subprocess.Popen[bytes], log_file: Path) -> str:
    """What it says, once it listens."""
    deadline = time.monotonic() + START_LIMIT_S
    while not (said := re.search(r'"server listens", "url": "([^"]+)"', log_file.read_text())):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoService("the API server", tail(log_file))
        time.sleep(0.05)
    return said[1]


def _load(url: str, execution_id: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    plan = {
        "url": url,
        "get": f"/v1/projects/default/locations/local/integrations/{NAME}/executions/{execution_id}",
        "list": f"/v1/projects/default/locations/local/integrations/{NAME}/executions"
        "?pageSize=50&filter=event_execution_state%3D%22SUCCEEDED%22",
        "seconds": options.seconds,
        "clients": options.clients,
        "pause_s": options.pause,
        "lists": options.lists,
    }
    command = [sys.executable, "-m", api_load.__name__, json.dumps(plan)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoService("the load generator", done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


def _say(found: dict[str, dict[str, float]]) -> None:
    print(f"{'':6}{'answered':>10}{'a second':>10}{'p50':>10}{'p95':>10}{'p99':>10}   goal for p95")
    for kind, each in found.items():
        shown = "".join(f"{each[name]:>7.1f} ms" for name in ("p50_ms", "p95_ms", "p99_ms"))
        goal = f"{GOALS_MS[kind]:g} ms: {'met' if each['p95_ms'] < GOALS_MS[kind] else 'missed'}"
        print(f"{kind:6}{each['answered']:>10,.0f}{each['per_second']:>10,.0f}{shown}   {goal}")
        if each["refused"]:
            print(f"{'':6}{each['refused']:,.0f} were not answered with 200")
    print(f"load at the end: {report.load()}")


if __name__ == "__main__":
    sys.exit(main())

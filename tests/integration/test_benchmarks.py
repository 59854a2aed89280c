"""The benchmarks' command runs, and counts right, at a scale at which its times mean nothing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import api
from benchmarks.services import servers
from orchestrator import Orchestrator
from orchestrator.model.states import ExecutionState
from orchestrator.settings import Settings
from tests.services import require

pytestmark = [pytest.mark.services, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
LIMIT_S = 600
DEPTH = 8
MB = 1_000_000


def measured(folder: Path, *arguments: str, status: int = 0) -> tuple[list[dict], str]:
    """The lines of ``--json``, and what was printed."""
    file = folder / "found.json"
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--json", str(file), *arguments]
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
    done = subprocess.run(
        command, cwd=ROOT, env=inherited, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return [json.loads(line) for line in file.read_text().splitlines()], done.stdout


def one(lines: list[dict], case: str, mode: str) -> dict:
    found = [line for line in lines if (line["case"], line["mode"]) == (case, mode)]
    assert len(found) == 1, (case, mode)
    return found[0]


def test_every_case_runs_on_both_sides_and_counts_what_it_ran(tmp_path):
    require("redis")
    require("postgres")

    lines, _ = measured(
        tmp_path, "--scale", "0.002", "--cases", "a", "b", "c", "wide", "deep", "payload", "idle", "memory"
    )

    for mode in ("message", "light"):
        for case, tasks, executions, sent in (("a", 2, 3, 3), ("b", 2, 1, 2), ("c", 10, 2, 10), ("deep", 9, 9, 9)):
            line = one(lines, case, mode)
            assert (line["tasks"], line["executions"]) == (tasks, executions)
            assert line["messages"]["bare"]["count"] == sent
            assert line["ratio"] == pytest.approx(line["bare_s"] / line["ours_s"])
            assert line["rounds"] == len(line["all_ours_s"]) == len(line["all_bare_s"]) == 1
        assert one(lines, "payload", mode)["messages"]["bare"]["largest_bytes"] > MB
        assert one(lines, "payload", mode)["messages"]["ours"]["largest_bytes"] < 10_000
        first, later = (line for line in lines if (line["case"], line["mode"]) == ("memory", mode))
        assert later["size"] >= 200
        assert all(figure["ours"] > 0 for figure in [*first["figures"].values(), *later["figures"].values()])
    widths = [line for line in lines if line["case"] == "wide"]
    assert [line["executions"] for line in widths] == [3, 21, 201]
    assert [line["bare_s"] is None for line in widths] == [False, False, True]
    assert {line["database"] for line in lines} == {"postgresql"}


def test_on_sqlite_it_counts_the_same_and_the_statements_of_an_idle_worker(tmp_path):
    require("redis")

    lines, printed = measured(
        tmp_path, "--database", "sqlite", "--scale", "0.01", "--modes", "message", "--cases", "a", "b", "c", "idle"
    )

    assert [(line["case"], line["mode"]) for line in lines] == [
        *((case, "message") for case in "abc"),
        *(("idle", mode) for mode in ("empty", "suspended")),
    ]
    assert [line["executions"] for line in lines[:3]] == [11, 1, 2]
    assert all(line["figures"]["statements 1/s"]["ours"] > 0 for line in lines[3:])
    assert all(line["database"] == "sqlite" for line in lines)
    assert "10 executions suspended" in printed


def test_many_graphs_are_submitted_in_one_call_or_it_is_said_why_not(tmp_path):
    require("redis")
    exists = hasattr(Orchestrator, "submit_many")

    lines, printed = measured(
        tmp_path,
        *("--database", "sqlite", "--scale", "0.01", "--modes", "light", "--cases", "c", "c-many", "--profile"),
        status=0 if exists else 1,
    )

    assert [line["case"] for line in lines] == (["c", "c-many"] if exists else ["c"])
    assert {"client", "worker main", "pool", "Redis"} <= lines[0]["cpu_ms_per_task"]["ours"].keys()
    assert ("c-many light was not measured: ours: this version has no Orchestrator.submit_many" in printed) != exists


def test_a_database_is_filled_with_executions_that_are_as_if_they_had_run():
    require("redis")

    with servers("sqlite") as places:
        chosen = api.fill(places, 40)
        with Orchestrator(Settings(home=places.folder / "home", database_url=places.database)) as orchestrator:
            copied = orchestrator.get(chosen)
            found = orchestrator.list("state = SUCCEEDED", limit=50)

    assert (copied.state, len(copied.tasks)) == (ExecutionState.SUCCEEDED, 5)
    assert len(found) == 41


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_api_is_asked_by_clients_and_for_lists(kind):
    for service in {"redis", kind} - {"sqlite"}:
        require(service)
    command = [sys.executable, "-m", "benchmarks.api", "--database", kind, "--executions", "20"]
    command += ["--seconds", "1", "--clients", "2", "--pause", "0.1", "--lists", "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    answered = dict(re.findall(r"^(get|list) +(\d+) ", done.stdout, re.MULTILINE))
    assert answered.keys() == {"get", "list"}, f"{done.stdout}\n{done.stderr}"
    assert all(int(count) > 0 for count in answered.values())

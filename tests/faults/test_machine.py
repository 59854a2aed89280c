"""Limits of the machine: a disk that is full, a clock that is wrong, memory that is used up, very much at once."""

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from orchestrator.model.states import ExecutionState
from tests.faults.flows import RETRIED, chain, fan_out, held
from tests.faults.rig import running_rig
from tests.flows import flow, task
from tests.integration.processes import require
from tests.integration.waiting import until

pytestmark = pytest.mark.services

DISK_BYTES = 8 * 1024 * 1024


@pytest.fixture
def rig(sqlite_rig):
    """Without workers; what a test leaves comes to its end, and the books are right."""
    sqlite_rig.dismiss_all()
    yield sqlite_rig
    sqlite_rig.check()


@pytest.fixture
def label():
    return uuid.uuid4().hex[:8]


# -- the disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, in memory."""
    require(os.geteuid() == 0, "the right to mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder]
    require(subprocess.run(mounted, check=False, capture_output=True).returncode == 0, "the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_stops_work_until_there_is_room_and_nothing_is_lost(tmp_path, small_disk, redis_server, label):
    """The database's own disk. What is running waits with its result; what is submitted is refused."""
    url = f"sqlite:///{small_disk}/test.db"
    with running_rig(tmp_path, broker_url=redis_server.url(), database_url=url, workers=1) as rig:
        execution_id = rig.submit(held(rig, "full", label))
        rig.ledger.wait_for(label)
        (worker,) = rig.workers

        ballast = fill(small_disk)
        rig.ledger.let_go(label)
        until(lambda: worker.says("waiting:"), what="a worker that waits")
        kinds = rig.kinds(execution_id)
        ballast.unlink()
        execution = rig.wait(execution_id, supervised=False)

        assert kinds == []
        assert execution.state is ExecutionState.SUCCEEDED
        assert len(rig.ledger.lines(label)) == 1
        rig.check()


def fill(folder):
    """To the last byte."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return path


# -- the clock -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wrong_clock(tmp_path_factory):
    """The environment of a process whose clock is two hours ahead."""
    require(compiler := shutil.which("cc"), "a C compiler")
    library = tmp_path_factory.mktemp("clock") / "ahead.so"
    source = Path(__file__).with_name("ahead.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


def test_a_worker_whose_clock_is_wrong_changes_nothing(rig, wrong_clock, label):
    """Leases, timers and histories go by the database's clock. Redis messages do not, and come twice at most."""
    rig.start_worker(environment=wrong_clock).wait_until_ready()
    held_id = rig.submit(held(rig, "right", label))
    rig.ledger.wait_for(label)
    rig.start_worker().wait_until_ready()

    retried = rig.execute(flow("retried", rig.ledger.task(1, "fail:2", label=f"{label}-2", **RETRIED)))
    rig.ledger.let_go(label)
    execution = rig.wait(held_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert retried.state is ExecutionState.SUCCEEDED
    assert len(rig.ledger.lines(label)) == 1
    times = [attempt.ended_at for each in (*execution.tasks, *retried.tasks) for attempt in each.attempts]
    assert max(times) - min(times) < (execution.ended_at - execution.created_at) * 2


# -- memory --------------------------------------------------------------------------------------------------------


def test_a_task_that_uses_up_its_memory_fails_and_its_process_goes_on(rig, label):
    rig.start_worker()

    execution = rig.execute(flow("greedy", rig.ledger.task(1, "memory", label=label)), ends=[ExecutionState.FAILED])
    after = rig.execute(chain(rig, "modest", 2))

    assert execution.error.type == "MemoryError"
    assert after.state is ExecutionState.SUCCEEDED


# -- very much at once ---------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_amid_the_messages_of_a_wide_chord_starts_each_member_once(rig):
    rig.start_worker(failpoints="publish.message=kill9@150")

    execution = rig.execute(fan_out(rig, "wide", 200))

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(execution.children) == 200
    assert len(rig.ledger.lines("wide-child")) == 200
    assert len(rig.ledger.lines("wide-joined")) == 1


def test_a_chain_of_a_thousand_tasks_runs_to_its_end(rig):
    rig.start_worker()
    ends = {number: [number + 1] for number in range(1, 1000)}
    document = flow("long", *(task(n, "tests.light", next=ends.get(n, [])) for n in range(1, 1001)))

    execution = rig.execute(document)

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(execution.tasks) == 1000

"""What a command may use, and what it says: limits, floods, and a disk that is full."""

import json
import subprocess
from pathlib import Path

import pytest

from orchestrator.processes.spec import Ending, Limits
from tests.integration.commands import ENVIRONMENT, Commands, said
from tests.integration.processes import python, require

MEGABYTE = 1024 * 1024
STAND_IN = Path(__file__).with_name("runner_stand_in.py")
ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def commands(tmp_path):
    ours = Commands(tmp_path)
    yield ours
    ours.pipe.close()
    assert ours.left() == ([], [], [])


# -- limits --------------------------------------------------------------------------------------------------------


def test_memory_that_is_not_allowed_is_not_given(commands):
    outcome = commands.python("bytearray(500 * 2**20)", limits=Limits(memory_bytes=200 * MEGABYTE))

    assert outcome.report.exit_code == 1
    assert said(outcome, "stderr").endswith(b"MemoryError\n")


def test_a_command_that_computes_for_ever_is_ended_and_the_limit_named(commands):
    outcome = commands.python("while True: pass", limits=Limits(cpu_s=1))

    assert outcome.to_details()["signal"] == "SIGXCPU"
    assert outcome.report.limit == "cpu"


def test_a_command_that_does_not_listen_to_that_is_ended_all_the_same(commands):
    code = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"

    outcome = commands.python(code, limits=Limits(cpu_s=1))

    assert outcome.to_details()["signal"] == "SIGKILL"
    assert outcome.report.limit == "cpu"


def test_a_file_that_grows_past_its_limit_ends_who_writes_it(commands):
    outcome = commands.run("sh", "-c", "exec head -c 100000 /dev/zero > file", limits=Limits(file_bytes=10_000))

    assert outcome.to_details()["signal"] == "SIGXFSZ"
    assert outcome.report.limit == "file size"


def test_the_limit_of_files_is_not_that_of_the_output(commands):
    outcome = commands.run("head", "-c", "100000", "/dev/zero", limits=Limits(file_bytes=1000))

    assert (outcome.report.exit_code, said(outcome)) == (0, bytes(100_000))


def test_no_more_files_are_open_than_allowed(commands):
    outcome = commands.python("[open('/dev/null') for _ in range(100)]\n[].pop()", limits=Limits(open_files=20))

    assert b"Too many open files" in said(outcome, "stderr")


def test_the_limit_of_processes_is_set(commands):
    """It counts those of the user, and root is free of it; what it does is the kernel's."""
    outcome = commands.run("grep", "Max processes", "/proc/self/limits", limits=Limits(processes=4321))

    assert said(outcome).split()[2:4] == [b"4321", b"4321"]


def test_no_limit_is_looser_than_that_of_the_worker(commands):
    outcome = commands.run("grep", "Max open files", "/proc/self/limits", limits=Limits(open_files=2**40))

    mine = Path("/proc/self/limits").read_text().split("Max open files")[1].split()[1]
    assert said(outcome).split()[3:5] == [mine.encode()] * 2


def test_nothing_is_left_of_a_fork_bomb(commands):
    """Each process forks two more, as long as there are fewer than 300 of them; all ignore SIGTERM."""
    code = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
group = os.getpgid(0)
def count():
    return sum(1 for each in os.listdir("/proc") if each.isdigit())
most = count() + 300
is_first, is_told = True, False
while True:
    if count() < most:
        is_first = bool(os.fork()) and is_first
        is_first = bool(os.fork()) and is_first
    elif is_first and not is_told:
        is_told = bool(open(sys.argv[1], "w").write("many\\n"))
"""
    running = commands.start(*python("-I", "-S", "-c", code, commands.pipe.path), timeout_s=60, grace_s=0.2)
    assert commands.pipe.line(within_s=50) == "many"

    running.stop()

    outcome = running.outcome()
    assert outcome.report.ending is Ending.STOPPED
    assert outcome.report.killed > 100


def test_no_core_is_left_behind(commands):
    outcome = commands.run("grep", "Max core file size", "/proc/self/limits")

    assert said(outcome).split()[4:6] == [b"0", b"0"]


# -- floods --------------------------------------------------------------------------------------------------------


def test_of_a_flood_the_beginning_and_the_newest_are_kept_and_the_rest_is_counted(commands):
    outcome = commands.run("seq", "1", "3000000", most_output_bytes=10_000)

    output = outcome.outputs["stdout"]
    everything = b"".join(b"%d\n" % number for number in range(1, 3_000_001))
    assert output.size_bytes == len(everything)
    assert everything.startswith(output.kept.head)
    assert everything.endswith(output.kept.tail)
    assert output.kept.tail.splitlines()[0].isdigit()
    assert len(output.kept.head) + output.kept.left_out + len(output.kept.tail) == len(everything)
    assert b"\n[... %d bytes left out ...]\n" % output.kept.left_out in commands.artifacts.get(output.artifact)


def test_a_flood_that_never_ends_does_not_hold_up_the_timeout(commands):
    outcome = commands.run("yes", timeout_s=0.5, grace_s=0.2, most_output_bytes=10_000)

    assert (outcome.report.ending, outcome.report.signal) == (Ending.TIMEOUT, 15)
    assert outcome.outputs["stdout"].kept.head.startswith(b"y\ny\n")


# -- no room -------------------------------------------------------------------------------------------------------


def on_a_small_disk(folder, *command):
    """How a command ended whose runner has a disk of a megabyte for everything."""
    disk = folder / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=1m none {disk} && exec "$@"'
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    require(subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0, "a user namespace")
    runner = python(STAND_IN, disk, "small-disk.1.1", 1, *command)
    done = subprocess.run([*alone, *runner], capture_output=True, env=ENVIRONMENT | {"PYTHONPATH": ROOT}, check=True)
    return json.loads(done.stdout)


def test_a_disk_that_is_full_takes_nothing_from_the_command(tmp_path):
    """It says three megabytes, fills what is left of the disk, and says its last words."""
    script = "seq 1 400000; dd if=/dev/zero of=file bs=64k 2>/dev/null; echo last words; exit 3"

    facts = on_a_small_disk(tmp_path, "sh", "-c", script)

    assert (facts["ending"], facts["exitCode"]) == ("finished", 3)
    assert facts["stdout"]["bytes"] == sum(len(f"{n}\n") for n in range(1, 400_001)) + len("last words\n")
    assert "No space left on device" in facts["stdout"]["error"]
    assert "artifact" not in facts["stdout"]


def test_a_disk_that_cannot_even_take_the_beginning_takes_nothing_from_the_command(tmp_path):
    script = "dd if=/dev/zero of=file bs=64k 2>/dev/null; dd if=/dev/zero of=more bs=1 2>/dev/null; seq 1 100000"

    facts = on_a_small_disk(tmp_path, "sh", "-c", script)

    assert (facts["ending"], facts["exitCode"]) == ("finished", 0)
    assert facts["stdout"]["leftOut"] == facts["stdout"]["bytes"]

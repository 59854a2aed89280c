"""Failpoints: what is armed happens at the pass it was armed for, once over all processes, and nothing else does."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.errors import InvalidSetting
from orchestrator.failpoints import MOST_PASSES, POINTS, InjectedFault, arm, failpoint

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nothing_armed_afterwards():
    yield
    arm("")


def passes_that_raise(name, count):
    found = []
    for number in range(1, count + 1):
        try:
            failpoint(name)
        except InjectedFault:
            found.append(number)
    return found


def run(script):
    """A process of its own, with everything imported."""
    text = "import os, signal, sys\nfrom orchestrator.failpoints import arm, failpoint\n" + script
    return subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, check=False, capture_output=True, text=True, timeout=30
    )


# -- which pass ----------------------------------------------------------------------------------------------------


def test_nothing_happens_at_a_point_that_is_not_armed():
    assert arm("commit.after=raise")

    failpoint("commit.before")


def test_an_empty_setting_arms_nothing():
    arm("commit.after=raise")

    assert not arm("")
    failpoint("commit.after")


def test_without_a_number_every_pass_counts():
    arm("commit.after=raise")

    assert passes_that_raise("commit.after", 3) == [1, 2, 3]


def test_with_a_number_that_pass_counts_and_no_other():
    arm("commit.after=raise@3")

    assert passes_that_raise("commit.after", 6) == [3]


def test_one_point_can_be_armed_for_several_passes_and_several_points_at_once():
    arm("commit.after=raise@2, commit.after=raise@4, publish.before=raise@1")

    assert passes_that_raise("commit.after", 5) == [2, 4]
    assert passes_that_raise("publish.before", 5) == [1]


def test_a_share_of_the_passes_is_drawn_by_the_seed():
    arm("commit.after=raise%20/7")
    first = passes_that_raise("commit.after", 500)
    arm("commit.after=raise%20/7")
    again = passes_that_raise("commit.after", 500)
    arm("commit.after=raise%20/8")
    other = passes_that_raise("commit.after", 500)

    assert first == again != other
    assert 50 < len(first) < 150


def test_a_share_is_drawn_for_a_bounded_number_of_passes():
    arm("commit.after=raise%100")

    assert len(passes_that_raise("commit.after", MOST_PASSES + 10)) == MOST_PASSES


def test_passes_are_counted_over_all_threads():
    arm("commit.after=raise@50")
    found = []
    threads = [threading.Thread(target=lambda: found.extend(passes_that_raise("commit.after", 20))) for _ in range(5)]

    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(found) == 1


def test_passes_are_counted_over_all_that_is_forked_also_over_what_was_killed():
    done = run("""
arm("commit.after=kill9@3")
for number in range(1, 6):
    if (pid := os.fork()) == 0:
        failpoint("commit.after")
        os._exit(0)
    print(number, os.waitpid(pid, 0)[1])
""")

    assert done.stdout.split("\n")[:5] == ["1 0", "2 0", f"3 {int(signal.SIGKILL)}", "4 0", "5 0"]


# -- actions -------------------------------------------------------------------------------------------------------


def test_a_process_is_killed():
    done = run('arm("commit.after=kill9"); failpoint("commit.after"); print("still here")')

    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_a_child_kills_the_process_that_armed_and_goes_no_further():
    done = run("""
from orchestrator.processes.leash import die_with_parent
arm("commit.after=kill9-parent")
if os.fork() == 0:
    die_with_parent()
    failpoint("commit.after")
    print("still here", flush=True)
os.wait()
""")

    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_a_process_is_told_to_terminate():
    done = run("""
signal.signal(signal.SIGTERM, lambda *_: print("told"))
arm("commit.after=term")
failpoint("commit.after")
""")

    assert (done.returncode, done.stdout) == (0, "told\n")


def test_a_process_exits():
    done = run("""
arm("commit.after=exit")
try:
    failpoint("commit.after")
finally:
    print("cleaned up")
""")

    assert (done.returncode, done.stdout) == (1, "cleaned up\n")


def test_a_process_waits_until_the_pipe_is_opened(tmp_path):
    fifo, waiting = tmp_path / "gate", tmp_path / "gate.waiting"
    os.mkfifo(fifo)
    arm(f"commit.after=block:{fifo}")
    thread = threading.Thread(target=failpoint, args=("commit.after",))

    thread.start()
    os.close(os.open(fifo, os.O_WRONLY))  # waits for the reader
    thread.join()

    assert waiting.read_text() == f"{os.getpid()}\n"


def test_a_process_hangs_until_it_is_killed():
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from orchestrator.failpoints import *; arm('commit.after=hang'); print('armed', flush=True);"
            "failpoint('commit.after'); print('through')",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr.readline() == "failpoint reached\n"  # the log's last resort
        process.terminate()

        assert process.communicate(timeout=60)[0] == "armed\n"


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("commit.aftr=raise", "'commit.aftr'", "one of the points submit.before, "),
        ("commit.after=explode", "'explode'", "one of kill9, kill9-parent, term, exit, raise, hang, block:FIFO"),
        ("commit.after=block", "'block'", "block:FIFO"),
        ("commit.after=raise:/somewhere", "'raise:/somewhere'", "one of kill9"),
        ("commit.after", "'commit.after'", "POINT=ACTION, POINT=ACTION@NTH or POINT=ACTION%PERCENT/SEED"),
        ("commit.after=raise@0", "'commit.after=raise@0'", "POINT=ACTION@NTH"),
        ("commit.after=raise@5000", "'5000'", "a pass of the first 4096"),
        ("commit.after=raise%some", "'commit.after=raise%some'", "POINT=ACTION%PERCENT/SEED"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(text, found, expected):
    arm("commit.before=raise")

    with pytest.raises(InvalidSetting) as refused:
        arm(text)

    assert str(refused.value).startswith(f"setting ORCHESTRATOR_FAILPOINTS: found {found}, expected ")
    assert expected in str(refused.value)
    assert passes_that_raise("commit.before", 1) == [1]  # what was armed before still is


def test_every_point_is_passed_somewhere_and_no_other_one():
    sources = [each.read_text() for each in (ROOT / "orchestrator").rglob("*.py")]
    used = {name for text in sources for name in re.findall(r"\bfailpoint\(\"([^\"]+)\"\)", text)}

    assert used == set(POINTS)

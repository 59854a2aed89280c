"""Whoever dies, nothing that a command started outlives it: the worker's process, the shim, both at once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.processes import tree
from orchestrator.processes.spec import TAG, Ending
from orchestrator.processes.sweep import sweep_folders, sweep_orphans, sweep_tag
from tests.integration.commands import ENVIRONMENT, Commands
from tests.integration.processes import python, still_alive, tagged
from tests.integration.waiting import until

STAND_IN = Path(__file__).with_name("runner_stand_in.py")
ROOT = str(Path(__file__).parents[2])
TREE_SIZE = 5


@pytest.fixture
def commands(tmp_path):
    ours = Commands(tmp_path)
    yield ours
    ours.pipe.close()
    assert ours.left() == ([], [], [])


@pytest.fixture
def runner(commands):
    """Starts a process that runs a command as a worker's would; it is gone with the test."""
    started = []

    def start(*command, grace_s=60):
        arguments = python(STAND_IN, commands.folder, commands.attempt, grace_s, *command)
        started.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, env=ENVIRONMENT | {"PYTHONPATH": ROOT}))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()
        each.stdout.close()


def shim_of(commands):
    """The pid of the shim of this test's command."""
    (pid,) = [pid for pid in tagged(commands.attempt) if any("shim.py" in each for each in tree.arguments(pid))]
    return pid


def kill_both(runner, shim):
    """At the same time, as far as they can tell: halted, neither can do anything about it."""
    for pid in (runner.pid, shim):
        os.kill(pid, signal.SIGSTOP)
    for pid in (shim, runner.pid):
        os.kill(pid, signal.SIGKILL)
    runner.wait()
    assert still_alive([shim]) == []


# -- the runner ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tree", "stubborn"])
def test_a_runner_that_is_killed_takes_everything_along_however_long_the_grace(commands, runner, kind):
    running = runner(*commands.tree(kind), grace_s=60)
    pids = [*commands.pids(TREE_SIZE), shim_of(commands)]

    running.kill()

    assert still_alive(pids) == []
    sweep_folders(commands.runs, commands.artifacts)


def test_what_a_command_said_before_its_runner_was_killed_is_kept(commands, runner):
    script = f"echo first; trap 'echo last; exit' TERM; echo $$ > {commands.pipe.path}; while :; do sleep 0.01; done"
    running = runner("sh", "-c", script)
    commands.pids(1)
    shim = shim_of(commands)

    running.kill()

    assert still_alive([shim]) == []
    names = sweep_folders(commands.runs, commands.artifacts)
    assert commands.artifacts.get(next(each for each in names if "stdout" in each)) == b"first\nlast\n"


def test_the_folder_of_a_run_that_goes_on_is_left_alone(commands, runner):
    running = runner(*commands.tree("tree"))
    commands.pids(TREE_SIZE)

    assert sweep_folders(commands.runs, commands.artifacts) == []
    assert len([each for each in commands.runs.iterdir() if each.is_dir()]) == 1
    shim = shim_of(commands)
    running.kill()
    assert still_alive([shim]) == []
    sweep_folders(commands.runs, commands.artifacts)


def test_a_runner_that_dies_before_it_has_said_what_to_run_leaves_nothing(commands):
    shim = Path(sys.modules["orchestrator.processes.tree"].__file__).with_name("shim.py")
    command = python("-I", "-S", shim, os.getpid(), f"{commands.attempt}/x")

    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)

    assert done.returncode == 1
    commands.runs.mkdir()


# -- the shim ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tree", "stubborn"])
def test_a_shim_that_is_killed_takes_everything_along_and_the_runner_tells(commands, runner, kind):
    running = runner(*commands.tree(kind))
    pids = commands.pids(TREE_SIZE)

    os.kill(shim_of(commands), signal.SIGKILL)

    facts = json.loads(running.communicate()[0])
    assert still_alive(pids) == []
    assert facts["ending"] == Ending.SHIM_DIED.value
    assert facts["pid"] in pids


def test_what_a_command_said_before_its_shim_was_killed_is_kept(commands, runner):
    running = runner("sh", "-c", f"echo first; echo $$ > {commands.pipe.path}; sleep 1000")
    commands.pids(1)
    until(lambda: list(commands.runs.glob("*/stdout.0")), what="the output")

    os.kill(shim_of(commands), signal.SIGKILL)

    facts = json.loads(running.communicate()[0])
    assert commands.artifacts.get(facts["stdout"]["artifact"]) == b"first\n"


# -- both ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tree", "stubborn"])
def test_what_outlives_the_runner_and_the_shim_is_swept(commands, runner, kind):
    running = runner(*commands.tree(kind))
    pids = commands.pids(TREE_SIZE)

    kill_both(running, shim_of(commands))
    sweep_orphans()

    assert still_alive(pids) == []
    sweep_folders(commands.runs, commands.artifacts)


def test_what_was_said_before_both_died_is_kept(commands, runner):
    running = runner("sh", "-c", f"echo first; echo $$ > {commands.pipe.path}; sleep 1000")
    commands.pids(1)
    until(lambda: list(commands.runs.glob("*/stdout.0")), what="the output")

    kill_both(running, shim_of(commands))
    sweep_orphans()

    (name,) = sweep_folders(commands.runs, commands.artifacts)
    assert commands.artifacts.get(name) == b"first\n"


def test_what_cannot_be_stored_yet_stays_where_it_is(commands, runner):
    running = runner("sh", "-c", f"echo first; echo $$ > {commands.pipe.path}; sleep 1000")
    commands.pids(1)
    shim = shim_of(commands)
    running.kill()
    assert still_alive([shim]) == []
    Path(commands.artifacts.url).touch()  # a file where the store's folder is to be

    assert sweep_folders(commands.runs, commands.artifacts) == []

    Path(commands.artifacts.url).unlink()
    assert len(sweep_folders(commands.runs, commands.artifacts)) == 1


# -- the sweeper touches nobody else -------------------------------------------------------------------------------


def test_a_tree_whose_shim_lives_is_not_swept_whoever_runs_it(commands, runner):
    running = runner(*commands.tree("tree"))
    pids = [*commands.pids(TREE_SIZE), shim_of(commands)]

    sweep_orphans()

    assert still_alive(pids, within_s=0) == sorted(pids)
    running.kill()
    assert still_alive(pids) == []
    sweep_folders(commands.runs, commands.artifacts)


def test_a_shim_that_is_halted_still_owns_its_tree(commands, runner):
    running = runner(*commands.tree("tree"))
    pids, shim = commands.pids(TREE_SIZE), shim_of(commands)
    os.kill(shim, signal.SIGSTOP)

    sweep_orphans()

    assert still_alive(pids, within_s=0) == sorted(pids)
    os.kill(shim, signal.SIGCONT)
    running.kill()
    assert still_alive([*pids, shim]) == []
    sweep_folders(commands.runs, commands.artifacts)


def test_a_shim_that_is_dead_and_not_taken_note_of_owns_nothing(commands):
    """A zombie: a runner that hangs has not reaped it."""
    tag = f"{commands.attempt}/x"
    shim = subprocess.Popen(python("-c", "", "orchestrator/processes/shim.py", os.getpid(), tag))
    os.waitid(os.P_PID, shim.pid, os.WEXITED | os.WNOWAIT)
    orphan = subprocess.Popen(["sleep", "1000"], env={TAG: tag})

    sweep_orphans()

    assert orphan.wait(60) == -signal.SIGKILL
    shim.wait()
    commands.runs.mkdir()


def test_only_what_has_the_very_tag_is_ended(commands):
    tags = [f"{commands.attempt}/x", f"{commands.attempt}/xy", f"{commands.attempt}/"]
    # Whoever sweeps this machine meanwhile is to think that all of them belong to somebody.
    waiting = python("-c", "import signal; signal.pause()", "orchestrator/processes/shim.py")
    shims = [subprocess.Popen([*waiting, tag]) for tag in tags]
    mine, *others = [subprocess.Popen(["sleep", "1000"], env={TAG: tag}) for tag in tags]
    others.append(subprocess.Popen(["sleep", "1000"], env={"OTHER": tags[0]}))

    assert sweep_tag(tags[0]) == 1

    assert mine.wait(60) == -signal.SIGKILL
    assert [each.poll() for each in others] == [None] * 3
    for each in others + shims:
        each.kill()
        each.wait()
    commands.runs.mkdir()


def test_a_pid_that_was_used_again_is_not_hit():
    """A stale note of a process: this pid, another start."""
    stranger = subprocess.Popen(["sleep", "1000"])
    noted = tree.look_at(stranger.pid)

    assert not tree.send(noted._replace(started=noted.started - 1), signal.SIGKILL)
    assert stranger.poll() is None
    assert tree.send(noted, signal.SIGKILL)
    assert stranger.wait(60) == -signal.SIGKILL
    assert not tree.send(noted, signal.SIGKILL)

"""One command, and the end of everything it started."""

import os
import stat
from pathlib import Path

import pytest

from orchestrator.errors import InvalidValue
from orchestrator.processes.spec import Ending
from tests.integration.commands import Commands, said
from tests.integration.processes import still_alive, tagged

GRACE_S = 0.5
TREE_SIZE = 5  # processes of a tree stand-in
BOTH = pytest.mark.parametrize("with_cgroup", [True, False], ids=["group", "no group"])


@pytest.fixture
def commands(tmp_path):
    ours = Commands(tmp_path)
    yield ours
    ours.pipe.close()
    assert ours.left() == ([], [], [])


# -- a command -----------------------------------------------------------------------------------------------------


def test_a_command_says_something_and_ends(commands):
    outcome = commands.run("sh", "-c", "echo one; echo two >&2; exit 3")

    report = outcome.report
    assert (report.ending, report.exit_code, report.signal) == (Ending.FINISHED, 3, None)
    assert (said(outcome), said(outcome, "stderr")) == (b"one\n", b"two\n")
    assert (report.terminated, report.killed, report.reaped) == (0, 0, 1)


def test_what_a_command_said_is_in_the_store_under_its_attempt(commands):
    outcome = commands.run("echo", "one")

    (stored,) = commands.artifacts.list(f"attempts/{commands.attempt}")
    assert stored.name == outcome.outputs["stdout"].artifact
    assert commands.artifacts.get(stored.name) == b"one\n"


def test_a_signal_that_ends_a_command_is_reported(commands):
    outcome = commands.run("sh", "-c", "kill -USR1 $$")

    assert (outcome.report.exit_code, outcome.to_details()["signal"]) == (None, "SIGUSR1")


def test_arguments_arrive_as_they_are_and_no_shell_reads_them(commands):
    odd = ["; echo $(id) `id`", "a b", "--", "-n", "*", "line\nbreak", "é漢\U0001f600", "'\"\\", ""]

    outcome = commands.run("printf", "%s\\0", *odd)

    assert said(outcome).decode().split("\0")[:-1] == odd


def test_binary_output_is_kept_to_the_last_byte(commands):
    outcome = commands.python("import os; [os.write(1, bytes(range(256))) for _ in range(400)]")

    assert said(outcome) == bytes(range(256)) * 400


def test_a_command_that_is_not_there_is_not_started(commands):
    outcome = commands.run("no-such-program")

    assert outcome.report.ending is Ending.NOT_STARTED
    assert outcome.report.reason == "no-such-program: No such file or directory"
    assert outcome.report.pid is None


def test_a_working_directory_that_is_not_there_is_named(commands, tmp_path):
    outcome = commands.run("true", folder=str(tmp_path / "gone"))

    assert outcome.report.reason == f"{tmp_path / 'gone'}: No such file or directory"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"arguments": []}, "a program and its arguments"),
        ({"arguments": ["echo", "a\0b"]}, "without NUL"),
        ({"arguments": ["echo", "\ud800"]}, "lone surrogates"),
        ({"environment": {"A=B": "c"}}, "the name of a variable"),
        ({"environment": {"ORCHESTRATOR_ATTEMPT": "another.1.1"}}, "the name of a variable, and not"),
        ({"folder": "relative"}, "an absolute path"),
    ],
)
def test_what_no_process_can_be_given_is_refused(tmp_path, wrong, expected):
    commands = Commands(tmp_path)

    with pytest.raises(InvalidValue, match=expected):
        commands.run(*wrong.pop("arguments", ["true"]), **wrong)

    assert not commands.runs.exists()


# -- what it finds -------------------------------------------------------------------------------------------------


def test_the_environment_is_what_was_given_and_the_tag(commands, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_BROKER_URL", "redis://secret")
    monkeypatch.setenv("SECRET", "secret")

    outcome = commands.run("env", environment={"PATH": os.environ["PATH"], "GREETING": "hällo\nyou"})

    assert sorted(said(outcome).decode().split("\n")) == sorted(
        [
            f"PATH={os.environ['PATH']}",
            "GREETING=hällo",
            "you",
            f"ORCHESTRATOR_ATTEMPT={outcome.outputs['stdout'].artifact.split('/', 1)[1].removesuffix('/stdout.log')}",
            "",
        ]
    )


def test_it_has_no_input_and_no_other_files(commands):
    handle = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(handle, True)

    outcome = commands.run("sh", "-c", "for file in /proc/$$/fd/*; do readlink $file; done")

    os.close(handle)
    assert [line.split(":")[0] for line in said(outcome).decode().split()] == ["/dev/null", "pipe", "pipe"]


def test_it_begins_with_every_signal_as_it_is_by_default_and_can_gain_no_rights(commands):
    """All but 32 and 33: the C library keeps those two for itself, and what started the tests may have ignored them."""
    wanted = "SigBlk|SigIgn|NoNewPrivs|Umask"
    kept_by_libc = 0b11 << 31

    outcome = commands.run("grep", "-E", wanted, "/proc/self/status")

    facts = dict(line.split(":\t") for line in said(outcome).decode().splitlines())
    masks = [int(facts.pop(name), 16) & ~kept_by_libc for name in ("SigBlk", "SigIgn")]
    assert (facts, masks) == ({"Umask": "0077", "NoNewPrivs": "1"}, [0, 0])


def test_its_working_directory_is_new_and_private_and_gone_afterwards(commands):
    outcome = commands.run("sh", "-c", "pwd; ls -A; stat -c %a .; mkdir -p locked/in; chmod 0 locked")

    folder, mode = said(outcome).decode().split()
    assert mode == "700"
    assert Path(folder).is_relative_to(commands.runs)
    assert not Path(folder).exists()


def test_a_given_working_directory_stays(commands, tmp_path):
    outcome = commands.run("sh", "-c", "pwd; echo hello > file", folder=str(tmp_path))

    assert said(outcome).decode() == f"{tmp_path}\n"
    assert (tmp_path / "file").read_text() == "hello\n"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


# -- the end of the tree -------------------------------------------------------------------------------------------


@BOTH
def test_a_tree_that_ignores_sigterm_is_gone_within_its_grace(commands, with_cgroup):
    """Sessions of their own, daemons, cleared environments, and all of them hold the pipes open."""
    running = commands.start(*commands.tree("stubborn"), grace_s=GRACE_S, with_cgroup=with_cgroup)
    pids = commands.pids(TREE_SIZE)

    running.stop()

    assert still_alive(pids, within_s=GRACE_S + 2) == []
    report = running.outcome().report
    assert (report.ending, report.signal) == (Ending.STOPPED, 9)
    assert (report.terminated, report.killed) == (5, 5)
    assert report.reaped == 7  # with two that forked and ended


@BOTH
def test_a_tree_that_obeys_sigterm_is_not_killed(commands, with_cgroup):
    running = commands.start(*commands.tree("tree"), grace_s=60, with_cgroup=with_cgroup)
    pids = commands.pids(TREE_SIZE)

    running.stop()

    report = running.outcome().report
    assert still_alive(pids, within_s=0) == []
    assert (report.ending, report.signal, report.terminated, report.killed) == (Ending.STOPPED, 15, 5, 0)


def test_a_run_is_over_with_its_command_whoever_holds_its_output_open(commands):
    running = commands.start(*commands.tree("leave"), grace_s=60)
    pids = commands.pids(TREE_SIZE - 1)

    Path(f"{commands.pipe.path}.go").touch()

    report = running.outcome().report
    assert still_alive(pids, within_s=0) == []
    assert (report.ending, report.exit_code) == (Ending.FINISHED, 0)
    assert (report.terminated, report.killed) == (4, 0)


@BOTH
def test_a_process_that_forks_and_ends_faster_than_one_can_look_is_ended(commands, with_cgroup):
    running = commands.start(*commands.tree("hop"), grace_s=0.1, with_cgroup=with_cgroup)
    commands.pids(1)

    running.stop()

    assert running.outcome().report.ending is Ending.STOPPED
    assert tagged(commands.attempt) == []


def test_a_process_that_is_halted_is_ended(commands):
    running = commands.start("sh", "-c", f"echo $$ > {commands.pipe.path}; kill -STOP $$; echo never", grace_s=60)
    commands.pids(1)

    running.stop()

    assert running.outcome().report.signal == 15


def test_the_dead_are_taken_note_of(commands):
    running = commands.start(*commands.tree("zombies"), grace_s=60)
    commands.pids(1)

    running.stop()

    assert running.outcome().report.reaped == 4


def test_a_command_that_takes_too_long_is_ended(commands):
    outcome = commands.run("sh", "-c", "echo begun; sleep 1000", timeout_s=2)

    assert (outcome.report.ending, outcome.report.signal) == (Ending.TIMEOUT, 15)
    assert said(outcome) == b"begun\n"


def test_the_last_words_of_a_command_that_is_ended_are_kept(commands):
    script = f"trap 'echo cleaning up; exit 4' TERM; echo $$ > {commands.pipe.path}; while :; do sleep 0.01; done"
    running = commands.start("sh", "-c", script)
    commands.pids(1)

    running.stop()

    outcome = running.outcome()
    assert (outcome.report.ending, outcome.report.exit_code) == (Ending.STOPPED, 4)
    assert said(outcome) == b"cleaning up\n"


def test_an_exception_in_the_runner_ends_the_command_first(commands):
    facts = {}

    def interrupt():
        commands.pids(TREE_SIZE)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commands.run(*commands.tree("tree"), cancelled=interrupt, record=facts.update)

    assert tagged(commands.attempt) == []
    assert (facts["ending"], facts["signal"], facts["terminated"]) == ("stopped", "SIGTERM", 5)


def test_the_pid_is_told_at_the_start(commands):
    told = []

    outcome = commands.run("true", record=told.append)

    assert told[0] == {"pid": outcome.report.pid}
    assert told[-1] == outcome.to_details()

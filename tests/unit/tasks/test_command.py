"""The command task by hand: what it asks for, what it gives, how it fails. Real programs."""

import os
from dataclasses import replace

import pytest

from orchestrator.artifacts import Artifacts
from orchestrator.errors import TaskError
from orchestrator.model.values import DataType, Value
from tasks.command import AFTER_GRACE_S, TAIL_BYTES, check, run
from tests.unit.tasks.contexts import make_context, values

OUTPUTS = {
    "exitCode": "$code$",
    "stdoutTail": "$out$",
    "stderrTail": "$err$",
    "artifacts": "$files$",
}


@pytest.fixture
def context(tmp_path):
    """Makes a context; the parameters of the execution come by ``parameters``."""

    def make(*command, parameters=None, **config):
        made = make_context({"command": list(command), **OUTPUTS, **config}, parameters or {})
        surroundings = replace(
            made.surroundings,
            runs=tmp_path / "runs",
            artifacts_url=str(tmp_path / "artifacts"),
            environment={"PATH": os.environ["PATH"]},
        )
        return replace(made, surroundings=surroundings)

    return make


def outputs_of(context):
    return {name: value.python for name, value in run(context).outputs.items()}


def failure_of(context):
    with pytest.raises(TaskError) as raised:
        run(context)
    return raised.value.code, str(raised.value)


# -- what it gives -------------------------------------------------------------------------------------------------


def test_a_command_gives_its_exit_code_its_words_and_where_they_are(context, tmp_path):
    given = outputs_of(context("sh", "-c", "echo out; echo err >&2"))

    assert (given["code"], given["out"], given["err"]) == (0, "out\n", "err\n")
    store = Artifacts(str(tmp_path / "artifacts"))
    assert {stream: store.get(name) for stream, name in given["files"].items()} == {
        "stdout": b"out\n",
        "stderr": b"err\n",
    }
    assert given["files"]["stdout"].startswith("attempts/execution-1.1.1/")


def test_an_output_that_is_not_named_is_dropped(context):
    made = context("echo", "out")
    made = replace(made, config={"command": made.config["command"]})

    assert run(made).outputs == {}


def test_the_tail_of_much_output_begins_with_a_whole_line(context):
    given = outputs_of(context("seq", "1", "10000"))

    lines = given["out"].split("\n")
    assert lines[-2:] == ["10000", ""]
    assert lines[:-1] == [str(n) for n in range(int(lines[0]), 10_001)]
    assert TAIL_BYTES - 10 < len(given["out"]) <= TAIL_BYTES


def test_bytes_that_are_no_text_can_be_kept_in_a_parameter(context):
    given = outputs_of(context("printf", r"a\0b\377c"))

    assert given["out"] == "a\ufffdb\ufffdc"


def test_every_fact_is_recorded(context):
    noted = {}

    run(replace(context("sh", "-c", "echo hi; sleep 1000 & exit 0"), record=noted.update))

    assert noted.pop("seconds") > 0
    assert noted.pop("pid") > 1
    assert noted.pop("stdout")["bytes"] == 3
    assert noted == {"ending": "finished", "exitCode": 0, "terminated": 1, "killed": 0, "reaped": 2}


# -- what it takes -------------------------------------------------------------------------------------------------


def test_each_item_of_the_list_is_one_argument_whatever_its_reference_holds(context):
    made = context("printf", "%s|", "$odd$", "n=$number$", 7, parameters={"odd": "a b; $(id) 'c", "number": 5})

    assert outputs_of(made)["out"] == "a b; $(id) 'c|n=5|7|"


def test_the_whole_command_may_be_a_reference(context):
    made = context(parameters={"line": ["echo", "hi"]})
    made = replace(made, config={**made.config, "command": Value(DataType.STRING, "$line$")})

    assert outputs_of(made)["out"] == "hi\n"


def test_the_environment_is_that_of_the_settings_and_what_is_given(context, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_DATABASE_URL", "secret")
    given = outputs_of(context("env", environment={"A": "$a$", "B": 2}, parameters={"a": "x y"}))

    names = sorted(line.split("=")[0] for line in given["out"].splitlines())
    assert names == ["A", "B", "ORCHESTRATOR_ATTEMPT", "PATH"]
    assert "A=x y\n" in given["out"]


def test_it_runs_where_it_is_told_to(context, tmp_path):
    assert outputs_of(context("pwd", workingDirectory="$where$", parameters={"where": str(tmp_path)}))["out"] == (
        f"{tmp_path}\n"
    )


def test_an_exit_code_that_is_expected_is_a_success(context):
    assert outputs_of(context("sh", "-c", "exit 3", successExitCodes=[0, 3]))["code"] == 3


def test_the_code_is_given_the_grace_and_the_time_to_keep_what_was_said(context):
    graces = []

    run(replace(context("true", graceMs=20_000), set_grace=graces.append))

    assert graces == [20 + AFTER_GRACE_S]


def test_the_cap_of_the_output_is_taken(context, tmp_path):
    given = outputs_of(context("seq", "1", "10000", limits={"outputBytes": 1000}))

    text = Artifacts(str(tmp_path / "artifacts")).get(given["files"]["stdout"]).decode()
    assert len(text) < 1100
    assert "bytes left out ...]\n" in text


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"command": "ls -l"}, "command: found str 'ls -l', expected a list such as"),
        ({"command": []}, "expected a list such as"),
        ({"command": ["$nothing$"]}, "command[0]: found a reference to nothing"),
        ({"command": "$nothing$"}, "command: found a reference to nothing"),
        ({"command": [["a"]]}, "command[0]: found list"),
        ({"command": ["echo", True]}, "command[1]: found bool True"),
        ({"environment": {"A": "$nothing$"}}, "environment 'A': found a reference to nothing"),
        ({"environment": {"A=": "x"}}, "expected the name of a variable"),
        ({"workingDirectory": "here"}, "working directory: found 'here', expected an absolute path"),
        ({"timeoutMs": 0}, "timeoutMs: found int 0, expected a whole number from 1"),
        ({"timeoutMs": "$nothing$"}, "timeoutMs: found a reference to nothing"),
        ({"graceMs": -1}, "graceMs: found int -1"),
        ({"graceMs": 3_600_001}, "expected a whole number from 0 to 3600000"),
        ({"successExitCodes": [256]}, "successExitCodes: found int 256"),
        ({"limits": []}, "limits: found list"),
        ({"limits": {"memory": 1}}, "limits.memory: found an unknown limit, expected one of memoryBytes"),
        ({"limits": {"cpuSeconds": 0.5}}, "limits.cpuSeconds: found float 0.5"),
    ],
)
def test_what_makes_no_command_is_refused(context, wrong, expected):
    config = {"command": ["true"], **wrong}
    made = context()
    made = replace(made, config=values(config))

    code, message = failure_of(made)

    assert code == "INVALID_ARGUMENT"
    assert expected in message


def test_what_can_be_seen_before_is_refused_before():
    wrong = {"command": "ls", "timeoutMs": "soon", "graceMs": 1.5, "successExitCodes": "x", "limits": "[]"}

    problems = list(check(values({**wrong, "environment": {"A": "$later$"}})))

    assert [problem.split(":")[0] for problem in problems] == [
        "command",
        "timeoutMs",
        "graceMs",
        "limits",
        "successExitCodes",
    ]
    assert list(check({})) == ["command is missing: a list of the program and its arguments"]
    assert list(check(values({"command": ["$program$"], "timeoutMs": "$time$"}))) == []


# -- how it fails --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "config", "code", "message"),
    [
        ("echo no >&2; echo way >&2; exit 3", {}, "EXIT_CODE_3", "ended with exit code 3; it said last: no\nway"),
        ("echo only here; exit 1", {}, "EXIT_CODE_1", "it said last: only here"),
        ("exit 1", {}, "EXIT_CODE_1", "sh ended with exit code 1"),
        ("exit 0", {"successExitCodes": [3]}, "EXIT_CODE_0", "sh ended with exit code 0"),
        ("kill -SEGV $$", {}, "SIGNAL_11", "sh was ended by signal 11"),
        ("sleep 1000", {"timeoutMs": 200}, "COMMAND_TIMEOUT", "sh took longer than its timeout of 0.2 s"),
        ("while :; do :; done", {"limits": {"cpuSeconds": 1}}, "RESOURCE_EXHAUSTED", "sh ran into a limit: cpu"),
    ],
)  # fmt: skip
def test_a_command_that_does_not_end_well_says_how(context, script, config, code, message):
    found = failure_of(context("sh", "-c", script, **config))

    assert found[0] == code
    assert message in found[1]


def test_a_command_that_cannot_be_started_says_why(context):
    assert failure_of(context("/etc/passwd")) == (
        "COMMAND_NOT_STARTED",
        "passwd could not be started (/etc/passwd: Permission denied)",
    )


def test_a_command_that_is_to_stop_is_stopped_where_nothing_can_be_raised(context):
    assert failure_of(replace(context("sleep", "1000"), cancelled=lambda: True)) == ("CANCELLED", "sleep was stopped")


def test_a_worker_without_room_says_so(context, tmp_path):
    (tmp_path / "runs").write_text("a file where a folder is to be")

    code, message = failure_of(context("true"))

    assert code == "RESOURCE_EXHAUSTED"
    assert "no command can be run here" in message

"""What cannot run is refused with exit code 2 and one clear message, before anything is started or stored."""

import json
import os
import subprocess

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app

MAX_MESSAGE_CHARS = 2_000


@pytest.fixture(autouse=True)
def no_process(monkeypatch):
    def refuse(*arguments, **_):
        pytest.fail(f"started a process: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ORCHESTRATOR_BROKER_URL", raising=False)
    monkeypatch.delenv("ORCHESTRATOR_DATABASE_URL", raising=False)
    return tmp_path / "home"


@pytest.fixture
def refused(tmp_path, home):
    """Write the definition, run it; the message, once it is sure that nothing else has happened."""

    def run(definition, *arguments):
        path = tmp_path / "definition.json"
        path.write_bytes(definition if isinstance(definition, bytes) else json.dumps(definition).encode())
        result = CliRunner().invoke(app, ["run", str(path), *map(str, arguments)])
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        assert not home.exists(), "something was stored"
        assert len(result.stderr) < MAX_MESSAGE_CHARS
        assert result.stderr.count("error: ") == 1
        assert "Traceback" not in result.stderr
        return result.stderr.removeprefix("error: ").rstrip()

    return run


def make_definition(*, tasks=None, parameters=(), triggers=("main",)):
    return {
        "taskConfigs": [make_task()] if tasks is None else tasks,
        "triggerConfigs": [{"triggerId": f"api_trigger/{name}", "triggerType": "API"} for name in triggers],
        "integrationParameters": list(parameters),
    }


def make_task(number=1, *, task="SuspensionTask", **more):
    return {"taskId": str(number), "task": task, **more}


def make_input(key, data_type, **more):
    return {"key": key, "dataType": data_type, "inputOutputType": "IN", **more}


TOTAL = make_input("total", "INT_VALUE")
PRICE = make_input("price", "DOUBLE_VALUE")


# -- definitions ---------------------------------------------------------------------------------------------------


def test_text_that_is_not_json(refused):
    message = refused(b'{"taskConfigs": [,]}')

    assert "definition.json: line 1, column 18: not JSON" in message


def test_bytes_that_are_not_text(refused):
    assert "is not UTF-8" in refused(b"\xff\xfe\x00")


def test_a_file_that_is_not_there(tmp_path, home):
    result = CliRunner().invoke(app, ["run", str(tmp_path / "nowhere.json")])

    assert result.exit_code == 2
    assert "nowhere.json: cannot be read: No such file or directory" in result.stderr
    assert not home.exists()


def test_a_folder_instead_of_a_file(tmp_path, home):
    assert CliRunner().invoke(app, ["run", str(tmp_path)]).exit_code == 2


def test_keys_of_the_wrong_type_are_all_named(refused):
    message = refused({"taskConfigs": [make_task(task=7), make_task(2, nextTasks="3")], "triggerConfigs": {}})

    assert "3 problem(s)" in message
    assert "task 2" in message
    assert "triggerConfigs" in message


def test_a_list_instead_of_a_definition(refused):
    assert "found a list, expected an object with taskConfigs" in refused(b"[1]")


def test_a_definition_of_10_mb(refused):
    message = refused(b'{"description": "' + b"x" * 10_000_000 + b'"}')

    assert "9.5 MiB is more than a definition may have (8 MiB)" in message


def test_a_definition_of_100_000_tasks(refused):
    message = refused(make_definition(tasks=[make_task(number) for number in range(1, 100_001)]))

    assert "taskConfigs: found 100,000, expected at most 5,000" in message


def test_a_condition_1_000_levels_deep(refused):
    condition = "(" * 1000 + "$x$ = 1" + ")" * 1000

    message = refused(make_definition(tasks=[make_task(nextTasks=[{"taskId": "2", "condition": condition}])]))

    assert "task 1 (SuspensionTask), nextTasks[0]: condition" in message
    assert "column" in message


def test_json_1_000_levels_deep(refused):
    assert "levels" in refused(b'{"taskConfigs": ' + b"[" * 1000 + b"]" * 1000 + b"}")


def test_a_default_value_past_int64(refused):
    parameter = make_input("total", "INT_VALUE", defaultValue={"intValue": "9223372036854775808"})

    message = refused(make_definition(parameters=[parameter]))

    assert "parameter 'total'" in message
    assert "9223372036854775808" in message


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
def test_a_number_that_is_none(refused, number):
    assert "line 1, column 10" in refused(b'{"name": ' + number + b"}")


def test_an_unknown_task_type_comes_with_its_remedy(refused):
    message = refused(make_definition(tasks=[make_task(task="nobody.registers")]))

    assert "task 1 (nobody.registers): unknown task type 'nobody.registers'" in message
    assert "--include MODULE" in message


# -- triggers and parameters ---------------------------------------------------------------------------------------


def test_an_unknown_trigger(refused):
    message = refused(make_definition(), "--trigger", "nightly")

    assert message == "there is no trigger 'nightly'; this integration has: api_trigger/main"


def test_several_triggers_and_none_named(refused):
    message = refused(make_definition(triggers=("day", "night")))

    assert message == "name one of the triggers of this integration: api_trigger/day, api_trigger/night"


def test_an_unknown_parameter(refused):
    message = refused(make_definition(parameters=[TOTAL]), "--param", "totl=1")

    assert message == "there is no parameter 'totl'; this integration declares: total"


def test_a_missing_required_parameter(refused):
    message = refused(make_definition(parameters=[TOTAL]))

    assert message.startswith("parameter 'total' (INT_VALUE) is required")


@pytest.mark.parametrize("assignment", ["total", "=1", "total=", "total=1.5", "total=NaN", "total=9223372036854775808"])
def test_an_assignment_that_does_not_fit(refused, assignment):
    assert "expected" in refused(make_definition(parameters=[TOTAL]), "--param", assignment)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "12 euros"])
def test_a_double_that_is_none(refused, number):
    assert "parameter 'price'" in refused(make_definition(parameters=[PRICE]), "--param", f"price={number}")


# -- files beside the definition -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[1]", "found a list"),
        ('{"total": NaN}', "line 1, column 11"),
        ('{"total": 9223372036854775808}', "9223372036854775808"),
        ('{"total": true}', "parameter 'total'"),
        ('{"other": 1}', "there is no parameter 'other'"),
        ('{"total": 1, "total": 2}', "total"),
    ],
)
def test_a_parameters_file_that_does_not_fit(refused, tmp_path, content, expected):
    (tmp_path / "params.json").write_text(content)

    message = refused(make_definition(parameters=[TOTAL]), "--params", tmp_path / "params.json")

    assert expected in message
    assert "taskConfigs" not in message


def test_a_parameters_file_that_is_not_there(refused, tmp_path):
    message = refused(make_definition(parameters=[TOTAL]), "--params", tmp_path / "nowhere.yaml")

    assert "nowhere.yaml: found nothing to read (No such file or directory)" in message


def test_a_called_definition_that_is_not_there(refused, tmp_path):
    message = refused(make_definition(), "--with", tmp_path / "nowhere.json")

    assert "nowhere.json: cannot be read: No such file or directory" in message


def test_a_called_definition_that_cannot_run(refused, tmp_path):
    (tmp_path / "sub.json").write_text(json.dumps(make_definition(tasks=[make_task(nextTasks=[{"taskId": "9"}])])))

    message = refused(make_definition(), "--with", f"sub={tmp_path / 'sub.json'}")

    assert message == "sub: 1 problem(s)\n  - task 1 (SuspensionTask), nextTasks[0]: there is no task 9"


# -- usage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "x.json", "--timeout", "soon"],
        ["run", "x.json", "--concurrency", "0"],
        ["run", "x.json", "--executor", "a,b"],
        ["run", "x.json", "--override-url", "http://somewhere"],
        ["list", "--state", "DONE"],
        ["list", "--limit", "0"],
        ["worker", "--executor", ""],
        ["fly"],
    ],
)
def test_a_command_line_that_means_nothing(home, arguments):
    result = CliRunner().invoke(app, arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr
    assert not home.exists()


def test_two_definitions_of_one_name(tmp_path, home):
    path = tmp_path / "one.json"
    path.write_text(json.dumps(make_definition()))

    result = CliRunner().invoke(app, ["run", str(path), "--with", str(path)])

    assert result.exit_code == 2
    assert "'one' is there twice" in result.stderr
    assert not home.exists()


def test_a_setting_that_cannot_be_used(home, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_BROKER_URL", "memory://:hidden@x")

    result = CliRunner().invoke(app, ["list"])

    assert result.exit_code == 2
    assert "error: setting ORCHESTRATOR_BROKER_URL" in result.stderr
    assert "hidden" not in result.stderr


def test_a_module_that_cannot_be_imported(refused):
    message = refused(make_definition(), "--include", "no_such_module")

    assert message.startswith("setting include: found 'no_such_module'")


@pytest.mark.parametrize("command", ["worker", "flower"])
def test_a_worker_and_flower_need_a_broker(home, command, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))  # the worker command writes its settings there

    result = CliRunner().invoke(app, [command])

    assert result.exit_code == 2
    assert "error: setting ORCHESTRATOR_BROKER_URL: found nothing" in result.stderr
    assert not home.exists()


def test_looking_at_a_home_that_is_not_there_makes_none(home):
    listed, got = CliRunner().invoke(app, ["list"]), CliRunner().invoke(app, ["get", "e1"])

    assert (listed.exit_code, listed.stdout) == (0, "")
    assert "nothing was executed" in listed.stderr
    assert (got.exit_code, got.stdout) == (1, "")
    assert "error: there is no execution 'e1'" in got.stderr
    assert not home.exists()


def test_a_misspelt_variable_is_warned_of(home, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_HOEM", "x")

    result = CliRunner().invoke(app, ["list"])

    assert "warning: no setting reads ORCHESTRATOR_HOEM" in result.stderr

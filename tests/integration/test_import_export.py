"""``orchestrator import`` and ``export``: definitions from elsewhere and back, on a database of each test's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from orchestrator import Orchestrator
from orchestrator.cli import app
from orchestrator.errors import IntegrationNotFound
from orchestrator.service.submit import Place
from orchestrator.service.versions import VersionListWish
from orchestrator.settings import Settings
from tests.unit.factories import SAMPLES, needs_samples, sample_names

SAYS_HI = {
    "taskId": "1",
    "task": "JsonnetMapperTask",
    "parameters": {"template": {"key": "template", "value": {"stringValue": "{text: 'hi'}"}}},
}
RESOURCE = "projects/p/locations/l/integrations/greet/versions/v"


def definition(name="greet", *tasks, **more):
    return {
        "name": name,
        "triggerConfigs": [{"triggerId": f"api_trigger/{name}"}],
        "integrationParameters": [{"key": "text", "dataType": "STRING_VALUE", "inputOutputType": "OUT"}],
        "taskConfigs": list(tasks) or [SAYS_HI],
        **more,
    }


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def typed(home):
    def run(*arguments):
        return CliRunner().invoke(app, [*map(str, arguments), "--home", str(home)])

    return run


@pytest.fixture
def written(tmp_path):
    def write(name, document):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(document if isinstance(document, str) else json.dumps(document))
        return name

    return write


def stored(home, integration=None, place=None):
    with Orchestrator(Settings(home=home), place=place) as orchestrator:
        page, _ = orchestrator.versions.page(VersionListWish(order_by="snapshot_number asc"), integration=integration)
    return page


def states(home, **more):
    return [(each.integration, each.state.value) for each in stored(home, **more)]


# -- import --------------------------------------------------------------------------------------------------------


def test_a_file_becomes_a_draft(typed, written, home):
    done = typed("import", written("greet.json", definition(description="d")))

    (version,) = stored(home)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"greet.json: integration 'greet': draft {version.id}\n"
    assert version.document == definition(description="d")
    assert version.lock_holder == version.last_modifier != ""


def test_what_can_run_is_published_and_is_the_same_version_again(typed, written, home):
    file = written("greet.yaml", yaml.dump(definition()))

    for _ in range(2):
        done = typed("import", file, "--publish")
        assert (done.exit_code, done.stdout) == (0, "greet.yaml: integration 'greet': published\n")
    assert typed("publish", file).exit_code == 0

    assert states(home) == [("greet", "ACTIVE")]


def test_what_only_the_product_can_know_is_left_behind(typed, written, home):
    of_theirs = {"state": "ACTIVE", "snapshotNumber": "7", "createTime": "2026-01-31T12:00:00Z", "lockHolder": "you"}
    document = definition() | of_theirs | {"name": RESOURCE, "userLabel": "v7"}

    assert typed("import", written("x.json", document)).exit_code == 0

    (version,) = stored(home)
    assert (version.integration, version.state, version.snapshot_number) == ("greet", "DRAFT", 1)
    assert version.document == definition(userLabel="v7")


def test_task_types_that_are_not_known_are_told_with_their_tasks(typed, written, home):
    undone = SAYS_HI | {"rollback": {"task": "Undo"}}
    tasks = [undone, {"taskId": "2", "task": "Other"}, {"taskId": "5", "task": "Other"}]
    written("in/a.json", definition("a", *tasks))
    written("in/b.json", definition("b"))

    done = typed("import", "in", "--publish")

    assert done.exit_code == 1
    draft = stored(home, "a")[0].id
    assert done.stdout.splitlines() == [
        f"in/a.json: integration 'a': draft {draft}",
        "  task type 'Undo' is not known here: task 1; register it with --include MODULE",
        "  task type 'Other' is not known here: tasks 2, 5; register it with --include MODULE",
        "in/b.json: integration 'b': published",
    ]
    assert sorted(states(home)) == [("a", "DRAFT"), ("b", "ACTIVE")]


def test_other_problems_are_told_as_well(typed, written):
    broken = definition("a", {**SAYS_HI, "nextTasks": [{"taskId": "9"}]}, {"taskId": "2", "task": "Other"})

    done = typed("import", written("a.json", broken))

    assert done.exit_code == 1
    said = done.stdout.splitlines()[1:]
    assert len(said) == 2
    assert "'Other'" in said[0]
    assert "task 1" in said[1]
    assert "9" in said[1]


def test_the_report_is_a_document_if_one_is_wanted(typed, written):
    done = typed("import", written("a.json", definition("a", {"taskId": "2", "task": "Other"})), "--json")

    (each,) = json.loads(done.stdout)["imported"]
    assert done.exit_code == 1
    assert (each["file"], each["integration"], each["state"], each["canRun"]) == ("a.json", "a", "DRAFT", False)
    assert each["missingTaskTypes"] == {"Other": ["2"]}
    assert "integration 'a': draft" in done.stderr


@pytest.mark.parametrize("bad", ["{", '{"taskConfigs": 5}'])
def test_nothing_is_imported_if_something_cannot_be_read(typed, written, home, bad):
    written("in/a.json", definition("a"))
    written("in/b.json", bad)

    done = typed("import", "in")

    assert (done.exit_code, done.stdout) == (2, "")
    assert "error: in/b.json: " in done.stderr
    assert stored(home) == []


def test_two_files_of_one_integration_are_refused(typed, written, home):
    written("in/a.json", definition("a"))
    written("in/a.yaml", yaml.dump(definition("a")))

    done = typed("import", "in")

    assert done.exit_code == 2
    assert "in/a.json, in/a.yaml: all of them are integration 'a'" in done.stderr
    assert stored(home) == []


@pytest.mark.parametrize("path", ["nowhere", "empty"])
def test_what_is_not_there_is_refused(typed, tmp_path, path):
    (tmp_path / "empty").mkdir()

    done = typed("import", path)

    assert done.exit_code == 2
    assert path in done.stderr


def test_fields_that_there_are_not_are_warned_of_and_kept(typed, written, home):
    done = typed("import", written("a.json", definition("a", taskConfig=[])))

    assert done.exit_code == 0
    assert 'warning: a.json: Invalid JSON payload received. Unknown name "taskConfig"' in done.stderr
    assert stored(home)[0].document == definition("a", taskConfig=[])


def test_a_folder_of_integrationcli_is_imported_from_its_sources(typed, written, home):
    nameless = {key: content for key, content in definition("b").items() if key != "name"}
    written("in/src/a.json", nameless)
    written("in/overrides/overrides.json", {})
    written("in/config-variables/a-config.json", {})
    written("in/cloudbuild.yaml", "steps: []")

    done = typed("import", "in")

    assert done.exit_code == 0
    assert done.stderr == "left out: cloudbuild.yaml, config-variables, overrides; only what is in src is imported\n"
    assert states(home) == [("a", "DRAFT")]


def test_a_file_goes_under_another_name_and_into_another_place(typed, written, home):
    file = written("greet.json", definition())

    assert typed("import", file, "--name", "hello", "--project", "p", "--location", "l").exit_code == 0

    assert states(home) == []
    assert states(home, place=Place(project="p", location="l")) == [("hello", "DRAFT")]
    assert typed("import", ".", "--name", "x").exit_code == 2
    assert typed("import", file, "--project", "p/q").exit_code == 2


# -- export --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["json", "yaml"])
def test_an_import_of_an_export_is_the_same_definition(typed, written, home, file_format):
    snake = {"task_configs": [SAYS_HI], "trigger_configs": [{"trigger_id": "api_trigger/greet"}]}
    typed("import", written("greet.json", snake | {"name": RESOURCE, "unheard_of": {"a_b": 1}}), "--publish")

    first = typed("export", "greet", "--format", file_format)
    written(f"again.{file_format}", first.stdout)
    again = typed("import", f"again.{file_format}", "--publish")
    second = typed("export", "greet", "--format", file_format)

    assert (first.exit_code, again.exit_code, second.stdout) == (0, 0, first.stdout)
    assert yaml.safe_load(first.stdout) == {
        "name": "greet",
        "taskConfigs": [SAYS_HI],
        "triggerConfigs": [{"triggerId": "api_trigger/greet"}],
        "unheard_of": {"a_b": 1},
    }
    assert states(home) == [("greet", "ACTIVE")]


def test_a_draft_is_exported_by_its_id(typed, written, home):
    typed("import", written("greet.json", definition()), "--publish")
    typed("import", written("new.json", definition(description="new")))
    draft = stored(home)[1]

    assert "description" not in json.loads(typed("export", "greet").stdout)
    assert json.loads(typed("export", "greet", "--version", draft.id).stdout)["description"] == "new"

    done = typed("export", "other", "--version", draft.id)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "integration 'other' has no version" in done.stderr


def test_an_export_goes_into_a_file_or_a_folder(typed, written, tmp_path):
    typed("import", written("greet.json", definition()), "--publish")
    (tmp_path / "out").mkdir()

    assert typed("export", "greet", "-o", "out").stderr == "greet is in out/greet.json\n"
    assert typed("export", "greet", "--format", "yaml", "-o", "out/x.yml").exit_code == 0

    assert json.loads((tmp_path / "out" / "greet.json").read_text()) == definition()
    assert yaml.safe_load((tmp_path / "out" / "x.yml").read_text()) == definition()
    assert typed("export", "greet", "-o", "nowhere/x.json").exit_code == 1


def test_what_is_not_published_is_not_exported_and_makes_no_database(typed, written, home):
    done = typed("export", "greet")
    assert done.exit_code == 1
    assert "no published integration 'greet'" in done.stderr
    assert not home.exists()


def test_yaml_is_the_same_in_a_locale_without_its_letters(typed, written, home):
    typed("import", written("greet.json", definition(description="caf\u00e9 \u2603")), "--publish")

    command = [Path(sys.executable).with_name("orchestrator"), "export", "greet", "--format", "yaml", "--home", home]
    env = {key: value for key, value in os.environ.items() if not key.startswith("ORCHESTRATOR_")}
    narrow = env | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=narrow, capture_output=True, check=True)

    assert yaml.safe_load(done.stdout) == definition(description="caf\u00e9 \u2603")


def test_versions_are_steered_from_python(home):
    with Orchestrator(Settings(home=home)) as orchestrator:
        versions = orchestrator.versions
        draft = versions.create(orchestrator.read(definition()))
        other = versions.create(orchestrator.read(definition(description="other")))

        assert versions.publish(draft.id) == ()
        assert versions.publish(other.id) == ()
        versions.delete(draft.id)
        versions.unpublish(other.id)

        assert versions.get(draft.id, integration="greet").state == "ARCHIVED"
        assert versions.get(other.id).state == "SNAPSHOT"
        with pytest.raises(IntegrationNotFound):
            orchestrator.published("greet")


@needs_samples
def test_all_samples_are_imported_and_come_back(typed, home):
    done = typed("import", SAMPLES, "--publish")

    assert done.exit_code == 1
    assert done.stderr.count("error") == 0
    found = states(home)
    assert {name for name, state in found if state == "DRAFT"} == {
        "sftp-get-file",
        "sftp-get-file-poll",
        "cloudfunctions",
    }
    assert {f"{name}.json" for name, _ in found} == set(sample_names())
    assert "task type 'GenericConnectorTask' is not known here: task" in done.stdout
    assert "task type 'CloudFunctionTask' is not known here: task" in done.stdout

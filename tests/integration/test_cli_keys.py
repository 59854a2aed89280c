"""The commands about API keys, as a shell sees them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import Orchestrator
from orchestrator.errors import InvalidValue
from orchestrator.model.keys import Scope, parse_key
from orchestrator.settings import Settings

pytestmark = pytest.mark.slow

COMMAND = str(Path(sys.executable).with_name("orchestrator"))
COMMAND_LIMIT_S = 300  # against hanging alone


@pytest.fixture
def typed(tmp_path):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ORCHESTRATOR_")}
    env = inherited | {"ORCHESTRATOR_HOME": str(tmp_path / "home"), "LOGNAME": "ada"}

    def typed(*arguments):
        command = [COMMAND, "keys", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False
        )

    return typed


def test_a_key_is_alone_on_stdout_and_never_shown_again(typed):
    made = typed("create", "ci", "--scope", "run", "--scope", "read", "--executor", "ingest", "--expires", "30d")
    text = made.stdout.removesuffix("\n")
    key_id = parse_key(text).id
    listed, as_json = typed("list"), typed("list", "--json")

    assert made.returncode == 0
    assert re.fullmatch(
        rf"made key {key_id} 'ci' \(read, run, executor ingest, expires 20[0-9T:+-]+\); this is .*\n", made.stderr
    )
    assert listed.stdout.split("\t")[:5] == [key_id, "ci", "VALID", "read,run", "ingest"]
    (shown,) = json.loads(as_json.stdout)["keys"]
    assert (shown["actor"], shown["createdBy"], shown["lastUseTime"]) == ("key:ci", "ada", None)
    assert text.rpartition("_")[2] not in made.stderr + listed.stdout + listed.stderr + as_json.stdout
    assert "hash" not in as_json.stdout


def test_a_key_as_json_is_the_key_and_what_is_known_of_it(typed):
    made = typed("create", "--scope", "tasks:poll", "--expires", "2999-01-31T12:00:00Z", "--json")
    document = json.loads(made.stdout)

    assert document["name"] == document["id"] == parse_key(document["key"]).id
    assert document["actor"] == f"key:{document['id']}"
    assert (document["scopes"], document["executor"]) == (["tasks:poll"], None)
    assert document["expireTime"] == "2999-01-31T12:00:00+00:00"


def test_revoking_a_key_says_who_did_it_and_twice_is_once(typed):
    text = typed("create", "ci", "--scope", "read").stdout.strip()
    key_id = parse_key(text).id

    once, twice, listed = typed("revoke", key_id), typed("revoke", text), typed("list", "--json")

    assert (once.returncode, once.stdout, twice.returncode) == (0, "", 0)
    assert re.fullmatch(rf"revoked key {key_id} 'ci' \(read\), at 20[0-9T:+-]+ by ada\n", once.stderr)
    assert twice.stderr == once.stderr
    assert [(each["state"], each["revokedBy"]) for each in json.loads(listed.stdout)["keys"]] == [("REVOKED", "ada")]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["revoke", "nothing"], 1, "there is no API key with the id 'nothing'; `orchestrator keys list` shows"),
        (["create", "ci"], 2, "--scope"),
        (["create", "ci", "--scope", "everything"], 2, "tasks:complete"),
        (["create", "ci", "--scope", "read", "--expires", "tomorrow"], 2, "--expires: found 'tomorrow'"),
        (["create", "ci", "--scope", "read", "--expires", "2020-01-01T00:00:00Z"], 2, "expected a time to come"),
        (["create", "ci", "--scope", "read", "--executor", "a b"], 2, "executor of the key: found 'a b'"),
    ],
)
def test_what_cannot_be_is_refused_with_one_message(typed, arguments, code, said):
    done = typed(*arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_from_python_a_scope_may_be_a_word_and_has_to_be_one_that_there_is(tmp_path):
    with Orchestrator(Settings(home=tmp_path)) as orchestrator:
        made = orchestrator.keys.create("ci", scopes=["tasks:poll", Scope.READ], created_by="ada")
        with pytest.raises(InvalidValue, match=r"^scope of the key: found 'all', expected one of read, run, "):
            orchestrator.keys.create("ci", scopes=["all"])

        assert made.key.scopes == {Scope.TASKS_POLL, Scope.READ}
        assert orchestrator.keys.list() == [made.key]
        assert orchestrator.keys.revoke(made.key.id, revoked_by="bob").revoked_by == "bob"

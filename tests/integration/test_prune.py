"""``orchestrator prune`` as an operator types it, and while workers are at work."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator import Orchestrator
from orchestrator.settings import Settings
from orchestrator.store.tables import executions, history, later, live_attempts
from tests.contracts.stored import make_entry, make_execution, publish
from tests.flows import calls, flow, parameter, task
from tests.integration.steering import INCLUDE
from tests.integration.system import running_system
from tests.integration.test_docs import blocks, environment, typed
from tests.integration.waiting import until
from tests.services import redis_url

COMMAND = Path(sys.executable).with_name("orchestrator")
COMMAND_LIMIT_S = 60
ITEM = parameter("item", "INT_VALUE", direction="IN")


def prune(home, *arguments):
    return subprocess.run(
        [str(COMMAND), "prune", *arguments],
        env=Settings(home=home).to_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_LIMIT_S,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One in which three executions ended, of which two long ago; one of those FAILED, and has an artifact."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with Orchestrator(settings) as client:
        database = client._open().database
        new = [make_execution(publish(database), ready=(), recorded=make_entry()) for _ in range(3)]
        client._open().services.store.create(new)
        with database.begin() as connection:
            for each, days, state in zip(new, (40, 50, 1), ("SUCCEEDED", "FAILED", "SUCCEEDED"), strict=True):
                ended = {"state": state, "created_at": later(-86_400.0 * days), "ended_at": later(-86_400.0 * days)}
                connection.execute(sa.update(executions).where(executions.c.id == each.id).values(ended))
    artifact = settings.home / "artifacts" / "attempts" / f"{new[1].id}.1.1" / "x" / "stdout.log"
    artifact.parent.mkdir(parents=True)
    artifact.write_text("1234")
    return settings.home


@pytest.mark.parametrize("age", ["30", "-1d", "a month", "", "99999999d"])
def test_an_age_that_is_none_exits_with_2(home, age):
    done = prune(home, f"--older-than={age}")

    assert (done.returncode, done.stdout) == (2, "")
    assert "expected a" in done.stderr


def test_a_prune_without_an_age_exits_with_2(home):
    assert prune(home).returncode == 2


def test_a_home_that_was_never_used_has_nothing_to_delete_and_stays_so(tmp_path):
    done = prune(tmp_path / "home", "--older-than", "30d", "--json")

    assert json.loads(done.stdout)["executions"] == 0
    assert not (tmp_path / "home").exists()


def test_a_dry_run_and_the_prune_say_the_same(home):
    """The three in one test, because the last one leaves nothing to the others."""
    dry = prune(home, "--older-than", "30d", "--dry-run", "--json")
    spared = prune(home, "--older-than", "30d", "--keep-failed", "--dry-run")
    done = prune(home, "--older-than", "30d", "--json")
    again = prune(home, "--older-than", "30d")

    counted = {"roots": 2, "executions": 2, "artifactBytes": 4, "results": 0}
    assert json.loads(dry.stdout) == {"dryRun": True} | counted
    assert spared.stdout == (
        "would be deleted: 1 executions in 1 trees, 0 bytes of artifacts, 0 expired results of plain tasks\n"
    )
    assert json.loads(done.stdout) == {"dryRun": False} | counted
    assert done.stderr == "so far: 2 executions in 2 trees, 4 bytes of artifacts, 0 expired results of plain tasks\n"
    assert again.stdout.startswith("deleted: 0 executions in 0 trees")
    assert list((home / "artifacts" / "attempts").iterdir()) == []


@pytest.mark.services
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_while_workers_work_everything_is_deleted_once_it_is_over_and_nothing_before(database, tmp_path):
    trees = 20
    with running_system(tmp_path, database=database, broker_url=redis_url(), include=INCLUDE, concurrency=2) as system:
        system.client.publish(flow("leaf", task(1), parameters=[ITEM]))
        leaves = calls("leaf", listToIterate=[1, 2], iterationElementMapping="item")
        system.client.publish(flow("root", task(1, "ForEachParallelTask", takes=leaves, next=[2]), task(2)))
        for _ in range(trees):
            system.submit("root")
        roots, counted = 0, 0

        def is_all_gone():
            nonlocal roots, counted
            done = system.client.prune(timedelta(0), keeps_failed=True)
            roots, counted = roots + done.roots, counted + done.executions
            assert system.services.ended_workers() == []
            return roots == trees

        until(is_all_gone, within_s=60, what="the end of all")

        assert counted == 3 * trees
        assert [system.rows(sa.select(table)) for table in (executions, history, live_attempts)] == [[], [], []]


def test_the_page_does_what_it_says_and_prints_what_it_shows(tmp_path):
    env, output = environment(tmp_path / ".orchestrator"), ""
    page = blocks("docs/operating.md")
    for kind, info, text in page:
        if info.startswith("file="):
            (tmp_path / info.removeprefix("file=")).write_text(text)
        elif kind == "sh":
            printed, env = typed(text, tmp_path, env)
            output += printed

    shown, _ = [text for kind, _, text in page if kind == "text"]
    assert output == shown + "0 0\n"

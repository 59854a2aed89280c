"""Faults of a prune: its process dies at any moment, and the next one finishes what it has left."""

import signal
import subprocess

import pytest
import sqlalchemy as sa

from orchestrator.artifacts import Artifacts
from orchestrator.settings import Settings
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.tables import executions, history, later
from tests.contracts.stored import link_to, make_entry, make_execution, publish
from tests.integration.processes import python
from tests.services import postgres_database, sqlite_database

TREES, CHILDREN = 300, 2  # two pages


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.services)])
def old(request, tmp_path):
    """A database full of what ended long ago, and its settings."""
    with sqlite_database(tmp_path) if request.param == "sqlite" else postgres_database() as database:
        url = database.url.render_as_string(hide_password=False)
        settings = Settings(home=tmp_path / "home", database_url=url)
        version_id, new = publish(database), []
        for _ in range(TREES):
            root = make_execution(version_id, ready=(), recorded=make_entry())
            key = AttemptKey(execution_id=root.id, number=1, attempt=1)
            links = [link_to(key, position=position) for position in range(CHILDREN)]
            new += [root, *(make_execution(version_id, ready=(), recorded=make_entry(), parent=link) for link in links)]
        ExecutionStore(database).create(new)
        with database.begin() as connection:
            ended = {"state": "SUCCEEDED", "created_at": later(-7200.0), "ended_at": later(-7200.0)}
            connection.execute(sa.update(executions).values(ended))
        artifacts = Artifacts(settings.resolved_artifacts_url)
        for each in new:
            artifacts.put(f"attempts/{each.id}.1.1/x/stdout.log", b"1")
        yield database, settings, artifacts


def prune(settings, *, failpoints=""):
    environment = settings.replaced(failpoints=failpoints).to_environment()
    command = python("-m", "orchestrator", "prune", "--older-than", "1h")
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("failpoints", ["prune.artifacts=kill9@2", "prune.inside=kill9@2", "prune.deleted=kill9"])
def test_a_prune_that_is_killed_leaves_whole_trees_and_the_next_one_finishes(old, failpoints):
    database, settings, artifacts = old

    killed = prune(settings, failpoints=failpoints)
    with database.read() as connection:
        counted = sa.select(sa.func.count(executions.c.id)).group_by(executions.c.root_id)
        sizes = set(connection.execute(counted).scalars())
        left = set(connection.execute(sa.select(executions.c.id)).scalars())
        with_history = set(connection.execute(sa.select(history.c.execution_id)).scalars())
    again = prune(settings)

    assert killed.returncode == -signal.SIGKILL
    assert (sizes, with_history) == ({1 + CHILDREN}, left)
    assert 0 < len(left) < TREES * (1 + CHILDREN)
    assert f"deleted: {len(left):,} executions in {len(left) // 3:,} trees" in again.stdout
    assert artifacts.folders("attempts") == ()

"""Faults of clients: a process that submits dies at any moment, and asks again with the same request id."""

import signal
import subprocess
import uuid

import pytest
import sqlalchemy as sa

from orchestrator import Orchestrator
from orchestrator.model.states import ExecutionState
from orchestrator.store.tables import executions
from tests.flows import flow
from tests.integration.processes import python

pytestmark = pytest.mark.services

SUBMIT = """
import sys
from orchestrator import Orchestrator
with Orchestrator() as client:
    print(client.submit("asked", executor=sys.argv[1], request_id=sys.argv[2]))
"""

SUBMIT_MANY = """
import sys
from orchestrator import Orchestrator
from orchestrator.service import submit_many
submit_many.CHUNK = 10
names = [f"{sys.argv[2]}-{number}" for number in range(25)]
with Orchestrator() as client:
    print(*client.submit_many("asked", [{}] * 25, executor=sys.argv[1], request_ids=names))
"""


@pytest.fixture
def rig(sqlite_rig):
    if not sqlite_rig.workers:
        sqlite_rig.start_worker().wait_until_ready()
    sqlite_rig.client.publish(flow("asked", sqlite_rig.ledger.task(1)))
    yield sqlite_rig
    sqlite_rig.check()


def ask(rig, request_id, *, script=SUBMIT, failpoints=""):
    environment = rig.settings.replaced(failpoints=failpoints).to_environment()
    command = python("-c", script, rig.executor, request_id)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("point", "is_stored"), [("submit.before", False), ("submit.committed", True), ("submit.published", True)]
)
def test_a_client_that_is_killed_and_asks_again_has_one_execution(rig, point, is_stored):
    request_id = uuid.uuid4().hex
    with_it = sa.select(executions.c.id).where(executions.c.request_id == request_id)

    killed = ask(rig, request_id, failpoints=f"{point}=kill9")
    stored = [row.id for row in rig.rows(with_it)]
    again = ask(rig, request_id)
    execution = rig.wait(again.stdout.strip())

    assert killed.returncode == -signal.SIGKILL
    assert stored == ([execution.id] if is_stored else [])
    assert execution.state is ExecutionState.SUCCEEDED
    assert [row.id for row in rig.rows(with_it)] == [execution.id]


def test_what_a_killed_client_has_stored_runs_though_it_never_asks_again(rig):
    request_id = uuid.uuid4().hex

    ask(rig, request_id, failpoints="submit.committed=kill9")
    (row,) = rig.rows(sa.select(executions.c.id).where(executions.c.request_id == request_id))
    execution = rig.wait(row.id)

    assert execution.state is ExecutionState.SUCCEEDED


@pytest.mark.parametrize(
    ("point", "stored"), [("submit.before", 10), ("submit.committed", 20), ("publish.message", 10)]
)
def test_a_client_that_is_killed_amid_many_and_asks_again_has_each_of_them_once(rig, point, stored):
    """At the second chunk, or after three messages of the first."""
    request_id = uuid.uuid4().hex[:12]
    with_it = sa.select(executions.c.id).where(executions.c.request_id.startswith(request_id))
    nth = 3 if point == "publish.message" else 2

    ask(rig, request_id, script=SUBMIT_MANY, failpoints=f"{point}=kill9@{nth}")
    before = {row.id for row in rig.rows(with_it)}
    ids = ask(rig, request_id, script=SUBMIT_MANY).stdout.split()

    assert len(before) == stored
    assert before < set(ids)
    assert {rig.wait(each).state for each in ids} == {ExecutionState.SUCCEEDED}
    assert {row.id for row in rig.rows(with_it)} == set(ids)


def test_clients_of_one_process_and_broker_do_not_end_with_each_other(rig):
    with Orchestrator(rig.settings) as first:
        with Orchestrator(rig.settings) as second:
            ids = [each.submit("asked", executor=rig.executor) for each in (first, second)]
        ids.append(first.submit("asked", executor=rig.executor))
    with Orchestrator(rig.settings) as third:
        ids.append(third.submit("asked", executor=rig.executor))

    assert {rig.wait(each).state for each in ids} == {ExecutionState.SUCCEEDED}


def test_a_misspelt_failpoint_is_refused_at_the_start(rig):
    refused = ask(rig, "never", failpoints="submit.comitted=kill9")

    assert refused.returncode == 1
    assert (
        "ORCHESTRATOR_FAILPOINTS: found 'submit.comitted', expected one of the points submit.before" in refused.stderr
    )

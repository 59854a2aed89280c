"""Retries wait in the database, and any worker fires them: with real workers."""

import pytest

from orchestrator import Orchestrator
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.settings import Settings

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory):
    settings = Settings(home=tmp_path_factory.mktemp("home"), concurrency=2, include=("tests.integration.flaky_tasks",))
    with Orchestrator(settings) as opened:
        yield opened


def flaky(ledger, *, failures, **policies) -> dict:
    return {
        "name": "flaky",
        "triggerConfigs": [{"triggerId": "api_trigger/flaky"}],
        "integrationParameters": [{"key": "tries", "dataType": "INT_VALUE", "inputOutputType": "OUT"}],
        "taskConfigs": [
            {
                "taskId": "1",
                "task": "tests.flaky",
                "parameters": {"ledger": {"stringValue": str(ledger)}, "failures": {"intValue": failures}},
            }
            | policies
        ],
    }


def fixed(retries: int, **more) -> dict:
    return {"retryStrategy": "FIXED_INTERVAL", "maxRetries": retries, "intervalTime": "0.1s"} | more


def test_a_task_that_fails_twice_is_tried_three_times(orchestrator, tmp_path):
    ledger = tmp_path / "ledger"

    execution = orchestrator.execute(flaky(ledger, failures=2, synchronousCallFailurePolicy=fixed(3)), timeout_s=60)

    attempts = execution.task(1).attempts
    assert execution.state is ExecutionState.SUCCEEDED
    assert execution.outputs == {"tries": 3}
    assert [(each.attempt, each.error and each.error.code) for each in attempts] == [(1, 503), (2, 503), (3, None)]


def test_an_execution_that_only_waits_for_a_retry_is_on_hold(orchestrator, tmp_path):
    policy = fixed(1, intervalTime="0.5s")
    execution_id = orchestrator.submit(flaky(tmp_path / "ledger", failures=1, failurePolicy=policy))

    seen = {(each.state, each.task(1).state) for each in orchestrator.watch(execution_id, interval_s=0.02)}

    assert (ExecutionState.RETRY_ON_HOLD, TaskState.RETRY_ON_HOLD) in seen
    assert (ExecutionState.SUCCEEDED, TaskState.SUCCEED) in seen


def test_retries_that_are_used_up_fail_the_execution_with_the_last_error(orchestrator, tmp_path):
    ledger = tmp_path / "ledger"

    execution = orchestrator.execute(flaky(ledger, failures=9, synchronousCallFailurePolicy=fixed(1)), timeout_s=60)

    assert execution.state is ExecutionState.FAILED
    assert (execution.error.message, execution.error.task_number) == ("try 2 fails", 1)
    assert len(ledger.read_text().splitlines()) == 2


def test_a_conditional_policy_retries_only_the_errors_it_names(orchestrator, tmp_path):
    policies = {
        "conditionalFailurePolicies": {
            "failurePolicies": [fixed(3, condition="$`ErrorInfo.code`$ = 404")],
            "defaultFailurePolicy": {"retryStrategy": "NONE"},
        }
    }

    execution = orchestrator.execute(flaky(tmp_path / "ledger", failures=1, **policies), timeout_s=60)

    assert execution.state is ExecutionState.FAILED
    assert len(execution.task(1).attempts) == 1

"""A worker that lacks a task type: the attempt fails and says what to do, instead of waiting for ever."""

import pytest

from orchestrator import Orchestrator
from orchestrator.model.states import ExecutionState
from orchestrator.runtime.embedded import EmbeddedServices
from orchestrator.settings import Settings

pytestmark = pytest.mark.services


def test_the_attempt_fails_with_the_remedy(tmp_path):
    with EmbeddedServices(Settings(home=tmp_path, concurrency=1)) as services:
        services.start_worker("default")
        knowing = services.settings.replaced(include=("tests.integration.sleepy_tasks",))
        with Orchestrator(knowing) as orchestrator:
            execution = orchestrator.execute(
                {
                    "name": "sleep",
                    "triggerConfigs": [{"triggerId": "api_trigger/sleep"}],
                    "taskConfigs": [
                        {"taskId": "1", "task": "tests.sleep", "parameters": {"seconds": {"doubleValue": 0}}}
                    ],
                },
                timeout_s=60,
            )

    assert execution.state is ExecutionState.FAILED
    assert execution.error.code == "TASK_NOT_FOUND"
    assert "--include MODULE" in execution.error.message

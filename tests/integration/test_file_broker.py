"""Where there is no redis-server: messages go through files, slowly, and executions run all the same."""

import pytest

from orchestrator import Orchestrator
from orchestrator.model.states import ExecutionState
from orchestrator.runtime.embedded import EmbeddedServices
from orchestrator.settings import Settings

pytestmark = pytest.mark.services


def test_an_execution_with_a_chord_runs_over_files(tmp_path):
    said = []
    greet = {
        "name": "greet",
        "triggerConfigs": [{"triggerId": "api_trigger/greet"}],
        "integrationParameters": [
            {"key": "name", "dataType": "STRING_VALUE", "inputOutputType": "IN"},
            {"key": "text", "dataType": "STRING_VALUE", "inputOutputType": "OUT"},
        ],
        "taskConfigs": [
            {
                "taskId": "1",
                "task": "JsonnetMapperTask",
                "parameters": {"template": {"stringValue": "{text: 'hi ' + std.extVar('name')}"}},
            }
        ],
    }
    collect = {"entries": [{"key": literal("text"), "value": literal("texts")}]}
    greet_all = {
        "name": "greet-all",
        "triggerConfigs": [{"triggerId": "api_trigger/greet-all"}],
        "integrationParameters": [{"key": "texts", "dataType": "JSON_VALUE", "inputOutputType": "OUT"}],
        "taskConfigs": [
            {
                "taskId": "1",
                "task": "ForEachParallelTask",
                "parameters": {
                    "workflowName": {"stringValue": "greet"},
                    "triggerId": {"stringValue": "api_trigger/greet"},
                    "listToIterate": {"jsonValue": '["a", "b", "c"]'},
                    "iterationElementMapping": {"stringValue": "name"},
                    "aggregatorParameterMapping": {"jsonValue": collect},
                },
            }
        ],
    }
    settings = Settings(home=tmp_path, concurrency=2)
    with (
        EmbeddedServices(settings, say=said.append, find=lambda: None) as services,
        Orchestrator(services.settings) as orchestrator,
    ):
        services.start_worker("default")
        orchestrator.publish(greet)
        execution = orchestrator.execute(greet_all, timeout_s=60)

    assert execution.state is ExecutionState.SUCCEEDED
    assert execution.outputs == {"texts": ["hi a", "hi b", "hi c"]}
    assert "no redis-server found" in said[0]


def literal(text: str) -> dict:
    return {"literalValue": {"stringValue": text}}

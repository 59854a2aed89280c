"""The integrations that are measured, as documents.

``mode`` is "message" (every task is heavy: one message and one claim each) or "light" (all run in line).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

Document: TypeAlias = dict[str, Any]

MODES: Final = ("message", "light")
_NOOP: Final = {"message": "bench.noop", "light": "bench.noop_light"}
_CARRY: Final = {"message": "bench.carry", "light": "bench.carry_light"}
_ITEM: Final = {"key": "item", "dataType": "INT_VALUE", "inputOutputType": "IN", "defaultValue": {"intValue": "0"}}


def leaf(name: str, mode: str) -> Document:
    """One task that does nothing; it takes ``item``, as what a loop starts."""
    return _integration(name, [_task(1, _NOOP[mode])], [_ITEM])


def wide(name: str, below: str, width: int) -> Document:
    """One sub-execution of ``below`` for each element of a list, and their join."""
    return _integration(name, [_loop(below, width)], [_ITEM])


def chain(name: str, mode: str, length: int) -> Document:
    """One task after the other."""
    return _integration(name, _in_a_row(_NOOP[mode], length))


def carrying(name: str, mode: str, length: int) -> Document:
    """One task after the other; each takes a text, and puts out another one of the same length."""
    text = {"key": "text", "dataType": "STRING_VALUE", "inputOutputType": "IN"}
    return _integration(name, _in_a_row(_CARRY[mode], length, takes={"text": "$text$"}), [text])


def graph(name: str, mode: str, *, executor: str | None = None) -> Document:
    """One task, three beside each other, and one when all three are done; all of this executor, if one is named."""
    first = _task(1, _NOOP[mode], next_=[2, 3, 4])
    middle = [_task(number, _NOOP[mode], next_=[5]) for number in (2, 3, 4)]
    last = _task(5, _NOOP[mode]) | {"taskExecutionStrategy": "WHEN_ALL_SUCCEED"}
    runs_on = {"executorId": executor} if executor else {}
    return _integration(name, [each | runs_on for each in (first, *middle, last)])


def waiting(name: str) -> Document:
    """It waits for somebody's answer, for a day at the most."""
    task = _task(1, "SuspensionTask")
    expires = {"expireAfterMs": 24 * 3600 * 1000}
    task["parameters"]["suspensionExpiration"] = {"key": "suspensionExpiration", "value": {"jsonValue": expires}}
    return _integration(name, [task])


def _loop(below: str, width: int) -> Document:
    takes = {"workflowName": below, "triggerId": f"api_trigger/{below}", "iterationElementMapping": "item"}
    task = _task(1, "ForEachParallelTask", takes=takes)
    task["parameters"]["listToIterate"] = {"key": "listToIterate", "value": {"jsonValue": list(range(width))}}
    return task


def _in_a_row(task_type: str, length: int, *, takes: Mapping[str, str] | None = None) -> list[Document]:
    return [
        _task(number, task_type, next_=[number + 1] if number < length else [], takes=takes)
        for number in range(1, length + 1)
    ]


def _task(
    number: int, task_type: str, *, next_: Iterable[int] = (), takes: Mapping[str, str] | None = None
) -> Document:
    return {
        "taskId": str(number),
        "task": task_type,
        "nextTasks": [{"taskId": str(each)} for each in next_],
        "parameters": {key: {"key": key, "value": {"stringValue": text}} for key, text in (takes or {}).items()},
    }


def _integration(name: str, tasks: list[Document], parameters: Iterable[Document] = ()) -> Document:
    return {
        "name": name,
        "triggerConfigs": [{"triggerId": f"api_trigger/{name}", "startTasks": [{"taskId": "1"}]}],
        "taskConfigs": tasks,
        "integrationParameters": list(parameters),
    }

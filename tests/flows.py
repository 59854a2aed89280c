"""Definitions as documents, made with only what a test is about.

``flow("two", task(1, next=[2]), task(2))`` is a chain of two, entered by ``api_trigger/two``.
"""


def edge(following):
    """A number, or a number with a condition."""
    number, condition = following if isinstance(following, tuple) else (following, "")
    return {"taskId": str(number), **({"condition": condition} if condition else {})}


def task(number, task_type="tests.nothing", *, next=(), takes=None, **more):  # noqa: A002 - what follows it
    """One task config. ``takes`` are its parameters as plain Python data."""
    return {
        "taskId": str(number),
        "task": task_type,
        "nextTasks": [edge(following) for following in next],
        "parameters": {key: {"key": key, "value": to_value(data)} for key, data in (takes or {}).items()},
        **more,
    }


def parameter(key, data_type="STRING_VALUE", *, direction="NONE", default=None):
    declared = {"key": key, "dataType": data_type, "inputOutputType": direction}
    return declared if default is None else declared | {"defaultValue": to_value(default)}


def flow(name, *tasks, starts=None, parameters=()):
    """An integration with one API trigger; it starts with task 1 unless told otherwise."""
    return {
        "name": name,
        "triggerConfigs": [{"triggerId": f"api_trigger/{name}", "startTasks": [edge(each) for each in starts or [1]]}],
        "taskConfigs": list(tasks),
        "integrationParameters": list(parameters),
    }


def to_value(data):
    match data:
        case bool():
            return {"booleanValue": data}
        case int():
            return {"intValue": str(data)}
        case float():
            return {"doubleValue": data}
        case str():
            return {"stringValue": data}
        case _:
            return {"jsonValue": data}


def mapping(pairs):
    """A ParameterMap, as requestParameterMapping and its like take it."""
    return {
        "@type": "type.googleapis.com/enterprise.crm.eventbus.proto.ParameterMap",
        "entries": [
            {"key": {"literalValue": {"stringValue": source}}, "value": {"literalValue": {"stringValue": target}}}
            for source, target in pairs.items()
        ],
    }


def calls(name, **more):
    """What a task that runs a sub-integration takes."""
    return {"workflowName": name, "triggerId": f"api_trigger/{name}", **more}

"""Google's ``IntegrationVersion`` JSON read into our words, unchanged as the product exports it.

One pass collects every problem with its place. What is read is shape and type only; whether it makes sense together
(edges, cycles, task types, conditions) is ``engine/validate.py``.

Decisions:

- Keys that mean nothing to us are tolerated silently, at every level: exports carry dozens of them (positions, audit
  fields, ``*Internal`` twins), and the product adds more. They stay in ``document``, which is stored unchanged.
- A default value takes the declared type here if it can, so ``defaults()`` speaks in declared types; if it cannot, it
  stays as written for validation to refuse.
- The times of a cron trigger are the first of these that is there: ``cloudSchedulerConfig.cronTab``, the property
  "Scheduled Time spec", what the id says. The product writes the last two alike.
- An integration is named by the caller, else by the document, else by its API trigger (the product calls the triggers
  of integration X ``X_API_1``, ``X_API_2``), else by its source.

Source: Integrations API v1 discovery document, GoogleCloudIntegrationsV1alphaIntegrationVersion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from orchestrator.errors import InvalidDefinition, InvalidValue
from orchestrator.model.cron import CronSchedule
from orchestrator.model.definition_tasks import parse_edges, parse_task
from orchestrator.model.definition_text import read_document
from orchestrator.model.fields import Fields, ProblemList, is_storable, shown
from orchestrator.model.integration import (
    API_TRIGGER_PREFIX,
    CRON_TRIGGER_PREFIX,
    CRON_TRIGGER_TYPES,
    ErrorCatcher,
    ForkPolicy,
    InputOutput,
    IntegrationParameter,
    IntegrationVersion,
    TriggerConfig,
)
from orchestrator.model.json_text import check_json
from orchestrator.model.limits import parse_limits
from orchestrator.model.values import DataType, Value, coerce

MAX_TASKS: Final = 5_000
MAX_TRIGGERS: Final = 100  # each one costs validation a walk through the graph
MAX_PARAMETERS: Final = 5_000  # each one may bring a schema to check
_MOST: Final = {
    "taskConfigs": MAX_TASKS,
    "task_configs": MAX_TASKS,
    "triggerConfigs": MAX_TRIGGERS,
    "trigger_configs": MAX_TRIGGERS,
    "integrationParameters": MAX_PARAMETERS,
    "integration_parameters": MAX_PARAMETERS,
    "integrationConfigParameters": MAX_PARAMETERS,
    "integration_config_parameters": MAX_PARAMETERS,
}


def read_definition(data: bytes, *, name: str = "", source: str) -> IntegrationVersion:
    """Read the bytes of a definition: JSON or YAML in UTF-8, at most 8 MiB.

    Args:
        data: the content of a file or of a request.
        name: the integration's short name; empty for the document's own.
        source: where it came from, for messages.

    Raises:
        UnreadableDefinition: it is neither JSON nor YAML, or more than we take in; the reason says line and column.
        InvalidDefinition: it was read, and is no integration version.
    """
    return parse_integration(read_document(data, source), name=name, source=source)


def parse_integration(
    document: Mapping[str, object], *, name: str = "", source: str = "definition"
) -> IntegrationVersion:
    """Read a decoded definition.

    Args:
        document: an ``IntegrationVersion``, keys in camelCase or snake_case.
        name: the integration's short name; empty for the document's own.
        source: where it came from, for messages.

    Raises:
        InvalidDefinition: with every problem, each naming its place.
    """
    problems = ProblemList()
    _check_size(document, source)
    top = Fields(document, "", problems)
    version = IntegrationVersion(
        tasks=tuple(parse_task(fields) for fields in top.objects("taskConfigs")),
        triggers=(triggers := tuple(_parse_trigger(f, i) for i, f in enumerate(top.objects("triggerConfigs"), 1))),
        parameters=(
            *(_parse_parameter(fields) for fields in top.objects("integrationParameters")),
            *(_parse_config_parameter(fields) for fields in top.objects("integrationConfigParameters")),
        ),
        error_catchers=tuple(_parse_catcher(f, i) for i, f in enumerate(top.objects("errorCatcherConfigs"), 1)),
        description=top.text("description"),
        user_label=top.text("userLabel"),
        limits=parse_limits(top.nested("limits")),
        name=_name_of(top, name, triggers=triggers, source=source),
        document=document,
    )
    if problems:
        raise InvalidDefinition(source, problems.sentences)
    return version


def _check_size(document: object, source: str) -> None:
    """Refuse at once what would only cost time: no JSON at all, or far too many parts."""
    if not isinstance(document, Mapping):
        raise InvalidDefinition(source, [f"found {shown(document)}, expected an object with taskConfigs"])
    for key, most in _MOST.items():
        items = document.get(key)
        if isinstance(items, list | tuple) and len(items) > most:
            raise InvalidDefinition(source, [f"{key}: found {len(items):,}, expected at most {most:,}"])
    try:
        check_json(document, "document")
    except InvalidValue as error:
        raise InvalidDefinition(source, [str(error)]) from None


# -- the name ------------------------------------------------------------------------------------------------------


def _name_of(top: Fields, name: str, *, triggers: tuple[TriggerConfig, ...], source: str) -> str:
    if name:
        return _checked_name(top, name)
    written = top.text("name")
    if written:
        in_path = re.search(r"(?:^|/)integrations/([^/]+)(?:/|$)", written)
        return _checked_name(top, in_path[1] if in_path else written)
    for trigger in triggers:
        by_trigger = re.fullmatch(r"api_trigger/([^/:]+)_API_\d+", trigger.id)
        if by_trigger:
            return by_trigger[1]
    stem = source.replace("\\", "/").rsplit("/", 1)[-1].split(".", 1)[0]
    return re.sub(r"[^\w.-]+", "-", stem, flags=re.ASCII).strip("-") or "integration"


def _checked_name(top: Fields, name: str) -> str:
    # A colon ends the resource in /v1/.../integrations/NAME:execute, a slash its segment.
    if not re.fullmatch(r"[^/:\x00-\x1f]{1,256}", name) or not is_storable(name):
        top.refuse("name", shown(name), "1 to 256 characters without slash, colon and control characters")
    return name


# -- triggers and error catchers -----------------------------------------------------------------------------------


def _parse_trigger(fields: Fields, position: int) -> TriggerConfig:
    number = fields.whole("triggerNumber")
    properties = _parse_properties(fields)
    trigger_id = fields.text("triggerId") or _derived_id(properties)
    if trigger_id:
        fields.place = f"trigger {trigger_id[:80]!r}"
    else:
        fields.miss("triggerId", 'an id, such as "api_trigger/NAME", or properties["Trigger name"]')
    trigger_type = _parse_trigger_type(fields, trigger_id)
    return TriggerConfig(
        number=position if number is None else number,
        id=trigger_id,
        type=trigger_type,
        label=fields.text("label"),
        start_tasks=tuple(parse_edges(fields, "startTasks")),
        fork=fields.choice("nextTasksExecutionPolicy", ForkPolicy.RUN_ALL_MATCH),
        properties=properties,
        error_catcher_id=fields.text("errorCatcherId"),
        input_variables=_parse_names(fields.nested("inputVariables")),
        output_variables=_parse_names(fields.nested("outputVariables")),
        cron=_parse_cron(fields, trigger_id, trigger_type=trigger_type, properties=properties),
    )


def _parse_trigger_type(fields: Fields, trigger_id: str) -> str:
    written = fields.text("triggerType")
    if written and not written.endswith("_UNSPECIFIED"):
        return written
    return "CRON" if trigger_id.startswith(CRON_TRIGGER_PREFIX) else "API"


def _parse_properties(fields: Fields) -> dict[str, str]:
    properties: dict[str, str] = {}
    for key, content in fields.mapping("properties").items():
        if isinstance(content, str) and is_storable(content + key):
            properties[key] = content
        elif content is not None:
            fields.refuse(f"properties[{key!r}]", shown(content), "a string")
    return properties


def _derived_id(properties: Mapping[str, str]) -> str:
    """The id that the product derives: ``api_trigger/NAME``, or ``cron_trigger/NAME/10+12+*+*+*``."""
    if properties.get("Trigger name"):
        return API_TRIGGER_PREFIX + properties["Trigger name"]
    timer, schedule = properties.get("Timer Name"), properties.get("Scheduled Time spec")
    return f"{CRON_TRIGGER_PREFIX}{timer}/{'+'.join(schedule.split())}" if timer and schedule else ""


def _parse_cron(
    fields: Fields, trigger_id: str, *, trigger_type: str, properties: Mapping[str, str]
) -> CronSchedule | None:
    """When a trigger starts executions; the expression is empty if it should have one and has none."""
    config = fields.nested("cloudSchedulerConfig")
    cron_tab, time_zone = (config.text("cronTab"), config.text("timeZone")) if config is not None else ("", "")
    has_timer_id = trigger_id.startswith(CRON_TRIGGER_PREFIX)
    if not (cron_tab or has_timer_id or trigger_type in CRON_TRIGGER_TYPES):
        return None
    in_id = trigger_id.removeprefix(CRON_TRIGGER_PREFIX).partition("/")[2].replace("+", " ") if has_timer_id else ""
    return CronSchedule(
        expression=cron_tab or properties.get("Scheduled Time spec") or in_id,
        time_zone=time_zone or properties.get("Time zone") or "UTC",
    )


def _parse_names(fields: Fields | None) -> tuple[str, ...]:
    if fields is None:
        return ()
    names = fields.items("names")
    for index, name in enumerate(names):
        if not isinstance(name, str) or not is_storable(name):
            fields.refuse(f"names[{index}]", shown(name), "the name of a parameter")
    return tuple(str(name) for name in names)


def _parse_catcher(fields: Fields, position: int) -> ErrorCatcher:
    catcher_id = fields.required_text("errorCatcherId", "the error catcher's id")
    if catcher_id:
        fields.place = f"error catcher {catcher_id[:80]!r}"
    number = fields.whole("errorCatcherNumber")
    return ErrorCatcher(
        id=catcher_id,
        number=position if number is None else number,
        start_tasks=tuple(parse_edges(fields, "startErrorTasks")),
        label=fields.text("label"),
    )


# -- parameters ----------------------------------------------------------------------------------------------------


def _parse_parameter(fields: Fields) -> IntegrationParameter:
    key = fields.required_text("key", "the parameter's name")
    if key:
        fields.place = f"parameter {key[:80]!r}"
    written = fields.get("defaultValue")
    default = fields.value_of(written, "defaultValue") if written not in (None, {}) else None
    data_type = _parse_data_type(fields, default)
    return IntegrationParameter(
        key=key,
        data_type=data_type,
        default=None if default is None else _as_declared(default, data_type),
        direction=fields.choice("inputOutputType", InputOutput.NONE),
        json_schema=fields.document("jsonSchema"),
        masked=fields.flag("masked"),
        display_name=fields.text("displayName"),
        is_transient=fields.flag("isTransient"),
    )


def _parse_config_parameter(fields: Fields) -> IntegrationParameter:
    """One of ``integrationConfigParameters``: what it was published with takes the place of its default."""
    parameter = fields.nested("parameter") or Fields({}, fields.at("parameter"), fields.problems)
    declared = _parse_parameter(parameter)
    written = fields.get("value")
    value = fields.value_of(written, "value") if written not in (None, {}) else None
    if value is None:
        return declared
    return replace(declared, default=_as_declared(value, declared.data_type))


def _parse_data_type(fields: Fields, default: Value | None) -> DataType:
    """The declared type; without one, the default value's."""
    undeclared = fields.get("dataType") in (None, "", "INTEGRATION_PARAMETER_DATA_TYPE_UNSPECIFIED")
    if undeclared and default is None:
        fields.miss("dataType", f"one of {', '.join(DataType)}")
    return fields.choice("dataType", default.type if default is not None else DataType.STRING)


def _as_declared(default: Value, data_type: DataType) -> Value:
    try:
        return coerce(default, data_type, "defaultValue")
    except InvalidValue:
        return default  # validation refuses it, by the same rule, with the other problems of its kind

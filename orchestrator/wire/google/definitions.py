"""Which fields the messages of a definition have, and a walk over a document by them.

The walk gives a document whose fields are all in camelCase, and refuses names that no message has: a misspelt field
would be kept, and have no effect. It looks into messages alone. What stands in ``*``, that is plain JSON and the
deprecated twins of the product's inside (``taskConfigsInternal`` and the like, 64 message types), stays as it is: real
exports have fields there that the discovery document does not know.

The table is written like this: ``field`` is a single value, ``field>Message``, ``field[Message`` a list of messages,
``field[`` of values, ``field{Message`` a map to messages, ``field{`` to values, and ``field*`` anything. A test holds
it against the discovery document. Keys that are ours have a table of their own; ``docs/definitions.md`` describes them.

The messages are worded as the product's: one line a field, places as paths in snake_case, the entries of a map by
position.

Source: Integrations API v1 discovery document, GoogleCloudIntegrationsV1alphaIntegrationVersion and below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.model.fields import shown
from orchestrator.wire.google.case import camel_to_snake, snake_to_camel
from orchestrator.wire.google.violations import MAX_VIOLATIONS, InvalidRequest, Violation

GOOGLES: Final = """
IntegrationVersion: cloudKmsKey cloudLoggingDetails>CloudLoggingDetails createTime createdFromTemplate
    databasePersistencePolicy description enableVariableMasking errorCatcherConfigs[ErrorCatcherConfig
    eucHardeningDisposition integrationConfigParameters[IntegrationConfigParameter
    integrationParameters[IntegrationParameter integrationParametersInternal* lastModifierEmail lockHolder name origin
    parentTemplateId runAsServiceAccount snapshotNumber state status taskConfigs[TaskConfig taskConfigsInternal*
    teardown* triggerConfigs[TriggerConfig triggerConfigsInternal* updateTime userLabel
CloudLoggingDetails: cloudLoggingSeverity enableCloudLogging
ErrorCatcherConfig: description errorCatcherId errorCatcherNumber label position>Coordinate startErrorTasks[NextTask
IntegrationConfigParameter: parameter>IntegrationParameter value>ValueType
IntegrationParameter: containsLargeData dataType defaultValue>ValueType description displayName inputOutputType
    isTransient jsonSchema* key masked producer searchable
TaskConfig: conditionalFailurePolicies>ConditionalFailurePolicies description displayName errorCatcherId
    externalTaskType failurePolicy>FailurePolicy jsonValidationOption nextTasks[NextTask nextTasksExecutionPolicy
    parameters{EventParameter position>Coordinate successPolicy>SuccessPolicy
    synchronousCallFailurePolicy>FailurePolicy task taskExecutionStrategy taskId taskTemplate
TriggerConfig: alertConfig[IntegrationAlertConfig cloudSchedulerConfig>CloudSchedulerConfig description errorCatcherId
    inputVariables>TriggerConfigVariables label nextTasksExecutionPolicy outputVariables>TriggerConfigVariables
    position>Coordinate properties{ startTasks[NextTask trigger triggerId triggerNumber triggerType
Coordinate: x y
NextTask: condition description displayName taskConfigId taskId
ValueType: booleanArray>BooleanParameterArray booleanValue doubleArray>DoubleParameterArray doubleValue
    intArray>IntParameterArray intValue jsonValue* stringArray>StringParameterArray stringValue
BooleanParameterArray: booleanValues[
DoubleParameterArray: doubleValues[
IntParameterArray: intValues[
StringParameterArray: stringValues[
ConditionalFailurePolicies: defaultFailurePolicy>FailurePolicy failurePolicies[FailurePolicy
FailurePolicy: condition intervalTime maxRetries retryStrategy
EventParameter: key masked value>ValueType
SuccessPolicy: finalState
IntegrationAlertConfig: aggregationPeriod alertThreshold disableAlert displayName durationThreshold metricType
    onlyFinalAttempt thresholdType thresholdValue>IntegrationAlertConfigThresholdValue
CloudSchedulerConfig: cronTab errorMessage location serviceAccountEmail
TriggerConfigVariables: names[
IntegrationAlertConfigThresholdValue: absolute percentage
PublishIntegrationVersionRequest: configParameters* validateOnly
UploadIntegrationVersionRequest: content fileFormat
UnpublishIntegrationVersionRequest:
TakeoverEditLockRequest:
"""
OURS: Final = """
IntegrationVersion: limits>Limits
TaskConfig: executorId timeoutMs queueTimeoutMs rollback>Rollback
CloudSchedulerConfig: timeZone
Limits: maxConcurrent key maxConcurrentPerKey rate>Rate
Rate: count perSeconds
Rollback: task parameters{EventParameter failurePolicy>FailurePolicy
"""
_KINDS: Final = ">[{*"


@dataclass(frozen=True, slots=True)
class FieldType:
    """What stands in a field: ``kind`` is one of the table's signs, or empty; ``message`` is its type, or empty."""

    kind: str
    message: str


def parse_table(*texts: str) -> dict[str, dict[str, FieldType]]:
    """The fields of each message, by name."""
    messages: dict[str, dict[str, FieldType]] = {}
    name = ""
    for word in " ".join(texts).split():
        if word.endswith(":"):
            name = word[:-1]
            messages.setdefault(name, {})
            continue
        at = next((at for at, sign in enumerate(word) if sign in _KINDS), len(word))
        messages[name][word[:at]] = FieldType(word[at : at + 1], word[at + 1 :])
    return messages


MESSAGES: Final = parse_table(GOOGLES, OURS)


def read_message(body: object, message: str, *, place: str = "") -> dict[str, object]:
    """A body with its fields in camelCase.

    Args:
        body: decoded JSON.
        message: the name of its type in the table.
        place: what the request calls it; blank for the request itself.

    Raises:
        InvalidRequest: it has names that its messages do not have, or other things than these hold.
    """
    walk = _Walk(is_strict=True)
    read = walk.message(body, message, place)
    if walk.violations:
        raise walk.refusal
    return read


def schema_of(message: str) -> dict[str, Any]:
    """The JSON schema of a message."""
    fields = {name: _schema_of(field) for name, field in MESSAGES[message].items()}
    return {"type": "object", "properties": fields, "additionalProperties": False}


def _schema_of(field: FieldType) -> dict[str, Any]:
    inside = schema_of(field.message) if field.message else {}
    match field.kind:
        case "[":
            return {"type": "array", "items": inside}
        case "{":
            return {"type": "object", "additionalProperties": inside}
        case "" | "*":
            return {}
    return inside


def unknown_names(document: Mapping[str, object]) -> tuple[str, ...]:
    """What ``read_message`` would refuse of a definition."""
    walk = _Walk(is_strict=True)
    walk.message(document, "IntegrationVersion", "integration_version")
    return walk.refusal.lines


def camel_definition(document: Mapping[str, object]) -> dict[str, object]:
    """A definition with its fields in camelCase; whatever no message has stays as it is."""
    return _Walk(is_strict=False).message(document, "IntegrationVersion", "")


class _Walk:
    """One document on its way; ``violations`` is filled as it goes, if it is strict."""

    def __init__(self, *, is_strict: bool) -> None:
        self.violations: list[Violation] = []
        self._left_out = 0
        self._is_strict = is_strict

    @property
    def refusal(self) -> InvalidRequest:
        return InvalidRequest(self.violations, self._left_out)

    def message(self, body: object, message: str, place: str) -> dict[str, object]:
        if not isinstance(body, Mapping):
            self._refuse(place, f"Invalid value at '{place}' ({message}), found {shown(body)}, expected an object.")
            return {}
        read: dict[str, object] = {}
        for written, content in body.items():
            name = snake_to_camel(written)
            known = MESSAGES[message].get(name)
            if known is None:
                name = written
                self._refuse(place, _unknown(written, place))
            elif name in read and content is not None:
                self._refuse(place, f'Multiple values for "{name}"{_at(place)}: both spellings are there.')
            if content is not None or not self._is_strict:
                below = f"{place}.{camel_to_snake(name)}".lstrip(".")
                read[name] = content if known is None or content is None else self._content(content, known, below)
        return read

    def _content(self, content: object, known: FieldType, place: str) -> object:
        match known.kind:
            case "*":
                return content
            case ">":
                return self._below(content, known.message, place)
            case "[":
                return self._list(content, known.message, place)
            case "{":
                return self._map(content, known.message, place)
        if isinstance(content, Mapping | list):
            self._refuse(place, f"Invalid value at '{place}', found {shown(content)}, expected a single value.")
        return content

    def _list(self, content: object, message: str, place: str) -> object:
        if not isinstance(content, list):
            self._refuse(place, f"Invalid value at '{place}', found {shown(content)}, expected a list.")
            return content
        if not message:
            return content
        return [self._below(item, message, f"{place}[{index}]") for index, item in enumerate(content)]

    def _map(self, content: object, message: str, place: str) -> object:
        if not isinstance(content, Mapping):
            self._refuse(place, f"Invalid value at '{place}', found {shown(content)}, expected an object.")
            return content
        if not message:
            return content
        return {
            key: self._below(item, message, f"{place}[{index}].value")
            for index, (key, item) in enumerate(content.items())
        }

    def _below(self, content: object, message: str, place: str) -> object:
        """A message in a field; a document that was not checked may have anything there."""
        if not self._is_strict and not isinstance(content, Mapping):
            return content
        return self.message(content, _written_as(content, message), place)

    def _refuse(self, place: str, line: str) -> None:
        if self._is_strict and len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(Violation(place, line))
        elif self._is_strict:
            self._left_out += 1


def _written_as(content: object, message: str) -> str:
    """A parameter of a task may be its value alone: definitions that are written by hand have that."""
    if message != "EventParameter" or not isinstance(content, Mapping) or not content:
        return message
    return message if content.keys() & MESSAGES[message].keys() else "ValueType"


def _unknown(name: str, place: str) -> str:
    return f'Invalid JSON payload received. Unknown name "{name[:200]}"{_at(place)}: Cannot find field.'


def _at(place: str) -> str:
    return f" at '{place}'" if place else ""

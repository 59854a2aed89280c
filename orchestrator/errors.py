"""Every error that the orchestrator raises on purpose, in one tree.

Code catches a family; people read a leaf. A message says what was found, where, and what to do next. A leaf keeps
its facts in ``args``, so that it survives pickling and the broker: ``type(e)(*e.args)`` is ``e``.
"""

from __future__ import annotations

from collections.abc import Sequence


class OrchestratorError(Exception):
    """The root of the tree. ``retryable`` tells whether the same call may succeed later without a change."""

    retryable = False


# -- what a caller handed in ---------------------------------------------------------------------------------------


class DefinitionError(OrchestratorError):
    """An integration definition cannot be used; nothing was stored."""


class UnreadableDefinition(DefinitionError):
    """The bytes are not a JSON or YAML document that can be taken in."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source, reason)
        self.source, self.reason = source, reason

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class InvalidDefinition(DefinitionError):
    """The document was read, and what it says cannot run. ``problems`` has one sentence a place."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__(source, tuple(problems))
        self.source, self.problems = source, tuple(problems)

    def __str__(self) -> str:
        return "\n".join([f"{self.source}: {len(self.problems)} problem(s)", *(f"  - {p}" for p in self.problems)])


class ConditionSyntax(DefinitionError):
    """A condition does not follow the grammar. ``column`` counts from 1."""

    def __init__(self, text: str, column: int, expected: str) -> None:
        super().__init__(text, column, expected)
        self.text, self.column, self.expected = text, column, expected

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= 120 else self.text[:117] + "..."
        return f"condition {shown!r}, column {self.column}: expected {self.expected}"


class InputError(OrchestratorError):
    """What came with a run request does not fit the integration; nothing was stored."""


class InvalidValue(InputError):
    """A value is not what its place asks for."""

    def __init__(self, place: str, found: str, expected: str) -> None:
        super().__init__(place, found, expected)
        self.place, self.found, self.expected = place, found, expected

    def __str__(self) -> str:
        return f"{self.place}: found {self.found}, expected {self.expected}"


class FilterSyntax(InputError):
    """A filter of executions does not follow the grammar, or asks a field for what it does not have.

    ``column`` counts from 1.
    """

    def __init__(self, text: str, column: int, expected: str) -> None:
        super().__init__(text, column, expected)
        self.text, self.column, self.expected = text, column, expected

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= 120 else self.text[:117] + "..."
        return f"filter {shown!r}, column {self.column}: expected {self.expected}"


class InvalidPageToken(InputError):
    """A page token does not continue this list."""

    def __init__(self, token: str, reason: str) -> None:
        super().__init__(token, reason)
        self.token, self.reason = token, reason

    def __str__(self) -> str:
        shown = self.token if len(self.token) <= 60 else self.token[:57] + "..."
        return f"page token {shown!r} {self.reason}; begin again without a token"


class UnknownTrigger(InputError):
    """The integration has no trigger of this name."""

    def __init__(self, trigger_id: str, known: Sequence[str]) -> None:
        super().__init__(trigger_id, tuple(known))
        self.trigger_id, self.known = trigger_id, tuple(known)

    def __str__(self) -> str:
        return f"there is no trigger {self.trigger_id!r}; this integration has: {', '.join(self.known) or 'none'}"


class UnknownParameter(InputError):
    """The integration declares no parameter of this name."""

    def __init__(self, key: str, known: Sequence[str]) -> None:
        super().__init__(key, tuple(known))
        self.key, self.known = key, tuple(known)

    def __str__(self) -> str:
        return f"there is no parameter {self.key!r}; this integration declares: {', '.join(self.known) or 'none'}"


class MissingParameter(InputError):
    """A required IN parameter has neither a value nor a default."""

    def __init__(self, key: str, data_type: str) -> None:
        super().__init__(key, data_type)
        self.key, self.data_type = key, data_type

    def __str__(self) -> str:
        return f"parameter {self.key!r} ({self.data_type}) is required: hand it in, or give it a default value"


class InvalidItem(InputError):
    """One of many inputs does not fit. ``position`` counts from 0; ``place`` is where the caller finds it."""

    def __init__(self, position: int, reason: str, place: str = "") -> None:
        super().__init__(position, reason, place)
        self.position, self.reason = position, reason
        self.place = place or f"inputs[{position}]"

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


# -- who may do what over the network ------------------------------------------------------------------------------


class AccessError(OrchestratorError):
    """Who asks may not do this; nothing was done."""


class NotAllowed(AccessError):
    """The key is good, but not for this."""

    def __init__(self, actor: str, scope: str) -> None:
        super().__init__(actor, scope)
        self.actor, self.scope = actor, scope

    def __str__(self) -> str:
        return f"{self.actor} may not do this: it needs a key with the scope {self.scope!r}"


class OtherExecutor(AccessError):
    """The key is good, but for another executor."""

    def __init__(self, actor: str, executor: str, wanted: Sequence[str]) -> None:
        super().__init__(actor, executor, tuple(wanted))
        self.actor, self.executor, self.wanted = actor, executor, tuple(wanted)

    def __str__(self) -> str:
        others = ", ".join(map(repr, self.wanted))
        return f"{self.actor} may use executor {self.executor!r} alone, and this would use {others}"


class KeyRefused(AccessError):
    """Nobody knows who asks. ``reason`` and ``key_id`` are for our logs: whoever asks is not told which it was."""

    def __init__(self, reason: str, key_id: str = "") -> None:
        super().__init__(reason, key_id)
        self.reason, self.key_id = reason, key_id

    def __str__(self) -> str:
        return (
            "this API key is not valid: it was mistyped, never made, revoked, or has expired; "
            "`orchestrator keys create NAME --scope read` makes one"
        )


class KeyMissing(KeyRefused):
    """A request without a key."""

    def __str__(self) -> str:
        return (
            "this needs an API key: send it as a header `Authorization: Bearer KEY` or `X-Api-Key: KEY`, or under /v1/ "
            "as `?key=KEY`; `orchestrator keys create NAME --scope read` makes one"
        )


class KeysDiffer(KeyRefused):
    """A request with several keys that are not the same."""

    def __str__(self) -> str:
        return "this request has several API keys that differ (in headers, or in the URL): send one of them alone"


# -- what a task met while it ran ----------------------------------------------------------------------------------


class TaskError(OrchestratorError):
    """A task cannot do its work; its attempt ends FAILED with this message and code.

    Task code raises it; any other exception of a task is recorded likewise with the code INTERNAL_ERROR.
    ``code`` is the number or name that a retry condition sees as ``$`ErrorInfo.code`$`` (an HTTP status, or one of
    the product's common error codes).
    """

    def __init__(self, message: str, code: str | int = "TASK_ERROR") -> None:
        super().__init__(message, code)
        self.message, self.code = message, code

    def __str__(self) -> str:
        return self.message


# -- what the system met -------------------------------------------------------------------------------------------


class StateError(OrchestratorError):
    """A change that the state tables do not allow."""


class IllegalArrow(StateError):
    """No arrow leads from this state by this event."""

    def __init__(self, state: str, event: str) -> None:
        super().__init__(state, event)
        self.state, self.event = state, event

    def __str__(self) -> str:
        return f"{self.event} is not possible in state {self.state}"


class WrongVersionState(StateError):
    """A version of an integration is in a state in which this cannot be done to it; nothing was changed."""

    def __init__(self, integration: str, version_id: str, state: str, wanted: str, possible: Sequence[str]) -> None:
        super().__init__(integration, version_id, state, wanted, tuple(possible))
        self.integration, self.version_id, self.state = integration, version_id, state
        self.wanted, self.possible = wanted, tuple(possible)

    def __str__(self) -> str:
        which = f"version {self.version_id} of integration {self.integration!r}"
        return f"{which} is {self.state}, and only one that is {' or '.join(self.possible)} can be {self.wanted}"


class VersionInTheWay(StateError):
    """Somebody else has changed a draft again and again while this was about to; the same call may succeed."""

    retryable = True

    def __init__(self, version_id: str) -> None:
        super().__init__(version_id)
        self.version_id = version_id

    def __str__(self) -> str:
        return f"version {self.version_id} was changed by others at the same time; try again"


class StoreError(OrchestratorError):
    """The database does not hold, or cannot take, what was asked."""


class ExecutionNotFound(StoreError):
    """No execution has this id."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(execution_id)
        self.execution_id = execution_id

    def __str__(self) -> str:
        return (
            f"there is no execution {self.execution_id!r} in this database; it never was, or it was pruned: "
            "`orchestrator list` shows what is there"
        )


class ExecutionExists(StoreError):
    """The id that was chosen for an execution is taken."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(execution_id)
        self.execution_id = execution_id

    def __str__(self) -> str:
        return f"execution {self.execution_id!r} is there already; choose another id, or let one be made"


class IntegrationNotFound(StoreError):
    """No published integration has this name or this trigger."""

    def __init__(self, name: str, trigger_id: str | None = None) -> None:
        super().__init__(name, trigger_id)
        self.name, self.trigger_id = name, trigger_id

    def __str__(self) -> str:
        trigger = f" with trigger {self.trigger_id!r}" if self.trigger_id else ""
        return f"no published integration {self.name!r}{trigger}; publish it first, or run with --with ITS_FILE"


class KeyNotFound(StoreError):
    """No API key has this id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(key_id)
        self.key_id = key_id

    def __str__(self) -> str:
        return f"there is no API key with the id {self.key_id!r}; `orchestrator keys list` shows those that are there"


class VersionNotFound(StoreError):
    """No version of this integration has this id."""

    def __init__(self, integration: str, version_id: str) -> None:
        super().__init__(integration, version_id)
        self.integration, self.version_id = integration, version_id

    def __str__(self) -> str:
        return f"integration {self.integration!r} has no version {self.version_id!r}"


class NoSuchIntegration(StoreError):
    """There is no version of this integration, or all are archived."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"there is no integration {self.name!r}; upload a version of it, or publish one, first"


class IntegrationExists(StoreError):
    """An integration that was to be a new one is there."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"integration {self.name!r} is there already; create a version of it without newIntegration"


class SchemaOutdated(StoreError):
    """The database has another schema version than this code."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found, expected)
        self.found, self.expected = found, expected

    def __str__(self) -> str:
        return f"database schema is {self.found}, this version needs {self.expected}: run `orchestrator db upgrade`"


class ArtifactNotFound(StoreError):
    """No artifact has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"there is no artifact {self.name!r} in the store"


class ArtifactsFull(StoreError):
    """The artifact store has no room. Passwords in ``url`` are masked by whoever raises this."""

    retryable = True

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"the artifact store at {self.url} is full ({self.reason}); make room, or set ORCHESTRATOR_ARTIFACTS_URL"


class Unreachable(OrchestratorError):
    """A service does not answer. Passwords in ``url`` are masked by whoever raises this."""

    retryable = True

    def __init__(self, service: str, url: str, reason: str) -> None:
        super().__init__(service, url, reason)
        self.service, self.url, self.reason = service, url, reason

    def __str__(self) -> str:
        return f"{self.service} at {self.url} does not answer ({self.reason}); `orchestrator doctor` says more"


class QueueFull(OrchestratorError):
    """The queue of an executor holds as much as it may; nothing was stored.

    ``fitting`` of the ``wanted`` executions would have found room.
    """

    retryable = True

    def __init__(self, executor: str, depth: int, limit: int, fitting: int = 0, wanted: int = 1) -> None:
        super().__init__(executor, depth, limit, fitting, wanted)
        self.executor, self.depth, self.limit = executor, depth, limit
        self.fitting, self.wanted = fitting, wanted

    def __str__(self) -> str:
        room = f", which leaves room for {self.fitting:,} of {self.wanted:,} executions" if self.wanted > 1 else ""
        return (
            f"{self.depth:,} messages wait for executor {self.executor!r}, and ORCHESTRATOR_MAX_QUEUE_DEPTH is "
            f"{self.limit:,}{room}: submit later, wait for room (--wait SECONDS, wait_s), or start more workers"
        )


class PartlySubmitted(OrchestratorError):
    """Of many executions some were stored, and run; then something came in between. ``ids`` are those, in order."""

    def __init__(self, ids: Sequence[str], wanted: int, reason: str) -> None:
        super().__init__(tuple(ids), wanted, reason)
        self.ids, self.wanted, self.reason = tuple(ids), wanted, reason

    def __str__(self) -> str:
        rest = "the others are not" if len(self.ids) < self.wanted else "some are started only by recovery"
        return f"{len(self.ids):,} of {self.wanted:,} executions are stored and will run, {rest}: {self.reason}"


class WaitTimeout(OrchestratorError):
    """The execution is not final yet; it goes on."""

    retryable = True

    def __init__(self, execution_id: str, timeout_s: float, state: str) -> None:
        super().__init__(execution_id, timeout_s, state)
        self.execution_id, self.timeout_s, self.state = execution_id, timeout_s, state

    def __str__(self) -> str:
        return f"execution {self.execution_id} is still {self.state} after {self.timeout_s:g} s; it goes on"


class WorkerEnded(OrchestratorError):
    """A worker process that this command had started has ended by itself."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class ProcessEnded(OrchestratorError):
    """A process that this command kept up has ended by itself, and would again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class SettingsError(OrchestratorError):
    """A setting cannot be used."""


class InvalidSetting(SettingsError):
    """One setting's value is not usable."""

    def __init__(self, name: str, found: str, expected: str) -> None:
        super().__init__(name, found, expected)
        self.name, self.found, self.expected = name, found, expected

    def __str__(self) -> str:
        return f"setting {self.name}: found {self.found}, expected {self.expected}"


class Unprotected(SettingsError):
    """A server without keys was to be reachable from elsewhere."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host

    def __str__(self) -> str:
        return (
            f"--no-auth at {self.host!r}: whoever reaches the server could run anything on this machine; "
            "leave --no-auth out, or listen on 127.0.0.1"
        )


class CannotListen(OrchestratorError):
    """The server cannot have its address."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(host, port, reason)
        self.host, self.port, self.reason = host, port, reason

    def __str__(self) -> str:
        return f"cannot listen on {self.host} port {self.port} ({self.reason}); choose another address or port"


class CutOff(OrchestratorError):
    """A server that was told to end has ended before it could answer everybody."""

    def __init__(self, count: int, drain_s: float) -> None:
        super().__init__(count, drain_s)
        self.count, self.drain_s = count, drain_s

    def __str__(self) -> str:
        return (
            f"{self.count} request(s) were not answered within {self.drain_s:g} s and were cut off; "
            "ORCHESTRATOR_DRAIN_S gives them longer"
        )

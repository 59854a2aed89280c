"""The parameters that an execution starts with: what was handed in over what the definition declares.

Decisions:

- Any declared parameter may be handed in, whatever its direction. The product takes inputs only; but its own samples
  have plain variables without a direction that people set when they try them out, and refusing protects nothing.
- What is handed in is converted to the declared type where nothing is lost, and must follow the declared JSON schema.
  A default value is not held to its schema: publishing warns of it, and samples of the product break theirs.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.engine.schemas import schema_problem, schema_violation
from orchestrator.errors import InvalidValue, MissingParameter, UnknownParameter
from orchestrator.model.integration import IntegrationParameter, IntegrationVersion
from orchestrator.model.json_text import parse_json_text
from orchestrator.model.values import DataType, Value, coerce, element_type, from_python


class Inputs:
    """What an integration takes, for any number of executions: a JSON schema is looked through once."""

    def __init__(self, version: IntegrationVersion) -> None:
        self._declared = {parameter.key: parameter for parameter in version.parameters}
        self._is_sound: dict[str, bool] = {}  # the schemas of parameters; they are looked at when they are needed

    def bind(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """The starting parameters, in the order of the definition; a parameter without a value is left out.

        Raises:
            UnknownParameter: a key that is not declared.
            MissingParameter: an IN or IN_OUT parameter has neither a value nor a default.
            InvalidValue: a value does not fit its declared type, or breaks its JSON schema.
        """
        for key in given:
            if key not in self._declared:
                raise UnknownParameter(key, tuple(self._declared))
        bound: dict[str, Value] = {}
        for key, parameter in self._declared.items():
            if key in given:
                bound[key] = self._fitted(parameter, given[key])
            elif parameter.default is not None:
                bound[key] = coerce(parameter.default, parameter.data_type, f"default of parameter {key!r}")
            elif parameter.direction.is_input:
                raise MissingParameter(key, parameter.data_type)
        return bound

    def _fitted(self, parameter: IntegrationParameter, value: Value) -> Value:
        place = f"parameter {parameter.key!r}"
        fitted = coerce(value, parameter.data_type, place)
        if not self._has_schema(parameter):
            return fitted
        violation = schema_violation(fitted.python, parameter.json_schema)
        if violation:
            raise InvalidValue(place, violation, "what its JSON schema describes")
        return fitted

    def _has_schema(self, parameter: IntegrationParameter) -> bool:
        """Whether it has a sound one. Publishing has refused a bad one; what is stored must still run."""
        if parameter.json_schema is None:
            return False
        if parameter.key not in self._is_sound:
            self._is_sound[parameter.key] = schema_problem(parameter.json_schema) is None
        return self._is_sound[parameter.key]


def bind_inputs(version: IntegrationVersion, given: Mapping[str, Value]) -> dict[str, Value]:
    """The starting parameters of one execution: ``Inputs.bind``, which says what it raises."""
    return Inputs(version).bind(given)


def parse_assignment(text: str, version: IntegrationVersion) -> tuple[str, Value]:
    """Read ``KEY=VALUE`` of the command line, as the declared type guides.

    Args:
        text: strings are taken verbatim; JSON and arrays are JSON text; the rest is a number, ``true`` or ``false``.
        version: the integration that declares the key.

    Raises:
        InvalidValue: no equals sign, or a value that does not fit the type.
        UnknownParameter: a key that is not declared.
    """
    key, equals, written = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise InvalidValue(f"assignment {text[:60]!r}", "no key and equals sign", "KEY=VALUE")
    declared = {parameter.key: parameter for parameter in version.parameters}
    if key not in declared:
        raise UnknownParameter(key, tuple(declared))
    return key, _read(written, declared[key].data_type, place=f"parameter {key!r}")


def _read(written: str, data_type: DataType, *, place: str) -> Value:
    if data_type is DataType.STRING:
        return Value(DataType.STRING, written)
    if data_type is DataType.BOOLEAN:
        lowered = written.strip().lower()
        return from_python({"true": True, "false": False}.get(lowered, written), place, data_type)
    if data_type is DataType.JSON or element_type(data_type) is not None:
        document = parse_json_text(written, place)
        return Value(data_type, document) if data_type is DataType.JSON else from_python(document, place, data_type)
    return from_python(written.strip(), place, data_type)

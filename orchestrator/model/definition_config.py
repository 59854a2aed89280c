"""Config parameters of a definition: what differs from one environment to another, and is given when it is published.

    "integrationConfigParameters": [{"parameter": {"key": "`CONFIG_url`", "dataType": "STRING_VALUE"},
                                     "value": {"stringValue": "https://example.org"}}]

Publishing writes the values into the document, beside what they are of.

Source: Integrations API v1 discovery document, GoogleCloudIntegrationsV1alphaIntegrationConfigParameter and
``PublishIntegrationVersionRequest.configParameters``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.errors import InvalidValue, UnknownParameter
from orchestrator.model.values import DataType, from_python, to_value

_SPELLINGS = ("integrationConfigParameters", "integration_config_parameters")


def with_config(document: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """The document with values for its config parameters.

    Args:
        document: a definition that could be read.
        given: plain data, by key; with or without the backticks around it.

    Raises:
        UnknownParameter: the definition declares no config parameter of this key.
        InvalidValue: a value does not fit its type.
    """
    spelling = next((each for each in _SPELLINGS if document.get(each)), _SPELLINGS[0])
    entries = [*_entries(document.get(spelling))]
    known = {key: index for index, (key, _) in enumerate(entries)}
    written = [dict(entry) for _, entry in entries]
    for name, data in given.items():
        index = known.get(name, known.get(f"`{name}`"))
        if index is None:
            raise UnknownParameter(name, tuple(known))
        written[index]["value"] = _value(data, written[index], f"config parameter {name!r}")
    return {**document, spelling: written}


def _entries(found: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    for entry in found if isinstance(found, list | tuple) else ():
        parameter = entry.get("parameter") if isinstance(entry, Mapping) else None
        key = parameter.get("key") if isinstance(parameter, Mapping) else None
        if not isinstance(key, str):
            raise InvalidValue("integrationConfigParameters", "an entry without a parameter's key", "one in each")
        yield key, entry


def _value(data: object, entry: Mapping[str, object], place: str) -> dict[str, object]:
    parameter = entry["parameter"]
    assert isinstance(parameter, Mapping), "_entries has looked"
    written = parameter.get("dataType", parameter.get("data_type"))
    if written not in DataType.__members__.values():
        raise InvalidValue(place, f"the type {written!r}", f"one of {', '.join(DataType)}")
    return dict(to_value(from_python(data, place, DataType(str(written)))))

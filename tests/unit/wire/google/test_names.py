from __future__ import annotations

import asyncio

import pytest

from orchestrator.errors import InvalidValue
from orchestrator.wire.google.names import ExecutionName, IntegrationName, execution_name, integration_name
from tests.unit.wire.google.test_documents import make


@pytest.mark.parametrize(
    ("parts", "fits"),
    [
        (("p", "l", "f", "e"), True),
        (("-", "-", "-", "e"), True),
        (("other", "l", "f", "e"), False),
        (("p", "other", "f", "e"), False),
        (("p", "l", "other", "e"), False),
    ],
)
def test_a_name_is_an_execution_s_with_any_for_what_is_before_its_id(parts, fits):
    *parent, execution = parts
    assert ExecutionName(IntegrationName(*parent), execution).fits(make()) is fits


def test_the_name_of_an_execution():
    name = ExecutionName.of(make())

    assert str(name) == make().name == "projects/p/locations/l/integrations/f/executions/e"
    assert name.parent.place.project == "p"
    assert not name.parent.is_any


@pytest.mark.parametrize("part", ["", " ", "x" * 513, "a\x00", "\ud800"])
def test_what_no_database_can_look_for_is_refused(part):
    with pytest.raises(InvalidValue, match="the integration in the path: found"):
        asyncio.run(integration_name("p", "l", part))
    with pytest.raises(InvalidValue, match="expected the name of one execution: 1 to 512 characters"):
        asyncio.run(execution_name(IntegrationName("p", "l", "i"), part))

"""What is said of bodies and queries that FastAPI does not see."""

from typing import Annotated

import jsonschema
import pytest
from fastapi import APIRouter, Depends, FastAPI
from pydantic import Field

from orchestrator.wire.google.api import google_router
from orchestrator.wire.google.bodies import Body, Timestamp, ValueType, body_of
from orchestrator.wire.google.envelope import GoogleRoute
from orchestrator.wire.google.queries import query_of

ROUTE = "/v1/projects/{project}/locations/{location}/integrations/{integration}"


class Inner(Body):
    """One inside of another."""

    value: ValueType


class Outer(Body):
    """One with all that there is."""

    trigger_id: str = ""
    start_time: Timestamp | None = None
    inner_ones: list[Inner] = Field(default_factory=list)


@pytest.fixture(scope="module")
def document():
    app = FastAPI()
    app.include_router(google_router())
    return app.openapi()


def operation_of(endpoint):
    router = APIRouter(route_class=GoogleRoute)
    router.post("/x")(endpoint)
    app = FastAPI()
    app.include_router(router)
    return app.openapi()["paths"]["/x"]["post"]


def schema_of(operation):
    return operation["requestBody"]["content"]["application/json"]["schema"]


def test_a_body_is_described_with_what_is_inside_of_it_by_the_names_of_json():
    def take(body: Annotated[Outer, Depends(body_of(Outer))]) -> None: ...

    schema = schema_of(operation_of(take))

    document = {"triggerId": "t", "startTime": "2026-01-31T12:00:00Z", "innerOnes": [{"value": {"intValue": "1"}}]}
    jsonschema.validate(document, schema)
    for wrong in ({"trigger_id": "t"}, {"innerOnes": [{}]}, {"innerOnes": [{"value": {}}]}, {"innerOnes": [{"x": 1}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_a_parameter_is_described_once():
    wanted = query_of("filter", "pageSize", "timeout", "x.*")

    def take(query: Annotated[object, Depends(wanted)], timeout: int) -> None: ...

    described = {each["name"]: each["schema"]["type"] for each in operation_of(take)["parameters"]}

    assert described == {"timeout": "integer", "filter": "string", "pageSize": "integer"}
    assert len(operation_of(take)["parameters"]) == 3


def test_every_method_that_changes_something_says_what_it_takes(document):
    without = {
        f"{verb} {path}"
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
        if verb in ("post", "patch") and "requestBody" not in operation
    }
    assert without == set()


def test_definitions_are_described_to_the_last_field(document):
    schema = schema_of(document["paths"][ROUTE + "/versions"]["post"])

    jsonschema.validate({"taskConfigs": [{"parameters": {"a": {"value": {"stringValue": "x"}}}}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"taskConfigs": [{"nextTask": []}]}, schema)


def test_errors_are_described_as_the_envelope_and_nothing_else(document):
    for verbs in document["paths"].values():
        for operation in verbs.values():
            assert operation["responses"].keys() <= {"200", "default"}

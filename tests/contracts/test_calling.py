"""Calling integrations by name and trigger, trials, and what a repeated call finds, on both databases."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from orchestrator.errors import (
    ExecutionExists,
    ExecutionNotFound,
    IntegrationNotFound,
    InvalidDefinition,
    InvalidValue,
    TaskError,
    UnknownParameter,
    UnknownTrigger,
    VersionNotFound,
)
from orchestrator.model.definition import parse_integration
from orchestrator.model.keys import ANYONE, Caller, Scope
from orchestrator.model.states import ExecutionState
from orchestrator.model.task_types import TaskType
from orchestrator.model.values import from_python
from orchestrator.service.calling import (
    Call,
    NotOnHold,
    call,
    event_parameter,
    find_called,
    keep_trial,
    read_result,
    start_now,
    version_to_try,
)
from orchestrator.service.replay import ReplayWish, replay
from orchestrator.service.submit import Place
from orchestrator.service.watching import read_news
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.tables import executions, versions
from orchestrator.wire.google.inputs import start as begin
from tests.contracts.stored import PLACE, at_once, rows_of
from tests.contracts.world import World, heavy, light
from tests.flows import flow, parameter, task

HERE, ELSEWHERE = Place(**PLACE), Place(project="default", location="elsewhere")
FAR = datetime(2126, 1, 31, 12, tzinfo=UTC)
QTY = parameter("qty", "INT_VALUE", direction="IN_OUT", default=1)
TRIGGER = "api_trigger/shared"


@pytest.fixture
def world(database, tmp_path):
    return World(database, tmp_path)


def shared(name, *tasks, trigger=TRIGGER, **more):
    document = flow(name, *(tasks or [heavy(1)]), **more)
    document["triggerConfigs"][0]["triggerId"] = trigger
    return document


def start(world, *names, **more):
    """The ids of executions of these."""
    found = [find_called(name, TRIGGER, world.services, place=HERE)[0] for name in names]
    return call(found, Call(trigger_id=TRIGGER, **more), world.services, place=HERE)


def stored(world, execution_id):
    return ExecutionQueries(world.database).one(execution_id)


def count(world, table=executions):
    with world.database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def key(execution_id):
    return AttemptKey(execution_id=execution_id, number=1, attempt=1)


# -- finding -------------------------------------------------------------------------------------------------------


def test_a_name_finds_the_published_version_alone(world):
    first, _ = world.publish(shared("one"))
    second, _ = world.publish(shared("one", light(1)))

    assert list(find_called("one", TRIGGER, world.services, place=HERE)) == [second]
    assert first != second


@pytest.mark.parametrize(("name", "place"), [("other", HERE), ("one", ELSEWHERE), ("-", ELSEWHERE)])
def test_no_other_integration_is_taken_for_the_one_that_is_named(world, name, place):
    world.publish(shared("one"))

    with pytest.raises(IntegrationNotFound):
        find_called(name, TRIGGER, world.services, place=place)


@pytest.mark.parametrize("trigger", [TRIGGER, "shared"])
def test_a_dash_finds_all_that_have_the_trigger_by_name(world, trigger):
    ids = {name: world.publish(shared(name))[0] for name in ("two", "one")}
    world.publish(shared("three", trigger="api_trigger/other"))
    world.publish(shared("four"))
    world.publish(shared("four", trigger="api_trigger/other"))  # the published version has it no more

    assert list(find_called("-", trigger, world.services, place=HERE)) == [ids["one"], ids["two"]]


def test_a_trigger_has_to_be_named(world):
    with pytest.raises(InvalidValue, match="triggerId"):
        find_called("one", "", world.services, place=HERE)


# -- starting ------------------------------------------------------------------------------------------------------


def test_if_one_of_several_does_not_take_the_parameters_none_is_started(world):
    world.publish(shared("one", parameters=[QTY]))
    world.publish(shared("two"))

    with pytest.raises(UnknownParameter):
        start(world, "one", "two", given={"qty": from_python(1, "qty")})

    assert count(world) == 0


def test_an_unknown_trigger_starts_nothing(world):
    version_id, _ = world.publish(shared("one"))

    with pytest.raises(UnknownTrigger):
        call([version_id], Call(trigger_id="api_trigger/other"), world.services, place=HERE)
    assert count(world) == 0


def test_a_request_id_is_one_for_each_integration(world):
    world.publish(shared("one"))
    world.publish(shared("two"))

    assert start(world, "one", "two", request_id="r") == start(world, "one", "two", request_id="r")
    assert count(world) == 2


def test_the_same_call_under_the_same_id_is_the_same_execution(world):
    world.publish(shared("one", parameters=[QTY]))
    mine = {"execution_id": "mine", "given": {"qty": from_python(2, "qty")}}

    assert [start(world, "one", **mine) for _ in range(2)] == [["mine"]] * 2
    assert count(world) == 1
    assert world.sent() == [1]


def test_another_call_under_the_same_id_is_refused(world):
    world.publish(shared("one", parameters=[QTY]))
    world.publish(shared("two", parameters=[QTY]))
    start(world, "one", execution_id="mine")

    for name, more in (("one", {"given": {"qty": from_python(2, "qty")}}), ("two", {})):
        with pytest.raises(ExecutionExists):
            start(world, name, execution_id="mine", **more)


def test_an_id_for_several_is_refused(world):
    world.publish(shared("one"))
    world.publish(shared("two"))

    with pytest.raises(InvalidValue, match="execution id"):
        start(world, "one", "two", execution_id="mine")


def test_who_is_bound_to_an_executor_runs_there(world):
    version_id, _ = world.publish(shared("one"))
    bound = Caller(actor="ann", scopes=frozenset({Scope.RUN}), executor="ingest")

    ids = [
        begin([version_id], Call(trigger_id=TRIGGER), world.services, place=HERE, caller=each)[0]
        for each in (bound, ANYONE)
    ]

    assert [stored(world, each).executor for each in ids] == ["ingest", "default"]


def test_what_is_on_hold_can_be_started_once(world):
    world.publish(shared("one"))
    (execution_id,) = start(world, "one", at=FAR)
    assert world.sent() == []

    start_now(execution_id, world.services)

    assert world.sent() == [1]
    with pytest.raises(NotOnHold):
        start_now(execution_id, world.services)


def test_what_is_over_or_never_was_cannot_be_started(world):
    world.publish(shared("one"))
    (execution_id,) = start(world, "one")
    world.drive(key(execution_id))

    with pytest.raises(NotOnHold, match="SUCCEEDED"):
        start_now(execution_id, world.services)
    with pytest.raises(ExecutionNotFound):
        start_now("nothing", world.services)


# -- trials --------------------------------------------------------------------------------------------------------


def try_out(world, document, name="one"):
    return keep_trial(document, name, world.services, place=HERE)


def test_a_trial_runs_and_is_found_by_no_name_and_no_trigger(world):
    version_id = try_out(world, shared("whatever"))

    (execution_id,) = call([version_id], Call(trigger_id=TRIGGER), world.services, place=HERE)
    world.drive(key(execution_id))

    assert stored(world, execution_id).integration == "one"
    assert stored(world, execution_id).state is ExecutionState.SUCCEEDED
    for name in ("one", "-", "whatever"):
        with pytest.raises(IntegrationNotFound):
            find_called(name, TRIGGER, world.services, place=HERE)
    with pytest.raises(IntegrationNotFound):
        world.services.versions.find("one", trigger_id=TRIGGER, **PLACE)


def test_trials_of_one_definition_share_a_row_also_at_the_same_time(world):
    document = shared("one")

    ids = at_once(*[lambda: try_out(world, document)] * 4)

    assert len(set(ids)) == 1
    assert count(world, versions) == 1
    assert try_out(world, shared("one", light(1))) != ids[0]


def test_a_trial_and_a_published_version_of_one_definition_are_two(world):
    document = shared("one")
    before = try_out(world, document)

    version_id, _ = world.publish(document)

    assert version_id != before
    assert try_out(world, document) == before
    assert list(find_called("one", TRIGGER, world.services, place=HERE)) == [version_id]


def test_a_definition_that_cannot_run_is_not_kept(world):
    with pytest.raises(InvalidDefinition):
        try_out(world, shared("one", task(1, "NoSuchTask")))
    assert count(world, versions) == 0


def test_a_version_that_stays_as_it_is_is_tried_out_itself(world):
    first, _ = world.publish(shared("one"))
    second, _ = world.publish(shared("one", light(1)))

    assert [version_to_try(each, "one", world.services, place=HERE) for each in (first, second)] == [first, second]


def test_of_a_draft_a_copy_is_tried_out_which_its_changes_do_not_reach(world):
    draft, _ = world.publish(shared("one"))
    with world.database.begin() as connection:
        connection.execute(sa.update(versions).values(state="DRAFT"))
    tried = version_to_try(draft, "one", world.services, place=HERE)
    with world.database.begin() as connection:
        connection.execute(sa.update(versions).where(versions.c.id == draft).values(document="{}"))

    (execution_id,) = call([tried], Call(trigger_id=TRIGGER), world.services, place=HERE)

    assert tried != draft
    assert stored(world, execution_id).version_id == tried


@pytest.mark.parametrize(("integration", "place"), [("other", HERE), ("one", ELSEWHERE)])
def test_a_version_of_something_else_is_not_found(world, integration, place):
    version_id, _ = world.publish(shared("one"))

    with pytest.raises(VersionNotFound):
        version_to_try(version_id, integration, world.services, place=place)


# -- events --------------------------------------------------------------------------------------------------------


def json_parameter(key, direction="NONE"):
    return parameter(key, "JSON_VALUE", direction=direction, default={})


@pytest.mark.parametrize(
    ("parameters", "inputs", "found"),
    [
        ([json_parameter("a", "IN"), json_parameter("b"), QTY], (), "a"),
        ([json_parameter("a"), QTY], (), "a"),
        ([json_parameter("a", "IN"), json_parameter("b", "IN")], ("b",), "b"),
        ([json_parameter("a", "IN"), json_parameter("b", "IN")], (), None),
        ([json_parameter("a"), json_parameter("b")], ("a", "b"), None),
        ([QTY], (), None),
    ],
)
def test_an_event_goes_to_the_only_parameter_that_may_be_meant(parameters, inputs, found):
    document = flow("one", heavy(1), parameters=parameters)
    document["triggerConfigs"][0]["inputVariables"] = {"names": list(inputs)}
    version = parse_integration(document)

    if found is not None:
        assert event_parameter(version, "api_trigger/one") == found
        return
    with pytest.raises(InvalidValue, match="one JSON parameter for the event"):
        event_parameter(version, "api_trigger/one")


# -- results -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ReturnTask", "AnotherTask"])
def test_a_code_is_chosen_if_a_return_task_failed_with_it(world, name):
    def refuse(context):
        raise TaskError("no such order", 404)

    world.services.types.add(TaskType(name=name, run=refuse))
    world.publish(shared("one", task(1, name)))
    (execution_id,) = start(world, "one", is_sync=True)
    world.drive(key(execution_id))

    result = read_result(execution_id, world.services)

    assert (result.state, result.is_sync, result.is_chosen) == (ExecutionState.FAILED, True, name == "ReturnTask")
    assert (result.error.code, result.error.message) == (404, "no such order")


def test_what_goes_on_has_no_outputs_yet(world):
    world.publish(shared("one", parameters=[QTY]))
    (execution_id,) = start(world, "one")

    result = read_result(execution_id, world.services)

    assert (result.state, result.outputs, result.error, result.is_sync) == (ExecutionState.PENDING, {}, None, False)


# -- replay under an id --------------------------------------------------------------------------------------------


def test_a_second_replay_under_one_id_is_the_first_one(world):
    world.publish(shared("one"))
    (first,) = start(world, "one")
    world.drive(key(first))
    wish = ReplayWish(execution_id=first, new_id="again", reason="r")

    assert [replay(wish, world.services) for _ in range(2)] == ["again"] * 2
    assert ExecutionQueries(world.database).replays_of(first) == ("again",)
    assert world.sent() == [1, 1]


def test_a_replay_under_the_id_of_something_else_is_refused(world):
    world.publish(shared("one"))
    first, other = start(world, "one")[0], start(world, "one")[0]
    world.drive(key(first))
    before = rows_of(world.database, executions)

    with pytest.raises(ExecutionExists):
        replay(ReplayWish(execution_id=first, new_id=other), world.services)
    with pytest.raises(InvalidValue):
        replay(ReplayWish(execution_id=first, new_id="not an id"), world.services)
    assert rows_of(world.database, executions) == before


# -- news ----------------------------------------------------------------------------------------------------------


def test_news_are_the_entries_after_the_one_that_is_known(world):
    world.publish(shared("one", heavy(1, next=[2]), heavy(2)))
    (execution_id,) = start(world, "one")
    world.drive(key(execution_id))
    second = AttemptKey(execution_id=execution_id, number=2, attempt=1)
    world.services.store.claim(second, worker="w")

    news = [read_news(execution_id, world.services, after=after) for after in (0, 1, 99)]

    assert [(each.revision, len(each.entries)) for each in news] == [(1, 1), (1, 0), (1, 0)]
    assert [each.key.number for each in news[0].running] == [2]
    assert news[0].entries[0].task_number == 1


def test_what_is_ready_does_not_run_yet(world):
    world.publish(shared("one"))
    (execution_id,) = start(world, "one")

    assert read_news(execution_id, world.services, after=0).running == []


def test_there_are_no_news_of_what_is_not_there(world):
    with pytest.raises(ExecutionNotFound):
        read_news("nothing", world.services, after=0)

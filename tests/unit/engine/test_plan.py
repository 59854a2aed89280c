from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from orchestrator.engine.plan import TRIGGER, Plan, default_start_tasks, make_plan
from orchestrator.errors import InvalidValue
from orchestrator.model.integration import ForkPolicy, InputOutput, IntegrationVersion
from orchestrator.model.values import DataType, Value
from tests.unit.factories import make_catcher, make_integration, make_parameter, make_rollback, make_task, make_trigger

NUMBER = Value(DataType.INT, 7)


def plan_of(version: IntegrationVersion, trigger: int = 0, light: tuple[str, ...] = ()) -> Plan:
    return make_plan(version, version.triggers[trigger], light=light)


def shown_edges(plan: Plan) -> list[tuple[int, int, int]]:
    return [(edge.index, edge.source, edge.target) for edge in plan.edges]


def test_the_trigger_stands_in_the_graph_as_task_0():
    plan = plan_of(
        make_integration(
            make_task(1),
            triggers=[make_trigger(starts=[1], fork=ForkPolicy.RUN_FIRST_MATCH)],
        )
    )

    assert [(edge.source, edge.target) for edge in plan.edges_of(TRIGGER)] == [(TRIGGER, 1)]
    assert plan.edges_of(TRIGGER) == plan.start_edges
    assert plan.fork_of(TRIGGER) is ForkPolicy.RUN_FIRST_MATCH


def test_edges_are_numbered_from_the_trigger_on_through_the_tasks_in_definition_order():
    """A packed progress has one character an edge in this order: another order would read old rows wrongly."""
    plan = plan_of(make_integration(make_task(5, next=(9, 2)), make_task(2, next=(9,)), make_task(9)))

    assert shown_edges(plan) == [(0, TRIGGER, 5), (1, 5, 9), (2, 5, 2), (3, 2, 9)]
    assert plan.numbers == (5, 2, 9)


def test_edges_of_a_task_keep_definition_order():
    plan = plan_of(make_integration(make_task(1, next=(4, 2, 3)), make_task(2), make_task(3), make_task(4)))

    assert [edge.target for edge in plan.edges_of(1)] == [4, 2, 3]


def test_a_trigger_without_start_tasks_begins_with_every_task_to_which_no_edge_leads():
    plan = plan_of(make_integration(make_task(1, next=(3,)), make_task(2), make_task(3)))

    assert [edge.target for edge in plan.start_edges] == [1, 2]


def test_a_task_of_an_error_catcher_is_no_default_start_task():
    """It has no incoming edge, and yet it belongs to failures alone."""
    version = make_integration(
        make_task(1), make_task(8, next=(9,)), make_task(9), error_catchers=[make_catcher(starts=[8])]
    )

    assert [start.number for start in default_start_tasks(version)] == [1]


def test_tasks_of_the_other_triggers_do_not_exist_and_their_edges_do_not_count():
    version = make_integration(
        make_task(1, next=(3,)),
        make_task(2, next=(3,)),
        make_task(3),
        triggers=[make_trigger("one", starts=[1]), make_trigger("two", starts=[2])],
    )

    one, two = plan_of(version, 0), plan_of(version, 1)

    assert one.numbers == (1, 3)
    assert two.numbers == (2, 3)
    assert one.tasks[3].fan_in == two.tasks[3].fan_in == 1


def test_fan_in_counts_every_edge_from_tasks_and_from_the_trigger():
    version = make_integration(
        make_task(1, next=(2, (2, "$x$ = 1"))), make_task(2), triggers=[make_trigger(starts=[1, 2])]
    )

    plan = plan_of(version)

    assert plan.tasks[2].fan_in == 3


def test_a_leaf_is_a_task_that_no_task_follows():
    plan = plan_of(make_integration(make_task(1, next=(2,)), make_task(2)))

    assert [number for number in plan.numbers if plan.tasks[number].is_leaf] == [2]


def test_light_tasks_are_those_whose_type_is_named():
    plan = plan_of(make_integration(make_task(1, "Quick"), make_task(2, "Slow")), light=("Quick",))

    assert plan.tasks[1].is_light
    assert not plan.tasks[2].is_light


@pytest.mark.parametrize("blank", ["", "  ", "\n\u00a0"])
def test_a_blank_condition_is_none_and_always_holds(blank):
    plan = plan_of(make_integration(make_task(1, next=((2, blank),)), make_task(2)))
    edge = plan.edges_of(1)[0]

    assert edge.condition is None
    assert edge.holds({})


def test_an_edge_holds_when_its_condition_does():
    plan = plan_of(make_integration(make_task(1, next=((2, "$x$ = 7"),)), make_task(2)))
    edge = plan.edges_of(1)[0]

    assert edge.holds({"x": NUMBER})
    assert not edge.holds({"x": Value(DataType.INT, 8)})
    assert not edge.holds({})


def test_start_tasks_may_have_conditions():
    plan = plan_of(make_integration(make_task(1), triggers=[make_trigger(starts=[(1, "$x$ = 7")])]))

    assert plan.start_edges[0].holds({"x": NUMBER})
    assert not plan.start_edges[0].holds({})


def test_outputs_take_the_declared_type_and_keep_their_own_where_none_is_declared():
    plan = plan_of(make_integration(parameters=[make_parameter("x", DataType.DOUBLE)]))

    assert plan.typed({"x": NUMBER, "y": NUMBER}) == {"x": Value(DataType.DOUBLE, 7.0), "y": NUMBER}


def test_an_output_that_does_not_fit_is_refused_by_its_name():
    plan = plan_of(make_integration(parameters=[make_parameter("x", DataType.INT)]))

    with pytest.raises(InvalidValue, match="output 'x'"):
        plan.typed({"x": Value(DataType.STRING, "seven")})


def test_only_out_parameters_belong_to_the_answer():
    plan = plan_of(make_integration(parameters=[make_parameter(d.value, direction=d) for d in InputOutput]))

    assert plan.output_keys == {"OUT", "IN_OUT"}


# -- error catchers ------------------------------------------------------------------------------------------------


def with_catchers(**more: Any) -> Plan:
    """Tasks 1 and 2 are the main graph; each of three error catchers has a task of its own."""
    catchers = [
        make_catcher("a", starts=[7]),
        make_catcher("b", starts=[(8, "$x$ = 7"), 9]),
        make_catcher("c", starts=[10]),
    ]
    tasks = {number: {} for number in (1, 2, 7, 8, 9, 10)} | more.pop("tasks", {})
    return plan_of(
        make_integration(
            *(make_task(number, **config) for number, config in tasks.items()),
            triggers=[make_trigger(starts=[1, 2], **more)],
            error_catchers=tuple(catchers),
        )
    )


def test_error_catchers_stand_in_the_graph_by_negative_numbers_in_the_order_of_the_definition():
    plan = with_catchers(tasks={1: {"error_catcher_id": "b"}}, error_catcher_id="a")

    assert plan.numbers == (1, 2, 7, 8, 9)
    assert shown_edges(plan) == [(0, TRIGGER, 1), (1, TRIGGER, 2), (2, -1, 7), (3, -2, 8), (4, -2, 9)]
    assert plan.catchers == {-1: plan.edges_of(-1), -2: plan.edges_of(-2)}
    assert plan.edges_of(-2)[0].holds({"x": NUMBER})
    assert not plan.edges_of(-2)[0].holds({})
    assert plan.fork_of(-2) is ForkPolicy.RUN_ALL_MATCH


def test_an_error_catcher_that_nobody_names_does_not_exist():
    """Nor does its number: the others keep theirs, so that a plan's numbers are those of its version."""
    plan = with_catchers(error_catcher_id="c")

    assert plan.catchers.keys() == {-3}
    assert plan.numbers == (1, 2, 10)
    assert with_catchers().catchers == {}


def test_a_tasks_own_error_catcher_goes_before_that_of_the_trigger():
    plan = with_catchers(tasks={1: {"error_catcher_id": "b"}}, error_catcher_id="a")

    assert (plan.tasks[1].catcher, plan.tasks[2].catcher) == (-2, -1)


def test_no_error_catcher_takes_failures_of_tasks_that_an_error_catcher_leads_to():
    plan = with_catchers(
        tasks={1: {"next": [2]}, 7: {"error_catcher_id": "b", "next": [2]}, 2: {"error_catcher_id": "b"}},
        error_catcher_id="a",
    )

    assert plan.tasks[1].catcher == -1
    assert plan.tasks[7].catcher is plan.tasks[2].catcher is None


def test_an_error_catcher_that_only_an_error_catchers_task_names_does_not_exist():
    plan = with_catchers(tasks={7: {"error_catcher_id": "b"}}, error_catcher_id="a")

    assert plan.catchers.keys() == {-1}
    assert plan.numbers == (1, 2, 7)


# -- size ----------------------------------------------------------------------------------------------------------


def test_a_plan_grows_with_its_tasks_and_no_faster():
    """A worker keeps the plans of many versions, and one may have 5,000 tasks that can be undone."""

    def size_of(count: int) -> int:
        tasks = [
            make_task(number, next=(number + 1,) if number < count else (), rollback=make_rollback())
            for number in range(1, count + 1)
        ]
        version = make_integration(*tasks)
        tracemalloc.start()
        plan = plan_of(version)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(plan.numbers) == count
        return size

    assert size_of(800) < 10 * size_of(200)  # 4 times and a little, or 16 times


def test_a_chain_of_5000_tasks_can_be_planned():
    """Deeper than Python recurses."""
    count = 5000
    tasks = [make_task(number, next=(number + 1,) if number < count else ()) for number in range(1, count + 1)]

    plan = plan_of(make_integration(*tasks))

    assert len(plan.numbers) == len(plan.edges) == count

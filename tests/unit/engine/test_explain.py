"""What the incoming edges of a task say about it, without a database."""

from orchestrator.engine.explain import edges_by_target, false_edges, open_sources, undone_first
from orchestrator.engine.plan import TRIGGER
from orchestrator.model.explanation import Reason
from orchestrator.model.integration import ForkPolicy, Rollback
from orchestrator.model.values import from_python
from tests.unit.engine.runs import FATAL, IGNORE, Run
from tests.unit.factories import make_catcher, make_task

UNDO = Rollback(task="Undo")


def values(**data):
    return {key: from_python(each, key) for key, each in data.items()}


def explained(run, number, **seen):
    """(source, reason) of the false edges to a task that was skipped; all were decided with the same parameters."""
    decided_with = {(edge.source, edge.target): values(**seen) for edge in run.plan.edges}
    found = false_edges(run.plan, run.progress, edges_by_target(run.plan)[number], seen=decided_with)
    return [(each.edge.source, each.reason) for each in found]


def test_what_is_not_decided_is_waited_for_once_however_many_edges_lead_from_there():
    run = Run(make_task(1, next=[(3, "$a$ = 1"), (3, "$a$ = 2")]), make_task(2, next=[3]), make_task(3), starts=[1, 2])
    edges = edges_by_target(run.plan)[3]

    before = open_sources(run.progress, edges)
    run.succeed(2)

    assert before == [1, 2]
    assert open_sources(run.progress, edges) == [1]


def test_an_execution_that_has_not_begun_waits_for_its_trigger():
    run = Run(make_task(1), is_started=False)

    assert open_sources(run.progress, edges_by_target(run.plan)[1]) == [TRIGGER]


def test_of_two_edges_from_one_task_each_is_explained_for_itself():
    run = Run(make_task(1, next=[(2, "$a$ = 1"), (2, "$a$ = 2")]), make_task(2), starts=[1])
    run.succeed(1)

    assert explained(run, 2, a=3) == [(1, Reason.CONDITION_FALSE), (1, Reason.CONDITION_FALSE)]


def test_an_edge_whose_condition_held_lost_to_an_earlier_one():
    fork = {"fork": ForkPolicy.RUN_FIRST_MATCH}
    run = Run(make_task(1, next=[(2, "$a$ = 1"), (3, "$a$ = 1"), (4, "$a$ = 2")], **fork), *map(make_task, (2, 3, 4)))
    run.parameters = values(a=1)
    run.succeed(1)

    assert explained(run, 3, a=1) == [(1, Reason.OTHER_EDGE_TAKEN)]
    assert explained(run, 4, a=1) == [(1, Reason.CONDITION_FALSE)]


def test_a_failure_leads_nowhere_and_an_ignored_one_leads_by_conditions():
    run = Run(
        make_task(1, next=[2]), make_task(2), make_task(3, next=[(4, "$a$ = 1")], failure_policy=IGNORE), make_task(4),
        starts=[1, 3],
    )  # fmt: skip
    run.fail(1)
    run.fail(3)

    assert explained(run, 2) == [(1, Reason.SOURCE_FAILED)]
    assert explained(run, 4) == [(3, Reason.CONDITION_FALSE)]


def test_an_edge_that_another_execution_decided_is_not_explained_by_this_ones_parameters():
    run = Run(make_task(1, next=[(2, "$a$ = 1")]), make_task(2))
    run.succeed(1)

    (found,) = false_edges(run.plan, run.progress, edges_by_target(run.plan)[2], seen={})

    assert found.reason is Reason.REPLAYED


def test_a_catcher_that_was_called_leads_by_its_conditions_and_one_that_was_not_leads_nowhere():
    catchers = [make_catcher("called", starts=[(3, "$a$ = 1")]), make_catcher("idle", starts=[4])]
    tasks = [make_task(1, error_catcher_id="called"), make_task(2, error_catcher_id="idle"), make_task(3), make_task(4)]
    run = Run(*tasks, starts=[1, 2], catchers=catchers)
    run.fail(1)
    run.succeed(2)

    assert explained(run, 3) == [(-1, Reason.CONDITION_FALSE)]
    assert explained(run, 4) == [(-2, Reason.CATCHER_NOT_CALLED)]


def test_what_follows_however_far_is_undone_first():
    run = Run(
        make_task(1, next=[2], rollback=UNDO),
        make_task(2, next=[3]),
        make_task(3, next=[4], rollback=UNDO),
        make_task(4, failure_policy=FATAL),
    )
    for number in (1, 2, 3):
        run.succeed(number)
    run.fail(4)

    assert undone_first(run.plan, run.progress, 1) == [3]
    assert undone_first(run.plan, run.progress, 3) == []

"""Suspensions without workers: who may answer, that one answer wins, and what the clock does if nobody does."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa

import tasks  # noqa: F401 - registers the built-in task types
from orchestrator.engine.canvas import NOTIFY_TASK
from orchestrator.errors import ExecutionNotFound, InvalidValue
from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState
from orchestrator.model.task_types import TASK_TYPES, Suspend, TaskType
from orchestrator.model.values import DataType, Value, from_python
from orchestrator.service.control import kill
from orchestrator.service.notices import notify
from orchestrator.service.submit import Place, Wishes, submit
from orchestrator.service.suspensions import (
    CLOCK,
    MayNotResolve,
    SeveralSuspensions,
    SuspensionAnswered,
    SuspensionNotFound,
    find,
    resolve,
    waiting_with,
)
from orchestrator.service.timers import fire_due_timers
from orchestrator.store.kinds import AttemptKey, Method, Signal, SuspensionState
from orchestrator.store.signals import Audit
from orchestrator.store.suspensions import SuspensionStore
from orchestrator.store.tables import executions, suspensions, timers
from tests.contracts.stored import PLACE, at_once
from tests.contracts.world import World, heavy, light
from tests.flows import flow, parameter, task

PENDING, LIFTED, REJECTED = SuspensionState.PENDING, SuspensionState.LIFTED, SuspensionState.REJECTED
CANCELLED = SuspensionState.CANCELLED
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
BOSS, OTHER = "boss@example.org", "other@example.org"
YES, NO = "$`Task_1_isApproved`$ = true", "$`Task_1_isApproved`$ = false"
REJECTION = [("FAILED", "rejected by ann", "SUSPENSION_REJECTED")]


class AskingWorld(World):
    """``notices`` are those that reached the task type's code; ``terms`` what a task of the type Ask suspends with."""

    def __init__(self, database, folder):
        super().__init__(database, folder)
        self.notices, self.terms = [], {}
        for new in (
            TASK_TYPES.get("SuspensionTask"),
            TASK_TYPES.get("TimerTask"),
            TaskType(name="Ask", run=lambda context: Suspend(**self.terms), light=True, notify=self.take_notice),
        ):
            self.services.types.add(new)

    def take_notice(self, context, notice):
        self.run(context)
        self.notices.append(notice)

    def begin(self, *configs, starts=(1,), parameters=(), is_sync=False, **more):
        """Start it, and drive its start tasks; the keys of its tasks by number."""
        version_id, version = self.publish(flow("flow", *configs, starts=starts, parameters=parameters) | more)
        wishes = Wishes(method=Method.POST if is_sync else Method.POST_TO_QUEUE)
        self.id = submit(version_id, {}, self.services, place=Place(**PLACE), wishes=wishes)
        keys = {each.number: AttemptKey(execution_id=self.id, number=each.number, attempt=1) for each in version.tasks}
        for start in starts:
            self.drive(keys[start])
        return keys

    def lift(self, **more):
        return self.answer(is_lifted=True, **more)

    def reject(self, **more):
        return self.answer(is_lifted=False, **more)

    def answer(self, *, actor="ann", execution_id=None, **more):
        return resolve(execution_id or self.id, self.services, actor=actor, **more)

    def suspension(self, name=""):
        return find(self.id, self.services, name=name)

    def timers(self):
        with self.database.read() as connection:
            return {row.kind for row in connection.execute(sa.select(timers))}

    def fire(self, *kinds):
        """Let timers be due, and fire them."""
        with self.database.begin() as connection:
            wanted = sa.update(timers).values(due_at=LONG_AGO, taken_until=None)
            connection.execute(wanted.where(timers.c.kind.in_(kinds)))
        fire_due_timers(self.services)

    def notified(self):
        """What was published for workers to tell."""
        return [message for message in self.services.publisher.sent if message.name == NOTIFY_TASK]

    def signal(self):
        with self.database.read() as connection:
            return connection.execute(sa.select(executions.c.signal).where(executions.c.id == self.id)).scalar_one()


@pytest.fixture
def world(database, tmp_path):
    return AskingWorld(database, tmp_path)


def approval(number=1, *, to=(), expires=None, reminds=None, lifts=False, answer=True, **more):
    takes = {"customMessage": "Pay?"}
    if answer:
        takes["isApproved"] = ["$`Task_1_isApproved`$"]
    if to:
        takes["notifications"] = {"protoValues": [{"emailAddress": {"email": each}} for each in to]}
    expiration = {"expireAfterMs": expires, "remindAfterMs": reminds, "liftWhenExpired": lifts}
    if expires or reminds:
        takes["suspensionExpiration"] = {key: data for key, data in expiration.items() if data}
    return task(number, "SuspensionTask", takes=takes, **more)


def wait(number=1, **more):
    """A suspension that asks no question."""
    return approval(number, answer=False, **more)


def timer(number=1, seconds=3600, **more):
    return task(number, "TimerTask", takes={"delaySeconds": seconds}, **more)


def either(**more):
    """A question with a task behind each answer."""
    return (approval(next=[(2, YES), (3, NO)], **more), heavy(2), heavy(3))


def failures(world):
    execution = world.execution
    return [(each.state.value, execution.error.message, execution.error.code) for each in execution.tasks[:1]]


def snapshot(world):
    """What an answer could change."""
    return (world.states(), world.entries(), world.suspension("1"), world.timers())


# -- questions -----------------------------------------------------------------------------------------------------


def test_a_question_that_is_lifted_is_answered_with_true(world):
    world.begin(*either())

    answered = world.lift()

    assert world.states() == {1: "SUCCEED", 2: "PENDING_EXECUTION", 3: "SKIPPED"}
    assert (answered.state, answered.resolver, answered.result.data) == (LIFTED, "ann", True)
    assert answered.resolved_at >= answered.created_at
    assert world.sent()[-1] == 2


def test_a_question_that_is_rejected_is_answered_with_false_and_the_flow_goes_on(world):
    world.begin(*either())

    answered = world.reject()

    assert world.states() == {1: "SUCCEED", 2: "SKIPPED", 3: "PENDING_EXECUTION"}
    assert (answered.state, answered.result.data) == (REJECTED, False)
    assert [kind for _, kind, _ in world.entries()] == [EntryKind.SUSPENDED, EntryKind.REJECTED]


@pytest.mark.parametrize(
    ("data_type", "given", "kept"),
    [
        ("STRING_VALUE", Value(DataType.INT, 7), "7"),
        ("DOUBLE_VALUE", Value(DataType.INT, 7), 7.0),
        ("JSON_VALUE", from_python({"size": "L"}, "result"), {"size": "L"}),
        ("BOOLEAN_VALUE", Value(DataType.BOOLEAN, False), False),
    ],
)
def test_a_question_may_be_answered_with_a_value_of_the_declared_type(world, data_type, given, kept):
    world.begin(approval(), parameters=[parameter("`Task_1_isApproved`", data_type, direction="OUT")])

    answered = world.lift(result=given)

    assert world.execution.outputs == {"`Task_1_isApproved`": kept}
    assert answered.result == from_python(kept, "kept", DataType(data_type))


def test_an_answer_of_another_type_is_refused_and_the_suspension_stays(world):
    world.begin(approval(), parameters=[parameter("`Task_1_isApproved`", "INT_VALUE")])
    before = snapshot(world)

    with pytest.raises(InvalidValue, match="isApproved"):
        world.lift(result=Value(DataType.STRING, "no number"))

    assert snapshot(world) == before


@pytest.mark.parametrize("lifts", [True, False])
def test_a_question_whose_parameter_cannot_hold_true_or_false_fails_when_its_time_is_up(world, lifts):
    """Else its timer would come back for ever."""
    world.begin(approval(expires=1000, lifts=lifts), parameters=[parameter("`Task_1_isApproved`", "INT_VALUE")])

    world.fire("EXPIRE")

    assert world.states() == {1: "FAILED"}
    assert "expected an int64" in world.execution.error.message
    assert (world.suspension("1").state, world.timers()) == (REJECTED, set())


def test_a_question_whose_parameter_cannot_hold_false_can_be_rejected_all_the_same(world):
    world.begin(approval(), parameters=[parameter("`Task_1_isApproved`", "INT_VALUE")])

    assert world.reject().state is REJECTED

    assert world.states() == {1: "FAILED"}


# -- waits ---------------------------------------------------------------------------------------------------------


def test_a_wait_that_is_lifted_succeeds(world):
    world.begin(wait(next=[2]), heavy(2))

    world.lift()

    assert world.states() == {1: "SUCCEED", 2: "PENDING_EXECUTION"}


def test_a_wait_that_is_rejected_fails_the_task_without_a_retry(world):
    policy = {"retryStrategy": "FIXED_INTERVAL", "maxRetries": 3, "intervalTime": "1s"}
    world.begin(wait(failurePolicy=policy))

    answered = world.reject()

    assert (failures(world), world.execution.state) == (REJECTION, ExecutionState.FAILED)
    assert (answered.state, answered.result) == (REJECTED, None)


def test_an_error_catcher_takes_a_rejected_wait(world):
    catcher = {"errorCatcherId": "c", "errorCatcherNumber": "1", "startErrorTasks": [{"taskId": "2"}]}
    document = wait(errorCatcherId="c")
    world.begin(document, heavy(2), errorCatcherConfigs=[catcher])

    world.reject()

    assert world.states() == {1: "FAILED", 2: "PENDING_EXECUTION"}


def test_what_a_wait_is_lifted_with_goes_to_the_parameter_that_it_names(world):
    world.begin(
        task(1, "SuspensionTask", takes={"suspensionResult": ["$note$"]}),
        parameters=[parameter("note", direction="OUT")],
    )

    world.lift(result=Value(DataType.INT, 7))

    assert world.execution.outputs == {"note": "7"}


def test_a_wait_that_is_lifted_with_nothing_sets_nothing(world):
    world.begin(
        task(1, "SuspensionTask", takes={"suspensionResult": ["$note$"]}),
        parameters=[parameter("note", direction="OUT")],
    )

    world.lift()

    assert world.execution.state is ExecutionState.SUCCEEDED
    assert world.execution.outputs == {}


def test_a_question_may_take_what_it_is_lifted_with_in_a_parameter_of_its_own(world):
    names = {"isApproved": ["$ok$"], "suspensionResult": ["$note$"]}
    outputs = [parameter("ok", "BOOLEAN_VALUE", direction="OUT"), parameter("note", direction="OUT")]
    world.begin(task(1, "SuspensionTask", takes=names), parameters=outputs)

    answered = world.lift(result=Value(DataType.STRING, "with care"))

    assert world.execution.outputs == {"ok": True, "note": "with care"}
    assert answered.result.data == "with care"


def test_what_a_wait_without_a_parameter_is_lifted_with_is_kept_with_the_suspension(world):
    world.begin(wait())

    assert world.lift(result=Value(DataType.STRING, "note")).result.data == "note"

    assert world.execution.outputs == {}


def test_an_execution_is_asynchronous_after_an_answer(world):
    conditions = [(2, "$`ExecutionMode`$ = SYNC"), (3, "$`ExecutionMode`$ = ASYNC")]
    policies = {
        "synchronousCallFailurePolicy": {"retryStrategy": "NONE"},
        "failurePolicy": {"retryStrategy": "IGNORE"},
    }
    keys = world.begin(
        light(4, next=[1]), wait(next=conditions), heavy(2), heavy(3, **policies), starts=[4], is_sync=True
    )

    world.lift()
    world.code[3] = lambda: 1 / 0
    world.drive(keys[3])

    assert world.states() == {1: "SUCCEED", 2: "SKIPPED", 3: "FAILED", 4: "SUCCEED"}
    assert world.execution.state is ExecutionState.SUCCEEDED


# -- who may answer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stranger", ["ann", "", CLOCK, f"{BOSS} "])
def test_nobody_but_the_addressees_may_answer(world, stranger):
    world.begin(approval(to=[BOSS, OTHER]))
    before = snapshot(world)

    with pytest.raises((MayNotResolve, InvalidValue)) as refused:
        world.lift(actor=stranger)

    assert snapshot(world) == before
    assert BOSS in str(refused.value) or not isinstance(refused.value, MayNotResolve)


@pytest.mark.parametrize("actor", [OTHER, "Other@Example.org"])
def test_each_of_the_addressees_may_answer(world, actor):
    world.begin(approval(to=[BOSS, OTHER]))

    assert world.lift(actor=actor).resolver == actor


@pytest.mark.parametrize("actor", ["", CLOCK, "a\0b", "x" * 257])
def test_who_answers_needs_a_name_that_can_be_kept(world, actor):
    world.begin(approval())
    before = snapshot(world)

    with pytest.raises(InvalidValue, match="actor"):
        world.lift(actor=actor)

    assert snapshot(world) == before


def test_approvers_that_a_reference_does_not_name_fail_the_task(world):
    """Else anybody could answer."""
    world.begin(approval(to=["$boss$"]), parameters=[parameter("boss")])

    assert world.states() == {1: "FAILED"}
    assert "notifications" in world.execution.error.message


# -- one answer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", [True, False])
def test_a_second_answer_is_told_of_the_first(world, second):
    world.begin(*either())
    first = world.lift(actor="ann")
    before = snapshot(world)

    with pytest.raises(SuspensionAnswered) as refused:
        world.answer(is_lifted=second, actor="bob")

    assert snapshot(world) == before
    error = refused.value
    assert (error.name, error.state, error.resolver) == ("1-1", "LIFTED", "ann")
    assert error.at == first.resolved_at.isoformat(timespec="seconds")
    assert type(error)(*error.args).args == error.args
    assert f"was LIFTED by ann at {error.at}" in str(error)


def test_of_two_answers_at_once_one_wins_and_the_other_is_told(world):
    world.begin(*either())

    def answer(actor, is_lifted):
        try:
            return world.answer(is_lifted=is_lifted, actor=actor).resolver
        except SuspensionAnswered as error:
            return error

    results = at_once(partial(answer, "ann", True), partial(answer, "bob", False))

    (winner,) = [each for each in results if isinstance(each, str)]
    (refused,) = [each for each in results if not isinstance(each, str)]
    assert (refused.resolver, refused.state) == (winner, "LIFTED" if winner == "ann" else "REJECTED")
    assert world.suspension("1").resolver == winner
    assert len(world.entries()) == 2
    assert len(set(world.sent()) & {2, 3}) == 1


def test_of_an_answer_and_the_end_of_its_time_at_once_one_wins(world):
    world.begin(*either(expires=1000))

    def answer():
        try:
            return world.lift().resolver
        except SuspensionAnswered as error:
            return error.resolver

    told, _ = at_once(answer, lambda: world.fire("EXPIRE"))

    assert told == world.suspension("1").resolver
    assert (told, world.suspension("1").state) in {("ann", LIFTED), (CLOCK, REJECTED)}
    assert len(world.entries()) == 2
    assert world.timers() == set()


def test_of_an_answer_and_a_kill_at_once_the_kill_is_never_lost(world):
    world.begin(*either(expires=1000))

    def answer():
        try:
            return world.lift().state
        except SuspensionAnswered as error:
            return error.state

    told, _ = at_once(answer, lambda: kill(world.id, world.services, audit=Audit(actor="bob")))

    assert told == world.suspension("1").state
    assert told in {LIFTED, CANCELLED}
    assert (world.execution.state, world.signal(), world.live()) == (ExecutionState.CANCELLED, None, {})
    assert world.timers() == set()


def test_an_answer_that_comes_before_a_kill_is_obeyed_does_not_undo_it(world):
    """What the process leaves that dies between sending the signal and obeying it."""
    world.begin(*either())
    world.services.signals.send(world.id, Signal.KILL, Audit(actor="bob"))

    with pytest.raises(SuspensionAnswered, match="was CANCELLED at"):
        world.lift()

    assert (world.execution.state, world.signal()) == (ExecutionState.CANCELLED, None)


# -- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["9", "1-2", "x"])
def test_a_suspension_of_no_such_name_is_not_found(world, name):
    world.begin(approval())
    before = snapshot(world)

    with pytest.raises(SuspensionNotFound, match=f"'{name}'"):
        world.lift(name=name)

    assert snapshot(world) == before


def test_an_execution_that_never_waited_has_no_suspension_to_answer(world):
    world.begin(heavy(1))

    with pytest.raises(SuspensionNotFound, match="has no suspension that waits"):
        world.lift()


def test_an_unknown_execution_has_no_suspension(world):
    with pytest.raises(ExecutionNotFound):
        world.lift(execution_id="nobody")


@pytest.mark.parametrize("name", ["", "1", "1-1"])
def test_a_suspension_of_an_execution_that_was_killed_stays_cancelled(world, name):
    world.begin(approval())
    kill(world.id, world.services, audit=Audit(actor="bob"))
    before = snapshot(world)

    with pytest.raises(SuspensionAnswered, match="was CANCELLED at"):
        world.lift(name=name)

    assert snapshot(world) == before


def test_several_that_wait_have_to_be_named(world):
    world.begin(approval(1), approval(2), starts=[1, 2])

    with pytest.raises(SeveralSuspensions, match="1-1, 2-1") as refused:
        world.lift()
    lifted = [world.lift(name="2").id, world.lift().id]

    assert lifted == ["2-1", "1-1"]
    assert type(refused.value)(*refused.value.args).args == refused.value.args


def test_a_tasks_number_names_its_latest_suspension(world):
    """Two attempts that suspended within one tick of the clock."""
    world.begin(wait())
    with world.database.begin() as connection:
        row = connection.execute(sa.select(suspensions)).one()._asdict()
        for attempt in (3, 2):
            connection.execute(sa.insert(suspensions).values(**row | {"attempt": attempt}))

    assert world.suspension("1").id == "1-3"


# -- the clock -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lifts", "state", "expected"),
    [(False, REJECTED, {2: "SKIPPED", 3: "PENDING_EXECUTION"}), (True, LIFTED, {2: "PENDING_EXECUTION", 3: "SKIPPED"})],
)
def test_a_question_without_an_answer_is_answered_by_the_clock(world, lifts, state, expected):
    world.begin(*either(expires=1000, reminds=500, lifts=lifts))

    world.fire("EXPIRE")

    assert world.states() == {1: "SUCCEED"} | expected
    assert (world.suspension("1").state, world.suspension("1").resolver) == (state, CLOCK)
    assert world.timers() == set()


def test_a_wait_whose_time_is_up_fails(world):
    world.begin(wait(expires=1000))

    world.fire("EXPIRE")

    assert failures(world) == [("FAILED", f"rejected by {CLOCK}", "SUSPENSION_REJECTED")]


def test_the_clock_may_answer_where_addressees_are_named(world):
    world.begin(approval(to=[BOSS], expires=1000))

    world.fire("EXPIRE")

    assert world.suspension("1").resolver == CLOCK


def test_an_answer_takes_the_timers_with_it(world):
    world.begin(approval(to=[BOSS], expires=1000, reminds=500))
    assert world.timers() == {"EXPIRE", "REMIND", "NOTIFY"}

    world.lift(actor=BOSS)

    assert world.timers() == set()


# -- reminders and notices -----------------------------------------------------------------------------------------


def due_in_s(world, kind):
    with world.database.read() as connection:
        due_at = connection.execute(sa.select(timers.c.due_at).where(timers.c.kind == kind)).scalar_one()
    return (due_at - datetime.now(UTC)).total_seconds()


def tell(world):
    """Run what was published, as a worker does; how many of them had something to tell."""
    keys = [
        AttemptKey(execution_id=each.execution_id, number=each.number, attempt=each.attempt)
        for each in world.notified()
    ]
    return sum(notify(key, world.services) for key in keys)


def asking(world, **more):
    world.terms = {"message": "May I?", "who_may_resolve": [BOSS]} | more


def test_those_who_may_answer_are_told_once(world):
    asking(world, expire_after_s=60)
    world.begin(task(1, "Ask"))

    world.fire("NOTIFY")
    world.fire("NOTIFY")  # nobody took the first message in time

    assert (len(world.notified()), tell(world)) == (2, 1)
    (notice,) = world.notices
    assert (notice.name, notice.message, notice.addressees, notice.reminder) == ("1-1", "May I?", (BOSS,), 0)
    assert notice.expires_at == world.suspension().expires_at
    assert world.timers() == {"EXPIRE"}


def test_of_two_workers_with_the_same_message_one_tells(world):
    asking(world)
    world.begin(task(1, "Ask"))
    world.fire("NOTIFY")

    assert sorted(at_once(partial(tell, world), partial(tell, world))) == [0, 1]
    assert len(world.notices) == 1


def test_a_notice_goes_to_the_executor_of_the_task(world):
    asking(world)
    world.begin(task(1, "Ask", executorId="office"))

    world.fire("NOTIFY")

    assert [(each.executor, each.celery_id) for each in world.notified()] == [("office", f"{world.id}.1.1.notice0")]


def test_every_reminder_is_a_notice(world):
    asking(world, remind_after_s=3600)
    world.begin(task(1, "Ask"))
    world.fire("NOTIFY")
    told = [tell(world)]

    for _ in range(2):
        world.fire("REMIND")
        world.fire("NOTIFY")
        told.append(tell(world))

    assert told == [1, 1, 1]
    assert [notice.reminder for notice in world.notices] == [0, 1, 2]
    assert world.suspension().reminders == 2
    assert 3590 < due_in_s(world, "REMIND") < 3610


@pytest.mark.parametrize("interval_s", [0.0, 0.001])
def test_reminders_come_at_most_once_a_minute(world, interval_s):
    asking(world, remind_after_s=interval_s)
    world.begin(task(1, "Ask"))

    world.fire("REMIND")

    assert 50 < due_in_s(world, "REMIND") < 70


def test_a_suspension_that_names_nobody_tells_nobody(world):
    asking(world, who_may_resolve=(), remind_after_s=3600)
    world.begin(task(1, "Ask"))

    world.fire("REMIND")

    assert world.suspension().reminders == 1
    assert world.timers() == {"REMIND"}


def test_nobody_is_told_of_what_has_its_answer(world):
    asking(world)
    world.begin(task(1, "Ask"))
    world.fire("NOTIFY")

    world.lift(actor=BOSS)

    assert (tell(world), world.notices) == (0, [])


def test_a_notice_that_fails_is_logged_and_changes_nothing(world, caplog):
    asking(world)
    world.begin(task(1, "Ask"))
    world.fire("NOTIFY")
    before = world.states()
    world.code[1] = lambda: 1 / 0

    told = tell(world)

    assert (told, world.states(), world.timers()) == (0, before, set())
    assert "notice not given" in caplog.text


def test_a_type_that_has_nothing_to_tell_is_not_asked_to(world):
    asking(world)
    world.services.types.add(TaskType(name="Silent", run=lambda context: Suspend(**world.terms), light=True))
    world.begin(task(1, "Silent"))

    world.fire("NOTIFY")

    assert (world.notified(), world.timers()) == ([], set())


def test_of_a_reminder_and_an_answer_at_once_nothing_is_left_over(world):
    asking(world, remind_after_s=3600)
    world.begin(task(1, "Ask"))

    at_once(lambda: world.fire("REMIND"), lambda: world.lift(actor=BOSS))
    world.fire("REMIND", "NOTIFY")

    assert world.timers() == set()
    assert (world.suspension("1").state, tell(world), world.notices) == (LIFTED, 0, [])


# -- timers --------------------------------------------------------------------------------------------------------


def test_a_timer_succeeds_when_its_time_is_up(world):
    world.begin(timer(next=[2]), heavy(2))
    assert world.execution.state is ExecutionState.SUSPENDED
    assert world.live() == {}

    world.fire("EXPIRE")

    assert world.states() == {1: "SUCCEED", 2: "PENDING_EXECUTION"}
    assert (world.suspension("1").resolver, world.suspension("1").is_timer) == (CLOCK, True)


def test_a_timer_is_nobodys_to_answer(world):
    world.begin(timer(1), approval(2), starts=[1, 2])

    answered = [world.lift().id]
    with pytest.raises(SuspensionAnswered, match="2-1"):
        world.lift()

    assert answered == ["2-1"]
    assert world.states() == {1: "SUSPENDED", 2: "SUCCEED"}


def test_a_timer_alone_has_nothing_that_waits_for_an_answer(world):
    world.begin(timer())

    with pytest.raises(SuspensionNotFound):
        world.lift()


def test_a_timer_that_is_named_can_be_cut_short(world):
    world.begin(timer())

    assert world.lift(name="1").resolver == "ann"

    assert world.execution.state is ExecutionState.SUCCEEDED


@pytest.mark.parametrize(
    ("waits", "expected"),
    [([timer(1)], False), ([timer(1), timer(2)], False), ([timer(1), wait(2)], True), ([wait(1)], True)],
)
def test_only_what_nobody_but_the_clock_ends_is_no_ones_turn(world, waits, expected):
    world.begin(*waits, starts=range(1, len(waits) + 1))

    assert world.services.suspensions.awaits_answer(world.id) is expected


def test_an_execution_that_is_answered_awaits_none(world):
    world.begin(wait())
    world.lift()

    assert not world.services.suspensions.awaits_answer(world.id)


# -- looking -------------------------------------------------------------------------------------------------------


def names(found):
    return [each.id for each in found]


def test_suspensions_are_listed_the_oldest_first(world):
    store = SuspensionStore(world.database)
    world.begin(approval(1), timer(2), approval(3), starts=[1, 2, 3])
    world.lift(name="3")
    with world.database.begin() as connection:
        moved = sa.update(suspensions).where(suspensions.c.task_number == 3)
        connection.execute(moved.values(created_at=datetime.now(UTC) - timedelta(hours=1)))

    assert names(store.find_all()) == ["3-1", "1-1"]
    assert names(store.find_all(state=PENDING)) == ["1-1"]
    assert names(store.find_all(execution_id=world.id, limit=1)) == ["3-1"]
    assert store.find_all(execution_id="another") == []
    assert names(store.find_all(with_timers=True)) == ["3-1", "1-1", "2-1"]


def test_what_waits_for_the_end_of_an_execution_is_found_from_any_depth(world):
    world.publish(flow("child", wait()))
    top = world.begin(task(1, "Call"))[1]
    child = world.execution.children[0].id

    assert [each.id for each in waiting_with(child, world.services)] == [child, top.execution_id]
    assert [each.id for each in waiting_with(top.execution_id, world.services)] == [top.execution_id]

"""The part of the Python API that is about suspensions: what waits for an answer, and answering it.

    with Orchestrator() as orchestrator:
        for suspension in orchestrator.suspensions.list():
            print(suspension.execution_id, suspension.id, suspension.message)
        orchestrator.suspensions.lift(execution_id, actor="boss@example.org")
        print(orchestrator.wait(execution_id).outputs)

With embedded services an answer brings the workers that go on with the execution, as long as the ``with`` block lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.model.values import Value, from_python
from orchestrator.service.reach import executors_going_on
from orchestrator.service.services import Services
from orchestrator.service.suspensions import check_answer, find, resolve, waiting_with
from orchestrator.store.kinds import SuspensionState
from orchestrator.store.suspensions import Suspension


class Suspensions:
    """Finds and answers suspensions.

    Args:
        services: for looking; asked for when first used.
        running: for what goes on after an answer: the services, with workers for these executors.
        user: who acts, if nobody else is named.
    """

    def __init__(
        self,
        services: Callable[[], Services],
        *,
        running: Callable[[Sequence[str]], Services],
        user: Callable[[], str],
    ) -> None:
        self._services, self._running, self._user = services, running, user

    def get(self, execution_id: str, name: str = "") -> Suspension:
        """One suspension.

        Args:
            execution_id: of which execution.
            name: which one: ``TASK-ATTEMPT``, or the task's number for its latest; without it the only one that waits,
                or if none waits any more, the one that was answered last.

        Raises:
            SuspensionNotFound: there is none of this name, or none that anybody was asked to answer.
            SeveralSuspensions: several wait, and none is named.
            ExecutionNotFound: there is no such execution.
        """
        return find(execution_id, self._services(), name=name)

    def lift(self, execution_id: str, result: object = None, *, name: str = "", actor: str | None = None) -> Suspension:
        """Let an execution go on: with yes, if its task asks a question.

        Args:
            execution_id: of which execution.
            result: what the task is told, plain Python data or a value: it goes to the parameter that the task names
                for it (``suspensionResult``), or else to that of the answer (``isApproved``) in place of true.
            name: which suspension, as for ``get``.
            actor: who answers; default: this operating system's user.

        Returns:
            The suspension as it is now; ``wait`` for what comes of it.

        Raises:
            SuspensionNotFound, SeveralSuspensions, ExecutionNotFound: as for ``get``; nothing was changed, here and
                below.
            SuspensionAnswered: it has its answer already, and says whose.
            MayNotResolve: the task names others who may answer.
            InvalidValue: the result does not fit the parameter that takes it.
        """
        if result is None:
            return self._answer(execution_id, is_lifted=True, name=name, actor=actor, result=None)
        value = result if isinstance(result, Value) else from_python(result, "result")
        return self._answer(execution_id, is_lifted=True, name=name, actor=actor, result=value)

    def resolve(self, execution_id: str, *, approve: bool, name: str = "", actor: str | None = None) -> Suspension:
        """Say yes or no. A no FAILs a task that asks no question, but only waits.

        Args:
            execution_id: of which execution.
            approve: lift it, or reject it.
            name: which suspension, as for ``get``.
            actor: who answers; default: this operating system's user.

        Returns:
            The suspension as it is now; ``wait`` for what comes of it.

        Raises:
            As ``lift``.
        """
        return self._answer(execution_id, is_lifted=approve, name=name, actor=actor, result=None)

    def top_of(self, execution_id: str) -> str:
        """The topmost execution that waits for the end of this one, directly or not; itself if none does.

        Raises:
            ExecutionNotFound: there is no such execution.
        """
        return waiting_with(execution_id, self._services())[-1].id

    def _answer(
        self, execution_id: str, *, is_lifted: bool, name: str, actor: str | None, result: Value | None
    ) -> Suspension:
        services, resolver = self._services(), actor or self._user()
        # Whatever can be refused is, before workers are started.
        check_answer(find(execution_id, services, name=name), actor=resolver)
        return resolve(
            execution_id,
            self._running(executors_going_on(execution_id, services)),
            is_lifted=is_lifted,
            actor=resolver,
            name=name,
            result=result,
        )

    def list(
        self,
        *,
        state: SuspensionState | None = SuspensionState.PENDING,
        execution: str | None = None,
        with_timers: bool = False,
        limit: int = 50,
    ) -> list[Suspension]:
        """Suspensions, the oldest first.

        Args:
            state: only in this state; None for any.
            execution: only of this execution.
            with_timers: those as well that only wait for a time, so that nobody has to answer.
            limit: at most so many.
        """
        return self._services().suspensions.find_all(
            state=state, execution_id=execution, with_timers=with_timers, limit=limit
        )

"""The part of the Python API that steers what was started: kill, of executions or one task, release, and prune."""

from __future__ import annotations

import functools
import getpass
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from orchestrator.client.looking import Looking
from orchestrator.errors import InvalidValue
from orchestrator.model.execution import Execution
from orchestrator.model.filters import Node
from orchestrator.service.control import KillReport, find_live, kill, kill_many, topmost
from orchestrator.service.prune import Pruned, PruneWish, prune
from orchestrator.service.reach import executors_going_on
from orchestrator.service.services import Services
from orchestrator.service.task_control import check_release, check_task_kill, kill_task, release
from orchestrator.store.rows import Match
from orchestrator.store.signals import Audit


class Control(Looking):
    """Ends executions and tasks, lets tasks out of quarantine, and deletes what ended long ago."""

    def kill(
        self,
        execution_id: str,
        *,
        task: int | None = None,
        message: str | None = None,
        actor: str | None = None,
        rolls_back: bool = False,
    ) -> Execution:
        """End an execution and everything live below it, or one task of it; each is CANCELLED once no code of it runs.

        Args:
            execution_id: of which execution.
            task: this one alone, and what only it leads to; the execution goes on.
            message: why; kept with who and when.
            actor: who wants it; default: this operating system's user.
            rolls_back: undo what SUCCEEDed and has a rollback before the execution is CANCELLED. Not with a task.

        Returns:
            The execution as it is now: CANCELLED, or still live while a worker ends what it runs; ``wait`` for that.

        Raises:
            ExecutionOver: it is final already; nothing was changed, here and below.
            TaskNotKillable: the task is over, or about to be.
            ExecutionNotFound, TaskNotFound: there is none.
        """
        audit = Audit(actor=actor or user(), message=message)
        if task is None:
            kill(execution_id, self._running(()).services, audit=audit, rolls_back=rolls_back)
            return self.get(execution_id)
        if rolls_back:
            raise InvalidValue("rolls_back", "a task", "a KILL of the whole execution: one task is not undone alone")
        check_task_kill(execution_id, task, self._open().services)  # before workers are started
        kill_task(execution_id, task, self._going_on(execution_id), audit=audit)
        return self.get(execution_id)

    def kill_many(
        self,
        filter: str | Node,  # noqa: A002 - the word of the API
        *,
        message: str | None = None,
        actor: str | None = None,
        rolls_back: bool = False,
        dry_run: bool = False,
        confirm: Callable[[Sequence[Match]], bool] | None = None,
    ) -> KillReport:
        """End all live executions that fit a filter, each as ``kill`` does. What begins to fit later is left alone.

        Args:
            filter: as for ``list``; a blank one is refused, and ``state:*`` is everything.
            message: why; kept with who and when.
            actor: who wants it; default: this operating system's user.
            rolls_back: undo what SUCCEEDed and has a rollback before it is CANCELLED.
            dry_run: only find them.
            confirm: is asked about what was found, if anything was; unless it says yes, nothing is killed.

        Returns:
            What was found, killed, over already, and what failed.

        Raises:
            FilterSyntax, InvalidValue: the filter cannot be read, or is blank.
        """
        found = find_live(filter, self._open().services, place=self.place)
        shown = topmost(found)
        if dry_run or not shown or (confirm is not None and not confirm(shown)):
            return KillReport(matches=shown)
        audit = Audit(actor=actor or user(), message=message)
        return kill_many(found, self._running(()).services, audit=audit, rolls_back=rolls_back)

    def release(self, execution_id: str, task: int, *, actor: str | None = None) -> Execution:
        """Let a task run again that killed its workers and is in quarantine for that.

        Args:
            execution_id: of which execution.
            task: its number.
            actor: who wants it, kept; default: this operating system's user.

        Returns:
            The execution as it is now; ``wait`` for what comes of it.

        Raises:
            NotQuarantined: the task is not in quarantine; nothing was changed, here and below.
            ExecutionOver: the execution is final.
            ExecutionNotFound, TaskNotFound: there is none.
        """
        check_release(execution_id, task, self._open().services)  # before workers are started
        release(execution_id, task, self._going_on(execution_id), actor=actor or user())
        return self.get(execution_id)

    def prune(
        self,
        older_than: timedelta,
        *,
        keeps_failed: bool = False,
        limit: int | None = None,
        dry_run: bool = False,
        tell: Callable[[Pruned], object] = lambda _: None,
    ) -> Pruned:
        """Delete executions that ended longer ago, each with everything below it, its history and its artifacts.

        What has anything below it that is not over stays. So do definitions. It may be ended at any moment, and run
        while everything else does: the next call goes on.

        Args:
            older_than: how long ago the topmost execution has to have ended.
            keeps_failed: those stay whose topmost execution FAILED.
            limit: at most so many topmost executions.
            dry_run: delete nothing, and only count.
            tell: gets what is gone so far, now and then.

        Returns:
            How much is gone; or would be.

        Raises:
            InvalidValue: a negative age, or a limit below 1.
            Unreachable: the artifact store does not answer.
        """
        runtime = self._open()
        wish = PruneWish(older_than=older_than, keeps_failed=keeps_failed, limit=limit, dry_run=dry_run)
        backend: Any = runtime.app.backend
        return prune(wish, runtime.services, place=self.place, expiry=backend.expiry, tell=tell)

    def _going_on(self, execution_id: str) -> Services:
        """With the workers that an execution may need, which goes on."""
        return self._running(executors_going_on(execution_id, self._open().services)).services


@functools.cache
def user() -> str:
    """Who acts, where no other name is given: this operating system's user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this uid, as in many containers
        return f"uid {os.getuid()}"

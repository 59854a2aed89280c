"""The cases on Celery Director: workflows in YAML, turned into Celery canvases, their states in one database.

Its ``end`` of a workflow holds a worker process for half a second, so many workflows take at least that. Definitions
are put where it keeps those that it has read, because their size is only known now.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers.serving import Surroundings, serve

POLL_S = 0.01
PROJECT = "bench"
NOOP = """
from director import task

@task(name="NOOP")
def noop(*args, **kwargs):
    pass
"""


class Director:
    """Starts workflows as its API does, and waits until the database says that they have succeeded."""

    def __init__(self) -> None:
        from director import models  # noqa: F401 - the tables
        from director.builder import WorkflowBuilder
        from director.extensions import cel_workflows, db
        from director.models import StatusType
        from director.models.tasks import Task
        from director.models.workflows import Workflow

        self._db, self._definitions, self._build = db, cel_workflows.workflows, WorkflowBuilder
        self._workflow, self._task, self._success = Workflow, Task, StatusType.success

    def chord(self, size: int) -> int:
        return self._run([_group(size)])

    def chain(self, size: int) -> int:
        return self._run(["NOOP"] * size)

    def graphs(self, size: int) -> int:
        return self._run(["NOOP", _group(3), "NOOP"], count=size)

    def _run(self, tasks: list[Any], *, count: int = 1) -> int:
        self._definitions[f"{PROJECT}.CASE"] = {"tasks": tasks}
        ids = [self._start() for _ in range(count)]
        while self._succeeded(self._workflow, self._workflow.id.in_(ids)) < count:
            time.sleep(POLL_S)
        return self._succeeded(self._task, self._task.workflow_id.in_(ids))

    def _start(self) -> str:
        workflow = self._workflow(project=PROJECT, name="CASE", payload={})
        workflow.save()
        self._build(workflow.id).run()
        return str(workflow.id)

    def _succeeded(self, table: Any, which: Any) -> int:
        found = table.query.filter(which, table.status == self._success).count()
        self._db.session.commit()  # so that the next look sees what is committed then
        return int(found)


def _group(size: int) -> dict[str, object]:
    return {"GROUP": {"type": "group", "tasks": ["NOOP"] * size}}


@contextmanager
def start(surroundings: Surroundings) -> Iterator[Director]:
    """Its home, its tables and its worker."""
    home = Path(surroundings.home)
    (home / "tasks").mkdir()
    (home / "tasks" / "bench.py").write_text(NOOP)
    (home / "workflows.yml").write_text(f"{PROJECT}.CASE:\n  tasks:\n    - NOOP\n")
    os.environ |= {
        "DIRECTOR_HOME": str(home),
        "DIRECTOR_DATABASE_URI": surroundings.database,
        "DIRECTOR_BROKER_URI": surroundings.broker,
        "DIRECTOR_RESULT_BACKEND_URI": surroundings.results,
    }
    program = str(Path(sys.executable).with_name("director"))
    subprocess.run([program, "db", "upgrade"], check=True)
    options = ["--concurrency", str(surroundings.concurrency), "--loglevel", "WARNING"]
    worker = subprocess.Popen([program, "celery", "worker", *options])
    from director import create_app

    try:
        with create_app().app_context():
            yield Director()
    finally:
        worker.terminate()


if __name__ == "__main__":
    serve("celery-director", start)

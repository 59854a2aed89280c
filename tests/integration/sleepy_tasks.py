"""A task type that takes as long as it is told to, for tests that end it."""

import time

from orchestrator import task_type


@task_type("tests.sleep")
def sleep(seconds: float) -> None:
    time.sleep(seconds)

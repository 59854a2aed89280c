"""A task type that calls sys.exit, and one that ends its own process by SIGTERM."""

import os
import signal
import sys

from orchestrator import task_type


@task_type("tests.exit")
def leave(code: int) -> None:
    sys.exit(code)


@task_type("tests.term")
def term() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()

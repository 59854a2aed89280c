"""The command line: each command parses its arguments, calls one service and prints what it answers.

Exit codes: 0 SUCCEEDED (or: done, nothing is broken); 1 FAILED, or something did not answer, was not found or took too
long; 2 usage, a setting, a definition or an input that cannot be used, or a queue that is full, with nothing started or
stored; 3 CANCELLED; 4 SUSPENDED, or a task is in quarantine; 130 Ctrl-C; 143 SIGTERM, but 0 for ``api``, ``up`` and
``worker``, whose end that is. Errors are one message on stderr; a traceback is a bug of ours.

Everything that takes time to import is imported inside the command that needs it: ``--help`` has to be quick.
"""

from orchestrator.cli import (
    api,
    control,
    definitions,
    executions,
    files,
    keys,
    limits,
    looking,
    prune,
    replay,
    schedules,
    suspensions,
    system,
    up,
)
from orchestrator.cli.app import app, main

__all__ = [
    "api",
    "app",
    "control",
    "definitions",
    "executions",
    "files",
    "keys",
    "limits",
    "looking",
    "main",
    "prune",
    "replay",
    "schedules",
    "suspensions",
    "system",
    "up",
]

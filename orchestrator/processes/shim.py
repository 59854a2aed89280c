"""The shim: the process between a worker's process and a command. ``python -I -S shim.py RUNNER_PID TAG``.

The runner starts it, with a socket as its standard input, through which it gets one line (the command, and the folder
for what is kept) and gives its report. It is recognised by this command line: while there is a process that has it, the
tag's processes belong to somebody. What it does is in ``processes.supervisor``.

-I and -S, because a start without the site's packages takes half the time and sees nothing of the environment; so it
loads this package and the standard library alone.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Supervise the command that comes through standard input."""
    import json
    import traceback

    from orchestrator.processes.spec import parse_command, to_line
    from orchestrator.processes.supervisor import Supervisor

    runner = socket.socket(fileno=0)
    with runner.makefile("rb") as lines:
        line = lines.readline()
    if not line.endswith(b"\n"):
        return 1  # the runner died, or thought better of it
    orders = json.loads(line)
    os.set_inheritable(orders["lock"], False)  # held by this process for as long as it lives, and by no other
    supervisor = Supervisor(
        parse_command(orders["command"]),
        tag=arguments[1],
        folder=orders["folder"],
        runner=runner,
        runner_pid=int(arguments[0]),
    )
    try:
        supervisor.run(with_cgroup=orders["withCgroup"])
    except Exception:  # nothing of the command is left; there is nobody but the runner to tell
        runner.sendall(to_line({"failed": traceback.format_exc()}))
        return 1
    return 0


if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    sys.exit(main(sys.argv[1:]))

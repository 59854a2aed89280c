"""Commands that leave processes behind. Each process says its pid through the pipe, one a line; then they wait.

tree         a child, a grandchild in a session of its own, a daemon forked twice, one that has cleared its
             environment; all of them obey SIGTERM
stubborn     the same, and all ignore SIGTERM
leave        the same as tree, but the command itself ends well, once there is a file PIPE.go
hop          a process that forks and ends, again and again, in ever new sessions
zombies      three children that have ended and that nobody has taken note of; the command obeys SIGTERM
"""

import os
import signal
import sys
import time
from pathlib import Path


def say(pipe):
    Path(pipe).write_text(f"{os.getpid()}\n")


def wait():
    while True:
        signal.pause()


def fork(do):
    """Run ``do`` in a child that never comes back."""
    pid = os.fork()
    if pid == 0:
        try:
            do()
        finally:
            os._exit(0)
    return pid


def stay(pipe):
    say(pipe)
    wait()


def in_a_session(pipe):
    os.setsid()
    stay(pipe)


def daemon(pipe):
    os.setsid()
    fork(lambda: stay(pipe))


def cleared(pipe):
    os.setsid()
    os.execve(sys.executable, [sys.executable, "-I", "-S", __file__, "stay", pipe], {})


def hop(pipe):
    say(pipe)
    while True:
        if os.fork():
            os._exit(0)
        os.setsid()


def main(kind, pipe):
    if kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    match kind:
        case "stay":
            stay(pipe)
        case "hop":
            fork(lambda: hop(pipe))
            wait()
        case "zombies":
            for pid in [fork(lambda: None) for _ in range(3)]:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            stay(pipe)
    fork(lambda: stay(pipe))
    fork(lambda: fork(lambda: in_a_session(pipe)))
    fork(lambda: daemon(pipe))
    fork(lambda: cleared(pipe))
    if kind != "leave":
        stay(pipe)
    while not Path(f"{pipe}.go").exists():
        time.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])

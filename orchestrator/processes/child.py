"""From the shim to the command: the fork, and everything that must be so before the command's first instruction.

The command gets a session of its own, the given environment and nothing else, no input, the two pipes, no other file,
no rights that the worker does not have, and its limits. It dies with the shim, by SIGKILL.

The shim has one thread, so a fork may run Python in the child. Why the command could not begin comes back through a
pipe that its beginning closes.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
from collections.abc import Mapping
from typing import Final, Never

from orchestrator.processes.cgroup import Cgroup
from orchestrator.processes.leash import die_with_parent, give_up_privileges
from orchestrator.processes.spec import Command, Limits

NOT_STARTED: Final = 127
_RESOURCES: Final = {
    "memory_bytes": resource.RLIMIT_AS,
    "cpu_s": resource.RLIMIT_CPU,
    "open_files": resource.RLIMIT_NOFILE,
    "file_bytes": resource.RLIMIT_FSIZE,
    "processes": resource.RLIMIT_NPROC,
}
_CPU_SLACK_S: Final = 1  # between SIGXCPU, which tells of the limit, and the SIGKILL of the kernel


def start(
    command: Command, environment: Mapping[str, str], *, stdout: int, stderr: int, cgroup: Cgroup | None
) -> tuple[int, str | None]:
    """Start the command.

    Returns:
        Its pid, and why it is not the command after all; the process is there to be reaped in both cases.
    """
    shim = os.getpid()
    told, tells = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            _become(command, environment, stdout=stdout, stderr=stderr, cgroup=cgroup, shim=shim)
        except BaseException as error:  # whatever it is, this must not go on as a second shim
            os.write(tells, json.dumps(_reason(error, command)).encode())
        finally:
            os._exit(NOT_STARTED)
    os.close(tells)
    with os.fdopen(told, "rb") as pipe:
        said = pipe.read()
    return pid, json.loads(said) if said else None


def _become(
    command: Command, environment: Mapping[str, str], *, stdout: int, stderr: int, cgroup: Cgroup | None, shim: int
) -> Never:
    die_with_parent(signal.SIGKILL, parent_pid=shim)
    os.setsid()
    if cgroup is not None:
        cgroup.enter()
    _forget_signals()
    os.umask(0o077)
    _take_files(stdout, stderr)
    os.chdir(command.folder or "/")
    give_up_privileges()
    _limit(command.limits)
    os.execvpe(command.arguments[0], command.arguments, dict(environment))  # noqa: S606 - never a shell


def _forget_signals() -> None:
    """Python ignores some, and what is ignored stays so in the command: a pipe that breaks would not end it."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _take_files(stdout: int, stderr: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    # Out of the way first: one of them may have the number that another one is to get.
    for place, file in enumerate([fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 10) for each in (nothing, stdout, stderr)]):
        os.dup2(file, place)


def _limit(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, wanted in limits._asdict().items():
        if wanted is not None:
            _, most = resource.getrlimit(_RESOURCES[name])
            soft, hard = wanted, wanted + _CPU_SLACK_S if name == "cpu_s" else wanted
            if most != resource.RLIM_INFINITY:
                soft, hard = min(soft, most), min(hard, most)
            resource.setrlimit(_RESOURCES[name], (soft, hard))


def _reason(error: BaseException, command: Command) -> str:
    if isinstance(error, OSError) and error.strerror:
        is_folder = error.filename is not None and error.filename == command.folder
        return f"{command.folder if is_folder else command.arguments[0]}: {error.strerror}"
    return f"{command.arguments[0]}: {type(error).__name__} {error}"

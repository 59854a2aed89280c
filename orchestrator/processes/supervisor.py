"""The shim's work: supervise one command, and end whatever came of it.

    running --- the command ends, the time is up, the runner says stop, the runner dies --> ending
    ending  --- SIGTERM to all ... the grace ... SIGKILL to all, again and again ---------> no child is left

The shim is the child subreaper of everything that the command starts: a process that loses its parent becomes the
shim's child, ``setsid`` and double forks or not. So "no child is left" means that nothing is left, and the shim does
not end before; the kernel keeps that account, not this module.

It takes what the command writes out of the pipes as fast as it comes, so no command ever waits for a reader, and it
waits for the processes and never for the end of the pipes, which anybody may hold open.

Must not: end while something of the command lives; wait for the runner; use memory or time in proportion to the output.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from contextlib import suppress
from typing import Any, Final

from orchestrator.processes import cgroup, tree
from orchestrator.processes.child import start
from orchestrator.processes.leash import adopt_orphans, die_with_parent
from orchestrator.processes.spec import REPORT, STREAMS, TAG, Command, Ending, Report, to_json, to_line
from orchestrator.processes.spool import Spool

ORPHAN_GRACE_S: Final = 1.0
"""The grace when the runner has died: its attempt may begin again elsewhere at once, and two at a time are worse than
an end without ceremony."""

_CHUNK: Final = 65_536
_KILL_ROUNDS: Final = 20
_KILL_AGAIN_S: Final = (0.01, 0.5)  # after SIGKILL: the first pause, and the longest
_TOLD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Supervisor:
    """Supervises one command; usable once."""

    def __init__(self, command: Command, *, tag: str, folder: str, runner: socket.socket, runner_pid: int) -> None:
        """``folder`` takes what is kept; ``runner`` is heard and told."""
        self._command, self._tag, self._folder = command, tag, folder
        self._runner, self._runner_pid = runner, runner_pid
        self._cgroup: cgroup.Cgroup | None = None
        self._poll = select.poll()
        self._streams: dict[int, Spool] = {}
        self._pid: int | None = None
        self._status: int | None = None
        self._cpu_s = 0.0
        self._ending: Ending | None = None
        self._reason: str | None = None
        self._kill_at = self._end_at = float("inf")
        self._pause_s = _KILL_AGAIN_S[0]
        self._terminated = 0
        self._killed: set[tuple[int, int]] = set()
        self._reaped = 0

    def run(self, *, with_cgroup: bool) -> Report:
        """Start the command; return when nothing of it is alive."""
        self._listen()
        began_at, oom_kills = time.monotonic(), cgroup.oom_kills()
        self._cgroup = cgroup.create(self._tag.rpartition("/")[2]) if with_cgroup else None
        try:
            self._start()
            while self._has_children():
                self._turn()
            self._drain()
        finally:  # if this very code fails as well
            self._end_all()
        report = self._report(time.monotonic() - began_at, is_oom=cgroup.oom_kills() > oom_kills)
        self._leave(report)
        return report

    # -- the beginning ---------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Everything that can happen wakes one poll: signals too, through a pipe that Python writes to."""
        hears, wakes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        self._wakeups = hears
        for number in (*_TOLD, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # only to wake the poll; what to do is seen there
        self._poll.register(hears, select.POLLIN)
        self._poll.register(self._runner, select.POLLIN)
        adopt_orphans()
        die_with_parent(signal.SIGTERM, parent_pid=self._runner_pid)

    def _start(self) -> None:
        ends = []
        for name in STREAMS:
            out, into = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(out, False)
            self._streams[out] = Spool(self._folder, name, self._command.most_output_bytes)
            self._poll.register(out, select.POLLIN)
            ends.append(into)
        environment = {**self._command.environment, TAG: self._tag}
        self._pid, self._reason = start(self._command, environment, stdout=ends[0], stderr=ends[1], cgroup=self._cgroup)
        for each in ends:
            os.close(each)
        if self._command.timeout_s is not None:
            self._end_at = time.monotonic() + self._command.timeout_s
        if self._reason is None:
            self._tell({"started": self._pid})
        else:
            self._ending = Ending.NOT_STARTED

    # -- one turn --------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Wait until something happens or is due, and deal with it."""
        wait_s = (
            min(self._end_at if self._ending is None else self._kill_at, time.monotonic() + 3600) - time.monotonic()
        )
        for handle, _ in self._poll.poll(max(wait_s, 0.0) * 1000):
            if handle == self._wakeups:
                if {*os.read(handle, _CHUNK)} & {*_TOLD}:
                    self._end(self._who_says_so())
            elif handle == self._runner.fileno():
                self._poll.unregister(handle)
                self._end(self._who_says_so())
            elif self._take(handle) == b"":
                self._poll.unregister(handle)
        if self._ending is None and time.monotonic() >= self._end_at:
            self._end(Ending.TIMEOUT)
        if time.monotonic() >= self._kill_at:
            self._kill()

    def _take(self, handle: int) -> bytes | None:
        """Take what is in the pipe: None if there is nothing now, empty if there never will be."""
        try:
            chunk = os.read(handle, _CHUNK)
        except BlockingIOError:
            return None
        self._streams[handle].write(chunk)
        return chunk

    def _has_children(self) -> bool:
        """Take note of who has ended; whether anybody is left."""
        with suppress(ChildProcessError):
            while True:
                pid, status, used = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return True
                self._reaped += 1
                if pid == self._pid:
                    self._status, self._cpu_s = status, used.ru_utime + used.ru_stime
                    self._end(Ending.FINISHED)
        return False

    # -- the end ---------------------------------------------------------------------------------------------------

    def _who_says_so(self) -> Ending:
        """The kernel's word of the runner's death, and the runner's own of a stop, come in the same ways."""
        return Ending.STOPPED if os.getppid() == self._runner_pid else Ending.PARENT_DIED

    def _end(self, ending: Ending) -> None:
        """Begin to end everything, once. Whoever comes later can only make it quicker."""
        grace_s = min(self._command.grace_s, ORPHAN_GRACE_S) if ending is Ending.PARENT_DIED else self._command.grace_s
        self._kill_at = min(self._kill_at, time.monotonic() + grace_s)
        if self._ending is None:
            self._ending = ending
            # A stopped process sees SIGTERM when it goes on.
            ours = tree.descendants(os.getpid())
            self._terminated = sum(tree.send(each, signal.SIGTERM, signal.SIGCONT) for each in ours)

    def _kill(self) -> None:
        """SIGKILL to all, in quick rounds: some may be forking and ending faster than they can be looked at."""
        for _ in range(_KILL_ROUNDS):
            ours = tree.descendants(os.getpid())
            self._killed.update(each.key for each in ours if tree.send(each, signal.SIGKILL))
            if self._cgroup is not None:
                self._cgroup.kill()
            if not ours:
                break
        self._kill_at = time.monotonic() + self._pause_s  # of those that hang in the kernel, less and less often
        self._pause_s = min(self._pause_s * 2, _KILL_AGAIN_S[1])

    def _end_all(self) -> None:
        while self._has_children():
            self._kill()
            time.sleep(self._pause_s)
        if self._cgroup is not None:
            self._cgroup.remove()

    def _drain(self) -> None:
        """To the last byte: nobody is left who could write more."""
        for handle, spool in self._streams.items():
            while self._take(handle):
                pass
            os.close(handle)
            spool.close()

    # -- the report ------------------------------------------------------------------------------------------------

    def _report(self, seconds: float, *, is_oom: bool) -> Report:
        spools = dict(zip(STREAMS, self._streams.values(), strict=True))
        is_command = self._reason is None  # and not the process that was to become it
        code = os.waitstatus_to_exitcode(self._status) if is_command and self._status is not None else None
        return Report(
            ending=self._ending or Ending.FINISHED,
            pid=self._pid if is_command else None,
            exit_code=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            seconds=round(seconds, 3),
            terminated=self._terminated,
            killed=len(self._killed),
            reaped=self._reaped,
            limit=self._limit(code, is_oom=is_oom) if self._ending is Ending.FINISHED else None,
            output_bytes={name: spool.size for name, spool in spools.items()},
            output_errors={name: spool.error for name, spool in spools.items() if spool.error},
            reason=self._reason,
        )

    def _limit(self, code: int | None, *, is_oom: bool) -> str | None:
        """What the command ran into, if it did not end well."""
        if code == -signal.SIGXFSZ:
            return "file size"
        cpu_s = self._command.limits.cpu_s
        if code == -signal.SIGXCPU or (code == -signal.SIGKILL and cpu_s is not None and self._cpu_s >= cpu_s):
            return "cpu"
        return "oom" if is_oom and code else None

    def _leave(self, report: Report) -> None:
        with suppress(OSError), open(os.path.join(self._folder, REPORT), "w") as file:  # the disk may be full
            json.dump(to_json(report), file)
        self._tell({"report": to_json(report)})

    def _tell(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # the runner is gone
            self._runner.sendall(to_line(message))

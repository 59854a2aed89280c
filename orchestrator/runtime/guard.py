"""The guard of running attempts: ends task code that takes too long, or whose execution is to stop.

Three means, from gentle to sure. The first works everywhere; the second only if the code runs in the process's main
thread, as in a prefork child; the third everywhere, and takes the process with all its threads along.

    told     ``Watch.is_cancelled`` turns True, and the code may stop by itself
    raised   ``AttemptEnded`` comes up in the code, out of a signal handler
    ended    the process, a grace time later, by ``runtime.watchdog``: no code can hold that up

    timeout  |--- body ---------------- SIGALRM: raised --- grace ---| ended      (set before the body begins)
    stop     |--- body --- a look says no: END_SIGNAL: raised --- grace ---| ended

The looks are those of one daemon thread, which starts with the first watch of a process and asks ``is_wanted`` only for
attempts that have run for about a second. (It cannot start later, out of a signal handler: ``Thread.start`` takes locks
that the interrupted code may hold.) It also sees to timeouts whose SIGALRM the task code took for itself. Where
``listen`` was called it looks at once when ``LOOK_SIGNAL`` comes: that signal says nothing else, so it does no harm to
a process that is busy with something else by now.

Nothing is raised outside the body of the with statement. Python runs signal handlers between two instructions of the
main thread, so one may come up when the body is through and ``__exit__`` has not begun to clean up, or within
``__enter__``; raised there, the exception would leave the watch behind armed. So the handler looks at the frames that
it interrupted, and below ``__enter__`` or ``__exit__`` it raises nothing. (Between the body and ``__exit__`` the
interpreter runs no handler.) Both signals come again until their exception was raised; not only for that, also because
one that arrives just before the code goes to sleep in a system call is seen only when the code wakes.

That holds for a with statement of its own; in an ExitStack the end of the body is code of contextlib, which is not
known here. And before a signal goes back to whom it belonged, what is still on its way is thrown away: the default
action, or the pool's own handler, would end the process.

Limits. C code that does not return to the interpreter is not interrupted, only ended; if it holds the interpreter lock
and there is no timeout, nobody in this process can ask whether it is wanted. The exception is lost if it comes up in a
``__del__`` or a callback that swallows it: then the grace time runs out. Of a child that the code forked nothing is
watched. Greenlets (gevent, eventlet) count as other threads.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final

from orchestrator.runtime.watchdog import Watchdog
from orchestrator.service.guarding import AttemptEnded, Ending

log = logging.getLogger(__name__)

GRACE_S: Final = 5.0
LOOK_EVERY_S: Final = 1.0
COME_AGAIN_S: Final = 0.05
SHORTEST_S: Final = 1e-6  # zero would stop the timer
LONGEST_S: Final = 1e8  # three years; the timers overflow far beyond

# A real-time signal: Celery and billiard use none in a pool child (billiard.common.TERMSIGS_FULL, celery.platforms;
# they take HUP, QUIT, TERM, INT, USR1, ALRM and more), nor does the C library, which has those below SIGRTMIN. Not
# SIGURG, harmless as it is by default: the Go runtime in _gojsonnet installs a C handler for it that Python cannot
# give back. Where there are no real-time signals (macOS), SIGIO, which is ignored there by default.
END_SIGNAL: Final = signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") else signal.SIGIO
LOOK_SIGNAL: Final = END_SIGNAL + 1 if hasattr(signal, "SIGRTMIN") else signal.SIGURG


def listen() -> None:
    """Have ``LOOK_SIGNAL`` make the guard of this process look at once, and ``END_SIGNAL`` be the guard's for good.

    To take a signal and to give it back is a tenth of what a light task costs.

    Must be called in the main thread before there are others: they block the first signal because it does, so that only
    the looking thread gets it, which waits for it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (LOOK_SIGNAL,))
    signal.signal(END_SIGNAL, _on_signal)
    _PROCESS.keeps_end_signal = True


def _wait_for_look(seconds: float) -> bool:
    """Wait so long at most; whether there is a reason to look at once."""
    if hasattr(signal, "sigtimedwait"):
        return signal.sigtimedwait((LOOK_SIGNAL,), seconds) is not None
    time.sleep(seconds)
    return False


class ProcessGuard:
    """The guard of this process. Stateless but for its settings: what there is once in a process is ``_Process``."""

    def __init__(self, *, grace_s: float = GRACE_S, look_every_s: float = LOOK_EVERY_S) -> None:
        self._grace_s, self._look_every_s = grace_s, look_every_s

    def watch(self, *, timeout_s: float | None, is_wanted: Callable[[], bool]) -> _Watch:
        """See ``Guard.watch``. Outside the main thread nothing is raised in the body, only when it is through."""
        return _Watch(timeout_s, is_wanted, grace_s=self._grace_s, look_every_s=self._look_every_s)


class _Watch:
    """One attempt; usable once, in a with statement of its own."""

    def __init__(
        self, timeout_s: float | None, is_wanted: Callable[[], bool], *, grace_s: float, look_every_s: float
    ) -> None:
        self.timeout_s, self.grace_s, self.look_every_s = timeout_s, grace_s, look_every_s
        self.is_told = False
        self.raised: Ending | None = None
        self.was_signalled = False
        self.look_at = self.soft_at = math.inf
        self.thread_id = threading.get_ident()
        self.taken: list[tuple[int, Any]] = []  # signals, and whose they were
        self.timer_before: tuple[float, float] | None = None
        self.is_main = threading.current_thread() is threading.main_thread()
        self._is_wanted = is_wanted
        self._has_complained = False

    def __enter__(self) -> _Watch:
        self.began_at = time.monotonic()
        self.look_at = self.began_at + self.look_every_s
        if self.timeout_s is not None:
            self.soft_at = self.began_at + min(self.timeout_s, LONGEST_S)
        try:
            _PROCESS.begin(self)
            _set_alarm()
        except BaseException:
            _PROCESS.end(self)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            ending = self.raised or self.ending()
        finally:
            _PROCESS.end(self)
        # SystemExit and the like are about the process, an AttemptEnded may be that of a watch around this one.
        if ending is not None and (error is None or isinstance(error, Exception)):
            raise AttemptEnded(ending)

    def is_cancelled(self) -> bool:
        return self.raised is not None or self.ending() is not None

    def set_grace(self, grace_s: float) -> None:
        _PROCESS.set_grace(self, grace_s)

    def ending(self) -> Ending | None:
        """What there is to be raised by now."""
        if self.is_told:
            return Ending.STOP
        return Ending.TIMEOUT if time.monotonic() >= self.soft_at else None

    def due(self) -> Ending | None:
        """What the body is to be interrupted with now."""
        return self.ending() if self.raised is None else None

    def ask(self) -> bool:
        """Whether the attempt is still wanted, as far as can be known."""
        try:
            return self._is_wanted()
        except Exception:
            if not self._has_complained:
                log.warning("not known whether an attempt is still wanted; asking again", exc_info=True)
            self._has_complained = True
            return True

    def disown(self) -> None:
        """After a fork, in the child: not watched any more."""
        self.is_told = False
        self.soft_at = math.inf
        self.raised = self.timer_before = None  # a child inherits no timers


# -- what there is once in a process -------------------------------------------------------------------------------


class _Process:
    """The watches of all threads, the watchdog, and the thread that looks."""

    def __init__(self) -> None:
        self.keeps_end_signal = False
        self.stack: list[_Watch] = []  # those of the main thread, innermost last; only that thread touches it
        self._lock = threading.RLock()  # for all below; never taken by our signal handler
        self._watches: list[_Watch] = []
        self._watchdog = Watchdog()
        self._looker: threading.Thread | None = None
        self._look_every_s = LOOK_EVERY_S

    def begin(self, watch: _Watch) -> None:
        if watch.is_main:  # first: a signal without its handler would end the process
            self.stack.append(watch)
            _take_signals(watch)
        with self._lock:
            self._look_every_s = min(self._look_every_s, watch.look_every_s)
            if self._looker is None or not self._looker.is_alive():  # a forked child has no other threads
                self._looker = threading.Thread(target=self._look, name="attempt guard", daemon=True)
                self._looker.start()
            self._watches.append(watch)
            if watch.soft_at < math.inf:
                self._watchdog.end_process_at(watch.soft_at + watch.grace_s, watch)

    def end(self, watch: _Watch) -> None:
        with self._lock:  # first: from here on it is sent no signal
            if watch in self._watches:
                self._watches.remove(watch)
            self._watchdog.let_go(watch)
        if watch in self.stack:
            self.stack.remove(watch)
            _give_signals_back(watch)

    def set_grace(self, watch: _Watch, grace_s: float) -> None:
        with self._lock:
            if watch not in self._watches or watch.ending() is not None:
                return
            watch.grace_s = grace_s
            if watch.soft_at < math.inf:
                self._watchdog.let_go(watch)
                self._watchdog.end_process_at(watch.soft_at + grace_s, watch)

    # -- the thread ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGALRM, END_SIGNAL))  # they are the main thread's
        is_called = False
        while True:
            now = time.monotonic()
            with self._lock:
                watches = list(self._watches)
            for watch in watches:
                if is_called or watch.look_at <= now:
                    self._look_at(watch)
            # A watch that begins during the pause is not to be looked at before the pause is over.
            look_at = min((watch.look_at for watch in watches), default=math.inf)
            is_called = _wait_for_look(max(0.0, min(look_at - time.monotonic(), self._look_every_s)))

    def _look_at(self, watch: _Watch) -> None:
        is_wanted = watch.is_told or watch.ask()  # may take its time: not under the lock
        watch.look_at = time.monotonic() + watch.look_every_s
        with self._lock:
            if watch not in self._watches:
                return
            if not is_wanted:
                watch.is_told = True
                self._watchdog.end_process_at(time.monotonic() + watch.grace_s, watch)
            if watch.is_main and watch.due() is not None:
                watch.was_signalled = True
                signal.pthread_kill(watch.thread_id, END_SIGNAL)  # at the next look again, if it was not raised

    # -- forks ---------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        self._lock.acquire()
        self._watchdog.pause()

    def after_fork_in_parent(self) -> None:
        self._watchdog.resume()
        self._lock.release()

    def after_fork_in_child(self) -> None:
        self._watchdog.forget()
        for watch in self._watches:
            watch.disown()
        self._watches.clear()
        while self.stack:
            watch = self.stack.pop()
            watch.disown()
            _give_signals_back(watch)
        self._lock.release()


_PROCESS: Final = _Process()
os.register_at_fork(
    before=_PROCESS.before_fork,
    after_in_parent=_PROCESS.after_fork_in_parent,
    after_in_child=_PROCESS.after_fork_in_child,
)


# -- signals: in the main thread alone -----------------------------------------------------------------------------


def _take_signals(watch: _Watch) -> None:
    if not _PROCESS.keeps_end_signal:
        watch.taken.append((END_SIGNAL, signal.signal(END_SIGNAL, _on_signal)))
    if watch.soft_at < math.inf:
        # The timer first: what it had still brought about goes to the handler it was meant for.
        watch.timer_before = signal.setitimer(signal.ITIMER_REAL, 0)
        watch.taken.append((signal.SIGALRM, signal.signal(signal.SIGALRM, _on_signal)))


def _give_signals_back(watch: _Watch) -> None:
    if watch.timer_before is not None:
        signal.setitimer(signal.ITIMER_REAL, 0)
    may_be_pending = watch.was_signalled or time.monotonic() >= watch.soft_at
    for number, owner in reversed(watch.taken):
        if may_be_pending:
            signal.getitimer(signal.ITIMER_REAL)  # any system call: the kernel delivers what it has for this thread
            signal.signal(number, signal.SIG_IGN)  # and drops what it has for another
        # None: a handler of C code, which Python cannot name.
        signal.signal(number, signal.SIG_IGN if owner is None else owner)
    watch.taken.clear()
    _set_alarm()
    if watch.timer_before is not None and not _timed():
        _set_timer_again(*watch.timer_before, since=watch.began_at)


def _set_timer_again(remaining_s: float, interval_s: float, *, since: float) -> None:
    if remaining_s:
        remaining_s = max(remaining_s - (time.monotonic() - since), SHORTEST_S)
        signal.setitimer(signal.ITIMER_REAL, remaining_s, interval_s)


def _timed() -> list[_Watch]:
    """The watches that have the timer."""
    return [each for each in _PROCESS.stack if each.timer_before is not None]


def _set_alarm() -> None:
    """Have SIGALRM come when the first of the watches is due; none, if all have been told."""
    timed = _timed()
    due_at = min((each.soft_at for each in timed if each.raised is None), default=math.inf)
    if due_at < math.inf:
        signal.setitimer(signal.ITIMER_REAL, max(due_at - time.monotonic(), SHORTEST_S), COME_AGAIN_S)
    elif timed:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _on_signal(_: int, frame: FrameType | None) -> None:
    """Raise what is due, outermost watch first."""
    due = [(watch, ending) for watch in _PROCESS.stack if (ending := watch.due()) is not None]
    if not due or _is_ours(frame):
        return
    watch, ending = due[0]
    watch.raised = ending
    _set_alarm()
    raise AttemptEnded(ending)


def _is_ours(frame: FrameType | None) -> bool:
    """Whether the interrupted code is that of a watch that begins, ends or is changed."""
    while frame is not None:
        if frame.f_code in _OURS:
            return True
        frame = frame.f_back
    return False


_OURS: Final = (_Watch.__enter__.__code__, _Watch.__exit__.__code__, _Watch.set_grace.__code__)

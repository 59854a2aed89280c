"""The guard against code that does not end: each test is a process of its own, which may be ended with it."""

import subprocess
from textwrap import dedent

import pytest

from orchestrator.service.guarding import AttemptEnded, Ending
from tests.integration.processes import python

LIMIT_S = 60
SETTING = """
import faulthandler, itertools, multiprocessing, os, random, signal, sys, threading, time
from orchestrator.runtime.guard import END_SIGNAL, ProcessGuard
from orchestrator.service.guarding import AttemptEnded

guard = ProcessGuard(grace_s=60, look_every_s=0.05)
hasty = ProcessGuard(grace_s=0.3, look_every_s=0.05)  # for code whose process is to end, or that is past its end

def wanted():
    return True

def unwanted():
    return False

def hold_the_interpreter_lock():
    all(itertools.repeat(True))

def catch_every_error():
    while True:
        try:
            time.sleep(60)
        except Exception:
            pass

def spin(rounds):
    for _ in range(rounds):
        pass
"""
TIMEOUT = "timeout_s=0.1, is_wanted=wanted"
STOP = "timeout_s=None, is_wanted=unwanted"
BOTH = pytest.mark.parametrize(("limits", "ending"), [(TIMEOUT, "timeout"), (STOP, "stop")], ids=["timeout", "stop"])


def run(script):
    """Run the script in a process of its own."""
    command = python("-X", "dev", "-c", SETTING + dedent(script))
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def said(script):
    """What the script printed; it must have ended well and without a word on standard error."""
    ended = run(script)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.split()


BODIES = {
    "sleep": "time.sleep(60)",
    "loop": "while True: pass",
    "lock": "threading.Semaphore(0).acquire()",
    "child": "import subprocess; subprocess.run(['sleep', '60'])",
    "catches": "catch_every_error()",
}


# -- ending the code -----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_code_that_does_not_end_is_interrupted(limits, ending, body):
    script = f"""
    try:
        with guard.watch({limits}) as watch:
            {body}
    except AttemptEnded as ended:
        print(ended.ending, watch.is_cancelled())
    """

    assert said(script) == [ending, "True"]


@BOTH
def test_code_that_goes_on_all_the_same_ends_with_its_process_and_leaves_its_traceback(limits, ending):
    ended = run(f"""
    def stubborn():
        while True:
            try:
                time.sleep(60)
            except BaseException as error:
                print(type(error).__name__, error.ending, flush=True)

    with hasty.watch({limits}):
        stubborn()
    """)

    assert ended.returncode == 1
    assert ended.stdout.split() == ["AttemptEnded", ending]
    assert "in stubborn" in ended.stderr


def test_code_that_never_gives_the_interpreter_lock_back_ends_with_its_process():
    ended = run(f"""
    with hasty.watch({TIMEOUT}):
        hold_the_interpreter_lock()
    """)

    assert ended.returncode == 1
    assert "in hold_the_interpreter_lock" in ended.stderr


@BOTH
def test_code_that_swallows_its_ending_has_ended_for_everybody_else(limits, ending):
    script = f"""
    try:
        with guard.watch({limits}):
            try:
                time.sleep(60)
            except:
                assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)  # the clean-up is not interrupted again
    except AttemptEnded as ended:
        print(ended.ending)
    """

    assert said(script) == [ending]


def test_an_error_in_the_clean_up_does_not_hide_the_ending():
    script = f"""
    try:
        with guard.watch({TIMEOUT}):
            try:
                time.sleep(60)
            finally:
                {{}}["absent"]
    except AttemptEnded as ended:
        print(ended.ending, repr(ended.__context__))
    """

    assert said(script) == ["timeout", "KeyError('absent')"]


def test_an_exit_of_the_process_passes():
    """A pool child that is told to terminate raises SystemExit in the code; it must not become an outcome."""
    ended = run(f"""
    with guard.watch({TIMEOUT}):
        try:
            time.sleep(60)
        except AttemptEnded:
            sys.exit(7)
    """)

    assert ended.returncode == 7


def test_a_timeout_that_is_over_before_the_body_begins_interrupts_the_body():
    script = """
    guard = ProcessGuard(grace_s=5, look_every_s=60)  # no look helps out
    for _ in range(20):
        try:
            with guard.watch(timeout_s=0, is_wanted=wanted):
                time.sleep(60)
        except AttemptEnded as ended:
            assert ended.ending == "timeout"
    """

    assert said(script) == []


def test_code_that_takes_the_alarm_for_itself_is_interrupted_all_the_same():
    script = f"""
    try:
        with guard.watch({TIMEOUT}):
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.alarm(0)
            time.sleep(60)
    except AttemptEnded as ended:
        print(ended.ending)
    """

    assert said(script) == ["timeout"]


# -- asking --------------------------------------------------------------------------------------------------------


def test_a_short_attempt_is_not_asked_about():
    script = """
    guard = ProcessGuard()  # looks every second
    for _ in range(1000):
        with guard.watch(timeout_s=60, is_wanted=lambda: print("asked")):
            pass
    """

    assert said(script) == []


def test_an_attempt_outlives_questions_that_cannot_be_answered_and_says_so_once():
    ended = run("""
    asked = threading.Semaphore(0)

    def away():
        asked.release()
        raise OSError("the database is away")

    with guard.watch(timeout_s=None, is_wanted=away) as watch:
        for _ in range(3):
            asked.acquire()
        print(watch.is_cancelled())
    """)

    assert (ended.returncode, ended.stdout.split()) == (0, ["False"])
    assert ended.stderr.count("the database is away") == 1


def test_an_attempt_is_stopped_once_the_question_can_be_answered_again():
    ended = run("""
    answers = iter([OSError("away"), True, False])

    def is_wanted():
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    try:
        with guard.watch(timeout_s=None, is_wanted=is_wanted):
            time.sleep(60)
    except AttemptEnded as ended:
        print(ended.ending)
    """)

    assert ended.stdout.split() == ["stop"]


# -- a grace of its own ---------------------------------------------------------------------------------------------


@BOTH
def test_code_that_needs_longer_to_end_gets_the_time_that_it_asked_for(limits, ending):
    script = f"""
    try:
        with hasty.watch({limits}) as watch:
            watch.set_grace(60)
            try:
                time.sleep(60)
            finally:
                time.sleep(0.6)  # past the grace that it has otherwise
                print("cleaned up")
    except AttemptEnded as ended:
        print(ended.ending)
    """

    assert said(script) == ["cleaned", "up", ending]


@BOTH
def test_code_that_asks_for_less_is_ended_sooner(limits, ending):
    ended = run(f"""
    with ProcessGuard(grace_s=2 * {LIMIT_S}, look_every_s=0.05).watch({limits}) as watch:
        watch.set_grace(0.1)
        while True:
            try:
                time.sleep(60)
            except BaseException:
                print("told", flush=True)
    """)

    assert (ended.returncode, ended.stdout.split()) == (1, ["told"])


@BOTH
def test_nobody_gets_more_time_once_the_attempt_is_to_end(limits, ending):
    ended = run(f"""
    with hasty.watch({limits}) as watch:
        while True:
            try:
                time.sleep(60)
            except BaseException:
                watch.set_grace(3600)
                print("asked", flush=True)
    """)

    assert (ended.returncode, ended.stdout.split()) == (1, ["asked"])


def test_nothing_is_raised_while_the_grace_is_being_set():
    script = """
    for _ in range(10_000):
        try:
            with guard.watch(timeout_s=random.random() * 200e-6, is_wanted=wanted) as watch:
                for _ in range(5):
                    watch.set_grace(60)
        except AttemptEnded:
            pass
    with guard.watch(timeout_s=60, is_wanted=wanted) as watch:  # the lock is free
        watch.set_grace(1)
    """

    assert said(script) == []


# -- leaving no trace ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ("timeout_s=random.random() * 200e-6, is_wanted=wanted", 8_000),
        ("timeout_s=None, is_wanted=unwanted", 15_000),
    ],
    ids=["timeout", "stop"],
)
def test_nothing_is_raised_outside_the_body(limits, most):
    """The signal races with both ends of the body. One that strays is printed, or ends the script.

    Tried for as long as it takes to see both ends, and for four seconds: thousands of rounds on an idle machine.
    """
    script = f"""
    def stray(number, frame):
        print("stray", number)

    guard = ProcessGuard(look_every_s=0)
    sys.setswitchinterval(1e-5)  # the looking thread gets its turn in time
    numbers = (signal.SIGALRM, END_SIGNAL)
    outcomes = set()
    until = time.monotonic() + 4
    for round in itertools.count():
        if time.monotonic() > until and len(outcomes) == 2:
            break
        owner = stray if round % 2 else signal.SIG_DFL
        for number in numbers:
            signal.signal(number, owner)
        try:
            with guard.watch({limits}):
                spin(random.randrange({most}))
        except AttemptEnded as ended:
            outcomes.add(ended.ending)
        else:
            outcomes.add("done")
        spin(30)
        assert [signal.getsignal(number) for number in numbers] == [owner, owner]
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    """

    assert said(script) == []


def test_watches_within_watches_leave_no_trace_either():
    script = """
    def limits():
        return {"timeout_s": random.choice([None, random.random() * 200e-6]), "is_wanted": wanted}

    until = time.monotonic() + 4
    while time.monotonic() < until:
        try:
            with guard.watch(**limits()):
                try:
                    with guard.watch(**limits()):
                        spin(random.randrange(3_000))
                except AttemptEnded:
                    pass
                spin(random.randrange(3_000))
        except AttemptEnded:
            pass
        assert signal.getsignal(signal.SIGALRM) == signal.getsignal(END_SIGNAL) == signal.SIG_DFL
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    """

    assert said(script) == []


@pytest.mark.parametrize("limits", ["timeout_s=60, is_wanted=wanted", TIMEOUT, STOP], ids=["done", "timeout", "stop"])
def test_handlers_and_timers_of_others_are_as_they_were(limits):
    script = f"""
    def handler(number, frame):
        pass

    signal.signal(signal.SIGALRM, handler)
    signal.signal(END_SIGNAL, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 50, 7)
    try:
        with guard.watch({limits}):
            if {limits!r}.startswith("timeout_s=60"):
                time.sleep(0.01)
            else:
                time.sleep(60)
    except AttemptEnded:
        pass
    remaining_s, interval_s = signal.getitimer(signal.ITIMER_REAL)
    assert 0 < remaining_s < 50, remaining_s
    assert interval_s == 7
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getsignal(END_SIGNAL) == signal.SIG_IGN
    """

    assert said(script) == []


def test_an_alarm_of_somebody_else_that_was_due_meanwhile_comes_afterwards():
    script = """
    rung = threading.Event()
    signal.signal(signal.SIGALRM, lambda *_: rung.set())
    signal.setitimer(signal.ITIMER_REAL, 1)
    with guard.watch(timeout_s=60, is_wanted=wanted):
        time.sleep(1.1)
        print(rung.is_set())
    print(rung.wait(60))
    """

    assert said(script) == ["False", "True"]


def test_the_process_is_not_ended_for_an_attempt_that_is_over():
    script = f"""
    for limits in [dict({TIMEOUT}), dict({STOP})]:
        try:
            with hasty.watch(**limits):
                time.sleep(60)
        except AttemptEnded:
            pass
    with hasty.watch(timeout_s=60, is_wanted=wanted):
        time.sleep(0.6)  # past the grace of both
    print("alive")
    """

    assert said(script) == ["alive"]


# -- watches within watches, threads, forks, pools -----------------------------------------------------------------


def test_the_outer_timeout_ends_the_inner_body_too():
    script = f"""
    try:
        with guard.watch({TIMEOUT}):
            try:
                with guard.watch(timeout_s=60, is_wanted=wanted):
                    time.sleep(60)
            finally:
                print("inner")
            print("not reached")
    except AttemptEnded:
        print("outer")
    """

    assert said(script) == ["inner", "outer"]


def test_the_outer_timeout_stands_after_the_inner_one():
    script = f"""
    try:
        with guard.watch(timeout_s=1, is_wanted=wanted):
            try:
                with guard.watch({TIMEOUT}):
                    time.sleep(60)
            except AttemptEnded:
                print("inner")
            time.sleep(60)
    except AttemptEnded:
        print("outer")
    """

    assert said(script) == ["inner", "outer"]


@BOTH
def test_another_thread_is_told_and_has_ended_when_its_body_is_through(limits, ending):
    script = f"""
    def work():
        try:
            with guard.watch({limits}) as watch:
                print(watch.is_cancelled())
                while not watch.is_cancelled():
                    time.sleep(0.01)
                print("told")
        except AttemptEnded as ended:
            print(ended.ending)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    """

    assert said(script) == ["False", "told", ending]


@BOTH
def test_another_thread_that_does_not_listen_ends_with_its_process(limits, ending):
    ended = run(f"""
    def deaf():
        with hasty.watch({limits}):
            time.sleep(60)

    thread = threading.Thread(target=deaf)
    thread.start()
    thread.join()
    """)

    assert ended.returncode == 1
    assert "in deaf" in ended.stderr


def test_the_watch_of_one_thread_does_not_end_with_that_of_another():
    ended = run(f"""
    def brief():
        with hasty.watch(timeout_s=0.05, is_wanted=wanted):
            pass

    def deaf():
        with hasty.watch({TIMEOUT}):
            for _ in range(50):
                thread = threading.Thread(target=brief)
                thread.start()
                thread.join()
            hold_the_interpreter_lock()

    thread = threading.Thread(target=deaf)
    thread.start()
    thread.join()
    """)

    assert ended.returncode == 1
    assert "in hold_the_interpreter_lock" in ended.stderr


@BOTH
@pytest.mark.parametrize("moment", ["before", "within"])
def test_a_forked_child_watches_its_own_and_its_parent_goes_on_watching(limits, ending, moment):
    """In the child nothing of the parent's watch is left, its exit does not hang, and looks work again."""
    script = f"""
    def attempt(name):
        try:
            with hasty.watch({limits}):
                time.sleep(60)
        except AttemptEnded as ended:
            print(name, ended.ending, flush=True)

    def in_a_child():
        pid = os.fork()
        if pid == 0:
            time.sleep(0.6)  # past the parent's timeout and grace
            assert signal.getsignal(END_SIGNAL) == signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
            attempt("child")
            sys.exit(0)
        return pid

    def wait_for(pid):
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    if {moment!r} == "before":
        attempt("first")
        wait_for(in_a_child())
        attempt("parent")
    else:
        try:
            with hasty.watch({limits}):
                child = in_a_child()
                time.sleep(60)
        except AttemptEnded as ended:
            print("parent", ended.ending, flush=True)
        wait_for(child)
    """

    heard = said(script)

    assert heard[-4:] in (["child", ending, "parent", ending], ["parent", ending, "child", ending])


def test_code_that_has_forked_still_ends_with_its_process():
    ended = run(f"""
    with hasty.watch({TIMEOUT}):
        if os.fork() == 0:
            os._exit(0)
        hold_the_interpreter_lock()
    """)

    assert ended.returncode == 1
    assert "in hold_the_interpreter_lock" in ended.stderr


def test_a_child_that_leaves_its_parents_body_ends_like_any_process():
    script = """
    with guard.watch(timeout_s=60, is_wanted=wanted):
        pid = os.fork()
        if pid:
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """

    assert said(script) == ["0"]


def test_the_pool_child_of_a_worker_is_replaced_and_its_attempt_counts_as_lost():
    """billiard's prefork pool, which is Celery's; it has handlers of its own for most signals."""
    ended = run("""
    from billiard.pool import Pool

    def attempt(body, **limits):
        before = signal.getsignal(signal.SIGALRM)
        try:
            with hasty.watch(**limits):
                body()
        except AttemptEnded as ended:
            return ended.ending.value, signal.getsignal(signal.SIGALRM) is before

    def sleep():
        time.sleep(60)

    def outcome(body, **limits):
        try:
            return pool.apply_async(attempt, (body,), limits).get(timeout=60)
        except Exception as error:
            return str(error).splitlines()[-2]

    pool = Pool(1, lost_worker_timeout=0.1)
    print(outcome(hold_the_interpreter_lock, timeout_s=0.1, is_wanted=wanted))
    print(outcome(sleep, timeout_s=0.1, is_wanted=wanted))
    print(outcome(sleep, timeout_s=None, is_wanted=unwanted))
    pool.terminate()
    pool.join()
    """)

    lost, *others = ended.stdout.splitlines()
    assert "WorkerLostError: Worker exited prematurely: exitcode 1" in lost
    assert others == ["('timeout', True)", "('stop', True)"]
    assert "in hold_the_interpreter_lock" in ended.stderr


def test_an_ending_keeps_its_facts():
    ended = AttemptEnded(Ending.STOP)

    assert type(ended)(*ended.args).ending is Ending.STOP
    assert not isinstance(ended, Exception)

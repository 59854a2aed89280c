"""What the tests start instead of our worker.

``stand_ins.py obedient worker ...`` ends on SIGTERM, ``stubborn`` never does; both have a leashed child, and stubborn
one more in a process group of its own that is not leashed. They write their pids into the pipe $PIPE, and on SIGTERM
whether Redis still answers.
``stand_ins.py celery worker ...`` is a real Celery worker with the task ``answer``.
``stand_ins.py driver HOME KIND`` is a command that brings its services along and ends as it is told to on stdin.
"""

import os
import signal
import sys
from pathlib import Path

from orchestrator.processes.leash import die_with_parent
from orchestrator.runtime import file_broker
from orchestrator.runtime.embedded import EmbeddedServices
from orchestrator.settings import Settings


def say(text):
    with Path(os.environ["PIPE"]).open("w") as pipe:
        pipe.write(f"{text}\n")


def child(*, is_leashed):
    pid = os.fork()
    if pid:
        return pid
    if is_leashed:
        die_with_parent()
    else:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


def worker(*, is_stubborn):
    import redis

    client = redis.Redis(unix_socket_path=os.environ["ORCHESTRATOR_BROKER_URL"].removeprefix("redis+socket://"))
    client.ping()  # loads what is loaded on first use, so that the second one fits into a short grace

    def finish(*_):
        say(f"redis answers: {client.ping()}")
        if not is_stubborn:
            sys.exit()

    signal.signal(signal.SIGTERM, finish)
    pids = [os.getpid(), child(is_leashed=True)]
    if is_stubborn:
        pids.append(child(is_leashed=False))
    say(" ".join(map(str, pids)))
    while True:
        signal.pause()


def celery_app(settings):
    from celery import Celery

    app = Celery("stand-in", broker=settings.broker_url, set_as_current=False)
    app.conf.update(file_broker.celery_settings(settings.broker_url or ""), broker_connection_retry_on_startup=True)

    @app.task(name="answer", shared=False)
    def answer(text):
        say(text)

    return app


def driver(home, kind):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what started the tests may have it ignored,
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and this too
    program, grace_s = (sys.executable, __file__, kind), 1 if kind == "stubborn" else 10
    with EmbeddedServices(Settings(home=home), program=program, grace_s=grace_s) as services:
        services.start_worker(concurrency=1)
        match sys.stdin.readline().strip():
            case "leave":
                return
            case "raise":
                raise RuntimeError("something broke")
            case _:
                signal.pause()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["driver", home, kind]:
            driver(home, kind)
        case ["celery", *_]:
            celery_app(Settings()).worker_main(["worker", "--concurrency=1", "--loglevel=info"])
        case [kind, *_]:
            worker(is_stubborn=kind == "stubborn")

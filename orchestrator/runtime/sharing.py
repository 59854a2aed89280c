"""What the processes of a pool share with the main process: its memory, page by page, for as long as nobody writes.

A garbage collection writes into the head of every object that it looks at, so the first one in any of these processes
copies nearly all of what was imported. What is there at the first fork stays for good, so from then on no collection
looks at it. What comes later is collected as ever.
"""

from __future__ import annotations

import functools
import gc

from celery import signals


def share_memory() -> None:
    """Have the collector leave alone what is there when this process forks the first process of its pool."""

    @functools.cache  # what was made since is not there for good
    def freeze() -> None:
        gc.collect()  # garbage would stay for good, too
        gc.freeze()

    signals.worker_before_create_process.connect(lambda **_: freeze(), weak=False)

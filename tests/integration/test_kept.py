"""Keeping processes up, with real ones that end as they are told to."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ProcessEnded
from orchestrator.runtime import kept as module
from orchestrator.runtime.children import start
from orchestrator.runtime.kept import MOST_ENDS, STEADY_S, Backoff, Kept
from tests.integration.waiting import until

pytestmark = pytest.mark.services


@pytest.fixture
def sleeper(tmp_path, monkeypatch):
    """A process that does nothing, kept up without pauses."""
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.0)
    log_file = tmp_path / "log"

    def begin():
        return start(["sh", "-c", "echo begun; exec sleep 600"], log_file, environment=dict(os.environ))

    kept = Kept("the sleeper", begin, log_file=log_file, is_up=log_file.exists)
    yield kept
    kept.stop(grace_s=0)


def kill(kept):
    """Kill the process; what is said of it."""
    os.kill(kept.process.pid, signal.SIGKILL)
    return until(kept.look, what="the end of the process")


def ready(kept):
    until(lambda: kept.look() is None and kept.is_ready, what="the start")
    return kept


def test_what_ends_before_it_was_up_is_given_up_at_once(sleeper):
    sleeper.log_file.unlink()

    with pytest.raises(ProcessEnded, match="the sleeper ended with -9"):
        kill(sleeper)


def test_what_ends_later_is_started_again_and_its_last_words_are_said(sleeper):
    first = ready(sleeper).process.pid

    assert "the sleeper ended with -9" in kill(sleeper)
    assert "log ends:" not in sleeper.look()
    assert sleeper.process.pid != first
    assert not Path(f"/proc/{first}").exists()


def test_what_ends_again_and_again_is_given_up(sleeper):
    ready(sleeper)
    for _ in range(MOST_ENDS):
        kill(sleeper)
        assert sleeper.look() == "the sleeper is started again"

    with pytest.raises(ProcessEnded):
        kill(sleeper)


def test_what_is_stopped_stays_so(sleeper):
    ready(sleeper)
    pid = sleeper.process.pid
    sleeper.stop(grace_s=0)

    assert not Path(f"/proc/{pid}").exists()


@given(st.lists(st.floats(min_value=0, max_value=2 * STEADY_S)))
def test_pauses_grow_up_to_a_bound_and_begin_anew_after_a_steady_life(lives):
    backoff, last = Backoff(), 0.0
    for lived_s in lives:
        backoff, pause_s = backoff.after(lived_s)
        if lived_s >= STEADY_S:
            assert pause_s == module.FIRST_PAUSE_S
        elif pause_s is None:
            assert backoff.ends > MOST_ENDS
            return
        else:
            assert last < pause_s <= module.FIRST_PAUSE_S * 2 ** (MOST_ENDS - 1)
        last = pause_s

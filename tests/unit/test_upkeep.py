"""How often an idle worker looks for timers."""

import pytest
from celery.worker import state

from orchestrator.runtime import upkeep


@pytest.fixture
def work(monkeypatch):
    monkeypatch.setattr(state, "all_total_count", [0])
    monkeypatch.setattr(state, "active_requests", set())
    return upkeep._Work()


def test_a_worker_that_has_had_no_message_is_not_at_work(work):
    assert not work.goes_on()


def test_a_worker_is_at_work_for_a_while_after_a_message(work, monkeypatch):
    state.all_total_count[0] += 1
    assert work.goes_on()
    assert work.goes_on()

    monkeypatch.setattr(upkeep.time, "monotonic", lambda: work._until)
    assert not work.goes_on()


def test_a_worker_is_at_work_for_as_long_as_it_runs_something(work, monkeypatch):
    monkeypatch.setattr(upkeep, "AT_WORK_S", 1e9)
    state.active_requests.add("a request")

    assert work.goes_on()

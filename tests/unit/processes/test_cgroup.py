"""Control groups: what can be said without one. With one, the runner's tests use them wherever there may be any."""

import pytest

from orchestrator.processes import cgroup


@pytest.fixture
def own(monkeypatch, tmp_path):
    """A plain folder in the place of this process's group."""
    monkeypatch.setattr(cgroup, "_own_folder", lambda: str(tmp_path))
    return tmp_path


def test_the_kills_for_want_of_memory_are_read_from_the_kernels_count(own):
    assert cgroup.oom_kills() == 0

    (own / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n")

    assert cgroup.oom_kills() == 2


def test_a_folder_that_is_no_group_is_left_as_it_was(own):
    assert cgroup.create("x") is None
    assert list(own.iterdir()) == []


def test_a_group_that_is_gone_is_nobodys_trouble(own):
    gone = cgroup.Cgroup(str(own / f"{cgroup.prefix()}x"))

    gone.enter()
    gone.kill()

    assert gone.remove()
    assert gone.name == "x"


def test_only_groups_of_ours_are_found(own):
    """Not those of workers in another PID namespace either: their shims cannot be seen from here."""
    for name in (f"{cgroup.prefix()}x", "orchestrator-1-x", "other"):
        (own / name).mkdir()

    assert [each.name for each in cgroup.left_groups()] == ["x"]


def test_where_there_is_no_group_there_is_nothing(monkeypatch):
    monkeypatch.setattr(cgroup, "_own_folder", lambda: None)

    assert (cgroup.create("x"), list(cgroup.left_groups()), cgroup.oom_kills()) == (None, [], 0)

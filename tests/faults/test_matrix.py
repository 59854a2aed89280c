"""``docs/reliability.md`` names a test for every fault, and every test that it names exists."""

import re
from pathlib import Path

import pytest

from orchestrator.failpoints import POINTS
from tests.faults.plan import POINTS as POINTS_OF_A_ROUND

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
ROWS = [re.split(r"(?<!\\)\|", line)[1:-1] for line in PAGE.splitlines() if re.match(r"\| \d+ \|", line)]
NOT_RUN = {42}


def named():
    return sorted({name for row in ROWS for name in re.findall(r"`([a-z_/]+\.py(?:::\w+)?)`", row[-1])})


def test_every_fault_has_a_row():
    assert [int(row[0]) for row in ROWS] == list(range(1, 48))


def test_every_fault_has_a_test_or_a_reason():
    without = {int(row[0]) for row in ROWS if "test_" not in row[-1]}

    assert without == NOT_RUN


@pytest.mark.parametrize("name", named())
def test_a_test_that_is_named_exists(name):
    path, _, function = name.partition("::")

    assert f"def {function}" in (ROOT / "tests" / path).read_text()


def test_every_fault_test_is_named():
    """A test of these files that proves a row is worth naming there."""
    files = [path for path in (ROOT / "tests" / "faults").glob("test_*.py") if path.name not in OWN]
    tests = {path.name: re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE) for path in files}
    found = {f"faults/{file}::{name}" for file, names in tests.items() for name in names}

    assert found - set(named()) <= EXTRA


OWN = {"test_matrix.py", "test_books.py", "test_round.py", "test_harness.py"}
EXTRA = {
    "faults/test_clients.py::test_clients_of_one_process_and_broker_do_not_end_with_each_other",
    "faults/test_clients.py::test_a_misspelt_failpoint_is_refused_at_the_start",
    "faults/test_messages.py::test_the_queue_is_empty_when_everything_is_over",
}


def test_every_failpoint_that_is_named_exists():
    cells = " ".join(row[2] for row in ROWS)
    found = set(re.findall(r"`([a-z]+\.[a-z]+)`", cells))

    assert found == set(POINTS)
    assert set(POINTS_OF_A_ROUND) <= set(POINTS)

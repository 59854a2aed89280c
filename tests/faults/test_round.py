"""A short round, and the plan that it goes by."""

import re
import subprocess

import pytest

from tests.faults.plan import ACTIONS, DATABASE_FAULTS, DEFINITIONS, FAULTS, POINTS, make_plan
from tests.integration.processes import python

SECONDS = 20
SEED = 7


def test_the_same_seed_makes_the_same_plan_and_another_one_another():
    plan = make_plan(seed=1, seconds=60, database="sqlite")

    assert plan == make_plan(seed=1, seconds=60, database="sqlite")
    assert plan != make_plan(seed=2, seconds=60, database="sqlite")


def test_a_plan_that_is_long_enough_has_everything_in_order():
    plan = make_plan(seed=1, seconds=3600, database="postgres")

    assert [step.at_s for step in plan] == sorted(step.at_s for step in plan)
    assert {step.what for step in plan} == {"submit", *FAULTS, *DATABASE_FAULTS}
    assert {step.detail for step in plan if step.what == "submit"} == set(DEFINITIONS)
    armed = " ".join(step.detail for step in plan if "=" in step.detail)
    assert all(point in armed for point in POINTS)
    assert all(f"={action}@" in armed for action in ACTIONS)


@pytest.mark.services
def test_a_short_round_ends_without_violations():
    options = ["--seconds", SECONDS, "--seed", SEED, "--database", "postgres", "--workers", 2]

    done = subprocess.run(
        python("-m", "tests.faults.round", *options), capture_output=True, text=True, check=False, timeout=600
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "violations: 0"
    assert int(re.search(r"executions: (\d+)", done.stdout)[1]) > 20
    assert int(re.search(r"faults: (\d+)", done.stdout)[1]) > 5

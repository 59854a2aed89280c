"""What a process of a worker holds: nothing that no task has needed yet, and most of it together with the others."""

import subprocess
import sys

import pytest

from tests.flows import flow, parameter, task
from tests.integration.footprint_tasks import UNNEEDED
from tests.integration.system import running_system
from tests.services import redis_url

pytestmark = pytest.mark.services

MANY = 50_000  # objects; what is imported has several times as many


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    with running_system(
        folder, database="sqlite", broker_url=redis_url(), include=("tests.integration.footprint_tasks",)
    ) as system:
        outputs = [
            parameter("loaded", "JSON_VALUE", direction="OUT"),
            parameter("frozen", "INT_VALUE", direction="OUT"),
        ]
        return system.execute(flow("footprint", task(1, "tests.footprint"), parameters=outputs)).outputs


def test_a_process_of_the_pool_has_loaded_nothing_that_only_other_processes_or_tasks_need(found):
    assert found["loaded"] == []


def test_no_collection_writes_into_what_processes_share(found):
    assert found["frozen"] > MANY


def test_what_is_not_needed_is_there_when_it_is():
    """The list above would be empty for names that nothing has."""
    code = f"import importlib, sys\nfor each in {UNNEEDED!r}: importlib.import_module(each)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

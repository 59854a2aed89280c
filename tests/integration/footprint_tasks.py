"""A task type that says what its process holds."""

import gc
import sys

from orchestrator import task_type

# What a command line, monitors, single task types or the reading of definitions need, and no worker as such.
UNNEEDED = (
    *("typer", "rich", "pygments", "prompt_toolkit", "celery.bin.celery", "flower", "tornado"),
    *("pydantic", "httpx", "fsspec", "jsonschema", "alembic", "_jsonnet", "_gojsonnet"),
)


@task_type("tests.footprint")
def footprint() -> dict[str, object]:
    return {"loaded": [each for each in UNNEEDED if each in sys.modules], "frozen": gc.get_freeze_count()}

"""The package as a user installs it: without the development extras, and not from the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.services, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
INSTALL_LIMIT_S = 300


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of a new environment's commands."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "constraints.txt", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in ("orchestrator", "tasks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    venv = [sys.executable, "-m", "venv", "--without-pip", folder / "venv"]
    subprocess.run(venv, check=True, timeout=INSTALL_LIMIT_S)
    pip = [sys.executable, "-m", "pip", "--python", folder / "venv/bin/python"]
    done = subprocess.run(  # compiling all of it takes longer than everything else here
        [*pip, "install", "--quiet", "--no-compile", "-c", source / "constraints.txt", source],
        capture_output=True,
        text=True,
        timeout=INSTALL_LIMIT_S,
        check=False,
    )
    if done.returncode != 0 and os.environ.get("REQUIRE_SERVICES") != "1":
        pytest.skip(f"pip cannot install here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return folder / "venv/bin"


def test_an_integration_runs_with_what_the_package_itself_asks_for(installed, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ORCHESTRATOR_", "PYTHON"))}
    command = [installed / "orchestrator", "run", ROOT / "examples/order_fulfilment/reserve-line.yaml"]
    command += ["--param", 'line={"sku": "cup"}', "--override-url", "https://warehouse.example=http://127.0.0.1:1"]

    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 1, done.stderr
    assert "POST http://127.0.0.1:1/reservations failed" in done.stdout
    assert "Traceback" not in done.stderr

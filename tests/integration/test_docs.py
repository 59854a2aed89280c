"""Every command and file of the README, the tutorial, submitting and keys, as a reader would use them.

A block ``yaml file=NAME`` or the like is a file, ``text file=NAME`` what a command has written into one. A block ``sh``
is typed in, one of ``sh background`` is left running. Commands of one page share a shell's environment and a folder.
"""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from orchestrator.cli import app
from tests.services import free_port, redis_url

pytestmark = [pytest.mark.services, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND_LIMIT_S = 300  # against hanging alone


def blocks(page: str, section: str = "") -> list[tuple[str, str, str]]:
    """Of a page, or of one of its sections."""
    text = (ROOT / page).read_text()
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [(kind, info.strip(), text) for kind, info, text in BLOCK.findall(text)]


def environment(home: Path) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ORCHESTRATOR_")}
    return inherited | {"PATH": f"{BIN}:{os.environ['PATH']}", "ORCHESTRATOR_HOME": str(home)}


@contextmanager
def left_running(script: str, folder: Path, env: dict[str, str]):
    process = subprocess.Popen(["bash", "-ec", f"exec {script.strip()}"], cwd=folder, env=env, start_new_session=True)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def with_port(script: str, ours: dict[str, str]) -> str:
    """A command that listens at 8080 without saying so gets a port that is free."""
    listens = re.match(r"orchestrator (api|up) ", script)
    return f"{script.strip()} --port {ours['8080']}" if listens and "--port" not in script else script


def typed(script: str, folder: Path, env: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Run a block; what it printed, and the environment that it leaves."""
    after = folder / ".environment"
    command = ["bash", "-ec", f"{script}\nenv -0 > {after}"]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    pairs = (line.partition("=") for line in after.read_text().split("\0") if "=" in line)
    return done.stdout, {key: value for key, _, value in pairs}


def follow(page: str, folder: Path, section: str = "") -> list[str]:
    """Do what a page says, with a broker that is there and ports that are free; what its commands printed."""
    printed, env = [], environment(folder / ".orchestrator")
    ours = {"redis://localhost:6379/0": redis_url(), "8080": str(free_port()), "8081": str(free_port())}
    with ExitStack() as running:
        for kind, info, written in blocks(page, section):
            text = functools.reduce(lambda said, each: said.replace(*each), ours.items(), written)
            if kind == "text":
                assert (folder / info.removeprefix("file=")).read_text() == text
            elif info.startswith("file="):
                (folder / info.removeprefix("file=")).write_text(text)
            elif (kind, info) == ("sh", "background"):
                running.enter_context(left_running(with_port(text, ours), folder, env))
            elif kind == "sh":
                output, env = typed(text, folder, env)
                printed.append(output)
    return printed


def test_the_tutorial_does_what_it_says(tmp_path):
    everything = "\n".join(follow("docs/tutorial.md", tmp_path))

    assert 'greeting = "Hello, Ada!"' in everything
    assert 'greetings = ["HELLO, ADA!", "HELLO, BOB!"]' in everything
    assert "mean = 3.0" in everything
    assert "mean = 4.0" in everything
    assert "refunded = 12" in everything


def test_submitting_does_what_its_page_says(tmp_path):
    printed = follow("docs/submitting.md", tmp_path)

    assert "customer 99 owes 10\n" in printed
    for name, count in (("ids.txt", 3), ("first.txt", 3), ("second.txt", 4)):
        assert len(set((tmp_path / name).read_text().split())) == count


def test_keys_are_made_and_revoked_as_their_page_says(tmp_path):
    printed = follow("docs/keys.md", tmp_path)

    kept = json.loads((tmp_path / "keys.json").read_text())["keys"]
    assert [(each["actor"], each["state"]) for each in kept] == [("key:ci", "REVOKED"), ("key:ci", "VALID")]
    assert "['REVOKED', 'VALID', 'REVOKED']" in printed[-1]


def test_the_api_does_what_its_page_says(tmp_path):
    everything = "\n".join(follow("docs/api.md", tmp_path))

    assert '{"status":"alive"}' in everything
    assert everything.count('"ready":true') >= 3
    assert "x-request-id: try-1" in everything
    assert '{"error":"GET /nothing: Not Found","requestId":"try-1"}' in everything


def test_the_readme_says_how_the_api_is_asked(tmp_path):
    everything = "\n".join(follow("README.md", tmp_path, "Over HTTP"))

    assert '"ready":true' in everything
    assert '"status":"NOT_FOUND"' in everything


def test_the_readme_example_runs_as_it_stands(tmp_path):
    example = next(text for kind, _, text in blocks("README.md") if kind == "python" and "Orchestrator()" in text)
    (tmp_path / "example.py").write_text(example)

    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env=environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
    )

    assert done.stdout.split() == ["SUCCEEDED", "{'text':", "'hi'}"], done.stderr


def test_every_command_in_the_readme_table_exists():
    table = re.findall(r"^\| `orchestrator ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE)

    assert [command for command in table if CliRunner().invoke(app, [command, "--help"]).exit_code != 0] == []


def test_the_make_targets_of_the_readme_exist_and_run_the_example(tmp_path):
    """``make`` without installing: the environment of this test stands in for the one that it would make."""
    named = set(re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text()))
    makefile = (ROOT / "Makefile").read_text()
    command = re.search(r"^run: .*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
    example = re.search(r"^EXAMPLE := (.*)$", makefile, re.MULTILINE)[1]
    script = command.replace("$(BIN)", str(BIN)).replace("$(EXAMPLE)", example)

    output, _ = typed(script, shutil.copytree(ROOT / "examples", tmp_path / "examples").parent, environment(tmp_path))

    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in named)
    assert '"reserved": 3' in output


def test_the_compose_command_of_the_readme_names_services_that_exist():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

    assert re.search(r"--scale (worker-\w+)=", (ROOT / "README.md").read_text())[1] in services

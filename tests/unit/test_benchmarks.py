"""What of the benchmarks needs no servers: what the command refuses, what it makes of times, and how a peer answers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import NAMES, main
from benchmarks.peer import PEERS
from benchmarks.report import BARE, OURS, PEER, Measured, times

ROOT = Path(__file__).parents[2]
STUB = """
from contextlib import nullcontext
from benchmarks.peers.serving import serve

class Stub:
    def chord(self, size):
        print("said by the peer")
        return size

    def chain(self, size):
        return size - 1

    def graphs(self, size):
        raise OSError("gone")

serve("celery", lambda surroundings: nullcontext(Stub()))
"""


def asked(*cases: str) -> list[dict]:
    """What a peer answers: first who it is, then of each case."""
    told = {"database": "", "broker": "", "results": "", "home": "", "concurrency": 2}
    done = subprocess.run(
        [sys.executable, "-c", STUB, json.dumps(told)],
        input="".join(json.dumps({"case": case, "size": 3}) + "\n" for case in cases),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_peer_answers_for_each_case_and_what_it_prints_is_no_answer():
    begun, answer = asked("chord")

    assert begun.keys() == {"peer", "version"}
    assert answer == begun | {"case": "chord", "size": 3, "tasks": 3}


def test_a_peer_that_has_not_run_every_task_says_so():
    _, short, broken = asked("chain", "graphs")

    assert short["error"] == "2 tasks are final, 3 should be"
    assert broken["error"] == "OSError: gone"


@pytest.mark.parametrize(
    "arguments", [["--peer", "dbos"], ["--python", "python3"], ["--rounds", "0"], ["--scale", "0"]]
)
def test_the_command_refuses_what_does_not_fit_before_it_starts_anything(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert "error: --" in capsys.readouterr().err


def test_ratios_are_those_of_the_pairs_and_not_of_the_medians():
    measured = Measured("a", "light", "10 children", 10, tasks=10)
    measured.times = {OURS: [1.0, 4.0, 2.0], BARE: [2.0, 12.0, 3.0], PEER: [10.0, 10.0, 10.0]}

    found = measured.to_json(database="sqlite")

    assert (found["ours_s"], found["bare_s"], found["peer_s"]) == (2.0, 3.0, 10.0)
    assert (found["ratio"], found["peer_ratio"]) == (2.0, 5.0)
    assert measured.each_ms(OURS) == 200.0
    row = "a light 10 children 2.000 (1.000-4.000) 3.000 (2.000-12.000) 2.000 (1.500-3.000)"
    assert " ".join(times([measured], "dbos 1").splitlines()[2].split()).startswith(row)


def test_the_page_names_every_case_peer_and_option(capsys):
    page = (ROOT / "docs" / "performance.md").read_text()
    with pytest.raises(SystemExit):
        main(["--help"])

    options = set(re.findall(r"--[a-z]+", capsys.readouterr().out)) - {"--help"}
    assert [option for option in options if option not in page] == []
    assert [name for name in [*NAMES, *PEERS] if f"| `{name}` |" not in page] == []

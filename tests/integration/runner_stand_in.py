"""A process that runs a command as a worker's would; for tests that end it, or give it too little room.

``runner_stand_in.py FOLDER ATTEMPT GRACE_S COMMAND ...`` prints how the command ended, as a history would keep it.
"""

import json
import os
import sys
from pathlib import Path

from orchestrator.artifacts import Artifacts
from orchestrator.processes.run import run_command
from orchestrator.processes.spec import Command


def main(folder, attempt, grace_s, *arguments):
    command = Command(tuple(arguments), {"PATH": os.environ["PATH"]}, grace_s=float(grace_s))
    folder = Path(folder)
    outcome = run_command(command, attempt, runs=folder / "runs", artifacts=Artifacts(str(folder / "artifacts")))
    print(json.dumps(outcome.to_details()))


if __name__ == "__main__":
    main(*sys.argv[1:])

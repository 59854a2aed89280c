"""What a run has kept of stdout and stderr, and how it becomes artifacts: ``attempts/<tag>/stdout.log``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from orchestrator.artifacts import Artifacts
from orchestrator.errors import OrchestratorError
from orchestrator.processes.folders import Label
from orchestrator.processes.spec import STREAMS, Ending, Report
from orchestrator.processes.spool import Kept, read_spool


class Output(NamedTuple):
    """One stream of a command.

    Attributes:
        kept: what there is of it, in memory.
        artifact: the name under which that is in the store; None if there was no output, or it could not be stored.
        size_bytes: how much came out.
        error: why some of it was not kept.
    """

    kept: Kept
    artifact: str | None
    size_bytes: int
    error: str | None = None


def store_outputs(folder: Path, label: Label, artifacts: Artifacts, *, report: Report | None) -> dict[str, Output]:
    """Put the output of a run into the store, by stream. What goes wrong is told in the result.

    Args:
        folder: of the run.
        label: whose it is.
        artifacts: the store.
        report: of the run, if the shim lived to give one.
    """
    return {stream: _store(folder, stream, label, artifacts, report or Report(Ending.SHIM_DIED)) for stream in STREAMS}


def _store(folder: Path, stream: str, label: Label, artifacts: Artifacts, report: Report) -> Output:
    size, error = report.output_bytes.get(stream), report.output_errors.get(stream)
    kept, name = Kept(b"", size or 0, b""), None
    try:
        kept = read_spool(str(folder), stream, label.most_output_bytes, size=size)
        if kept.text:
            artifacts.put(f"attempts/{label.tag}/{stream}.log", kept.text)
            name = f"attempts/{label.tag}/{stream}.log"
    except (OrchestratorError, OSError) as met:
        error = str(met)
    return Output(kept, name, len(kept.head) + kept.left_out + len(kept.tail), error)

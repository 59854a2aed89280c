"""Task types that fail as often as they are told to. Attempts are counted in a file, one line each."""

from pathlib import Path

from orchestrator import task_type
from orchestrator.errors import TaskError


@task_type("tests.flaky")
def flaky(ledger: str, failures: int, code: int = 503) -> dict[str, int]:
    with Path(ledger).open("a") as file:
        file.write("tried\n")
    tries = len(Path(ledger).read_text().splitlines())
    if tries <= failures:
        raise TaskError(f"try {tries} fails", code)
    return {"tries": tries}

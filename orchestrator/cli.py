"""Placeholder until the command line lands."""
import typer
from orchestrator.settings import Settings
app = typer.Typer()

@app.command()
def worker(executor: str = "default", concurrency: int = 2) -> None:
    from orchestrator.runtime.worker import run_worker
    run_worker(executor, concurrency=concurrency)

@app.command()
def dummy() -> None: ...

def main() -> None:
    app()

"""Placeholder until the command line lands."""
import typer
from orchestrator.settings import Settings
app = typer.Typer()

@app.command()
def worker(executor: str = "default", concurrency: int = 2) -> None:
    from orchestrator.runtime.app import default_app
    default_app().worker_main(["worker", "-Q", f"executor.{executor}", "-c", str(concurrency), "-l", "INFO", "--without-mingle", "--without-gossip", "-n", f"{executor}@%h"])

@app.command()
def dummy() -> None: ...

def main() -> None:
    app()

"""What the integrations of the tree tests are made of."""

from orchestrator import task_type


@task_type("tests.tree.path", light=True)
def path(above: str, position: int) -> dict[str, str]:
    return {"path": f"{above}{position}"}


@task_type("tests.tree.leaf", light=True)
def leaf(path: str) -> dict[str, object]:
    return {"count": 1, "paths": path}


@task_type("tests.tree.sum", light=True)
def total(counts: list[int], below: list[str]) -> dict[str, object]:
    return {"count": 1 + sum(counts), "paths": " ".join(below)}

"""The Python API: ``Orchestrator``, and what it groups: suspensions, schedules, limits."""

from orchestrator.client.orchestrator import Orchestrator

__all__ = ["Orchestrator"]

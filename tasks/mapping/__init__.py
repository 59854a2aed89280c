"""The task type FieldMappingTask ("Data Mapping"): it computes parameters from parameters, with functions.

Who knows what: ``registry`` the shape of the table of functions; ``base``, ``strings``, ``numbers`` (with ``times``),
``booleans``, ``arrays`` and ``documents`` its rows; ``expression`` how functions are chained, ``syntax`` how that is
written, ``fields`` where a value comes from and goes to. The type is light: it neither waits nor touches anything
outside, and its limits keep it short.

Source: Application Integration, "Data Mapping task" and "Data mapping functions reference".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.errors import TaskError
from orchestrator.model.task_types import TASK_TYPES, Done, TaskContext, TaskType
from orchestrator.model.values import Value
from tasks.mapping import arrays, base, booleans, documents, numbers, strings  # noqa: F401 - they register their rows
from tasks.mapping.fields import mapping_in


def run(context: TaskContext) -> Done:
    """Map every field in order; the outputs change together or not at all."""
    mapping = mapping_in(context.config)
    if mapping.problems:
        raise TaskError("; ".join(mapping.problems), "INVALID_ARGUMENT")
    return Done(outputs=mapping.map(context))


def check(config: Mapping[str, Value]) -> Iterable[str]:
    """What is wrong with the mapping, before anything runs."""
    return mapping_in(config).problems


FIELD_MAPPING = TaskType(name="FieldMappingTask", run=run, light=True, celery_name="tasks.mapping", check=check)
TASK_TYPES.add(FIELD_MAPPING)

"""The built-in task types, one module a subject. Importing the package registers them all."""

from tasks import command, jsonnet, loops, mail, mapping, rest, return_task, sub_integrations, suspension, timer

__all__ = [
    "command",
    "jsonnet",
    "loops",
    "mail",
    "mapping",
    "rest",
    "return_task",
    "sub_integrations",
    "suspension",
    "timer",
]

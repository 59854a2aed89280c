"""The built-in task types, one module a subject. Importing the package registers them all."""

from tasks import jsonnet, loops, mail, mapping, rest, return_task, sub_integrations, suspension, timer

__all__ = ["jsonnet", "loops", "mail", "mapping", "rest", "return_task", "sub_integrations", "suspension", "timer"]

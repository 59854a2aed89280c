"""Durable, inspectable, killable executions of task graphs on Celery."""

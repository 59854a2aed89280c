"""What Celery loads: app, queues, tasks, result backend, worker, and the embedded services."""

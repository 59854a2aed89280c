"""The words of the system as plain, frozen values: no Celery, SQL, HTTP, clock, environment or randomness."""

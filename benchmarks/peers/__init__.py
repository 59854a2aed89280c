"""Scripts that run the cases on other systems, each with that system's own Python: nothing of ours is imported here."""

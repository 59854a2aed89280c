"""Processes on a leash: running one command so that nothing it started outlives it."""

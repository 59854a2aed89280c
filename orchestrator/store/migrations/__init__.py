"""Schema migrations: expand, then contract, so that a new version and the one before it can run side by side."""

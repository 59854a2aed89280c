"""The HTTP server: one FastAPI app that carries every wire, with health, keys, request ids and the access log."""

"""Use cases: publish, submit, advance, query. They know the store and the engine, and are handed a publisher."""

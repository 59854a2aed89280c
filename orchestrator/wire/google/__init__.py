"""Google Application Integration, version 1, as its unmodified clients speak it."""

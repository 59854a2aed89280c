from celery.backends.base import DisabledBackend
class ExecutionBackend(DisabledBackend):
    def apply_chord(self, *a, **k): pass
    def store_result(self, *a, **k): pass
    def _is_disabled(self, *a, **k): pass

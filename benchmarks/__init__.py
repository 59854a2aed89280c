"""Measurements that can be repeated: each prints what it measured, and on what. No test times anything."""

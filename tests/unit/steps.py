"""Counting the steps that code takes, where time would tell more about the machine than about the code."""

import sys


def steps_of(act):
    """How many lines of Python run while it does; what C does within one of them is one step."""
    steps = 0

    def count(_frame, event, _argument):
        nonlocal steps
        steps += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        act()
    finally:
        sys.settrace(before)
    return steps

"""Which arrows of the two state machines executions have taken: written down by the database itself, at each change.

A look from outside misses what lasts a millisecond. So triggers in the test's database keep every change of an
execution's state, and every claim; what tasks went through is in the history, where a claim shows only in what follows
it: PENDING_EXECUTION, then SUCCEED is two arrows.
"""

from collections import deque

import sqlalchemy as sa

from orchestrator.model.history import EntryKind
from orchestrator.model.states import EXECUTION_ARROWS, TASK_ARROWS, TaskEvent, TaskState
from orchestrator.store.queries import ExecutionQueries

_TABLE = "CREATE TABLE seen_states (execution_id VARCHAR(36), before VARCHAR(16), after VARCHAR(16))"
_KEEP = "INSERT INTO seen_states VALUES (NEW.id, OLD.state, NEW.state)"
_CHANGED = "(OLD.state <> NEW.state OR OLD.revision < NEW.revision)"
_SQLITE = [
    _TABLE,
    f"CREATE TRIGGER keep_states AFTER UPDATE ON executions WHEN {_CHANGED} BEGIN {_KEEP}; END",
]
_POSTGRES = [
    _TABLE,
    f"CREATE FUNCTION keep_state() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_KEEP}; RETURN NULL; END $$",
    f"CREATE TRIGGER keep_states AFTER UPDATE ON executions FOR EACH ROW WHEN {_CHANGED} EXECUTE FUNCTION keep_state()",
]


def write_arrows_down(database):
    """From now on."""
    with database.begin() as connection:
        for statement in _SQLITE if database.is_sqlite else _POSTGRES:
            connection.execute(sa.text(statement))


def execution_arrows(database, execution_id):
    """The arrows of the execution's table that it has taken."""
    by_states = {(state, target): (state, event) for (state, event), target in EXECUTION_ARROWS.items()}
    wanted = sa.text("SELECT before, after FROM seen_states WHERE execution_id = :id")
    with database.read() as connection:
        return {by_states[row.before, row.after] for row in connection.execute(wanted, {"id": execution_id})}


def task_arrows(database, execution_id):
    """The arrows of the task's table that its tasks have taken."""
    now, found = {}, set()
    for entry in ExecutionQueries(database).entries({execution_id: 0}).get(execution_id, []):
        for number, after in entry.states.items():
            before = now.get(number, TaskState.PENDING_EXECUTION)
            found.update(_path(before, after, entry.kind))
            now[number] = after
    return found


def _path(before, after, kind):
    """The arrows from one state to the next, of which a history keeps the last: the shortest way."""
    if kind is EntryKind.RESTARTED:
        return [(before, TaskEvent.RESTARTED)]
    unlikely = {TaskEvent.RESTARTED} | ({TaskEvent.RETURNED} if kind is not EntryKind.RETURNED else set())
    ahead, seen = deque([(before, [])]), {before}
    while ahead:
        state, path = ahead.popleft()
        for (source, event), target in TASK_ARROWS.items():
            if source is state and event not in unlikely:
                if target is after:
                    return [*path, (source, event)]
                if target not in seen:
                    seen.add(target)
                    ahead.append((target, [*path, (source, event)]))
    raise AssertionError(f"no arrows lead from {before} to {after}")

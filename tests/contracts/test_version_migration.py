"""What becomes of versions that were stored before there were drafts."""

import json

import sqlalchemy as sa
from alembic import command

from orchestrator.store.migrate import alembic_config
from orchestrator.store.tables import versions
from orchestrator.store.versions import VersionStore
from tests.contracts.stored import PLACE, make_document, make_version, publish


def test_versions_from_before_are_what_they_were_and_are_found_by_their_texts(database):
    documents = [
        make_document(userLabel="v1", description="first"),
        make_document(user_label="v2"),
        make_document(description=None),
    ]
    ids = [VersionStore(database).publish(make_version(**each), **PLACE) for each in documents]
    before = states(database)
    with database.begin() as connection:
        command.downgrade(alembic_config(connection), "0006")
        columns = {each["name"] for each in sa.inspect(connection).get_columns("versions")}
        assert not columns & {"updated_at", "state_at", "user_label", "description", "lock_holder", "last_modifier"}

    database.upgrade()

    found = [VersionStore(database).get(each) for each in ids]
    assert [(each.user_label, each.description) for each in found] == [("v1", "first"), ("v2", ""), ("", "")]
    assert [each.document for each in found] == documents
    assert all(each.updated_at == each.state_at == each.created_at for each in found)
    assert states(database) == before
    assert publish(database, userLabel="v1", description="first") == ids[0]


def states(database):
    with database.read() as connection:
        rows = connection.execute(sa.select(versions).order_by("snapshot_number"))
        return [(row.state, json.loads(row.document)) for row in rows]

"""What drafts, publishing, unpublishing and deleting promise, and what lists show of them."""

from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.errors import (
    FilterSyntax,
    IntegrationExists,
    IntegrationNotFound,
    InvalidDefinition,
    InvalidPageToken,
    InvalidValue,
    NoSuchIntegration,
    UnknownParameter,
    VersionInTheWay,
    VersionNotFound,
    WrongVersionState,
)
from orchestrator.model.definition import parse_integration
from orchestrator.model.version_states import VERSION_ARROWS, VersionEvent, VersionState
from orchestrator.service.imports import import_definition
from orchestrator.service.schedules import list_schedules
from orchestrator.service.submit import Place, submit
from orchestrator.service.versions import (
    VersionAddress,
    VersionListWish,
    create_draft,
    delete_integration,
    delete_version,
    get_version,
    list_integrations,
    list_versions,
    patch_version,
    publish_version,
    take_edit_lock,
    unpublish_version,
)
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.limit_terms import LimitStore
from orchestrator.store.tables import version_triggers, versions
from tests.contracts.stored import PLACE, at_once, rows_of
from tests.contracts.world import World, heavy
from tests.flows import flow

HERE = Place(**PLACE)
ME = "me"
DAILY = {"triggerId": "cron_trigger/nightly/10+12+*+*+*", "triggerType": "CRON"}
CONFIG = {
    "integrationConfigParameters": [
        {"parameter": {"key": "`CONFIG_url`", "dataType": "STRING_VALUE", "defaultValue": {"stringValue": "none"}}},
        {"parameter": {"key": "`CONFIG_tries`", "dataType": "INT_VALUE"}},
    ]
}


@pytest.fixture
def world(database, tmp_path):
    return World(database, tmp_path)


@pytest.fixture
def services(world):
    return world.services


def document(name="flow", **more):
    return {key: content for key, content in flow(name, heavy(1)).items() if key != "name"} | more


def timed(name="flow"):
    made = document(name, limits={"maxConcurrent": 5})
    made["triggerConfigs"].append(DAILY)
    return made


def draft(services, name="flow", *, actor=ME, is_new=False, **more):
    made = more if more.pop("bare", False) else document(name, **more)
    return create_draft(made, services, integration=name, place=HERE, actor=actor, is_new=is_new)


def at(version):
    return VersionAddress(place=HERE, integration=version.integration, id=version.id)


def published(services, name="flow", *, actor=ME, **more):
    version = draft(services, name, **more)
    publish_version(at(version), services, actor=actor)
    return get_version(at(version), services)


def in_state(services, state, **more):
    """A version that is in this state."""
    version = draft(services, **more)
    if state is VersionState.ARCHIVED:
        return delete_version(at(version), services, actor=ME)
    if state is not VersionState.DRAFT:
        publish_version(at(version), services, actor=ME)
    if state is VersionState.SNAPSHOT:
        unpublish_version(at(version), services, actor=ME)
    return get_version(at(version), services)


def states(services):
    with services.versions.database.read() as connection:
        rows = connection.execute(sa.select(versions).order_by("integration", "snapshot_number"))
        return [row.state for row in rows]


def triggers(services):
    return [each.trigger_id for each in list_schedules(services, place=HERE)]


def set_label(text):
    return lambda found: {**found, "userLabel": text}


DEEDS = {
    VersionEvent.CHANGED: lambda version, services: patch_version(at(version), set_label("x"), services, actor=ME),
    VersionEvent.PUBLISHED: lambda version, services: publish_version(at(version), services, actor=ME),
    VersionEvent.UNPUBLISHED: lambda version, services: unpublish_version(at(version), services, actor=ME),
    VersionEvent.DELETED: lambda version, services: delete_version(at(version), services, actor=ME),
}

# -- one version ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", DEEDS)
@pytest.mark.parametrize("state", VersionState)
def test_a_deed_follows_its_arrow_or_changes_nothing(services, database, state, event):
    version = in_state(services, state)
    target = VERSION_ARROWS.get((state, event))
    before = rows_of(database)

    if target is None:
        with pytest.raises(WrongVersionState, match=f"{version.id} of integration 'flow' is {state}, and only one"):
            DEEDS[event](version, services)
        assert rows_of(database) == before
    else:
        DEEDS[event](version, services)
        assert get_version(at(version), services).state is target


def test_a_draft_keeps_its_document_and_who_made_it(services):
    version = draft(services, userLabel="v1", description="what it does", custom=[1, None])

    found = get_version(at(version), services)

    assert found == version
    assert (found.state, found.snapshot_number, found.user_label, found.description) == (
        VersionState.DRAFT,
        1,
        "v1",
        "what it does",
    )
    assert (found.lock_holder, found.last_modifier) == (ME, ME)
    assert found.document == document(userLabel="v1", description="what it does", custom=[1, None])
    assert [*found.document] == [*document(), "userLabel", "description", "custom"]


def test_a_draft_may_be_incomplete_and_is_refused_when_it_is_published(services, database):
    version = draft(services, bare=True, description="to do")
    before = rows_of(database)

    with pytest.raises(InvalidDefinition, match="there is no task"):
        publish_version(at(version), services, actor=ME)

    assert rows_of(database) == before


def test_what_cannot_be_read_is_no_draft(services, database):
    with pytest.raises(InvalidDefinition, match="taskConfigs"):
        draft(services, taskConfigs=5)

    assert rows_of(database)["versions"] == []


def test_a_definition_that_no_file_could_have_is_no_draft(services, database):
    with pytest.raises(InvalidDefinition, match="more than 8 MiB"):
        draft(services, custom="x" * 2**23)

    assert rows_of(database)["versions"] == []


def test_two_drafts_of_one_content_are_two_versions(services):
    first, second = draft(services), draft(services)

    assert first.id != second.id
    assert [first.snapshot_number, second.snapshot_number] == [1, 2]
    publish_version(at(first), services, actor=ME)
    publish_version(at(second), services, actor=ME)
    assert states(services) == ["SNAPSHOT", "ACTIVE"]


def test_a_new_integration_must_not_be_there_unless_all_of_it_is_deleted(services):
    version = draft(services, is_new=True)
    with pytest.raises(IntegrationExists, match="'flow' is there already"):
        draft(services, is_new=True)

    delete_version(at(version), services, actor=ME)

    assert draft(services, is_new=True).snapshot_number == 2


def test_a_changed_draft_has_its_new_triggers_and_texts_and_is_held_by_who_changed_it(services, database):
    version = draft(services)
    other = document("other", userLabel="v2")

    changed = patch_version(at(version), lambda _: other, services, actor="somebody else")

    assert (changed.user_label, changed.lock_holder, changed.last_modifier) == ("v2", "somebody else", "somebody else")
    assert changed.document == other
    assert changed.updated_at >= version.updated_at
    with database.read() as connection:
        assert connection.execute(sa.select(version_triggers)).all() == [(version.id, "api_trigger/other")]


def test_a_lock_never_keeps_anybody_from_publishing(services):
    version = draft(services, actor="somebody else")

    publish_version(at(version), services, actor=ME)

    found = get_version(at(version), services)
    assert (found.state, found.lock_holder, found.last_modifier) == (VersionState.ACTIVE, None, ME)


def test_a_lock_is_taken_over_of_drafts_alone(services):
    version = draft(services, actor="somebody else")

    assert take_edit_lock(at(version), services, actor=ME).lock_holder == ME

    publish_version(at(version), services, actor=ME)
    with pytest.raises(WrongVersionState):
        take_edit_lock(at(version), services, actor=ME)


@pytest.mark.parametrize(
    "address",
    [
        {"id": "nothing"},
        {"integration": "other"},
        {"place": Place(project="other", location="local")},
        {"place": Place(project="default", location="other")},
    ],
)
def test_a_version_is_found_at_its_own_address_alone(services, address):
    version = draft(services)
    elsewhere = {"place": HERE, "integration": "flow", "id": version.id} | address

    with pytest.raises(VersionNotFound):
        get_version(VersionAddress(**elsewhere), services)


def test_a_version_is_found_without_its_integration(services):
    version = draft(services)

    assert get_version(VersionAddress(place=HERE, integration=None, id=version.id), services) == version


# -- publishing ----------------------------------------------------------------------------------------------------


def test_validation_alone_says_what_publishing_would_and_changes_nothing(services, database):
    good, bad = draft(services), draft(services, taskConfigs=[{"taskId": "1", "task": "Unheard"}])
    before = rows_of(database)

    publish_version(at(good), services, actor=ME, validate_only=True)
    with pytest.raises(InvalidDefinition, match="Unheard"):
        publish_version(at(bad), services, actor=ME, validate_only=True)

    assert rows_of(database) == before


def test_publishing_a_content_takes_no_draft_and_nothing_archived(services):
    """``orchestrator publish`` looks for the same content; what is somebody's draft, or deleted, is not it."""
    ours = draft(services)
    archived = delete_version(at(draft(services)), services, actor=ME)

    version_id, again = (
        services.versions.publish(parse_integration(each, name="flow"), **PLACE)
        for each in (document(), dict(reversed(document().items())))
    )

    assert again == version_id
    assert version_id not in (ours.id, archived.id)
    assert states(services) == ["DRAFT", "ARCHIVED", "ACTIVE"]


def test_publishing_a_content_takes_the_version_that_a_draft_has_become(services):
    version = published(services)

    again = services.versions.publish(services.plans.version(version.id), project=HERE.project, location=HERE.location)

    assert again == version.id


def test_config_parameters_are_what_executions_see(world, services):
    version = draft(services, **CONFIG)

    publish_version(at(version), services, actor=ME, config={"CONFIG_url": "https://example.org", "`CONFIG_tries`": 3})

    assert {key: value.python for key, value in services.plans.version(version.id).defaults().items()} == {
        "`CONFIG_url`": "https://example.org",
        "`CONFIG_tries`": 3,
    }
    world.id = submit(version.id, {}, services, place=HERE)
    world.drive(AttemptKey(execution_id=world.id, number=1, attempt=1))
    assert world.execution.snapshots[-1].parameters["`CONFIG_url`"].python == "https://example.org"


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        ({"CONFIG_uri": "x"}, UnknownParameter, "no parameter 'CONFIG_uri'.*`CONFIG_url`"),
        ({"CONFIG_tries": "many"}, InvalidValue, "config parameter 'CONFIG_tries'"),
    ],
)
def test_a_config_parameter_that_is_not_declared_or_does_not_fit_is_refused(services, database, config, error, said):
    version = draft(services, **CONFIG)
    before = rows_of(database)

    with pytest.raises(error, match=said):
        publish_version(at(version), services, actor=ME, config=config)

    assert rows_of(database) == before


def test_a_snapshot_is_published_again_with_the_values_that_it_has(services):
    version = draft(services, **CONFIG)
    publish_version(at(version), services, actor=ME, config={"CONFIG_url": "one"})
    unpublish_version(at(version), services, actor=ME)

    with pytest.raises(InvalidValue, match="create a draft of the same content"):
        publish_version(at(version), services, actor=ME, config={"CONFIG_url": "two"})
    publish_version(at(version), services, actor=ME, config={"CONFIG_url": "one"})

    assert get_version(at(version), services).state is VersionState.ACTIVE


def test_nothing_starts_of_an_integration_that_was_unpublished_and_what_runs_goes_on(world, services):
    version = published(services)
    world.id = submit(version.id, {}, services, place=HERE)

    unpublish_version(at(version), services, actor=ME)

    with pytest.raises(IntegrationNotFound):
        services.versions.find("flow", trigger_id="", **PLACE)
    world.drive(AttemptKey(execution_id=world.id, number=1, attempt=1))
    assert world.execution.state == "SUCCEEDED"
    assert services.plans.version(version.id).name == "flow"


# -- what follows the published version ------------------------------------------------------------------------------


def test_cron_triggers_fire_from_publishing_to_unpublishing(services, database):
    version = create_draft(timed(), services, integration="flow", place=HERE, actor=ME)
    assert triggers(services) == []

    publish_version(at(version), services, actor=ME)
    assert triggers(services) == [DAILY["triggerId"]]

    unpublish_version(at(version), services, actor=ME)
    assert triggers(services) == []
    publish_version(at(version), services, actor=ME)
    assert triggers(services) == [DAILY["triggerId"]]


def test_cron_triggers_are_gone_with_a_deleted_integration(services):
    version = create_draft(timed(), services, integration="flow", place=HERE, actor=ME)
    publish_version(at(version), services, actor=ME)

    delete_integration("flow", services, place=HERE, actor=ME)

    assert triggers(services) == []


def test_limits_outlast_unpublishing_so_that_what_waits_goes_on_waiting(services, database):
    version = create_draft(timed(), services, integration="flow", place=HERE, actor=ME)
    publish_version(at(version), services, actor=ME)

    unpublish_version(at(version), services, actor=ME)
    assert [each.terms.max_running for each in LimitStore(database).list()] == [5]

    published(services)
    assert LimitStore(database).list() == ()


@pytest.mark.parametrize("limits", [{"maxConcurrent": 1}, {"key": "$k$", "maxConcurrentPerKey": 1}])
def test_limits_go_with_an_integration_unless_something_waits_for_its_turn(services, database, limits):
    key = {"key": "k", "dataType": "STRING_VALUE", "defaultValue": {"stringValue": "a"}}
    version = published(services, limits=limits, integrationParameters=[key])
    for _ in range(2):
        submit(version.id, {}, services, place=HERE)

    delete_integration("flow", services, place=HERE, actor=ME)
    assert [each.terms.max_running for each in LimitStore(database).list() if each.waiting] == [1]

    published(services, "other", limits=limits, integrationParameters=[key])
    delete_integration("other", services, place=HERE, actor=ME)
    assert not [each for each in LimitStore(database).list() if "other" in each.name]


def test_deleting_an_integration_archives_everything_and_leaves_others_alone(services):
    draft(services), published(services), published(services), published(services, "other")

    delete_integration("flow", services, place=HERE, actor="the end")

    assert states(services) == ["ARCHIVED"] * 3 + ["ACTIVE"]
    found, _ = list_versions(VersionListWish(), services, place=HERE, integration="flow")
    assert {each.last_modifier for each in found} == {"the end"}
    with pytest.raises(NoSuchIntegration, match="no integration 'flow'"):
        delete_integration("flow", services, place=HERE, actor=ME)


# -- at the same time ------------------------------------------------------------------------------------------------


def test_of_drafts_published_at_the_same_time_one_is_active(services):
    for _ in range(3):
        drafts = [draft(services, description=str(number)) for number in range(4)]

        at_once(*(partial(publish_version, at(each), services, actor=ME) for each in drafts))

    found = states(services)
    assert sorted(found) == ["ACTIVE", *["SNAPSHOT"] * 11]


def test_of_contents_and_drafts_published_at_the_same_time_one_is_active(world, services):
    drafts = [draft(services, description=str(number)) for number in range(3)]
    contents = [document(description=f"content {number}") | {"name": "flow"} for number in range(3)]

    at_once(
        *(partial(publish_version, at(each), services, actor=ME) for each in drafts),
        *(partial(world.publish, each) for each in contents),
    )

    assert sorted(states(services)) == ["ACTIVE", *["SNAPSHOT"] * 5]


def test_a_draft_published_twice_at_the_same_time_is_published_once(services):
    version = draft(services)

    def once():
        try:
            publish_version(at(version), services, actor=ME)
        except WrongVersionState as error:
            return error
        return None

    told = at_once(once, once, once)

    assert told.count(None) == 1
    assert states(services) == ["ACTIVE"]


def test_changes_of_different_keys_at_the_same_time_are_all_kept(services):
    version = draft(services)

    def change(key):
        while True:
            try:
                return patch_version(at(version), lambda found: {**found, key: key}, services, actor=key)
            except VersionInTheWay:
                continue

    at_once(*(partial(change, key) for key in ("one", "two", "three", "four")))

    kept = get_version(at(version), services).document
    assert [kept[key] for key in ("one", "two", "three", "four")] == ["one", "two", "three", "four"]


def test_a_draft_is_published_as_it_was_checked_or_checked_again(services, monkeypatch):
    """Somebody breaks it between the check and the publishing."""
    version = draft(services)
    activate = services.versions.activate

    def late(*args, **more):
        monkeypatch.undo()
        patch_version(at(version), lambda found: {**found, "taskConfigs": []}, services, actor="late")
        return activate(*args, **more)

    monkeypatch.setattr(services.versions, "activate", late)

    with pytest.raises(InvalidDefinition, match="there is no task"):
        publish_version(at(version), services, actor=ME)
    assert states(services) == ["DRAFT"]


def test_deleting_and_publishing_at_the_same_time_do_one_or_the_other(services):
    for _ in range(4):
        version = draft(services)

        def attempt(deed, version=version):
            try:
                DEEDS[deed](version, services)
            except WrongVersionState:
                return None
            return deed

        done = at_once(partial(attempt, VersionEvent.DELETED), partial(attempt, VersionEvent.PUBLISHED))

        expected = {VersionEvent.DELETED: VersionState.ARCHIVED, VersionEvent.PUBLISHED: VersionState.ACTIVE}
        (winner,) = (each for each in done if each is not None)
        assert get_version(at(version), services).state is expected[winner]


# -- imports ---------------------------------------------------------------------------------------------------------


def test_an_import_is_published_if_it_lacks_nothing_and_a_draft_otherwise(services):
    good = parse_integration(document(), name="flow")
    bad = parse_integration(document(taskConfigs=[{"taskId": "1", "task": "Unheard"}]), name="flow")

    taken = [
        import_definition(each, services, place=HERE, actor=ME, publishes=publishes)
        for each, publishes in ((good, True), (good, True), (good, False), (bad, True))
    ]

    assert [each.state for each in taken] == ["ACTIVE", "ACTIVE", "DRAFT", "DRAFT"]
    assert [each.can_run for each in taken] == [True, True, True, False]
    assert states(services) == ["ACTIVE", "DRAFT", "DRAFT"]
    assert taken[0].version_id == taken[1].version_id
    assert (taken[3].missing, taken[3].problems) == ({"Unheard": (1,)}, ())
    assert {
        get_version(VersionAddress(place=HERE, integration=None, id=each.version_id), services).last_modifier
        for each in taken
    } == {ME}


# -- lists -----------------------------------------------------------------------------------------------------------


def numbers(services, filter="", *, integration="flow", **more):  # noqa: A002
    found, token = list_versions(VersionListWish(filter=filter, **more), services, place=HERE, integration=integration)
    assert token == ""
    return [each.snapshot_number for each in found]


@pytest.fixture
def three(services):
    """1 ARCHIVED, 2 ACTIVE, 3 DRAFT."""
    first = draft(services, userLabel="first", description="a test of the past")
    delete_version(at(first), services, actor="archivist")
    return first, published(services, userLabel="second"), draft(services, userLabel="third", actor="drafter")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("", [3, 2, 1]),
        ("state = ACTIVE", [2]),
        ("status=DRAFT OR state=ARCHIVED", [3, 1]),
        ("NOT state=ACTIVE", [3, 1]),
        ("snapshotNumber >= 2", [3, 2]),
        ('description:"test" AND state=ARCHIVED', [1]),
        ("description:*", [1]),
        ('user_label = "second"', [2]),
        ("userLabel:ir", [3, 1]),
        ("lockHolder = drafter", [3]),
        ("NOT lock_holder:*", [2, 1]),
        ("lastModifierEmail = archivist", [1]),
        ("create_time > 2020-01-01 AND last_modified_time > 2020-01-01", [3, 2, 1]),
        ("create_time < 2020-01-01", []),
        ("workflow_name = flow", [3, 2, 1]),
        ("name = other", []),
    ],
)
def test_a_filter_of_versions(services, three, wanted, expected):
    assert numbers(services, wanted, order_by="snapshot_number") == expected


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ("snapshot_number", [3, 2, 1]),
        ("snapshotNumber asc", [1, 2, 3]),
        ("snapshot_number desc", [3, 2, 1]),
    ],
)
def test_an_order_without_a_direction_is_the_one_that_the_product_documents(services, three, order_by, expected):
    assert numbers(services, order_by=order_by) == expected


def test_filters_and_orders_of_what_versions_do_not_have_are_refused(services):
    with pytest.raises(FilterSyntax, match="one of the fields integration, version_id, state"):
        numbers(services, "priority > 4")
    with pytest.raises(FilterSyntax, match="one of DRAFT, ACTIVE, ARCHIVED, SNAPSHOT"):
        numbers(services, "state = DELETED")
    with pytest.raises(InvalidValue, match="one of update_time, create_time, snapshot_number, integration"):
        numbers(services, order_by="state")
    with pytest.raises(InvalidValue, match="page size"):
        numbers(services, page_size=-1)


def test_a_page_that_is_too_large_is_as_large_as_it_may_be(services, three):
    assert numbers(services, page_size=2**31) == [3, 2, 1]


def pages(read, *, size, **more):
    """Everything, page by page."""
    found, token = [], ""
    while True:
        page, token = read(VersionListWish(page_size=size, page_token=token, **more))
        found.append(page)
        if not token:
            return found


@pytest.mark.parametrize("order_by", ["", "snapshot_number asc", "last_modified_time", "name", "name desc"])
def test_pages_hold_every_version_once(services, order_by):
    made = {draft(services, name).id for name in ("flow", "a", "flow", "b", "flow")}

    read = partial(list_versions, services=services, place=HERE)
    found = pages(read, size=2, order_by=order_by)

    assert [len(page) for page in found] == [2, 2, 1]
    ids = [each.id for page in found for each in page]
    assert set(ids) == made
    whole, _ = list_versions(VersionListWish(order_by=order_by), services, place=HERE)
    assert ids == [each.id for each in whole]


def test_a_token_of_another_list_is_refused(services):
    draft(services), draft(services)
    _, token = list_versions(VersionListWish(page_size=1), services, place=HERE, integration="flow")

    for wish, integration in (
        (VersionListWish(page_token=token), None),
        (VersionListWish(page_token=token, filter="state=DRAFT"), "flow"),
        (VersionListWish(page_token=token, order_by="name"), "flow"),
    ):
        with pytest.raises(InvalidPageToken, match="another filter or order"):
            list_versions(wish, services, place=HERE, integration=integration)


def test_an_integration_is_one_row_that_its_published_version_stands_for(services, three):
    draft(services, "b", description="only a draft")
    delete_version(at(draft(services, "gone")), services, actor=ME)

    found, token = list_integrations(VersionListWish(), services, place=HERE)

    assert token == ""
    assert [(each.name, each.is_active, each.description) for each in found] == [
        ("b", False, "only a draft"),
        ("flow", True, ""),
    ]
    newest = get_version(at(three[2]), services)
    assert found[1].updated_at == newest.updated_at
    assert found[1].created_at == three[1].created_at


def test_a_filter_of_integrations_is_fulfilled_by_any_of_their_versions(services, three):
    draft(services, "b", description="only a draft")

    def names(wanted):
        return [each.name for each in list_integrations(VersionListWish(filter=wanted), services, place=HERE)[0]]

    assert names("state=DRAFT") == ["b", "flow"]
    assert names("state=ACTIVE") == ["flow"]
    assert names("state=ARCHIVED") == []
    assert names("NOT state=DRAFT") == ["flow"]


@pytest.mark.parametrize("order_by", ["", "name desc", "last_modified_time", "created_time asc"])
def test_pages_hold_every_integration_once(services, order_by):
    for name in ("c", "a", "b", "a", "e", "d"):
        draft(services, name)

    found = pages(partial(list_integrations, services=services, place=HERE), size=2, order_by=order_by)

    names = [each.name for page in found for each in page]
    assert [len(page) for page in found] == [2, 2, 1]
    assert sorted(names) == ["a", "b", "c", "d", "e"]
    if order_by in ("", "name desc"):
        assert names == sorted(names, reverse=bool(order_by))

"""``executions.list``: pages, filters, masks; 250 executions that nobody runs, and a few that are over."""

from datetime import datetime, timedelta

import httpx
import pytest
from googleapiclient.errors import HttpError

from tests.clients.google.conftest import LOCATION
from tests.flows import flow, parameter, task

pytestmark = pytest.mark.services

FLOWS = f"{LOCATION}/integrations/listed"
MANY = 250


@pytest.fixture(scope="module")
def listed(google):
    """The ids of executions of the integration "listed", the oldest first: 250 that wait, then two that are over."""
    definition = flow(
        "listed",
        task(1, "JsonnetMapperTask", takes={"template": "{answer: std.extVar('number') * 2}"}),
        parameters=[
            parameter("number", "INT_VALUE", direction="IN"),
            parameter("word", "STRING_VALUE", direction="IN", default="w"),
            parameter("answer", "INT_VALUE", direction="OUT"),
        ],
    )
    client = google.system.client
    inputs = [{"number": number} for number in range(MANY)]
    waiting = client.submit_many(definition, inputs, executor=google.system.executor)
    done = [
        client.wait(client.submit(definition, {"number": 1000 + number, "word": "x" * 2000})).id for number in (0, 1)
    ]
    failed = client.wait(client.submit(definition, {"number": 10**15})).id
    return [*waiting, *done, failed]


def ids_of(answer):
    return [each["name"].rpartition("/")[2] for each in answer.get("executions", [])]


def listing(google, parent=FLOWS, **more):
    return google.executions.list(parent=parent, **more).execute()


def found(google, **more):
    return set(ids_of(listing(google, pageSize=1000, **more)))


def refusal(google, **more):
    with pytest.raises(HttpError) as caught:
        listing(google, **more)
    assert caught.value.status_code == 400
    return caught.value


# -- pages -----------------------------------------------------------------------------------------------------------


def test_every_execution_is_on_one_page_while_new_ones_come(google, listed):
    seen, new = [], []
    request = google.executions.list(parent=FLOWS, pageSize=40)
    while request is not None:
        answer = request.execute()
        seen += ids_of(answer)
        new.append(google.system.submit("listed", {"number": 5}))
        request = google.executions.list_next(request, answer)

    assert len(new) >= 6
    assert seen == sorted(seen, key=[*listed, *new].index, reverse=True)
    assert set(seen) >= set(listed)
    assert len(set(seen)) == len(seen)
    assert not set(seen) & set(new)


def test_a_page_has_fifty_and_at_most_a_thousand(google, listed):
    assert len(ids_of(listing(google))) == 50
    assert len(ids_of(listing(google, pageSize=0))) == 50
    assert len(ids_of(listing(google, pageSize=2_000))) >= MANY
    assert "pageSize: found '-1'" in refusal(google, pageSize=-1).reason


def test_a_token_continues_only_its_own_list(google, listed):
    token = listing(google, pageSize=2)["nextPageToken"]

    for more in ({"filter": "state=PENDING"}, {"orderBy": "create_time"}, {"parent": f"{LOCATION}/integrations/-"}):
        assert "another filter or order" in refusal(google, pageToken=token, **more).reason
    assert "not one that a list gave" in refusal(google, pageToken="made-up").reason
    assert len(ids_of(listing(google, pageSize=5, pageToken=token, readMask="createTime"))) == 5


@pytest.mark.parametrize(
    "order",
    [
        "create_time",
        "createTime asc",
        "create_time desc",
        "CREATE_TIME DESC",
        "last_modified_time",
        "lastModifiedTime desc",
    ],
)
def test_the_order_can_be_chosen(google, listed, order):
    key = "updateTime" if order.lower().startswith("last") else "createTime"
    times = [each[key] for each in listing(google, orderBy=order, pageSize=300)["executions"]]

    as_times = [datetime.fromisoformat(each) for each in times]
    assert as_times == sorted(as_times, reverse=order.lower().endswith("desc"))


def test_an_order_that_there_is_not_is_refused(google, listed):
    assert "order: found 'state'" in refusal(google, orderBy="state").reason


# -- filters ---------------------------------------------------------------------------------------------------------


def test_states_in_all_spellings(google, listed):
    over = set(listed[MANY:])
    for text in ("SUCCEEDED", '"SUCCEEDED"', "'SUCCEEDED'"):
        assert found(google, filter=f"event_execution_state={text}") == over
    waiting = found(google, filter='event_execution_state="PENDING"')
    assert waiting >= set(listed[:MANY])
    for text in ("eventExecutionState = ON_HOLD", "state=PENDING", "NOT state = SUCCEEDED", "state != SUCCEEDED"):
        assert found(google, filter=text) == waiting
    for statuses in (["ON_HOLD"], ["PENDING"], ["PENDING", "CANCELED"], ["ON_HOLD", "CANCELLED", "FAILED"]):
        assert found(google, filterParams_eventStatuses=statuses) == waiting
    assert found(google, filterParams_eventStatuses=["IN_PROCESS", "PROCESSING"]) == set()


def test_and_or_not_and_parentheses(google, listed):
    one, two, three = listed[:3]
    by_id = f'(execution_id="{one}" OR executionId="{two}" OR execution_id={three})'

    assert found(google, filter=by_id) == {one, two, three}
    assert found(google, filter=f'{by_id} AND NOT execution_id="{two}"') == {one, three}
    assert found(google, filter=f"{by_id} AND state=SUCCEEDED") == set()
    assert found(google, filter=f'workflow_name="listed" AND trigger_id="api_trigger/listed" AND {by_id}') == {
        one,
        two,
        three,
    }
    assert found(google, filter='workflowName="other"') == set()


def test_times(google, listed):
    middle = listing(google, filter=f"execution_id={listed[MANY]}")["executions"][0]["createTime"]

    after, before = (found(google, filter=f'CreateTimestamp {sign} "{middle}"') for sign in "><")
    exactly = found(google, filter=f'CreateTimestamp="{middle}"')
    assert listed[MANY] in exactly
    assert set(listed[:MANY]) <= before
    assert set(listed[MANY + 1 :]) <= after
    assert found(google, filter=f"create_timestamp >= {middle}") == after | exactly
    at = datetime.fromisoformat(middle)
    early, late = (int((at + timedelta(milliseconds=each)).timestamp() * 1000) for each in (-1, 1))
    assert found(google, filterParams_startTime=str(early), filterParams_endTime=str(late)) >= exactly
    assert found(google, filterParams_startTime=str(late)) <= after


def test_parameters(google, listed):
    one = {listed[MANY]}
    assert found(google, filter='parameter_value="1000"') == one
    assert found(google, filterParams_parameterPairKey="number", filterParams_parameterPairValue="1000") == one
    assert found(google, filterParams_parameterPairKey="word", filterParams_parameterPairValue="1000") == set()
    assert found(google, filterParams_parameterKey="answer") == set(listed[MANY:])
    assert found(google, filterParams_parameterValue="2000") == one
    for text in ("parameter_type:INT_VALUE", 'parameterType="INT_VALUE"'):
        assert found(google, filter=text) >= set(listed)
    assert found(google, filterParams_parameterType="DOUBLE_ARRAY") == set()


def test_a_structured_filter_and_a_text_hold_together(google, listed):
    assert found(
        google,
        filter="state=SUCCEEDED",
        filterParams_workflowName="listed",
        filterParams_executionId=listed[MANY],
        filterParams_customFilter='trigger_id="api_trigger/listed"',
    ) == {listed[MANY]}


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"filter": "colour=red"}, "column 1: expected one of the fields execution_id"),
        ({"filter": "state=RED"}, "column 7: expected one of PENDING"),
        ({"filter": "state>FAILED"}, "column 6"),
        ({"filter": "(state=FAILED"}, "expected AND, OR or )"),
        ({"filter": "state=FAILED state=FAILED"}, "expected AND, OR (in capitals)"),
        ({"filter": "CreateTimestamp>yesterday"}, "2026-01-31T12:00:00Z"),
        ({"filter": " OR ".join(["state=FAILED"] * 10_000)}, "at most 10,000 characters"),
        ({"filter": " OR ".join(["priority=1"] * 60)}, "at most 50 terms"),
        ({"filter": "(" * 5_000}, "at most 10 levels"),
        ({"filter": "NOT " * 2_000}, "at most 10 levels"),
        ({"filterParams_startTime": "soon"}, "filterParams.startTime: found 'soon'"),
        ({"filterParams_eventStatuses": ["RED"]}, "filterParams.eventStatuses: found 'RED'"),
        ({"filterParams_taskStatuses": ["FAILED"]}, "filterParams: found 'taskStatuses'"),
        ({"readMask": "colour"}, "Cannot find matching fields for path 'colour'"),
        ({"readMask": "directSubExecutions"}, "readMask: found directSubExecutions, expected name, triggerId"),
        ({"fields": "executions/colour"}, "path 'executions/colour'"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(google, listed, wish, words):
    assert words in refusal(google, **wish).reason


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_an_item_has_its_own_details_and_not_what_is_below_it(google, listed):
    answer = listing(google, filter=f"execution_id={listed[MANY]}", orderBy="create_time")

    (item,), (info,) = answer["executions"], answer["executionInfos"]
    whole = google.executions.get(name=item["name"]).execute()
    assert item == whole
    assert info["eventExecutionInfoId"] == listed[MANY]
    assert (info["workflowName"], info["postMethod"], info["errors"]) == ("listed", "POST_TO_QUEUE", [])
    assert info["eventExecutionDetails"]["eventExecutionState"] == "SUCCEEDED"


def test_a_read_mask_leaves_what_it_names_and_the_name(google, listed):
    wish = {"filter": f"execution_id={listed[MANY]}"}
    full = listing(google, **wish)["executions"][0]

    for mask in (
        "triggerId,executionDetails.state",
        "trigger_id,execution_details.state",
        "triggerId,execution_details.state",
    ):
        (item,) = listing(google, readMask=mask, **wish)["executions"]
        assert item == {key: full[key] for key in ("name", "triggerId")} | {"executionDetails": {"state": "SUCCEEDED"}}
    (item,) = listing(google, readMask="executionDetails.execution_snapshots,create_time", **wish)["executions"]
    assert item["executionDetails"] == {"executionSnapshots": full["executionDetails"]["executionSnapshots"]}
    assert item.keys() == {"name", "createTime", "executionDetails"}
    answer = listing(google, fields="executions(name,triggerId)", **wish)
    assert answer == {"executions": [{"name": full["name"], "triggerId": full["triggerId"]}]}


def test_snapshots_without_parameters_and_parameters_cut_short(google, listed):
    wish = {"filter": f"execution_id={listed[MANY]}"}

    (item,) = listing(google, snapshotMetadataWithoutParams=True, **wish)["executions"]
    (snapshot,) = item["executionDetails"]["executionSnapshots"]
    assert snapshot["params"] == {}
    assert snapshot["executionSnapshotMetadata"]["taskNumber"] == "1"
    assert len(item["requestParameters"]["word"]["stringValue"]) == 2000
    (item,) = listing(google, truncateParams=True, refreshAcl=True, **wish)["executions"]
    (snapshot,) = item["executionDetails"]["executionSnapshots"]
    assert [len(each["word"]["stringValue"]) for each in (item["requestParameters"], snapshot["params"])] == [1000] * 2


def test_all_integrations_of_a_location(google, listed):
    other = google.system.submit(flow("unlike", task(1)))

    everything = found(google, parent=f"{LOCATION}/integrations/-")

    assert {*listed, other} <= everything
    assert other not in found(google)
    assert found(google, parent=f"{LOCATION}/integrations/unlike") == {other}
    assert found(google, parent="projects/other/locations/local/integrations/-") == set()


# -- how it is asked -------------------------------------------------------------------------------------------------


def test_a_query_that_is_too_long_for_a_url_comes_as_a_form(google, listed):
    some = listed[:45]
    text = " OR ".join(f'execution_id="{each}"' for each in some)
    request = google.executions.list(
        parent=FLOWS, filter=text, readMask="triggerId", fields="executions/name", pageSize=40
    )
    assert len(request.uri) > 2048

    first = request.execute()
    assert len(ids_of(first)) == 40
    assert first.keys() == {"executions"}
    everything = listing(google, filter=text, pageSize=100)
    assert set(ids_of(everything)) == set(some)


def test_both_spellings_and_no_others_are_taken_in_a_query(google, listed):
    def ask(query):
        return httpx.get(f"{google.url}/v1/{FLOWS}/executions?{query}", trust_env=False)

    for query in ("page_size=1", "pageSize=1", "pageSize=1&$.xgafv=2&prettyPrint=false&quotaUser=u"):
        answer = ask(query)
        assert answer.status_code == 200
        assert len(answer.json()["executions"]) == 1
    assert ids_of(ask(f"filter_params.execution_id={listed[0]}").json()) == listed[:1]
    assert ask("filterParams.colour=red").status_code == 400
    answer = ask("fitler=state%3DFAILED")
    assert answer.status_code == 400
    assert 'Unknown name "fitler": Cannot bind query parameter.' in answer.json()["error"]["message"]

"""Being told what happens to an execution: as a stream of events, and by an answer that waits for a change."""

import http.client
import json
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack
from urllib.parse import quote, urlsplit

import pytest
import sqlalchemy as sa

from orchestrator.model.definition import parse_integration
from orchestrator.store.tables import executions, history, live_attempts, parameters, suspensions, timers
from tests.clients.google.conftest import LOCATION
from tests.clients.google.events import streamed
from tests.clients.google.own_server import served_openly
from tests.flows import calls, flow, parameter, task
from tests.integration.steering import Steering
from tests.integration.waiting import until

pytestmark = pytest.mark.services

SUSPEND = task(1, "SuspensionTask", successPolicy={"finalState": "SUSPENDED"})


@pytest.fixture
def steering(google, tmp_path):
    return Steering(google.system, tmp_path)


@pytest.fixture(scope="module")
def server(google):
    with served_openly(google.system) as found:
        yield found


def start(google, *tasks, name="watched"):
    """The id of an execution."""
    return google.system.client.submit(parse_integration(flow(name, *tasks)))


def url_of(google, execution_id, *, integration="watched", location=LOCATION, url=None):
    return f"{url or google.url}/v1/{location}/integrations/{integration}/executions/{execution_id}"


def watch_url(google, execution_id, **more):
    return url_of(google, execution_id, **more) + ":watch"


def changes(events):
    return [each for each in events if each.kind == "change"]


def poll(google, execution_id, query):
    """The state that is answered, and the ETag."""
    with urllib.request.urlopen(f"{url_of(google, execution_id)}?{query}", timeout=60) as answer:
        return json.load(answer)["executionDetails"]["state"], answer.headers["etag"]


# -- streaming -----------------------------------------------------------------------------------------------------


def test_every_change_is_told_once_up_to_the_end(google, steering):
    execution_id = start(google, steering.task(1, next=[2]), steering.task(2, "fail:404"))

    with streamed(watch_url(google, execution_id)) as stream:
        events = list(stream)

    told = changes(events)
    assert [each.id for each in told] == [str(number + 1) for number in range(len(told))]
    assert [(each.data["kind"], each.data["taskNumber"]) for each in told] == [
        ("task succeeded", "1"),
        ("task failed", "2"),
    ]
    assert told[0].data["taskExecutionDetails"] == [{"taskNumber": "1", "taskExecutionState": "SUCCEED"}]
    assert told[1].data["error"] == {"message": "try 1 of 2 fails", "code": 404}
    assert events[-1].kind == "end"
    assert events[-1].data["state"] == "FAILED"
    assert events[-1].data["error"]["code"] == 404


def test_what_runs_is_told_when_it_begins(google, steering):
    execution_id = start(google, steering.task(1, "hold"))

    with streamed(watch_url(google, execution_id)) as stream:
        standing = stream.until(lambda each: each.kind == "standing" and each.data["running"])[-1]
        steering.go(1)
        events = list(stream)

    assert standing.data["state"] == "PROCESSING"
    assert [(each["taskNumber"], each["taskAttempt"]) for each in standing.data["running"]] == [("1", 1)]
    assert standing.id == ""
    assert events[-1].data["state"] == "SUCCEEDED"


def test_a_client_that_comes_again_goes_on_where_it_was(google, steering):
    execution_id = start(google, steering.task(1, next=[2]), steering.task(2, "hold", next=[3]), steering.task(3))

    with streamed(watch_url(google, execution_id)) as stream:
        first = stream.until(lambda each: each.kind == "change")
    steering.go(2)
    with streamed(watch_url(google, execution_id), last_event_id=first[-1].id) as stream:
        second = list(stream)

    told = [each.id for each in changes(first + second)]
    assert told == [str(number + 1) for number in range(len(told))]
    assert [each.data["taskNumber"] for each in changes(first + second)] == ["1", "2", "3"]


def test_a_client_that_comes_again_after_the_end_is_told_to_stop(google, steering):
    execution_id = start(google, steering.task(1))
    with streamed(watch_url(google, execution_id)) as stream:
        end = list(stream)[-1]

    with streamed(watch_url(google, execution_id), last_event_id=end.id) as stream:
        assert stream.status == 204
        assert list(stream) == []


def test_one_that_has_seen_all_but_the_end_is_told_the_end(google, steering):
    execution_id = start(google, steering.task(1))
    with streamed(watch_url(google, execution_id)) as stream:
        last = changes(stream)[-1]

    with streamed(watch_url(google, execution_id), last_event_id=last.id) as stream:
        assert [each.kind for each in stream] == ["standing", "end"]


def test_who_ended_it_and_why_is_told(google, steering):
    execution_id = start(google, steering.task(1, "hold"))
    steering.wait_for(1)

    with streamed(watch_url(google, execution_id)) as stream:
        google.system.client.kill(execution_id, actor="ann", message="enough")
        events = list(stream)

    killed = next(each for each in changes(events) if each.data["kind"] == "execution killed")
    assert killed.data["actor"] == "ann"
    assert events[-1].data["state"] == "CANCELLED"


def test_many_watchers_are_told_the_same(google, steering, server):
    url, services = server
    execution_id = start(google, steering.task(1, "hold", next=[2]), steering.task(2))
    found = [[] for _ in range(20)]

    def watch(events):
        with streamed(watch_url(google, execution_id, url=url)) as stream:
            events.extend(stream)

    threads = [threading.Thread(target=watch, args=(each,)) for each in found]
    for each in threads:
        each.start()
    until(lambda: services.waiting.waiters == 20, what="20 watchers")
    steering.go(1)
    for each in threads:
        each.join()

    assert [[each.id for each in changes(events)] for events in found] == [["1", "2"]] * 20


def test_a_stream_of_which_nothing_is_heard_shows_that_it_is_alive(google, steering, monkeypatch):
    monkeypatch.setattr("orchestrator.wire.google.watch.HEARTBEAT_S", 0.1)
    execution_id = start(google, steering.task(1, "hold"))

    with streamed(watch_url(google, execution_id)) as stream:
        assert stream.answer.getheader("content-type").startswith("text/event-stream")
        assert any(line.startswith(b":") for line in stream.answer)
        steering.go(1)
        assert next(each for each in stream if each.kind == "end").data["state"] == "SUCCEEDED"


def test_the_stream_of_an_execution_that_is_deleted_ends(google, steering, server):
    url, services = server
    execution_id = start(google, SUSPEND)
    with streamed(watch_url(google, execution_id, url=url)) as stream:
        stream.until(lambda each: each.kind == "standing" and each.data["state"] == "SUSPENDED")
        with google.system.database.begin() as connection:
            for table in (history, suspensions, parameters, timers, live_attempts):
                connection.execute(sa.delete(table).where(table.c.execution_id == execution_id))
            connection.execute(sa.delete(executions).where(executions.c.id == execution_id))

        assert all(each.kind != "end" for each in stream)
    assert services.waiting.waiters == 0


def test_sub_executions_that_are_over_are_counted(google, steering):
    takes = {"folder": str(steering.folder), "label": "$item$", "words": "$item$"}
    child = flow("each", task(1, "tests.steered", takes=takes), parameters=[parameter("item", direction="IN")])
    google.system.client.publish(parse_integration(child))
    loop = calls("each", listToIterate=["ok", "hold"], iterationElementMapping="item")
    execution_id = start(google, task(1, "ForEachParallelTask", takes=loop))

    with streamed(watch_url(google, execution_id)) as stream:
        before = stream.until(lambda each: each.kind == "standing" and each.data["endedSubExecutions"] == 1)
        steering.go("hold")
        after = list(stream)

    assert changes(before)[0].data["kind"] == "sub-executions started"
    assert [each["taskNumber"] for each in before[-1].data["running"]] == ["1"]  # it waits for them
    assert after[-1].data["state"] == "SUCCEEDED"


def test_a_watcher_that_goes_away_is_watched_for_no_longer(google, steering, server):
    url, services = server
    execution_id = start(google, steering.task(1, "hold"))
    with streamed(watch_url(google, execution_id, url=url)) as stream:
        stream.until(lambda each: each.kind == "standing" and each.data["running"])  # and nothing comes after it
        assert services.waiting.waiters == 1

    until(lambda: services.waiting.waiters == 0, within_s=10, what="the end of the watch")
    steering.go(1)


def test_a_server_that_is_told_to_end_ends_its_streams_and_they_go_on_at_another(google, steering):
    execution_id = start(google, steering.task(1, "hold"))
    with ExitStack() as servers, served_openly(google.system) as (url, _):
        first, _ = servers.enter_context(served_openly(google.system))
        with streamed(watch_url(google, execution_id, url=first)) as stream:
            stream.until(lambda each: each.kind == "standing" and each.data["running"])
            servers.close()
            assert not changes(stream)
        with streamed(watch_url(google, execution_id, url=url)) as stream:
            steering.go(1)
            assert [*stream][-1].kind == "end"


@pytest.mark.parametrize(
    ("where", "status"),
    [
        ({"integration": "another"}, 404),
        ({"location": "projects/p/locations/l"}, 404),
        ({"integration": "-"}, 200),
    ],
)
def test_an_execution_is_watched_under_its_name(google, steering, where, status):
    execution_id = start(google, steering.task(1))

    with streamed(watch_url(google, execution_id, **where)) as stream:
        assert stream.status == status


def test_what_is_no_event_id_is_refused(google, steering):
    execution_id = start(google, steering.task(1))

    with streamed(watch_url(google, execution_id), last_event_id="seven") as stream:
        assert stream.status == 400
        assert "Last-Event-ID" in stream.answer.read().decode()


def test_there_is_nothing_to_watch_of_what_is_not_there(google):
    with streamed(watch_url(google, "nothing")) as stream:
        assert stream.status == 404


# -- long polling --------------------------------------------------------------------------------------------------


def test_an_answer_that_waits_comes_with_the_change(google, steering):
    execution_id = start(google, steering.task(1, "hold"))
    state, mark = poll(google, execution_id, "wait=0")
    found = []

    def follow(mark=mark):
        state = ""
        while state != "SUCCEEDED":
            state, mark = poll(google, execution_id, f"wait=60&revision={quote(mark)}&fields=executionDetails/state")
            found.append(state)

    follower = threading.Thread(target=follow)
    follower.start()
    until(lambda: "PROCESSING" in [state, *found], what="the begin")
    steering.go(1)
    follower.join()

    assert found[-1] == "SUCCEEDED"
    assert len(found) < 10  # no answer without a change


def test_what_is_over_is_answered_at_once(google, steering):
    execution_id = start(google, steering.task(1))
    google.system.wait(execution_id)

    state, mark = poll(google, execution_id, "wait=60")

    assert state == "SUCCEEDED"
    assert poll(google, execution_id, f"wait=60&revision={quote(mark)}") == (state, mark)


def test_what_has_changed_since_is_answered_at_once(google, steering):
    execution_id = start(google, steering.task(1, next=[2]), steering.task(2, "hold"))
    steering.wait_for(2)

    state, mark = poll(google, execution_id, "wait=60&revision=0")

    assert (state, mark.strip('"').partition("-")[0]) == ("PROCESSING", "1")
    steering.go(2)


def test_what_does_not_change_is_answered_in_the_end_as_it_is(google, steering):
    execution_id = start(google, steering.task(1, "hold"))
    steering.wait_for(1)
    _, mark = poll(google, execution_id, "wait=0")

    assert poll(google, execution_id, f"wait=0.3&revision={quote(mark)}") == ("PROCESSING", mark)
    steering.go(1)


def test_an_answer_that_does_not_wait_has_no_mark(google, steering):
    execution_id = start(google, steering.task(1))

    assert poll(google, execution_id, "alt=json")[1] is None


@pytest.mark.parametrize("query", ["wait=61", "wait=-1", "wait=nan", "wait=soon"])
def test_a_wait_that_is_too_long_or_none_is_refused(google, steering, query):
    execution_id = start(google, steering.task(1))

    with pytest.raises(urllib.error.HTTPError) as caught:
        poll(google, execution_id, query)
    assert caught.value.code == 400
    assert "wait" in caught.value.read().decode()


def test_a_client_that_waits_and_goes_away_is_waited_for_no_longer(google, steering, server):
    url, services = server
    execution_id = start(google, steering.task(1, "hold"))
    steering.wait_for(1)
    parts = urlsplit(url_of(google, execution_id, url=url))
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    connection.request("GET", f"{parts.path}?wait=60")
    until(lambda: services.waiting.waiters == 1, what="a waiter")

    connection.close()

    until(lambda: services.waiting.waiters == 0, within_s=10, what="the end of the wait")
    steering.go(1)

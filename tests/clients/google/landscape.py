"""Something of every kind that a request can name: for tests that send what nobody should."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from orchestrator.store.tables import executions, history, suspensions, versions
from tests.clients.google.conftest import Google
from tests.clients.google.running import name_of, published, schedule
from tests.flows import flow, parameter, task

FAR = "2100-01-01T00:00:00Z"
TABLES = (executions, history, suspensions, versions)


@dataclass(frozen=True)
class Landscape:
    """Full names, as the client takes them. ``flow`` takes ``qty``, an INT_VALUE, and an event."""

    flow: str
    over: str
    held: str
    suspension: str
    draft: str

    @property
    def trigger(self) -> str:
        return f"api_trigger/{id_of(self.flow)}"

    @property
    def suspended(self) -> str:
        """The execution that waits for an answer."""
        return self.suspension.rpartition("/suspensions/")[0]


def laid_out(google: Google) -> Landscape:
    """Publish, run, schedule and suspend."""
    client = google.system.client
    takes = [
        parameter("qty", "INT_VALUE", direction="IN", default=1),
        parameter("event", "JSON_VALUE", direction="IN", default={}),
    ]
    land = published(google, "land", task(1), parameters=takes)
    asks = published(google, "asks", task(1, "SuspensionTask", takes={"isApproved": "$yes$"}), parameters=[YES])
    over = client.wait(client.submit("land"))
    waits = client.wait(client.submit("asks"))
    (held,) = schedule(google, land, scheduleTime=FAR)
    body = {key: content for key, content in flow("land", task(1)).items() if key != "name"}
    draft = google.versions.create(parent=name_of(land), body=body).execute()["name"]
    assert (over.state, waits.state) == ("SUCCEEDED", "SUSPENDED")
    return Landscape(
        flow=name_of(land),
        over=name_of(land, over.id),
        held=name_of(land, held),
        suspension=f"{name_of(asks, waits.id)}/suspensions/1-1",
        draft=draft,
    )


YES = parameter("yes", "BOOLEAN_VALUE", direction="OUT")


def id_of(name: str) -> str:
    """The last part of a name."""
    return name.rpartition("/")[2]


def stored(google: Google) -> list[int]:
    """How many rows there are of what requests make."""
    return [google.system.rows(sa.select(sa.func.count()).select_from(each))[0][0] for each in TABLES]

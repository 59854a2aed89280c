"""``list --filter`` and ``kill --filter`` as a shell sees them, on executions that were driven by hand."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.service.submit import Wishes
from orchestrator.store.database import Database
from tests.contracts.control_world import ControlWorld, asks
from tests.contracts.world import light
from tests.flows import flow
from tests.integration.test_docs import environment
from tests.services import redis_url

pytestmark = [pytest.mark.services, pytest.mark.slow]

COMMAND = str(Path(sys.executable).with_name("orchestrator"))
COMMAND_LIMIT_S = 300  # against hanging alone


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def world(home):
    """Four executions that wait for an answer, priorities 1, 2, 3 and 5, and one with 4 that SUCCEEDED."""
    home.mkdir()
    database = Database(f"sqlite:///{home / 'orchestrator.db'}")
    database.upgrade()
    world = ControlWorld(database, home)
    waiting, _ = world.publish(flow("waiting", asks(1)))
    short, _ = world.publish(flow("short", light(1)))
    world.waiting = [world.start_now(waiting, wishes=Wishes(priority=number)) for number in (1, 2, 3, 5)]
    world.short = world.start_now(short)
    world.drive_all()
    yield world
    database.close()


def orchestrator(*arguments, home, stdin=subprocess.DEVNULL):
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        env=environment(home) | {"ORCHESTRATOR_BROKER_URL": redis_url()},
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
    )


def on_a_terminal(*arguments, home, typed):
    """The same where somebody types an answer."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, typed.encode())
        return orchestrator(*arguments, home=home, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)


def ids(done):
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


def states(world):
    return [world.look(each).state.value for each in world.waiting]


# -- list ----------------------------------------------------------------------------------------------------------


def test_list_shows_what_fits_in_the_order_that_is_asked_for(world, home):
    done = orchestrator("list", "--filter", "state = SUSPENDED AND priority > 2", "--order-by", "priority", home=home)

    assert (done.returncode, done.stderr) == (0, "")
    assert ids(done) == world.waiting[2:]


def test_handy_options_narrow_a_filter(world, home):
    low = ("list", "--filter", "priority < 3")
    done = orchestrator(*low, "--integration", "waiting", "--state", "SUSPENDED", home=home)
    none = orchestrator(*low, "--integration", "short", home=home)

    assert ids(done) == [world.waiting[1], world.waiting[0]]
    assert (none.stdout, none.stderr) == ("", "there is no such execution\n")


def test_a_list_goes_on_where_it_ended(world, home):
    first = orchestrator("list", "--order-by", "priority desc", "--limit", 3, home=home)
    token = re.fullmatch(r"there are more: --page-token (\S+)\n", first.stderr)[1]
    last = orchestrator("list", "--order-by", "priority desc", "--page-token", token, home=home)
    document = json.loads(orchestrator("list", "--order-by", "priority desc", "--limit", 3, "--json", home=home).stdout)

    assert ids(first) + ids(last) == [world.waiting[3], world.short, *reversed(world.waiting[:3])]
    assert last.stderr == ""
    assert document["nextPageToken"] == token


def test_a_token_of_another_list_is_wrong_usage(world, home):
    first = orchestrator("list", "--limit", 1, home=home)
    token = first.stderr.split()[-1]

    done = orchestrator("list", "--filter", "state = FAILED", "--page-token", token, home=home)

    assert done.returncode == 2
    assert "belongs to a list with another filter or order; begin again without a token" in done.stderr


@pytest.mark.parametrize("command", ["list", "kill"])
def test_a_filter_that_cannot_be_read_is_wrong_usage_with_its_column(home, command):
    done = orchestrator(command, "--filter", "state = FAILED integration = a", home=home)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: filter 'state = FAILED integration = a', column 16: "
        "expected AND, OR (in capitals) or the end of the filter\n"
    )


# -- kill ----------------------------------------------------------------------------------------------------------


def test_a_dry_run_shows_what_would_be_killed_and_kills_nothing(world, home):
    done = orchestrator("kill", "--filter", "priority > 2", "--dry-run", home=home)
    document = json.loads(orchestrator("kill", "--filter", "priority > 2", "--dry-run", "--json", home=home).stdout)

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split("\t")[:2] for line in lines[:-1]] == [[each, "SUSPENDED"] for each in world.waiting[2:]]
    assert lines[-1] == "2 executions would be killed, with everything below"
    assert [each["executionId"] for each in document["matches"]] == world.waiting[2:]
    assert (document["dryRun"], document["killed"]) == (True, [])
    assert states(world) == ["SUSPENDED"] * 4


def test_without_a_terminal_nothing_is_asked(world, home):
    done = orchestrator("kill", "--filter", "priority > 2", "--message", "wrong month", "--actor", "ann", home=home)

    assert (done.returncode, done.stdout) == (0, "2 killed, 0 over already, 0 failed\n")
    assert states(world) == ["SUSPENDED", "SUSPENDED", "CANCELLED", "CANCELLED"]
    assert world.sent_signals() == [(each, "KILL", "ann", "wrong month") for each in world.waiting[2:]]


def test_what_became_of_all_is_one_document(world, home):
    document = json.loads(orchestrator("kill", "--filter", "state:*", "--json", home=home).stdout)

    assert document["killed"] == world.waiting
    assert (document["over"], document["failed"]) == ([], [])
    assert document["matches"][0]["state"] == "SUSPENDED"


@pytest.mark.parametrize(("answer", "expected"), [("y\n", "CANCELLED"), ("n\n", "SUSPENDED"), ("\n", "SUSPENDED")])
def test_on_a_terminal_it_asks_first(world, home, answer, expected):
    done = on_a_terminal("kill", "--filter", "priority > 2", home=home, typed=answer)

    assert f"{world.waiting[2]}\tSUSPENDED\t" in done.stderr
    assert "Kill 2 executions, with everything below? [y/N]" in done.stderr
    assert states(world)[2:] == [expected] * 2
    assert done.stdout == f"{2 if expected == 'CANCELLED' else 0} killed, 0 over already, 0 failed\n"


def test_yes_is_the_answer_on_a_terminal(world, home):
    done = on_a_terminal("kill", "--filter", "priority > 2", "--yes", home=home, typed="")

    assert "Kill" not in done.stderr
    assert done.stdout == "2 killed, 0 over already, 0 failed\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "kill: found neither, expected an EXECUTION or a --filter"),
        (["an-id", "--filter", "state:*"], "kill: found both, expected an EXECUTION or a --filter"),
        (["an-id", "--dry-run"], "--dry-run: found an EXECUTION, expected a --filter"),
        (["--filter", " "], r"filter: found nothing, expected what to kill; state:* is everything"),
    ],
)
def test_what_is_to_be_killed_has_to_be_said_once(home, arguments, message):
    done = orchestrator("kill", *arguments, home=home)

    assert (done.returncode, done.stderr) == (2, f"error: {message}\n")


def test_where_nothing_was_executed_nothing_is_killed_and_no_database_is_made(home):
    done = orchestrator("kill", "--filter", "state:*", home=home)

    assert (done.returncode, done.stdout) == (0, "0 killed, 0 over already, 0 failed\n")
    assert not home.exists()

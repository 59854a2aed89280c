import pytest

from orchestrator.errors import InvalidSetting
from orchestrator.runtime.flower import flower_command
from orchestrator.settings import Settings

WITH_BROKER = {"broker_url": "redis://h:6379/0", "flower_basic_auth": None}


def test_flower_listens_on_the_loopback_with_a_password_that_was_made_up():
    command = flower_command(Settings(**WITH_BROKER))

    assert "--address=127.0.0.1" in command.arguments
    assert command.generated_password
    assert command.environment["FLOWER_BASIC_AUTH"] == f"orchestrator:{command.generated_password}"


def test_the_password_is_neither_on_the_command_line_nor_in_the_repr():
    command = flower_command(Settings(**WITH_BROKER), basic_auth="me:hidden")

    assert "hidden" not in " ".join(command.arguments) + repr(command)


@pytest.mark.parametrize("address", ["0.0.0.0", "", "::", "10.0.0.1", "flower.example"])
def test_an_open_address_needs_a_login_that_someone_chose(address):
    with pytest.raises(InvalidSetting, match="FLOWER_BASIC_AUTH"):
        flower_command(Settings(**WITH_BROKER), address=address)

    command = flower_command(Settings(**WITH_BROKER), address=address, basic_auth="me:hidden")

    assert command.generated_password is None


@pytest.mark.parametrize("login", ["me", "me:", ":hidden", "me:a,b"])
def test_a_login_that_flower_would_not_understand_is_refused(login):
    with pytest.raises(InvalidSetting, match="user:password"):
        flower_command(Settings(**WITH_BROKER), basic_auth=login)


def test_flowers_own_variables_cannot_open_it(monkeypatch):
    monkeypatch.setenv("FLOWER_UNAUTHENTICATED_API", "true")
    monkeypatch.setenv("FLOWER_ADDRESS", "0.0.0.0")

    environment = flower_command(Settings(**WITH_BROKER)).environment

    assert environment["FLOWER_UNAUTHENTICATED_API"] == "false"
    assert "FLOWER_ADDRESS" not in environment


def test_without_a_broker_there_is_nothing_to_show():
    with pytest.raises(InvalidSetting, match="ORCHESTRATOR_BROKER_URL"):
        flower_command(Settings(broker_url=None))

import pytest

from orchestrator.web.anyone import Anyone
from tests.unit.web.asgi import answering, ask


async def show_caller(scope, receive, send):
    await answering(send, scope["state"]["caller"].actor.encode())


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:80", "[::1]:8080", "127.1.2.3"])
def test_who_asks_this_machine_by_a_name_of_its_own_may_do_everything(host):
    assert ask(Anyone(show_caller), headers={"Host": host}).body == b"anonymous"
    assert ask(Anyone(show_caller), headers={"Host": host, "Origin": f"http://{host}"}).body == b"anonymous"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:8080"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost", "Origin": "https://evil.example"},
        {"Host": "localhost", "Origin": "null"},
        {"Host": ""},
        {"Host": "[::1"},
    ],
)
def test_a_page_of_another_site_is_refused(headers):
    answer = ask(Anyone(show_caller), headers=headers)

    assert answer.status == 403
    assert "--no-auth" in answer.json()["error"]


def test_a_program_that_names_no_host_is_let_in():
    assert ask(Anyone(show_caller)).status == 200

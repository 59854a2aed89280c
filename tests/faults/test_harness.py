"""The proxy breaks a link as it says, and loses no byte of one that it lets pass again."""

import contextlib
import socket
import socketserver
import threading
import time

import pytest

from tests.faults.proxy import TO_CLIENT, TO_SERVER, Proxy

LIMIT_S = 10.0
MOMENT_S = 0.2  # within which nothing may come that is held


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.server.got += data
                self.server.has_got.set()
                self.request.sendall(data)


@pytest.fixture
def server():
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Echo) as server:
        server.got, server.has_got = b"", threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(server):
    with Proxy(server.server_address[1]) as proxy:
        yield proxy


@pytest.fixture
def client(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LIMIT_S) as client:
        client.sendall(b"hello ")
        assert read(client, 6) == b"hello "
        yield client


def read(client, count):
    found = b""
    while len(found) < count and (data := client.recv(count - len(found))):
        found += data
    return found


def ask(proxy):
    """What a new connection gets back."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LIMIT_S) as client:
        client.sendall(b"again")
        return read(client, 5)


def hears_nothing(client):
    client.settimeout(MOMENT_S)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(LIMIT_S)
    return True


def test_what_is_held_comes_when_it_may_pass_again(proxy, client):
    proxy.hold()
    client.sendall(b"late")

    assert hears_nothing(client)
    proxy.let_pass()
    assert read(client, 4) == b"late"


@pytest.mark.parametrize(("direction", "arrives"), [(TO_CLIENT, b"hello one way"), (TO_SERVER, b"hello ")])
def test_one_direction_can_be_held_alone(server, proxy, client, direction, arrives):
    server.has_got.clear()
    proxy.hold(direction)
    client.sendall(b"one way")

    assert server.has_got.wait(LIMIT_S if direction == TO_CLIENT else MOMENT_S) is (direction == TO_CLIENT)
    assert server.got == arrives
    assert hears_nothing(client)
    proxy.let_pass()
    assert read(client, 7) == b"one way"


def test_a_new_connection_waits_while_everything_is_held(proxy, server):
    proxy.hold()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LIMIT_S) as client:
        client.sendall(b"new")

        assert hears_nothing(client)
        proxy.let_pass()
        assert read(client, 3) == b"new"


def test_a_reset_connection_is_reset_and_a_new_one_is_fine(proxy, client):
    proxy.reset()

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert ask(proxy) == b"again"


def test_what_is_refused_is_refused_until_it_may_pass(proxy, client):
    proxy.refuse()

    with pytest.raises(ConnectionResetError):
        ask(proxy)
    proxy.let_pass()
    assert ask(proxy) == b"again"


def test_a_half_closed_connection_ends_for_the_client_alone(server, proxy, client):
    server.has_got.clear()
    proxy.half_close()

    assert client.recv(1) == b""
    client.sendall(b"heard")
    assert server.has_got.wait(LIMIT_S)
    assert server.got == b"hello heard"


def test_a_slow_link_brings_everything_later(proxy, client):
    proxy.slow(MOMENT_S)
    began = time.monotonic()
    client.sendall(b"slowly")

    assert read(client, 6) == b"slowly"
    assert time.monotonic() - began >= 2 * MOMENT_S


def test_a_megabyte_comes_through_unchanged_while_the_link_is_held_and_let_go(proxy, client):
    sent = bytes(range(256)) * 4096
    writer = threading.Thread(target=client.sendall, args=(sent,))

    writer.start()
    for _ in range(5):
        proxy.hold()
        proxy.let_pass()
    found = read(client, len(sent))
    writer.join()

    assert found == sent

"""A TCP proxy whose link a test breaks in the ways in which networks do.

    pass         bytes go through
    hold         a blackhole: bytes are taken and go nowhere, in one direction or in both, until they may pass again;
                 that is what a partition is to TCP, which sends again until it gives up. New connections wait, too.
    slow         every piece is late
    reset        all connections are reset (RST); ``refuse`` does the same to new ones from then on
    half_close   clients see the end of the stream, servers see nothing

It runs in a thread of the test process. What must not happen: a byte lost or moved within a stream, other than by the
end of its connection; no network does that.
"""

import asyncio
import socket
import struct
import threading
from contextlib import suppress

TO_SERVER, TO_CLIENT = "to server", "to client"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time


class Proxy:
    """``with Proxy(port) as proxy: connect_to(proxy.port)``."""

    def __init__(self, port):
        self._target = port
        self._held = set()
        self._delay_s = 0.0
        self._refuses = False
        self._links = set()
        self._tasks = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self):
        self._thread.start()
        self._changed = self._call(self._listen())
        return self

    def __exit__(self, *_):
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- what a test does to the link ------------------------------------------------------------------------------

    def let_pass(self):
        """The link is as it should be."""
        self._set(held=(), delay_s=0.0, refuses=False)

    def hold(self, *directions):
        """Nothing goes through, or nothing in this direction."""
        self._set(held=directions or (TO_SERVER, TO_CLIENT))

    def slow(self, delay_s):
        """Every piece of every stream comes so much later."""
        self._set(delay_s=delay_s)

    def reset(self):
        """End all connections, as a firewall does that forgot them. New ones are fine."""
        self._call(self._reset())

    def refuse(self):
        """End all connections, and new ones at once."""
        self._set(refuses=True)
        self.reset()

    def half_close(self):
        """Clients read the end of the stream; what they send goes through still."""
        self._call(self._half_close())

    @property
    def connections(self):
        """How many go through at this moment."""
        return len(self._links)

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _set(self, **changes):
        self._call(self._apply(changes))

    async def _apply(self, changes):
        async with self._changed:
            for name, value in changes.items():
                setattr(self, f"_{name}", set(value) if name == "held" else value)
            self._changed.notify_all()

    async def _listen(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return asyncio.Condition()

    async def _close(self):
        self._server.close()
        await self._reset()
        for each in list(self._tasks):
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        link = [writer]
        try:
            await self._wait_for(TO_SERVER)
            if self._refuses:
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            link.append(back)
            self._links.add(tuple(link))
            pumps = [self._pump(reader, back, TO_SERVER), self._pump(there, writer, TO_CLIENT)]
            await asyncio.gather(*pumps)
        except (OSError, asyncio.CancelledError):
            pass  # one side is gone, or the proxy is
        finally:
            self._links.discard(tuple(link))
            self._tasks.discard(task)
            for each in link:
                _abort(each)

    async def _pump(self, reader, writer, direction):
        while data := await reader.read(65536):
            await self._wait_for(direction)
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            writer.write(data)
            await writer.drain()
        await self._wait_for(direction)
        if writer.can_write_eof():
            writer.write_eof()

    async def _wait_for(self, direction):
        async with self._changed:
            await self._changed.wait_for(lambda: direction not in self._held)

    async def _reset(self):
        for link in list(self._links):
            for each in link:
                _abort(each)

    async def _half_close(self):
        for to_client, _ in list(self._links):
            with suppress(OSError, RuntimeError):
                to_client.write_eof()


def _abort(writer):
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()

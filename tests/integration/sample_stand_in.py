"""What the sample definitions call, on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def outside() -> Iterator[dict[str, str]]:
    """The setting ``url_overrides`` that leads there."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Outside) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield {"https://mocktarget.apigee.net": url, "https://httpbin.org": url}
        server.shutdown()


class _Outside(BaseHTTPRequestHandler):
    """What the samples call: an echo, a document, and a server that always answers 400."""

    def do_GET(self) -> None:
        if self.path == "/status/400":
            self._answer(400, b"no")
        else:
            self._answer(200, json.dumps({"firstName": "john", "lastName": "doe", "city": "San Jose"}).encode())

    def do_POST(self) -> None:
        self._answer(200, self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

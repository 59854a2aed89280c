"""The warehouse that the order-fulfilment example talks to: a small REST server.

    python examples/order_fulfilment/warehouse.py COMMAND ...

runs COMMAND while the warehouse is open, with every ``{warehouse}`` in it replaced by the server's URL, and ends with
the command's exit code.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BINS = {"kettle": "A-03", "teapot": "A-04", "cup": "C-17"}


class Warehouse(BaseHTTPRequestHandler):
    """``GET /quotes/COUNTRY`` and ``POST /reservations``."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """What sending a parcel costs."""
        country = self.path.rsplit("/", 1)[-1]
        self.answer(200, {"carrier": "Post", "country": country, "price": 6.95 if country == "NL" else 14.5})

    def do_POST(self) -> None:
        """Reserve a line; what the warehouse does not have is 404."""
        line = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if line["sku"] not in BINS:
            self.answer(404, {"error": f"no {line['sku']} in stock"})
            return
        self.answer(201, {"sku": line["sku"], "quantity": line["quantity"], "bin": BINS[line["sku"]]})

    def answer(self, status: int, document: object) -> None:
        """Send a JSON document."""
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Keep the terminal for the execution."""


def main(command: list[str]) -> int:
    """Open, run the command, close."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Warehouse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    beside = Path(sys.executable).parent
    words = [word.replace("{warehouse}", url) for word in command]
    if (beside / words[0]).exists():
        words[0] = str(beside / words[0])  # ``orchestrator`` of this environment, activated or not
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's; its exit code says what came of it
    return subprocess.run(words, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

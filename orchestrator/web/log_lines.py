"""The server's log: one JSON object a line on stderr, whoever writes it.

A record is a fixed sentence and fields (``extra``). ::

    {"time": "2026-01-31T12:00:00.000Z", "level": "INFO", "logger": "orchestrator.web.access_log",
     "message": "request", "request_id": "...", "status": 200, ...}

Non-ASCII characters and line ends are escaped, so that no request can begin a line of its own.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class LogLines(logging.Formatter):
    """A record as a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The JSON object."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_as_lines() -> None:
    """Have everything of this process logged as lines on stderr: ours from INFO, that of libraries from WARNING."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("orchestrator").setLevel(logging.INFO)

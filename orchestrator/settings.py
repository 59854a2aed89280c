"""What the environment says, read once, checked, and handed on as values.

Knows: the names of the variables (``ORCHESTRATOR_`` and the field's name), their defaults, and which broker and
database URLs this system can use. It is the only module that reads the environment; everything else takes ``Settings``
or a part of it as an argument.

Must not: connect to anything, create a folder, or let a password into a message, a log line or a ``repr``.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from orchestrator.errors import InvalidSetting
from orchestrator.model.task_types import MailServer, TaskSurroundings
from orchestrator.processes.spec import TAG  # in the environment of what a command starts; no setting
from orchestrator.setting_fields import Field, FieldError, Fields, SecretStr, field_validator

PREFIX: Final = "ORCHESTRATOR_"

INHERITED: Final = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
"""What a command may see of a worker's environment: where programs are and how to speak, and nothing secret."""

BROKER_SCHEMES: Final = ("redis", "rediss", "redis+socket", "amqp", "amqps", "filesystem")
"""The transports that reach worker processes. ``memory`` is not among them: it ends at the process's edge."""

DATABASE_SCHEMES: Final = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",  # what hosting platforms hand out; SQLAlchemy does not know it
    "postgresql+psycopg": "postgresql+psycopg",
}
"""What may be written -> what SQLAlchemy gets."""

_EXPECTED_BROKER: Final = f"a URL that begins with one of {', '.join(f'{each}://' for each in BROKER_SCHEMES)}"
_EXPECTED_DATABASE: Final = "sqlite:////absolute/file.db or postgresql://user:password@host:5432/name"
_NEXT_URL: Final = re.compile(r";(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)  # kombu takes several brokers, "a;b"


class Settings(Fields):
    """All settings. An argument wins over the environment, the environment over the default.

    Attributes:
        home: the folder of everything that is local: database, sockets, logs, outbox. Absolute once read.
        broker_url: where messages go; None starts a private broker for each command (embedded).
        database_url: where the truth lies; None is a SQLite file in ``home``.
        concurrency: processes of one worker if its command names no number.
        max_queue_depth: how many messages may wait for an executor before submissions to it are refused; None is any.
        max_request_bytes: how large the body of an HTTP request may be.
        include: modules that register task types, besides those of the entry-point group.
        rest_timeout_s: the longest wait of a REST task for an answer.
        url_overrides: URL prefix -> replacement, for tests and private mirrors; JSON in the environment.
        flower_basic_auth: ``user:password`` for Flower.
        artifacts_url: where large payloads and logs go, a folder or an fsspec URL; None is a folder in ``home``.
        failpoints: where processes are to fail, for tests of that: ``orchestrator.failpoints``.
    """

    home: Path = Path(".orchestrator")
    broker_url: str | None = Field(default=None, repr=False)  # repr=False: both may hold a password
    database_url: str | None = Field(default=None, repr=False)
    concurrency: int = Field(default=4, ge=1, le=1024)
    drain_s: float = Field(default=20.0, ge=0, le=86_400)
    max_queue_depth: int | None = Field(default=None, ge=1)
    max_request_bytes: int = Field(default=25 * 2**20, ge=1024)
    include: tuple[str, ...] = ()
    smtp_host: str | None = None
    smtp_port: int = Field(default=25, ge=1, le=65535)
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    smtp_starttls: bool = False
    smtp_sender: str = "orchestrator@localhost"
    rest_timeout_s: float = Field(default=120.0, gt=0)
    url_overrides: dict[str, str] = Field(default={})
    flower_basic_auth: SecretStr | None = None
    artifacts_url: str | None = Field(default=None, repr=False)
    failpoints: str = ""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(_variables() | values)
        except FieldError as error:
            raise _to_invalid_setting(error) from None  # that one would show what was found, unmasked

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        if "?" in str(home):  # a SQLite URL ends its path there and has no way to escape it
            raise ValueError("a folder whose path has no question mark")
        return home.expanduser().absolute()

    @field_validator("include", mode="before")
    @classmethod
    def _parse_include(cls, found: object) -> object:
        return tuple(filter(None, re.split(r"[,\s]+", found))) if isinstance(found, str) else found

    @field_validator("include")
    @classmethod
    def _check_include(cls, include: tuple[str, ...]) -> tuple[str, ...]:
        if not all(part.isidentifier() for name in include for part in name.split(".")):
            raise ValueError("names of Python modules, separated by commas")
        return include

    @field_validator("url_overrides", mode="before")
    @classmethod
    def _parse_url_overrides(cls, found: object) -> object:
        expected = 'a JSON object of texts, {"https://from": "http://to"}'
        try:
            parsed = json.loads(found) if isinstance(found, str) else found
        except ValueError:
            raise ValueError(expected) from None
        if not isinstance(parsed, dict) or not all(isinstance(each, str) for each in parsed.values()):
            raise ValueError(expected)
        return parsed

    @field_validator("broker_url")
    @classmethod
    def _check_broker(cls, url: str | None) -> str | None:
        for each in _NEXT_URL.split(url or ""):
            if each and scheme_of(each) not in BROKER_SCHEMES:
                raise ValueError(_EXPECTED_BROKER)
            if scheme_of(each) == "filesystem" and not urlsplit(each).path.strip("/"):
                raise ValueError("filesystem:///absolute/folder")
        return url

    @field_validator("database_url")
    @classmethod
    def _normalise_database(cls, url: str | None) -> str | None:
        if url is None:
            return None
        scheme, separator, rest = url.partition("://")
        if not separator or scheme.lower() not in DATABASE_SCHEMES:
            raise ValueError(_EXPECTED_DATABASE)
        if DATABASE_SCHEMES[scheme.lower()] == "sqlite" and rest.split("?")[0] in {"", "/", "/:memory:"}:
            raise ValueError(f"{_EXPECTED_DATABASE} (a database in memory cannot be shared with workers)")
        return f"{DATABASE_SCHEMES[scheme.lower()]}://{rest}"

    @field_validator("artifacts_url")
    @classmethod
    def _absolute_folder(cls, url: str | None) -> str | None:
        return url if url is None or "://" in url else str(Path(url).expanduser().absolute())

    @field_validator("flower_basic_auth")
    @classmethod
    def _check_flower(cls, found: SecretStr | None) -> SecretStr | None:
        if found is not None and not is_basic_auth(found.get_secret_value()):
            raise ValueError("user:password, both not empty and without a comma")
        return found

    @property
    def is_embedded(self) -> bool:
        """Whether a command has to bring its own broker."""
        return self.broker_url is None

    @property
    def resolved_database_url(self) -> str:
        """The database's URL as SQLAlchemy takes it."""
        return self.database_url or f"sqlite:///{self.home / 'orchestrator.db'}"

    @property
    def resolved_artifacts_url(self) -> str:
        """The artifact store's URL, or its folder."""
        return self.artifacts_url or str(self.home / "artifacts")

    def replaced(self, **changes: object) -> Self:
        """The same settings but for these, checked again."""
        return type(self)(**(dict(self) | changes))

    def surroundings(self) -> TaskSurroundings:
        """What task types get to see of the settings."""
        mail = MailServer(
            outbox=self.home / "outbox",
            host=self.smtp_host,
            port=self.smtp_port,
            user=self.smtp_user,
            password=self.smtp_password.get_secret_value() if self.smtp_password else None,
            starttls=self.smtp_starttls,
            sender=self.smtp_sender,
        )
        return TaskSurroundings(
            mail=mail,
            url_overrides=self.url_overrides,
            rest_timeout_s=self.rest_timeout_s,
            artifacts_url=self.resolved_artifacts_url,
            runs=self.home / "runs",
            environment={name: os.environ[name] for name in INHERITED if name in os.environ},
        )

    def to_environment(self) -> dict[str, str]:
        """The environment for a process that is to have these settings: ours, with every setting written out."""
        inherited = {key: text for key, text in os.environ.items() if not key.upper().startswith(PREFIX) or key == TAG}
        return inherited | {f"{PREFIX}{name.upper()}": _to_text(value) for name, value in self if value is not None}


def _variables() -> dict[str, str]:
    """What the environment sets. "ORCHESTRATOR_BROKER_URL=" in a compose file means: not set."""
    found = {key.upper(): text for key, text in os.environ.items() if text}
    variables = {name: f"{PREFIX}{name.upper()}" for name in Settings.fields}
    return {name: found[variable] for name, variable in variables.items() if variable in found}


def unknown_variables() -> list[str]:
    """Variables with our prefix that no setting reads: misspelt, most likely."""
    known = {TAG, *(f"{PREFIX}{name.upper()}" for name in Settings.fields)}
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)


def scheme_of(url: str) -> str:
    """``redis+socket`` of ``redis+socket:///run/redis.sock``; empty if there is none."""
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""


def is_basic_auth(text: str) -> bool:
    """Whether this is ``user:password`` as Flower can take it: it splits its variable at commas."""
    user, separator, password = text.partition(":")
    return bool(user and separator and password) and "," not in text


def masked_url(url: str) -> str:
    """The URL with ``***`` for its passwords, those in the query included.

    A password may hold an unescaped ``/`` or ``@``, so everything up to the last ``@`` is taken for it: rather too much
    is hidden than a piece shown.
    """
    return ";".join(_masked(each) for each in _NEXT_URL.split(url))


def _masked(url: str) -> str:
    url = re.sub(r"^([^:/?#]+://[^:@/?]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"([?&][^=&]*(?:pass|secret|token)[^=&]*=)[^&]*", r"\1***", url, flags=re.IGNORECASE)


def _to_text(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return ",".join(value)
        case dict():
            return json.dumps(value)
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def _to_invalid_setting(error: FieldError) -> InvalidSetting:
    if error.name not in Settings.fields:
        return InvalidSetting(error.name, "an unknown setting", f"one of {', '.join(Settings.fields)}")
    return InvalidSetting(f"{PREFIX}{error.name.upper()}", _found(error.name, error.found), error.expected)


def _found(name: str, value: object) -> str:
    if name in {"smtp_password", "flower_basic_auth"}:
        return "a secret that is not shown"
    if name in {"broker_url", "database_url", "artifacts_url"}:
        return repr(masked_url(str(value)))
    return repr(value)

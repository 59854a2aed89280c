"""Private servers for fault tests: real ones, on a port of their own, that a test may kill, restart and fill.

``with PrivateRedis(folder) as redis: ...``; after ``kill``, ``start`` brings it back on the same port: a Redis with
what its files hold (nothing, unless it keeps an AOF), a PostgreSQL with what was committed.

What must not happen: a shared service of this machine that notices anything, or a server that outlives the tests. (A
PostgreSQL and a Redis also die with a test process that is killed; RabbitMQ's shell script keeps its node from that.)
"""

import os
import shutil
import signal
import subprocess
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

import redis
import sqlalchemy as sa
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.processes.leash import leashed
from orchestrator.runtime.children import stop, tail
from tests.integration.processes import require
from tests.services import free_port

START_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0


class Server:
    """A server process. Subclasses say which command it is, and when it is up."""

    grace_s = 0.0  # it keeps nothing that an orderly end would save

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process is not None:
            stop([self.process], grace_s=self.grace_s)

    def command(self):
        raise NotImplementedError

    def environment(self):
        return None

    def is_up(self):
        raise NotImplementedError

    def start(self):
        """Return once it answers."""
        log_file = self.folder / "output.log"
        with log_file.open("ab") as output:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env=self.environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + START_LIMIT_S
        while not self.is_up():
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)  # a pause that ends early if it gives up
            has_failed = self.process.returncode is not None or time.monotonic() > deadline
            assert not has_failed, f"it did not start: {tail(log_file)}"

    def signal(self, number):
        """Send it a signal and wait for its end."""
        self.process.send_signal(number)
        self.process.wait(STOP_LIMIT_S)

    def kill(self):
        """As if its machine lost power, but for the disk."""
        self.signal(signal.SIGKILL)


# -- Redis ---------------------------------------------------------------------------------------------------------


class PrivateRedis(Server):
    """Keeps nothing on disk unless ``keeps`` (an AOF, written at every command)."""

    def __init__(self, folder, *, keeps=False):
        require(shutil.which("redis-server"), "redis-server")
        super().__init__(folder)
        self.keeps = keeps

    def command(self):
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "save": "",
            "appendonly": "yes" if self.keeps else "no",
            "appendfsync": "always",
        }
        parts = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        return leashed([shutil.which("redis-server"), *parts])

    def is_up(self):
        with suppress(redis.RedisError), self.client() as client:
            return client.ping()
        return False

    def client(self):
        return redis.Redis(port=self.port, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def url(self, port=None):
        """A broker URL, of a proxy if its port is named."""
        return f"redis://127.0.0.1:{port or self.port}/0"


# -- PostgreSQL ----------------------------------------------------------------------------------------------------


class PrivatePostgres(Server):
    """A cluster of its own. PostgreSQL refuses to run as root; then it runs as the user ``postgres``."""

    def __init__(self, folder):
        require(_postgres_binaries(), "PostgreSQL's server programs")
        require(os.geteuid() != 0 or shutil.which("setpriv"), "setpriv")
        super().__init__(folder)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self.data = self.folder / "data"
        made = ["initdb", "--pgdata", str(self.data), "--no-sync", "--auth=trust", "--username=postgres", "--locale=C"]
        subprocess.run(
            _as_postgres([*made, "--encoding=UTF8"], dies=False), cwd=self.folder, check=True, capture_output=True
        )

    def command(self):
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",  # the kernel does not crash here
            "max_connections": 200,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return _as_postgres(["postgres", "-D", str(self.data), *options])

    def is_up(self):
        with suppress(sa.exc.OperationalError):
            self.execute("SELECT 1")
            return True
        return False

    def execute(self, statement, **values):
        """As the administrator, outside a transaction."""
        engine = sa.create_engine(
            self.url("postgres"), isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3}
        )
        try:
            with engine.connect() as connection:
                return connection.execute(sa.text(statement), values)
        finally:
            engine.dispose()

    def new_database(self):
        """The name of an empty one."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def url(self, name, port=None):
        return f"postgresql+psycopg://postgres@127.0.0.1:{port or self.port}/{name}"

    def cut_connections(self, name):
        """Every session of a database ends, as in a failover."""
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name", name=name)

    def stop(self):
        """With everything written that was committed."""
        self.signal(signal.SIGINT)

    def stop_at_once(self):
        """Without a checkpoint: what was committed is recovered at the next start."""
        self.signal(signal.SIGQUIT)


@cache
def _postgres_binaries():
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


def _as_postgres(command, *, dies=True):
    """The command as a user that PostgreSQL takes; ``dies``: with this process."""
    program = [str(_postgres_binaries() / command[0]), *command[1:]]
    if os.geteuid() != 0:
        return leashed(program) if dies else program
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    return [*user, *(["--pdeathsig=QUIT"] if dies else []), *program]


# -- RabbitMQ ------------------------------------------------------------------------------------------------------


class PrivateRabbit(Server):
    """A node of its own: seven seconds to start, so share it."""

    grace_s = 10.0
    programs = Path("/usr/lib/rabbitmq/bin")  # the scripts on the PATH change the user and drop the environment

    def __init__(self, folder):
        require((self.programs / "rabbitmq-server").exists(), "rabbitmq-server")
        super().__init__(folder)
        self.node = f"test-{uuid.uuid4().hex[:8]}@localhost"
        (self.folder / "rabbit.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        (self.folder / "plugins").write_text("[].")

    def environment(self):
        named = {
            "NODENAME": self.node,
            "DIST_PORT": free_port(),
            "MNESIA_BASE": self.folder / "mnesia",
            "LOG_BASE": self.folder / "log",
            "LOGS": "-",
            "ENABLED_PLUGINS_FILE": self.folder / "plugins",
            "CONFIG_FILE": self.folder / "rabbit",
            "PID_FILE": self.folder / "pid",
            "CONF_ENV_FILE": "/dev/null",
            "FEATURE_FLAGS_FILE": self.folder / "feature_flags",
            "SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",  # one thread, that does not spin
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
        return (
            inherited | {"HOME": str(self.folder)} | {f"RABBITMQ_{name}": str(value) for name, value in named.items()}
        )

    def command(self):
        return [str(self.programs / "rabbitmq-server")]

    def is_up(self):
        return b"Server startup complete" in (self.folder / "output.log").read_bytes()

    def control(self, *words):
        """What ``rabbitmqctl`` does, for instance ``stop_app``."""
        command = [str(self.programs / "rabbitmqctl"), "--node", self.node, *words]
        subprocess.run(command, env=self.environment(), check=True, capture_output=True, timeout=START_LIMIT_S)

    def url(self, port=None):
        return f"amqp://guest:guest@127.0.0.1:{port or self.port}//"

import json
import traceback

import pytest

from orchestrator.errors import InvalidSetting
from orchestrator.settings import PREFIX, Settings, masked_url, unknown_variables


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    import os

    for name in [each for each in os.environ if each.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def test_without_any_variable_everything_is_embedded_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    settings = Settings()

    assert settings.is_embedded
    assert settings.home == tmp_path / ".orchestrator"
    assert settings.resolved_database_url == f"sqlite:///{tmp_path}/.orchestrator/orchestrator.db"


def test_the_environment_is_read_with_the_prefix_and_an_argument_wins(monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_BROKER_URL", "redis://elsewhere:6379/0")
    monkeypatch.setenv("ORCHESTRATOR_CONCURRENCY", "7")

    assert Settings().broker_url == "redis://elsewhere:6379/0"
    assert Settings(concurrency=2).concurrency == 2


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_BROKER_URL", "")

    assert Settings().is_embedded


@pytest.mark.parametrize(
    ("written", "resolved"),
    [
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h:5433/d?sslmode=require", "postgresql+psycopg://u:p@h:5433/d?sslmode=require"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
        ("sqlite:////var/lib/o.db", "sqlite:////var/lib/o.db"),
    ],
)
def test_a_database_url_is_normalised_to_the_drivers_we_bring(written, resolved):
    assert Settings(database_url=written).resolved_database_url == resolved


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@h:6379/0",
        "rediss://h:6379/0",
        "redis+socket:///run/redis.sock",
        "amqp://guest:guest@h//",
        "amqps://h//",
        "amqp://a//;amqp://b//",
        "filesystem:///var/lib/messages",
    ],
)
def test_a_broker_that_reaches_other_processes_is_taken_as_it_is(url):
    assert Settings(broker_url=url).broker_url == url


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [
        ("broker_url", "memory://", "redis://"),
        ("broker_url", "sqs://key:secret@", "redis://"),
        ("broker_url", "localhost:6379", "redis://"),
        ("broker_url", "amqp://a//;sqs://b", "redis://"),
        ("broker_url", "filesystem://", "filesystem:///absolute/folder"),
        ("database_url", "mysql://u:secret@h/d", "postgresql://"),
        ("database_url", "postgresql+asyncpg://u:secret@h/d", "postgresql://"),
        ("database_url", "orchestrator.db", "sqlite:////"),
        ("database_url", "sqlite://", "cannot be shared"),
        ("database_url", "sqlite:///:memory:", "cannot be shared"),
        ("concurrency", "many", "integer"),
        ("concurrency", "0", "greater than or equal to 1"),
        ("max_request_bytes", "1023", "greater than or equal to 1024"),
        ("max_queue_depth", "0", "greater than or equal to 1"),
        ("max_queue_depth", "some", "integer"),
        ("smtp_port", "70000", "less than or equal to 65535"),
        ("include", "my.module, not a module!", "names of Python modules"),
        ("url_overrides", "https://a=http://b", "a JSON object of texts"),
        ("url_overrides", '{"https://a": 1}', "a JSON object of texts"),
        ("home", "what?", "question mark"),
        ("flower_basic_auth", "secret", "user:password"),
        ("flower_basic_auth", "user:a,secret", "user:password"),
    ],
)
def test_an_unusable_value_is_refused_with_its_variable_and_what_is_expected(name, found, expected, monkeypatch):
    variable = f"ORCHESTRATOR_{name.upper()}"
    monkeypatch.setenv(variable, found)

    with pytest.raises(InvalidSetting) as caught:
        Settings()

    assert caught.value.name == variable
    assert expected in caught.value.expected
    assert "secret" not in "".join(traceback.format_exception(caught.value)).replace("a secret that is not shown", "")


def test_an_unknown_argument_is_refused_and_a_misspelt_variable_is_named(monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_BROKERURL", "redis://h")

    with pytest.raises(InvalidSetting, match="brokerurl"):
        Settings(brokerurl="redis://h")
    assert unknown_variables() == ["ORCHESTRATOR_BROKERURL"]


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://:secret@h:6379/0", "redis://:***@h:6379/0"),
        ("amqp://me:se@c/ret@h//", "amqp://me:***@h//"),
        (
            "postgresql://me:secret@h/d?sslpassword=secret&sslmode=x",
            "postgresql://me:***@h/d?sslpassword=***&sslmode=x",
        ),
        ("amqp://a:secret@x//;amqp://b:secret@y//", "amqp://a:***@x//;amqp://b:***@y//"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis+socket:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("sqlite:////var/lib/o.db", "sqlite:////var/lib/o.db"),
    ],
)
def test_a_masked_url_shows_no_password(url, masked):
    assert masked_url(url) == masked


def test_no_secret_is_in_the_repr():
    settings = Settings(
        broker_url="redis://:hidden@h",
        database_url="postgresql://u:hidden@h/d",
        smtp_password="hidden",
        flower_basic_auth="u:hidden",
    )

    assert "hidden" not in repr(settings) + str(settings)


def test_a_process_with_the_written_out_environment_reads_the_same_settings(tmp_path, monkeypatch):
    settings = Settings(
        home=tmp_path,
        broker_url="redis://h",
        include=("a", "b.c"),
        max_queue_depth=1000,
        smtp_host="mail",
        smtp_password="p",
        smtp_starttls=True,
        url_overrides={"https://a": "http://b"},
    )
    monkeypatch.setenv("ORCHESTRATOR_CONCURRENCY", "9")

    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)

    assert Settings() == settings


def test_a_stale_variable_does_not_reach_the_child(monkeypatch):
    settings = Settings()
    monkeypatch.setenv("ORCHESTRATOR_SMTP_HOST", "stale")

    assert "ORCHESTRATOR_SMTP_HOST" not in settings.to_environment()


def test_task_types_get_the_mail_server_and_the_overrides(tmp_path, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_URL_OVERRIDES", json.dumps({"https://api": "http://127.0.0.1:1"}))

    surroundings = Settings(home=tmp_path, smtp_host="mail", smtp_user="me", smtp_password="p").surroundings()

    assert surroundings.url_overrides == {"https://api": "http://127.0.0.1:1"}
    assert (surroundings.mail.host, surroundings.mail.password) == ("mail", "p")
    assert surroundings.mail.outbox == tmp_path / "outbox"


def test_artifacts_and_runs_are_in_the_home_folder_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert Settings(home=tmp_path).surroundings().artifacts_url == str(tmp_path / "artifacts")
    assert Settings(home=tmp_path).surroundings().runs == tmp_path / "runs"
    assert Settings(artifacts_url="here").resolved_artifacts_url == str(tmp_path / "here")
    assert Settings(artifacts_url="s3://bucket/folder").resolved_artifacts_url == "s3://bucket/folder"


def test_the_password_of_an_artifact_store_is_not_shown():
    assert "secret" not in repr(Settings(artifacts_url="ftp://me:secret@host/folder"))


def test_commands_see_little_of_the_environment(monkeypatch):
    for name in ("PATH", "TZ", "ORCHESTRATOR_HOME", "AWS_SECRET_ACCESS_KEY", "http_proxy"):
        monkeypatch.setenv(name, f"/{name}")
    monkeypatch.delenv("LC_ALL", raising=False)

    seen = Settings().surroundings().environment

    assert (seen["PATH"], seen["TZ"]) == ("/PATH", "/TZ")
    assert set(seen) <= {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_CTYPE", "TZ", "TMPDIR"}


def test_the_tag_of_a_command_is_no_setting_and_is_handed_on(monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_ATTEMPT", "e.1.1/x")

    assert unknown_variables() == []
    assert Settings().to_environment()["ORCHESTRATOR_ATTEMPT"] == "e.1.1/x"

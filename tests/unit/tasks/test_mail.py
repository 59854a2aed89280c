from __future__ import annotations

import contextlib
import email
import email.policy
import socketserver
import stat
import threading

import pytest

from orchestrator.errors import TaskError
from orchestrator.model.task_types import Done, MailServer
from tasks import mail
from tests.unit.tasks.contexts import make_context, sample_config, values

MESSAGE = {"To": ("ann@example.com",), "Subject": "Hello", "TextBody": "Grüße"}


class SmtpSession(socketserver.StreamRequestHandler):
    """The least that smtplib talks to; it refuses recipients whose name begins with 'refused'."""

    def handle(self):
        self.reply("220 test")
        for line in self.rfile:
            command = line.decode().strip()
            verb = command[:4].upper()
            if verb == "DATA":
                self.reply("354 go on")
                self.server.messages.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            if verb in ("MAIL", "RCPT", "AUTH"):
                self.server.commands.append(command)
            self.reply(self.answer(verb, command))
            if verb == "QUIT":
                return

    def answer(self, verb, command):
        if verb == "EHLO":
            return "250-test\r\n250 AUTH PLAIN"
        if verb == "RCPT" and "<refused" in command:
            return "550 nobody here"
        return {"AUTH": "235 ok", "QUIT": "221 bye"}.get(verb, "250 ok")

    def reply(self, text):
        self.wfile.write(f"{text}\r\n".encode())


@contextlib.contextmanager
def smtp_server():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), SmtpSession) as server:
        server.messages, server.commands = [], []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def smtp(tmp_path):
    with smtp_server() as server:
        host, port = server.server_address
        server.mail = MailServer(outbox=tmp_path, host=host, port=port, sender="flows@example.com")
        yield server


@pytest.fixture
def outbox(tmp_path):
    return MailServer(outbox=tmp_path / "outbox", sender="Flows <flows@example.com>")


def only_message(server):
    (path,) = server.outbox.iterdir()
    return email.message_from_bytes(path.read_bytes(), policy=email.policy.default)


def test_without_a_mail_server_the_message_becomes_a_private_file(outbox):
    step = mail.run(make_context(MESSAGE, mail=outbox))

    message = only_message(outbox)
    assert step == Done()
    assert (message["To"], message["From"], message["Subject"]) == (
        "ann@example.com",
        "Flows <flows@example.com>",
        "Hello",
    )
    assert message.get_content() == "Grüße\n"
    assert message["Date"] == "Fri, 02 Jan 2026 03:04:05 +0000"
    assert stat.S_IMODE(outbox.outbox.stat().st_mode) == 0o700


def test_a_repeated_attempt_overwrites_its_file_and_the_next_attempt_has_its_own(outbox):
    for attempt in (1, 1, 2):
        mail.run(make_context(MESSAGE, mail=outbox, attempt=attempt))

    assert sorted(path.name for path in outbox.outbox.iterdir()) == ["execution-1-1-1.eml", "execution-1-1-2.eml"]


def test_an_execution_id_cannot_leave_the_outbox(outbox):
    mail.run(make_context(MESSAGE, mail=outbox, execution_id="../../etc/x"))

    assert [path.parent for path in outbox.outbox.iterdir()] == [outbox.outbox]
    assert only_message(outbox)["Message-ID"] == "<..%2F..%2Fetc%2Fx-1-1@example.com>"


def test_writing_to_the_outbox_is_logged(outbox, caplog):
    with caplog.at_level("INFO", logger="tasks.mail"):
        mail.run(make_context(MESSAGE, mail=outbox))

    (record,) = caplog.records
    assert record.getMessage() == "mail written to the outbox: no mail server is set"
    assert record.path.endswith("execution-1-1-1.eml")


def test_an_outbox_file_may_lack_recipients_and_says_so(outbox):
    mail.run(make_context(sample_config("catch-task-error", "1"), {"ErrorMessage": "boom"}, mail=outbox))

    message = only_message(outbox)
    assert "no recipients" in message["X-Orchestrator-Note"]
    assert message.get_content() == "Error Message is { boom }\n"


def test_recipients_come_from_lists_commas_and_references(outbox):
    config = {"To": ("$one$", "$many$"), "Cc": ("$text$",), "Bcc": ("$unset$", "Eve <eve@example.com>")}
    parameters = {
        "one": "a@example.com",
        "many": ["b@example.com", "c@example.com"],
        "text": 'd@example.com, "Doe, J" <j@example.com>',
    }

    mail.run(make_context(config, parameters, mail=outbox))

    message = only_message(outbox)
    assert [address.addr_spec for address in message["To"].addresses] == [
        "a@example.com",
        "b@example.com",
        "c@example.com",
    ]
    assert [address.display_name for address in message["Cc"].addresses] == ["", "Doe, J"]
    assert message["Bcc"] == "Eve <eve@example.com>"


def test_the_loop_sample_mails_its_element_to_its_recipients(outbox):
    config = sample_config("foreach-loop-send-email-sub", "1")
    parameters = {"Recipients": "a@example.com,b@example.com", "Email_Subject": "News", "EmailContent": "Content 1"}

    mail.run(make_context(config, parameters, mail=outbox))

    message = only_message(outbox)
    assert message["To"] == "a@example.com, b@example.com"
    assert (message["Subject"], message.get_content()) == ("News", "Content 1\n")


def test_html_is_sent_as_html(outbox):
    mail.run(make_context({**MESSAGE, "BodyFormat": "html", "TextBody": "<p>$x$</p>"}, {"x": 1}, mail=outbox))

    message = only_message(outbox)
    assert (message.get_content_type(), message.get_content()) == ("text/html", "<p>1</p>\n")


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\r", "\x0b", "\u2028"])
def test_a_line_break_from_a_parameter_cannot_add_a_header(outbox, separator):
    injected = f"x{separator}Bcc: eve@example.com"

    for config in ({**MESSAGE, "Subject": "$p$"}, {**MESSAGE, "To": ("$p$",)}):
        with pytest.raises(TaskError) as caught:
            mail.run(make_context(config, {"p": injected}, mail=outbox))
        assert caught.value.code == "INVALID_ARGUMENT"
    assert not outbox.outbox.exists()


@pytest.mark.parametrize(
    "config",
    [
        {"To": ("nobody",)},
        {"To": ("@example.com",)},
        {"To": ("ö@example.com",)},
        {"AttachmentPath": ("gs://bucket/file",)},
        {"BodyFormat": "rtf"},
    ],
)
def test_what_cannot_be_mailed_fails_with_invalid_argument(outbox, config):
    with pytest.raises(TaskError) as caught:
        mail.run(make_context({**MESSAGE, **config}, mail=outbox))

    assert caught.value.code == "INVALID_ARGUMENT"


def test_an_outbox_that_cannot_be_written_is_a_task_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(TaskError, match="outbox"):
        mail.run(make_context(MESSAGE, mail=MailServer(outbox=tmp_path / "file" / "outbox")))


def test_a_mail_server_gets_the_message_and_every_recipient_but_no_bcc_header(smtp):
    config = {**MESSAGE, "Bcc": ("eve@example.com", "ann@example.com")}

    mail.run(make_context(config, mail=smtp.mail))

    (raw,) = smtp.messages
    assert [command.lower() for command in smtp.commands if command.startswith("rcpt")] == [
        "rcpt to:<ann@example.com>",
        "rcpt to:<eve@example.com>",
    ]
    assert b"eve@" not in raw
    assert b"Message-ID: <execution-1-1-1@example.com>" in raw


def test_user_and_password_are_used(smtp):
    server = MailServer(outbox=smtp.mail.outbox, host=smtp.mail.host, port=smtp.mail.port, user="u", password="p")

    mail.run(make_context(MESSAGE, mail=server))

    assert smtp.commands[0].startswith("AUTH PLAIN")


def test_a_mail_server_needs_a_recipient(smtp):
    with pytest.raises(TaskError) as caught:
        mail.run(make_context({"Subject": "Hello"}, mail=smtp.mail))

    assert caught.value.code == "INVALID_ARGUMENT"
    assert not smtp.commands


def test_a_message_that_every_recipient_refuses_fails_for_good(smtp):
    with pytest.raises(TaskError, match="550 nobody here") as caught:
        mail.run(make_context({**MESSAGE, "To": ("refused@example.com",)}, mail=smtp.mail))

    assert caught.value.code == "INVALID_ARGUMENT"


def test_one_refused_recipient_among_others_is_a_warning(smtp, caplog):
    mail.run(make_context({**MESSAGE, "Cc": ("refused@example.com",)}, mail=smtp.mail))

    assert len(smtp.messages) == 1
    assert [record.refused for record in caplog.records] == ["refused@example.com: 550 nobody here"]


def test_a_mail_server_without_starttls_is_not_used_in_clear(smtp):
    server = MailServer(outbox=smtp.mail.outbox, host=smtp.mail.host, port=smtp.mail.port, starttls=True)

    with pytest.raises(TaskError) as caught:
        mail.run(make_context(MESSAGE, mail=server))

    assert caught.value.code == 503
    assert not smtp.messages


def test_a_mail_server_that_is_away_may_be_tried_again(tmp_path):
    with smtp_server() as gone:
        host, port = gone.server_address

    with pytest.raises(TaskError, match="did not take the message") as caught:
        mail.run(make_context(MESSAGE, mail=MailServer(outbox=tmp_path, host=host, port=port)))

    assert caught.value.code == 503


def test_check_tells_of_attachments_and_formats():
    assert not list(mail.check(sample_config("catch-task-error", "1")))
    assert not list(mail.check(values({"BodyFormat": "$format$"})))
    assert len(list(mail.check(values({"AttachmentPath": ("a.txt",), "BodyFormat": "rtf"})))) == 2

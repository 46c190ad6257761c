"""The mail catcher as its own process, spoken to over real SMTP and HTTP."""

from __future__ import annotations

import json
import smtplib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str, **headers: str) -> tuple[str, str]:
    """The body and the content policy."""
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode(), answer.headers["Content-Security-Policy"]


@contextmanager
def catcher(data: Path) -> Iterator[tuple[int, str, subprocess.Popen[bytes]]]:
    smtp, http = free_port(), free_port()
    command = [sys.executable, "-m", "sandbox.mail", "--smtp-port", str(smtp)]
    process = subprocess.Popen([*command, "--http-port", str(http), "--data", str(data)])
    url = f"http://127.0.0.1:{http}"
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                get(f"{url}/healthz")
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        yield smtp, url, process
    finally:
        process.kill()
        process.wait()


def send(port: int, to: str, subject: str, text: str, html: str = "") -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Kopeck <k@kopeck.test>", to, subject
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.send_message(message, to_addrs=[to, "hidden@shop.test"])


def test_mails_are_listed_newest_first_and_survive_kill_9(tmp_path: Path) -> None:
    with catcher(tmp_path) as (smtp, url, process):
        send(smtp, "anna@a.test", "First", "Hello https://kopeck.test/verify/abc.")
        send(
            smtp, "boris@b.test", "Второе <письмо>", "text", "<script>alert(1)</script><b>html</b>"
        )
        process.kill()
    with catcher(tmp_path) as (_, url, _process):
        mails = json.loads(get(f"{url}/messages.json")[0])
        assert [mail["subject"] for mail in mails] == ["Второе <письмо>", "First"]
        assert mails[1]["to"] == ["anna@a.test", "hidden@shop.test"]
        assert mails[1]["text"].strip() == "Hello https://kopeck.test/verify/abc."
        only = json.loads(get(f"{url}/messages.json?to=ANNA@a.test")[0])
        assert [mail["subject"] for mail in only] == ["First"]
        assert get(f"{url}/")[0].index("Второе &lt;письмо&gt;") < get(f"{url}/")[0].index("First")
        page, _policy = get(f"{url}/messages/{mails[1]['id']}")
        assert '<a href="https://kopeck.test/verify/abc" ' in page


def test_html_of_a_mail_is_shown_where_it_can_run_nothing(tmp_path: Path) -> None:
    with catcher(tmp_path) as (smtp, url, _process):
        send(smtp, "boris@b.test", "Html", "text", "<script>alert(1)</script><b>html</b>")
        id = json.loads(get(f"{url}/messages.json")[0])[0]["id"]
        page, _policy = get(f"{url}/messages/{id}")
        assert "<iframe sandbox" in page and "<script>" not in page
        body, policy = get(f"{url}/messages/{id}.html")
        assert "<b>html</b>" in body
        assert policy.startswith("sandbox; default-src 'none'")


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("/messages/..%2f..%2fetc", "localhost", 404),
        ("/nothing", "localhost", 404),
        ("/", "x.test", 400),
    ],
)
def test_only_mails_and_only_our_own_name_are_answered(
    tmp_path: Path, path: str, host: str, status: int
) -> None:
    with catcher(tmp_path) as (_smtp, url, _process):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(url + path, Host=host)
        with refused.value as answer:
            assert answer.status == status

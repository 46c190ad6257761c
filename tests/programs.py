"""Programs of this machine for which the docs hold recipes: found, and started as servers."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

REQUIRED = "KOPECK_REQUIRE_PROGRAMS"
BEGIN_S = 60
# Debian keeps servers where an ordinary user's PATH does not look.
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))

NGINX = """
%(user)s daemon off; pid %(folder)s/pid; error_log stderr; events {}
http { access_log off; %(temp)s
%(http)s
}
"""
CADDY = """
{
	admin off
	auto_https off
}
%(sites)s
"""


def program(name: str) -> str:
    """Where it is; the test is skipped where it is not, and fails where it has to be."""
    if found := shutil.which(name, path=PATH):
        return found
    if name in os.environ.get(REQUIRED, "").split():
        pytest.fail(f"no {name} on this machine, and {REQUIRED} names it")
    pytest.skip(f"no {name} on this machine")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving_at(
    port: int, command: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A server of this command, from when it listens; what it said stands in `<folder>/said`."""
    said = folder / "said"
    # Caddy keeps what it was told last at home.
    homes = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(folder))
    with said.open("wb") as out:
        process = subprocess.Popen(
            command, env={**(environment or os.environ), **homes}, stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + BEGIN_S
        while not _listens(port):
            assert process.poll() is None, said.read_text(encoding="utf-8", errors="replace")
            assert time.monotonic() < deadline, f"{command[0]} did not begin to listen"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False


def nginx(folder: Path, http: str) -> list[str]:
    """The command of an nginx that serves what stands in its `http` block, and writes here."""
    binary = program("nginx")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    values = {
        "folder": folder, "http": http,
        "temp": " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds),
        # Started by root its workers were somebody else, who may not write here.
        "user": "user root root;" if os.geteuid() == 0 else "",
    }  # fmt: skip
    (folder / "nginx.conf").write_text(NGINX % values, encoding="utf-8")
    return [binary, "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, sites: str) -> list[str]:
    """The command of a Caddy with these sites."""
    (folder / "Caddyfile").write_text(CADDY % {"sites": sites}, encoding="utf-8")
    return [
        program("caddy"),
        "run",
        "--config",
        str(folder / "Caddyfile"),
        "--adapter",
        "caddyfile",
    ]


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate that a host has given itself, for an hour, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    of_host, of_key = folder / f"{host}.pem", folder / f"{host}.key"
    of_host.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    of_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return of_host, of_key

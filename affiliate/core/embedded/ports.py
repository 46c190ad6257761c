"""Which ports a run answers on: the usual ones where free, the same ones as last time."""

from __future__ import annotations

import errno
import json
import socket
from pathlib import Path

from affiliate.core.embedded.folders import write_private

USUAL = {"kopeck": 8000, "shop": 8100, "mail": 8025, "smtp": 1025, "stripe": 8200}
LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def choose_ports(data_dir: Path, kopeck: int | None = None) -> tuple[dict[str, int], list[str]]:
    """The port of each part, and a sentence for each that is not the expected one.

    Links that people copied contain the port, so a choice is kept in ports.json and used
    again while it is free. `kopeck` asks for the main port; 0 means any free port for every
    part that has none yet.
    """
    kept = _read(data_dir / "ports.json")
    wanted = dict.fromkeys(USUAL, 0) if kopeck == 0 else dict(USUAL)
    wanted.update(kept)
    if kopeck:
        wanted["kopeck"] = kopeck
    ports: dict[str, int] = {}
    said = []
    for name, port in wanted.items():
        taken = port in ports.values() or not (port and is_free(port))
        ports[name] = _any_free(set(ports.values()) | set(wanted.values())) if taken else port
        if taken and port:
            said.append(f"Port {port} is taken; {name} answers on {ports[name]}.")
    write_private(data_dir / "ports.json", json.dumps(ports, indent=1) + "\n")
    return ports, said


def is_free(port: int) -> bool:
    """Whether nothing listens there on the loopback, under either protocol."""
    for family, host in LOOPBACK:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError as error:
            if family == socket.AF_INET or error.errno == errno.EADDRINUSE:
                return False
    return True


def _any_free(besides: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in besides:
            return port


def _read(path: Path) -> dict[str, int]:
    try:
        kept = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # A file cut short by a crash is no reason to fail.
        return {}
    return {name: kept[name] for name in USUAL if isinstance(kept.get(name), int)}

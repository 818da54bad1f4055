"""Ports on the loopback address."""

import random
import socket
from pathlib import Path

from shop.stack import Refusal

# Below the range from which the system gives ports to outgoing connections: a server that is restarted finds its
# port free again.
PORTS = range(20000, 32000)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    return next(port for port in random.sample(PORTS, len(PORTS)) if is_free(port))


def kept_port(file: Path) -> int:
    """The port that this file names if it is free, else another, written down for the next time."""
    try:
        port = int(file.read_text())
    except (FileNotFoundError, ValueError):
        port = 0
    if not port or not is_free(port):
        port = free_port()
        file.write_text(f"{port}\n")
    return port


def refuse_busy(port: int, what: str, variable: str) -> None:
    if not is_free(port):
        raise Refusal(f"Port {port} ({what}) is in use: end what listens there, or `make run {variable}={port + 100}`.")

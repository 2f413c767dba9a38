"""Ports for servers that have to be told one."""

import random
import socket

_BELOW_THOSE_OF_CLIENTS = range(20_000, 32_000)  # Linux gives outgoing connections 32768 and above


def free_port() -> int:
    """Return a port of loopback on which nobody listens, and which no connection is given by chance meanwhile."""
    while True:
        port = random.choice(_BELOW_THOSE_OF_CLIENTS)
        with socket.socket() as taken:
            if taken.connect_ex(("127.0.0.1", port)) != 0:
                return port

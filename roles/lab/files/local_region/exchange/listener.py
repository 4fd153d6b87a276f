# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exchange: a real TCP listener on every address of every endpoint.

Run as a module it is the process in the exchange's namespace; `Listener` starts and stops that process.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
from typing import Any

from local_region.network.addressing import LabAddressing
from local_region.network.child import NamespaceChild, NamespacePart, enter_namespace, input_ended, say

BACKLOG = 65535
# How long the kernel waits for the first byte of a client whose handshake it has answered, before it hands the
# connection over without one.
DEFER_ACCEPT_S = 5
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Listener(NamespacePart):
    """The exchange of one lab."""

    def __init__(self, addressing: LabAddressing, port: int = 443) -> None:
        self._child = NamespaceChild(
            "local_region.exchange.listener", {"namespace": addressing.exchange_namespace, "port": port}
        )


def listen(port: int) -> socket.socket:
    """Return a socket that listens on this port of every address of the namespace.

    A probe ends each handshake with a reset. With TCP_DEFER_ACCEPT the kernel keeps no more of such a client than a
    half-open entry that the reset removes: no full socket, nothing in the accept queue, no work in user space. The
    SYN-ACK, and so what a probe measures, is the same. Clients that send something are accepted as ever.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT_S)
    listener.bind(("", port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def hang_up_on_all(listener: socket.socket) -> None:
    """Accept and reset every client that waits."""
    while True:
        try:
            client, _dummy = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        client.close()


def main() -> None:
    config: dict[str, Any] = json.loads(sys.stdin.readline())
    enter_namespace(config["namespace"])
    listener = listen(config["port"])
    with selectors.DefaultSelector() as waiting:
        waiting.register(listener, selectors.EVENT_READ)
        waiting.register(sys.stdin, selectors.EVENT_READ)
        say(ready=True)
        while True:
            ready = [key.fileobj for key, _dummy in waiting.select()]
            if listener in ready:
                hang_up_on_all(listener)
            if sys.stdin in ready and input_ended():
                return


if __name__ == "__main__":
    main()

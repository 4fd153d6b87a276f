# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few source ports, held for a probe and taken in turn, so that each of them is one flow that is measured many times.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from .connectors import SocketAddress
from .port_spread import MOST_PORTS


class SourcePorts:
    """Some source ports that the kernel gave us, and that nothing else on this machine is given while we hold them.

    Every address goes round all ports in an order that is drawn anew each time round. A connection that was closed with
    a reset leaves nothing behind, so its port can be used again at once, for the same address too.
    """

    def __init__(self, count: int, shuffle: Callable[[list[int]], None]) -> None:
        """Raises ValueError for a count that is not 1 to MOST_PORTS, OSError when there are not so many ports."""
        if not 1 <= count <= MOST_PORTS:
            raise ValueError(f"{count} source ports are not 1 to {MOST_PORTS}")
        self._shuffle = shuffle
        self._turns: dict[SocketAddress, list[int]] = {}
        self._holders: list[socket.SocketType] = []
        try:
            for _port in range(count):
                self._holders.append(_holder())
        except OSError:
            self.close()
            raise
        self.ports: tuple[int, ...] = tuple(sorted(holder.getsockname()[1] for holder in self._holders))

    def bind(self, made: socket.SocketType, address: SocketAddress) -> None:
        """Bind a new socket to the next port for an address. Raises OSError when it can't be."""
        turn = self._turns.setdefault(address, [])
        if not turn:
            turn.extend(self.ports)
            self._shuffle(turn)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("", turn.pop()))

    def close(self) -> None:
        """Give the ports back."""
        for holder in self._holders:
            holder.close()
        self._holders.clear()


def _holder() -> socket.SocketType:
    """Socket that holds a free port and lets sockets that ask for it by SO_REUSEADDR share it."""
    holder = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # Only after the bind, or else the kernel might give a port that somebody else shares.
        holder.bind(("", 0))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        holder.close()
        raise
    return holder

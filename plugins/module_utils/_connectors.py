# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to make a timed handshake: a connect that sleeps, one that spins, and either from chosen source ports.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.

A blocking connect sleeps until the SYN-ACK is in and is then woken, which costs the wake-up of an idle CPU: the
biggest part of what a wall time has above its wire time. A spinning connect asks the kernel again and again, so nothing
is woken. Its wall times are lower and are not comparable with published limits, which were measured by a sleep; the
wire times of both are the same.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable

from ansible_collections.lowlatency.ec2.plugins.module_utils._handshake import (
    _TCP_INFO,
    _TCP_INFO_BYTES,
    Connect,
    Outcome,
    SocketAddress,
    blocking_connector,
)

NS_PER_MS = 1_000_000

METHODS = ("blocking", "spin")

# A connect on its way: the first call says EINPROGRESS and the later ones EALREADY (inet_stream_connect in Linux).
_UNDER_WAY = frozenset((errno.EINPROGRESS, errno.EALREADY))

#: Gives a new socket its source port before the handshake with an address. Raises OSError when it can't.
Bind = Callable[[socket.SocketType, SocketAddress], None]

_Dial = Callable[[socket.SocketType, SocketAddress], "tuple[int, int]"]


def connector(method: str, timeout_ms: int, clock_ns: Callable[[], int], bind: Bind | None = None) -> Connect:
    """Function that makes one handshake by a method of METHODS: ``address -> Outcome``.

    With bind, each socket is given its source port by it, outside of what is timed; a bind that fails is an Outcome
    with its errno. Without it the kernel chooses, and the blocking method is exactly blocking_connector().
    Raises ValueError for another method.
    """
    if method not in METHODS:
        raise ValueError(f"{method!r} is no way to connect ({', '.join(METHODS)})")
    if method == "spin":
        return _connector(_prepared_to_spin, _spinning(timeout_ms, clock_ns), bind)
    if bind is None:
        return blocking_connector(timeout_ms, clock_ns)
    return _connector(_prepared_to_sleep(timeout_ms), _sleeping(clock_ns), bind)


def spin_connector(timeout_ms: int, clock_ns: Callable[[], int]) -> Connect:
    """Function that makes one handshake with a non-blocking connect asked in a loop, and closes it with a reset.

    The wall time ends when the loop sees the handshake complete, or failed. A handshake that is not complete after
    timeout_ms is given up with EINPROGRESS, as by the blocking connector. The loop burns its CPU for as long as a
    handshake takes: on the CPU that serves the device's interrupts, and ahead of all others (SCHED_FIFO), it can keep
    ksoftirqd from the very answer that it waits for. The function raises OSError when this machine can't make a socket
    at all.
    """
    return connector("spin", timeout_ms, clock_ns)


def _connector(prepare: Callable[[socket.SocketType], None], dial: _Dial, bind: Bind | None) -> Connect:
    linger = struct.pack("@ii", 1, 0)
    new_socket = socket.SocketType
    kind = socket.SOCK_STREAM | socket.SOCK_CLOEXEC
    unpack = _TCP_INFO.unpack

    def connect(address: SocketAddress) -> Outcome:
        made = new_socket(socket.AF_INET, kind)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            prepare(made)
            if bind is not None:
                try:
                    bind(made, address)
                except OSError as error:
                    return Outcome(error.errno or errno.EADDRNOTAVAIL, 0, 0, 0)
            code, wall_ns = dial(made, address)
            if code:
                return Outcome(code, wall_ns, 0, 0)
            wire_us, retransmits = unpack(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES))
            return Outcome(0, wall_ns, wire_us, retransmits, made.getsockname()[1])
        finally:
            made.close()

    return connect


def _prepared_to_spin(made: socket.SocketType) -> None:
    made.setblocking(False)


def _spinning(timeout_ms: int, clock_ns: Callable[[], int]) -> _Dial:
    timeout_ns = timeout_ms * NS_PER_MS
    under_way = _UNDER_WAY

    def dial(made: socket.SocketType, address: SocketAddress) -> tuple[int, int]:
        connect_ex = made.connect_ex
        start_ns = clock_ns()
        code = connect_ex(address)
        wall_ns = clock_ns() - start_ns
        while code in under_way:
            if wall_ns >= timeout_ns:
                return errno.EINPROGRESS, wall_ns
            code = connect_ex(address)
            wall_ns = clock_ns() - start_ns
        return (0 if code == errno.EISCONN else code), wall_ns

    return dial


def _prepared_to_sleep(timeout_ms: int) -> Callable[[socket.SocketType], None]:
    timeout = struct.pack("@ll", timeout_ms // 1_000, timeout_ms % 1_000 * 1_000)

    def prepare(made: socket.SocketType) -> None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)

    return prepare


def _sleeping(clock_ns: Callable[[], int]) -> _Dial:
    def dial(made: socket.SocketType, address: SocketAddress) -> tuple[int, int]:
        connect_ex = made.connect_ex
        start_ns = clock_ns()
        code = connect_ex(address)
        return code, clock_ns() - start_ns

    return dial

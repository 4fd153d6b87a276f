# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One timed TCP handshake: by a connect that sleeps or by one that spins, and either from a chosen source port.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.

A handshake has two times. Its *wall* time is what ``connect()`` takes in user space, wake-up and interpreter included,
which is how published limits were measured. Its *wire* time is the kernel's own: from the SYN handed to the device to
the SYN-ACK in softirq, ``tcpi_rtt`` of ``TCP_INFO`` right after the connect.

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
from typing import NamedTuple

NS_PER_MS = 1_000_000

# Offsets in struct tcp_info of linux/tcp.h, which only ever grows at its end.
_RTT_AT = 68
_TOTAL_RETRANS_AT = 100
_TCP_INFO_BYTES = 104
_TCP_INFO = struct.Struct(f"={_RTT_AT}xI{_TOTAL_RETRANS_AT - _RTT_AT - 4}xI")

METHODS = ("blocking", "spin")

# A connect on its way: the first call says EINPROGRESS and the later ones EALREADY (inet_stream_connect in Linux).
_UNDER_WAY = frozenset((errno.EINPROGRESS, errno.EALREADY))

SocketAddress = tuple[str, int]


class Outcome(NamedTuple):
    """One handshake: 0 or the errno it ended in, wall time, wire time, segments sent again, and the source port."""

    code: int
    wall_ns: int
    wire_us: int
    retransmits: int
    port: int = 0


Connect = Callable[[SocketAddress], Outcome]

#: Gives a new socket its source port before the handshake with an address. Raises OSError when it can't.
Bind = Callable[[socket.SocketType, SocketAddress], None]

_Dial = Callable[[socket.SocketType, SocketAddress], "tuple[int, int]"]


def connector(method: str, timeout_ms: int, clock_ns: Callable[[], int], bind: Bind | None = None) -> Connect:
    """Function that makes one handshake by a method of METHODS, ``address -> Outcome``, and closes it with a reset.

    blocking: the timeout bounds the connect in the kernel, by SO_SNDTIMEO. ``settimeout`` would make the socket
    non-blocking and add a poll to what is timed.

    spin: the wall time ends when the loop sees the handshake complete, or failed. The loop burns its CPU for as long as
    a handshake takes: on the CPU that serves the device's interrupts, and ahead of all others (SCHED_FIFO), it can keep
    ksoftirqd from the very answer that it waits for.

    Either is given up after timeout_ms with EINPROGRESS. SO_LINGER {1, 0} closes with RST: no TIME_WAIT, so ports don't
    run out. With bind, each socket is given its source port by it, outside of what is timed; a bind that fails is an
    Outcome with its errno. Raises ValueError for another method; the function raises OSError when this machine can't
    make a socket at all.
    """
    if method not in METHODS:
        raise ValueError(f"{method!r} is no way to connect ({', '.join(METHODS)})")
    spins = method == "spin"
    prepare = _prepared_to_spin if spins else _prepared_to_sleep(timeout_ms)
    dial = _spinning(timeout_ms, clock_ns) if spins else _sleeping(clock_ns)
    linger = struct.pack("@ii", 1, 0)
    # The plain C type: socket.socket wraps it in Python code that costs microseconds and adds nothing here.
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

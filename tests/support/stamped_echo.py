# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a datagram is away from the kernel, by the kernel's own time stamps: the rig's way in and out.

The rig's owner echoes datagrams as late as it answers SYNs. The kernel stamps a datagram where the device takes it and
where the device hands over the echo (Documentation/networking/timestamping.rst, SOF_TIMESTAMPING_TX_SOFTWARE and
RX_SOFTWARE), so that neither TCP nor the probe has a part in the figure. A process of its own, for the rig's namespace.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SO_TIMESTAMPING = 37
TX_SOFTWARE, RX_SOFTWARE, SOFTWARE, ONLY_STAMP = 1 << 1, 1 << 3, 1 << 4, 1 << 11
PORT = 7
WAIT = struct.pack("@ll", 1, 0)


def opened(address: str) -> socket.socket:
    """A connected socket whose datagrams are stamped both ways; a lost echo ends the wait after a second."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE | RX_SOFTWARE | SOFTWARE | ONLY_STAMP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, WAIT)
    made.connect((address, PORT))
    return made


def stamp_ns(made: socket.socket, flags: int = 0) -> int | None:
    """The time stamp of the next datagram, or with MSG_ERRQUEUE of the last one that went out."""
    _data, controls, _flags, _sender = made.recvmsg(64, 256, flags)
    for level, kind, data in controls:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING):
            seconds, nanoseconds = struct.unpack_from("=qq", data)
            return int(seconds * 10**9 + nanoseconds)
    return None


def away_ns(made: socket.socket) -> int | None:
    """How long one datagram was away, None if it has no stamps: the kernel begins a moment after it was asked to."""
    made.send(b"\0" * 12)
    back_ns, out_ns = stamp_ns(made), stamp_ns(made, socket.MSG_ERRQUEUE)
    return None if back_ns is None or out_ns is None else back_ns - out_ns


def away_us(
    addresses: Sequence[str], prefix: Sequence[str], *, count: int, gap_s: float, cpu: int
) -> dict[str, list[float]]:
    """By address, how long datagrams were away, in us; prefix goes before the command.

    Each address has ``count`` of them, in turn with the others', and there are ``gap_s`` between two.
    """
    settings = json.dumps({"addresses": list(addresses), "count": count, "gap_s": gap_s, "cpu": cpu})
    command = [*prefix, sys.executable, "-I", "-B", str(Path(__file__).resolve()), settings]
    limit_s = 60 + count * len(addresses) * (gap_s + 0.01)
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=limit_s)
    return {address: [time_ns / 1_000 for time_ns in times] for address, times in json.loads(done.stdout).items()}


def main(addresses: list[str], count: int, gap_s: float, cpu: int) -> None:
    """Measure, then print the times by address as JSON."""
    os.sched_setaffinity(0, {cpu})
    sockets = {address: opened(address) for address in addresses}
    away: dict[str, list[int]] = {address: [] for address in addresses}
    for _turn in range(count):
        for address, made in sockets.items():
            if gap_s:
                time.sleep(gap_s)
            taken_ns = away_ns(made)
            if taken_ns is not None:
                away[address].append(taken_ns)
    print(json.dumps(away))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))

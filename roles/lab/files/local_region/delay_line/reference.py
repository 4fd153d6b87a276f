# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lone flow of handshakes from a namespace of its own, to measure what the path itself takes.

Run as a module it is that process: it enters the namespace, then answers each request with wire times.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import sys
import time
from typing import Any

from local_region.network.child import enter_namespace, say

TIMEOUT_S = 0.5
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_TCP_INFO_BYTES = 104
_RTT_AT = 68  # tcpi_rtt in us, linux/tcp.h
_RETRANSMITS_AT = 100  # tcpi_total_retrans
# Gaps are random, since flows with a fixed period fall into step with what they measure, and are spent awake, since
# a handshake after a sleep looks some microseconds slower than one of a busy series, which a probe makes.
_MOST_GAP_NS = 60_000


def wire_us(address: str, port: int) -> int | None:
    """Return the kernel's round-trip time of one handshake in us, or None when it failed or was retransmitted."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        client.settimeout(TIMEOUT_S)
        try:
            client.connect((address, port))
        except OSError:
            return None
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    if struct.unpack_from("=I", info, _RETRANSMITS_AT)[0]:
        return None
    return int(struct.unpack_from("=I", info, _RTT_AT)[0])


def main() -> None:
    enter_namespace(json.loads(sys.stdin.readline())["namespace"])
    chance = random.Random()  # noqa: S311 - gaps, not secrets
    say(ready=True)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        found: list[int] = []
        for _dummy in range(request["count"]):
            taken = wire_us(request["address"], request["port"])
            if taken is not None:
                found.append(taken)
            until_ns = time.monotonic_ns() + chance.randrange(_MOST_GAP_NS)
            while time.monotonic_ns() < until_ns:
                pass
        say(wires_us=found)


if __name__ == "__main__":
    main()

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The finest truth that there is: what the delay line did with each handshake, in binary."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# arrival in ns since the epoch, source, destination, source port, planned round trip and time held back in ns
_RECORD = struct.Struct("<QIIHxxII")
_MOST_PENDING_BYTES = 1 << 22


class Held(NamedTuple):
    """One SYN: when it arrived, of which flow, the round trip that it was to read and how long it was held for that."""

    arrival_ns: int
    source: str
    destination: str
    port: int
    planned_ns: int
    held_ns: int


class HoldLog:
    """Collects records in memory; writes them when the delay line has time for it. Without a path it does nothing."""

    def __init__(self, path: str | None) -> None:
        self._file = open(path, "ab", buffering=0) if path else None
        self._pending = bytearray()
        self.wanted = self._file is not None

    def add(self, arrival_ns: int, flow: tuple[int, int, int], planned_ns: int, held_ns: int) -> None:
        self._pending += _RECORD.pack(arrival_ns, *flow, planned_ns, held_ns)
        if len(self._pending) > _MOST_PENDING_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._file and self._pending:
            self._file.write(self._pending)
            self._pending.clear()


def read(path: Path) -> Iterator[Held]:
    """Return the records of a log; one that was cut off at the end is left out."""
    data = path.read_bytes()
    whole = len(data) - len(data) % _RECORD.size
    for arrival_ns, source, destination, port, planned_ns, held_ns in _RECORD.iter_unpack(data[:whole]):
        flow = str(ipaddress.IPv4Address(source)), str(ipaddress.IPv4Address(destination)), port
        yield Held(arrival_ns, *flow, planned_ns, held_ns)

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
_MOST_FILE_BYTES = 64 << 20  # some two million handshakes; then the file is begun anew and the old one kept


class Held(NamedTuple):
    """One SYN: when it arrived, of which flow, the round trip that it was to read and how long it was held for that."""

    arrival_ns: int
    source: str
    destination: str
    port: int
    planned_ns: int
    held_ns: int


class HoldLog:
    """Collects records in memory; writes them when the delay line has time for it. Without a path it does nothing.

    The file is bounded: a full one is renamed to `<path>.1`, in place of the one before.
    """

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._pending = bytearray()
        self.wanted = path is not None

    @property
    def pending(self) -> bool:
        """Whether there are records that were not written yet."""
        return bool(self._pending)

    def add(self, arrival_ns: int, flow: tuple[int, int, int], planned_ns: int, held_ns: int) -> None:
        self._pending += _RECORD.pack(arrival_ns, *flow, planned_ns, held_ns)
        if len(self._pending) > _MOST_PENDING_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._path is None or not self._pending:
            return
        with self._path.open("ab") as file:
            file.write(self._pending)
            full = file.tell() > _MOST_FILE_BYTES
        self._pending.clear()
        if full:
            self._path.replace(self._path.with_name(self._path.name + ".1"))


def read(path: Path) -> Iterator[Held]:
    """Return the records of a log; one that was cut off at the end is left out."""
    data = path.read_bytes()
    whole = len(data) - len(data) % _RECORD.size
    for arrival_ns, source, destination, port, planned_ns, held_ns in _RECORD.iter_unpack(data[:whole]):
        flow = str(ipaddress.IPv4Address(source)), str(ipaddress.IPv4Address(destination)), port
        yield Held(arrival_ns, *flow, planned_ns, held_ns)

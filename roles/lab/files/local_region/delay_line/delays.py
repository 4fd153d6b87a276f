# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long each SYN is held back: a table that changes while it is in use. Pure; nanoseconds and integers inside."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

NS_PER_US = 1000

# Delays to the known addresses (None: never answers), the jitter to walk through, the delay to any other address.
_Row = tuple[Mapping[int, "int | None"], Sequence[int], int]


def as_number(address: str) -> int:
    """Return an IPv4 address as the number that packets carry."""
    return int(ipaddress.IPv4Address(address))


def as_ns(delay_us: float) -> int:
    return round(delay_us * NS_PER_US)


class DelayTable:
    """Delays by source and destination, as packets show them: as numbers.

    `racks_us` is {rack: {address: us}}; `dead` addresses never answer, from any rack; `jitter_us` is walked through
    over and over, one step a handshake; `default_us` is for sources without a rack.
    """

    def __init__(
        self,
        racks_us: Mapping[str, Mapping[str, float]],
        jitter_us: Sequence[float],
        default_us: float,
        dead: Iterable[str] = (),
    ) -> None:
        never: dict[int, int | None] = {as_number(address): None for address in dead}
        default_ns = as_ns(default_us)
        jitter_ns = [as_ns(us) for us in jitter_us]
        self._racks: dict[str, _Row] = {
            rack: ({**{as_number(address): as_ns(us) for address, us in row.items()}, **never}, jitter_ns, default_ns)
            for rack, row in racks_us.items()
        }
        self._stranger: _Row = (never, jitter_ns, default_ns)
        self._rows: dict[int, _Row] = {}
        self._step = 0

    def place(self, source: str, rack: str) -> None:
        """Put a source into a rack. Raises KeyError for an unknown rack."""
        self._rows[as_number(source)] = self._racks[rack]

    def fix(self, source: str, delay_us: float) -> None:
        """Give a source one delay to everywhere, without jitter: to measure with."""
        self._rows[as_number(source)] = ({}, (0,), as_ns(delay_us))

    def forget(self, source: str) -> None:
        """Forget a source; nothing to do for an unknown one."""
        self._rows.pop(as_number(source), None)

    def planned_ns(self, source: int, destination: int) -> int | None:
        """Return the round trip that the next handshake is to read, jitter included, or None: never answer it."""
        bases, jitter, fallback = self._rows.get(source, self._stranger)
        base = bases.get(destination, fallback)
        if base is None:
            return None
        self._step += 1
        return base + jitter[self._step % len(jitter)]

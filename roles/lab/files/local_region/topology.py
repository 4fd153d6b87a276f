# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The truth of the simulated region: racks, endpoints, round-trip times and jitter.

Everything here follows from a seed: no clock, no network, no process. All times are in microseconds
(`_us`) and mean the wire time: from the SYN that leaves the instance to the SYN-ACK that comes back.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from local_region.faults import ADDRESSES_PER_ENDPOINT, draw
from local_region.network.addressing import LabAddressing

DEFAULT_SEED = 1  # its first search rejects, replaces its champion several times and ends in an anchor
RACK_COUNT = 24
GOOD_RACK_COUNT = 2
PRIMARY_ENDPOINT = "fstream-mm"
ENDPOINT_HOSTS: tuple[tuple[str, str], ...] = (
    ("fapi-mm", "fapi-mm.binance.com"),
    ("ws-fapi-mm", "ws-fapi-mm.binance.com"),
    (PRIMARY_ENDPOINT, "fstream-mm.binance.com"),
)
ENDPOINT_PORT = 443

LOWEST_US = 60.0
HIGHEST_US = 400.0
# A wall reading is some 15 to 60 us above the wire. So the best rack meets 122/102 us of wall with room
# to spare, and an ordinary rack can't meet it even where the wall adds nothing.
GOOD_BEST_US = (66.0, 82.0)
ORDINARY_LOWEST_US = 125.0
LIMIT_US = 102.0  # no rack has its nearest address between the worst good rack and the ordinary ones
RACK_GAP_US = 10.0
_ORDINARY_FIRST_US = (127.0, 132.0)
_ORDINARY_LAST_US = 356.0
_GOOD_FIRST_US = (66.0, 70.0)
_GOOD_GAP_US = (10.0, 12.0)
# The best address of another endpoint lies this far from the best one of the primary endpoint.
_ENDPOINT_OFFSET_US = (-30.0, 40.0)
# The other addresses of an endpoint lie this far above its best one.
_ADDRESS_SPREAD_US = (4.0, 45.0)
_LEAST_SPREAD_US = 35.0

JITTER_SAMPLES = 16384
_JITTER_BEST_US = -3.0
# (share of the handshakes below, us above the truth); straight lines between the points.
_JITTER_QUANTILES: tuple[tuple[float, float], ...] = (
    (0.5, 0.0),
    (0.6, 0.4),
    (0.75, 2.0),
    (0.9, 8.0),
    (0.99, 40.0),
    (0.999, 150.0),
    (1.0, 300.0),
)


@dataclass(frozen=True)
class Endpoint:
    """One host and port of the exchange with all its addresses, dead ones included."""

    name: str
    host: str
    port: int
    addresses: tuple[str, ...]


def jitter_quantile_us(share: float) -> float:
    """Return the jitter that `share` (0 to 1) of the handshakes stay below.

    Below the median it ends 3 us under the truth; above it has the tail of _JITTER_QUANTILES. The curve is flat
    near the median, so that the median of a hundred handshakes is already the truth within a fraction of 1 us.
    """
    if share <= 0.5:
        return _JITTER_BEST_US * (1.0 - 2.0 * share) ** 2
    for (low, low_us), (high, high_us) in zip(_JITTER_QUANTILES, _JITTER_QUANTILES[1:]):
        if share <= high:
            return low_us + (high_us - low_us) * (share - low) / (high - low)
    return _JITTER_QUANTILES[-1][1]


def seeded(*parts: object) -> random.Random:
    """Return a source of numbers that depends on nothing but the parts."""
    return random.Random(" ".join(str(part) for part in parts))  # noqa: S311 - a simulation, not a secret


class Topology:
    """The racks of one lab and how far each is from each address of the exchange.

    `dead` are addresses that never answer: they belong to their endpoint but have no truth.
    """

    def __init__(
        self,
        seed: int,
        index: int = 0,
        addresses_per_endpoint: int = ADDRESSES_PER_ENDPOINT,
        dead: Iterable[str] = (),
    ) -> None:
        self.seed = seed
        self.addressing = LabAddressing(index)
        self.dead = frozenset(dead)
        self.racks: tuple[str, ...] = tuple(f"rack-{number:02d}" for number in range(RACK_COUNT))
        self.endpoints: tuple[Endpoint, ...] = tuple(
            Endpoint(name, host, ENDPOINT_PORT, self.addressing.endpoint_addresses(number, addresses_per_endpoint))
            for number, (name, host) in enumerate(ENDPOINT_HOSTS)
        )
        self._truths_us = self._draw_truths_us()
        self._by_address_us = {
            rack: {address: us for addresses in endpoints.values() for address, us in addresses.items()}
            for rack, endpoints in self._truths_us.items()
        }

    def truths_us(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return {rack: {endpoint name: {address: wire median in us}}}, without the dead addresses."""
        return {
            rack: {name: dict(addresses) for name, addresses in endpoints.items()}
            for rack, endpoints in self._truths_us.items()
        }

    def truth_us(self, rack: str, address: str) -> float:
        """Return the wire median from a rack to an address. Raises KeyError for a dead or unknown one."""
        return self._by_address_us[rack][address]

    def best_us(self, rack: str, endpoint: str = PRIMARY_ENDPOINT) -> float:
        """Return the lowest truth of a rack over the addresses of an endpoint."""
        return min(self._truths_us[rack][endpoint].values())

    def good_racks(self) -> tuple[str, ...]:
        """Return the racks that meet the default criteria, nearest first."""
        return tuple(sorted((rack for rack in self.racks if self._nearest_us(rack) < LIMIT_US), key=self.best_us))

    def rack_for(self, ordinal: int) -> str:
        """Return the rack of the n-th placement group (from 0) of the region's life; drawn with replacement."""
        return self.racks[int(draw(self.seed, "landing", ordinal) * RACK_COUNT)]

    def jitter_us(self) -> list[float]:
        """Return JITTER_SAMPLES offsets from the truth, in the order in which handshakes meet them; median 0."""
        samples = [jitter_quantile_us((number + 0.5) / JITTER_SAMPLES) for number in range(JITTER_SAMPLES)]
        seeded(self.seed, "jitter").shuffle(samples)
        return samples

    def _nearest_us(self, rack: str) -> float:
        return min(self._by_address_us[rack].values())

    def _draw_truths_us(self) -> dict[str, dict[str, dict[str, float]]]:
        order = list(self.racks)
        seeded(self.seed, "order").shuffle(order)
        bests_us = dict(zip(order, _rack_bests_us(seeded(self.seed, "bests"))))
        return {rack: self._draw_rack_us(rack, bests_us[rack]) for rack in self.racks}

    def _draw_rack_us(self, rack: str, best_us: float) -> dict[str, dict[str, float]]:
        floor_us = LOWEST_US if best_us < ORDINARY_LOWEST_US else ORDINARY_LOWEST_US
        found = {}
        for endpoint in self.endpoints:
            source = seeded(self.seed, rack, endpoint.name)
            nearest_us = best_us
            if endpoint.name != PRIMARY_ENDPOINT:
                nearest_us += _between(source, _ENDPOINT_OFFSET_US)
                nearest_us += max(0.0, floor_us - nearest_us) * 1.2
                nearest_us = min(nearest_us, HIGHEST_US - _LEAST_SPREAD_US)
            alive = [address for address in endpoint.addresses if address not in self.dead]
            found[endpoint.name] = _draw_addresses_us(source, alive, nearest_us)
        return found


def _between(source: random.Random, limits: tuple[float, float]) -> float:
    return limits[0] + (limits[1] - limits[0]) * source.random()


def _rack_bests_us(source: random.Random) -> list[float]:
    """Return the best primary truth of each rack, ascending, each at least RACK_GAP_US above the one before."""
    first_us = _between(source, _GOOD_FIRST_US)
    bests_us = [first_us, first_us + _between(source, _GOOD_GAP_US)]
    count = RACK_COUNT - GOOD_RACK_COUNT
    start_us = _between(source, _ORDINARY_FIRST_US)
    spare_us = _ORDINARY_LAST_US - start_us - (count - 1) * RACK_GAP_US
    steps = sorted(source.random() for _dummy in range(count - 1))
    extra_us = [0.0, *(step * spare_us for step in steps)]
    bests_us += [start_us + number * RACK_GAP_US + extra for number, extra in enumerate(extra_us)]
    return bests_us


def _draw_addresses_us(source: random.Random, addresses: list[str], nearest_us: float) -> dict[str, float]:
    low_us, high_us = _ADDRESS_SPREAD_US
    high_us = min(high_us, HIGHEST_US - nearest_us)
    nearest = int(source.random() * len(addresses))
    found = {}
    for number, address in enumerate(addresses):
        above_us = 0.0 if number == nearest else _between(source, (low_us, high_us))
        found[address] = round(nearest_us + above_us, 1)
    return found

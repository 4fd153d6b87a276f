# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether handshakes from some source ports take longer than from others.

Private to this collection: it may change in any release. Pure functions on plain numbers, standard library only.

Switches and devices with several ways to a target choose one by a hash of the flow: addresses and ports. Two source
ports may so take two ways, and every handshake from one port takes the same. A port effect is only visible where each
port is measured many times: a hash is made so that no class of ports, such as those of one remainder, shares a way.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.lowlatency.ec2.plugins.module_utils._statistics import median

# The chi-squared approximation of Kruskal and Wallis' H is for groups of at least this many.
SMALLEST_GROUP = 5

#: By default an address is said to have a spread with this chance of being wrong.
ERROR_RATE = 0.001


class PortTally:
    """Handshakes with one address by the source port that they came from."""

    def __init__(self) -> None:
        self._wall_ns: dict[int, array[int]] = {}
        self._wire_us: dict[int, array[int]] = {}

    def note(self, port: int, wall_ns: int, wire_us: int) -> None:
        """Count a completed handshake from a port."""
        if port not in self._wall_ns:
            self._wall_ns[port] = array("Q")
            self._wire_us[port] = array("I")
        self._wall_ns[port].append(wall_ns)
        self._wire_us[port].append(wire_us)

    def rows(self) -> list[dict[str, Any]]:
        """One row a port, lowest port first: ``[{bucket, samples, median_us, wire_us}]``.

        bucket is the source port, median_us the median wall time and wire_us the median wire time from it.
        """
        return [
            {
                "bucket": port,
                "samples": len(wall_ns),
                "median_us": round(median(sorted(wall_ns)) / 1_000, 3),
                "wire_us": round(median(sorted(self._wire_us[port])), 3),
            }
            for port, wall_ns in sorted(self._wall_ns.items())
        ]

    def spread(self, metric: str, error_rate: float = ERROR_RATE) -> dict[str, Any] | None:
        """port_spread() of the wall or the wire times. Raises ValueError for another metric."""
        if metric not in ("wall", "wire"):
            raise ValueError(f"{metric!r} is not a metric (wall, wire)")
        times, per_us = (self._wall_ns, 1_000) if metric == "wall" else (self._wire_us, 1)
        found = port_spread(times, error_rate)
        if found is not None:
            found["spread_us"] = round(found.pop("spread") / per_us, 3)
        return found


def port_spread(times: Mapping[int, Sequence[int]], error_rate: float = ERROR_RATE) -> dict[str, Any] | None:
    """Whether the times from some ports differ by more than chance, by the test of Kruskal and Wallis.

    Shape: ``{ports, samples, h, p_value, explained, spread, beyond_chance}``. p_value is the chance of an H at least as
    large were all ports alike, beyond_chance that it is at most error_rate. explained is the share of the variance of
    ranks that the ports explain (epsilon squared, H / (n - 1); Tomczak and Tomczak 2014), spread the largest median
    less the smallest, in the unit of the times. With thousands of samples a spread can be beyond chance and yet too
    small to matter, so look at both.

    Ports with fewer than SMALLEST_GROUP samples are left out; None with fewer than two ports left. Ports must have been
    taken in turn, in an order drawn anew each time round: then a drift touches all of them alike.
    """
    groups = {port: samples for port, samples in times.items() if len(samples) >= SMALLEST_GROUP}
    tested = kruskal_wallis(list(groups.values()))
    if tested is None:
        return None
    h, p_value = tested
    count = sum(len(samples) for samples in groups.values())
    medians = [median(sorted(samples)) for samples in groups.values()]
    return {
        "ports": len(groups),
        "samples": count,
        "h": round(h, 3),
        "p_value": p_value,
        "explained": round(h / (count - 1), 4),
        "spread": max(medians) - min(medians),
        "beyond_chance": p_value <= error_rate,
    }


def kruskal_wallis(groups: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """H and its p value; None with fewer than two groups or with an empty one.

    Kruskal and Wallis, "Use of Ranks in One-Criterion Variance Analysis" (1952): equal values share the mean of their
    ranks, H is corrected for them, and is compared with chi-squared of one degree of freedom less than groups. Samples
    that are all equal give an H of 0.
    """
    if len(groups) < 2 or not all(groups):
        return None
    tally = Counter(value for group in groups for value in group)
    count = sum(tally.values())
    rank_of, passed = {}, 0
    for value in sorted(tally):
        rank_of[value] = passed + (tally[value] + 1) / 2
        passed += tally[value]
    # Ranks are taken from their mean, so that two large sums need not be subtracted.
    mean_rank = (count + 1) / 2
    between = math.fsum(math.fsum(rank_of[value] - mean_rank for value in group) ** 2 / len(group) for group in groups)
    tied = sum(times**3 - times for times in tally.values())
    if tied == count**3 - count:
        return 0.0, 1.0
    h = 12 / (count * (count + 1)) * between / (1 - tied / (count**3 - count))
    return h, chi_squared_tail(h, len(groups) - 1)


def chi_squared_tail(value: float, freedom: int) -> float:
    """P(X > value) of chi-squared with whole degrees of freedom (Abramowitz and Stegun, 26.4.4 and 26.4.5).

    Raises ValueError below one degree of freedom or for a value below 0.
    """
    if freedom < 1 or value < 0:
        raise ValueError(f"no tail of chi-squared above {value} with {freedom} degrees of freedom")
    half = value / 2
    odd = freedom % 2
    # The terms run from half**(odd / 2) up, each the one before times half / (its place in the series).
    tail = math.erfc(math.sqrt(half)) if odd else 0.0
    for step in range(freedom // 2):
        power = step + odd / 2
        if half:
            tail += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
        elif power == 0:
            tail += 1.0
    return min(tail, 1.0)

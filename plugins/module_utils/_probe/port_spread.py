# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Handshakes by the source port that they came from, and whether some ports take longer than others.

Private to this collection: it may change in any release. Pure functions on plain numbers, standard library only.

Switches and devices with several ways to a target choose one by a hash of the flow: addresses and ports. Two source
ports may so take two ways, and every handshake from one port takes the same. Where each port is a flow that is measured
many times that shows. Where the kernel chose a new port each time it does not: a hash spreads the ports of one
remainder, or of one range, over all ways, and the kernel counts its ports upwards, so that ranges of ports are times of
the day. In a simulation of 2,000 handshakes over 2, 4 or 8 ways 5 us apart, chosen by Toeplitz, CRC-32 or a mixing
hash, 16 ports in turn showed the spread in 720 of 720 runs and 16 remainders in none, while ranges showed a mere drift
of 3 us in all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .._statistics import median

#: More ports than these show no further ways, and leave each too few samples.
MOST_PORTS = 64

#: The chi-squared approximation of Kruskal and Wallis' H is for groups of at least this many.
SMALLEST_GROUP = 5

#: By default an address is said to have a spread with this chance of being wrong.
ERROR_RATE = 0.001

# Ports that do not come again are told by their remainder: compact, and no claim about ways.
_REMAINDERS = 16


def are_flows(ports: Sequence[int]) -> bool:
    """Whether the source ports of samples are a few that came again and again."""
    distinct = len(set(ports))
    return distinct <= MOST_PORTS and len(ports) >= distinct * SMALLEST_GROUP > 0


def port_rows(ports: Sequence[int], wall_ns: Sequence[int], wire_us: Sequence[int]) -> list[dict[str, Any]]:
    """Samples by bucket, lowest first: ``[{bucket, samples, median_us, wire_us}]``; without samples none.

    The arguments have an entry a sample each. bucket is the source port where they are flows, see are_flows(), and else
    its remainder by 16. median_us is the median wall time and wire_us the median wire time, in microseconds.
    """
    flows = are_flows(ports)
    samples: dict[int, list[tuple[int, int]]] = {}
    for port, wall, wire in zip(ports, wall_ns, wire_us):
        samples.setdefault(port if flows else port % _REMAINDERS, []).append((wall, wire))
    return [
        {
            "bucket": bucket,
            "samples": len(times),
            "median_us": round(median(sorted(wall for wall, _wire in times)) / 1_000, 3),
            "wire_us": round(median(sorted(wire for _wall, wire in times)), 3),
        }
        for bucket, times in sorted(samples.items())
    ]


def port_spread(
    ports: Sequence[int], times_us: Sequence[float], error_rate: float = ERROR_RATE
) -> dict[str, Any] | None:
    """Whether the times from some source ports differ by more than chance; None unless the ports are flows.

    The arguments have an entry a sample each. Shape: ``{ports, samples, h, p_value, explained, spread_us,
    beyond_chance}``. p_value is the chance of an H of Kruskal and Wallis at least as large were all ports alike,
    beyond_chance that it is at most error_rate. explained is the share of the variance of ranks that the ports explain
    (epsilon squared, H / (n - 1); Tomczak and Tomczak 2014), spread_us the largest median less the smallest. With
    thousands of samples a spread can be beyond chance and yet too small to matter, so look at both.

    Ports with fewer than SMALLEST_GROUP samples are left out; None with fewer than two left. Ports must have been taken
    in turn, in an order drawn anew each time round: then a drift touches all of them alike.
    """
    if not are_flows(ports):
        return None
    return spread_of(_grouped(ports, times_us), error_rate)


def _grouped(ports: Sequence[int], times_us: Sequence[float]) -> dict[int, list[float]]:
    groups: dict[int, list[float]] = {}
    for port, time_us in zip(ports, times_us):
        groups.setdefault(port, []).append(time_us)
    return groups


def spread_of(groups: Mapping[int, Sequence[float]], error_rate: float = ERROR_RATE) -> dict[str, Any] | None:
    """port_spread() of times that are grouped already."""
    large = [sorted(group) for group in groups.values() if len(group) >= SMALLEST_GROUP]
    tested = kruskal_wallis(large)
    if tested is None:
        return None
    h, p_value = tested
    count = sum(len(group) for group in large)
    medians = [median(group) for group in large]
    return {
        "ports": len(large),
        "samples": count,
        "h": round(h, 3),
        "p_value": p_value,
        "explained": round(h / (count - 1), 4),
        "spread_us": round(max(medians) - min(medians), 3),
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

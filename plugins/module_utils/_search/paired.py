# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: whether a newcomer is better than the sitting champion, both measured again in alternation.

Pure functions on plain values: no clock, no network, no Ansible. Two short probes, one from each, make a pair; they
follow each other at once, and who goes first changes from pair to pair (A B B A), so that a drift of the time of day
touches both alike and cancels over two pairs.

The test is the sign test on the pairs (Conover, "Practical Nonparametric Statistics", section 3.4): were both
equally good, each would be lower in a pair with a chance of at most one half, whatever the distribution, so that the
number of pairs won is binomial. A pair that was not won (a tie, or no figure) speaks for the champion. Where who goes
first matters, half of the pairs favour the newcomer as much as the other half the champion, and the number won is less
spread than that (Hoeffding, "On the Distribution of the Number of Successes in Independent Trials", 1956).

The interval of the median difference belongs to the test (David and Nagaraja, "Order Statistics", section 7.1): the
newcomer is better if and only if the whole interval lies below zero. One pair may be lost to a burst of noise, however
large.
"""

from __future__ import annotations

import math
import statistics
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from .criteria import number
from .figures import (
    complete_addresses,
    endpoint_named,
    nearest,
)

#: Pairs of a comparison. With eight, one may be lost: 9 of 256 sequences of wins and losses have at most one loss.
PAIRS = 8

#: Highest chance that an equally good newcomer is called better; that of 8 pairs is 9/256 (3.5 %).
ERROR_RATE = 0.05

#: Handshakes of each address in one short probe: half a second at the default rate, so that a burst spoils few of them.
BLOCK_SAMPLES = 100

#: Who is measured first in the pairs, in turn: champion, newcomer, newcomer, champion.
ORDER: tuple[tuple[str, str], ...] = (("champion", "newcomer"), ("newcomer", "champion"))

Difference = Optional[float]


@dataclass(frozen=True)
class Comparison:
    """What the pairs say of newcomer minus champion, in microseconds; below zero the newcomer is better.

    C(won) of C(pairs) were won by the newcomer. C(difference_us) is the median over the pairs that have one, and
    C(low_us) to C(high_us) its interval, each bound wrong with a chance of at most C(error_rate); None stands for a
    bound that the pairs cannot give. C(decided) says that further pairs could not change C(better).
    """

    pairs: int
    won: int
    difference_us: float | None
    low_us: float | None
    high_us: float | None
    error_rate: float
    better: bool
    decided: bool


def most_losses(pairs: int, error_rate: float = ERROR_RATE) -> int:
    """Most pairs that a better newcomer may lose: the largest k with P(binomial(pairs, 1/2) <= k) <= error_rate.

    -1 when even winning all of them proves too little. Raises ValueError for fewer than one pair.
    """
    if pairs < 1:
        raise ValueError(f"a comparison needs at least one pair, not {pairs}")
    total, losses = 0, -1
    for count in range(pairs + 1):
        total += math.comb(pairs, count)
        if total > error_rate * 2**pairs:
            break
        losses = count
    return losses


def error_of(pairs: int, losses: int) -> float:
    """Chance that one of two equals loses at most so many of the pairs; 0 for a negative number."""
    return sum(math.comb(pairs, count) for count in range(losses + 1)) / 2**pairs


def pair_order(number: int) -> tuple[str, str]:
    """Who is measured first and second in a pair, by its number from 0."""
    return ORDER[number % len(ORDER)]


def turn_times_s(first_s: float, turn_s: float, pair_s: float) -> dict[str, list[float]]:
    """When each of the two is to measure, by C(champion) and C(newcomer), in seconds of the clock of C(first_s).

    The two turns of a pair follow each other at once, C(turn_s) each, and a pair begins C(pair_s) after the last one.
    Raises ValueError when a pair is shorter than its turns.
    """
    if pair_s < 2 * turn_s:
        raise ValueError(f"a pair of {pair_s} s has no room for two turns of {turn_s} s")
    times_s: dict[str, list[float]] = {who: [] for who in ORDER[0]}
    for pair in range(PAIRS):
        for place, who in enumerate(pair_order(pair)):
            times_s[who].append(first_s + pair * pair_s + place * turn_s)
    return times_s


def compare(differences_us: Sequence[Difference], planned: int = PAIRS, error_rate: float = ERROR_RATE) -> Comparison:
    """Judge the differences (newcomer minus champion, one for each pair so far, None for a pair without figures).

    With fewer than C(planned) pairs the missing ones count as lost, so that stopping once C(decided) holds gives
    the verdict of all of them and the stated error stays what it is. Raises ValueError for more than were planned.
    """
    if len(differences_us) > planned:
        raise ValueError(f"{len(differences_us)} pairs are more than the {planned} that were planned")
    allowed = most_losses(planned, error_rate)
    known = [each for each in differences_us if each is not None and math.isfinite(each)]
    won = sum(each < 0 for each in known)
    lost = len(differences_us) - won
    better = planned - won <= allowed
    # The bounds of all planned pairs: those without a difference may lie anywhere, so they widen it on both sides.
    missing = planned - len(known)
    ordered = sorted(known)
    return Comparison(
        pairs=len(differences_us),
        won=won,
        difference_us=statistics.median(known) if known else None,
        low_us=_bound(ordered, allowed - missing),
        high_us=_bound(ordered[::-1], allowed - missing),
        error_rate=error_of(planned, allowed),
        better=better,
        decided=better or lost > allowed or len(differences_us) == planned,
    )


def paired_figures(
    probes: Mapping[str, t.Any], *, endpoint: str, metric: str, statistic: str, samples: int
) -> dict[str, float | None]:
    """The figures of a pair, C({champion_us, newcomer_us}), from its two probes by C(champion) and C(newcomer).

    Each is the lowest C(statistic) over the addresses of which both completed exactly so many handshakes, so that both
    have equally many chances of a low one; None where there is no such address.
    """
    rows = {who: endpoint_named(probe, endpoint) or {} for who, probe in probes.items()}
    complete = [{str(each["address"]) for each in complete_addresses(row, samples)} for row in rows.values()]
    common = set.intersection(*complete) if complete else set()
    figures: dict[str, float | None] = {}
    for who, row in rows.items():
        kept = [each for each in row.get("addresses") or [] if str(each.get("address")) in common]
        found = nearest({"addresses": kept}, metric, samples, statistic)
        figures[f"{who}_us"] = None if found is None else found["figure_us"]
    return figures


def addresses_to_compare(champion: Mapping[str, t.Any], newcomer: Mapping[str, t.Any], endpoint: str) -> list[str]:
    """The addresses of an endpoint that are best for either, from entries in the shape of a champion; sorted.

    Each is measured from both, so that neither has more addresses, and with them more chances, than the other.
    """
    found: set[str] = set()
    for entry in (champion, newcomer):
        rows = [row for row in entry.get("best_addresses") or [] if row.get("endpoint") == endpoint]
        found.update(str(row[key]["address"]) for row in rows for key in ("best_median", "best") if row.get(key))
        if entry.get("address"):
            found.add(str(entry["address"]))
    return sorted(found)


def differences_us(confirm: Mapping[str, t.Any]) -> list[Difference]:
    """Newcomer minus champion of each of the C(pairs) of a confirmation; None where either has no usable figure."""
    return [_difference_us(pair) for pair in confirm.get("pairs") or []][:PAIRS]


def _difference_us(pair: Mapping[str, t.Any]) -> Difference:
    newcomer_us, champion_us = number(pair.get("newcomer_us")), number(pair.get("champion_us"))
    if newcomer_us is None or champion_us is None or min(newcomer_us, champion_us) <= 0:
        return None
    # Figures have three decimals; what a subtraction adds to them is no measurement.
    return round(newcomer_us - champion_us, 3)


def _bound(ordered: Sequence[float], index: int) -> float | None:
    return ordered[index] if 0 <= index < len(ordered) else None

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Intervals at any confidence: order statistics of any quantile, Student's t, and whether more of something was lost.

Private to this collection: it may change in any release. Pure functions on plain numbers, standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Optional

from .._statistics import bin_width_us

Ranks = tuple[Optional[int], Optional[int]]

# A binomial count is further than this many deviations, and this much, from its mean less often than 1 in 10^20.
_FAR_DEVIATIONS, _FAR = 12, 40


@lru_cache(maxsize=1_024)
def quantile_ranks(count: int, probability: float, error: float) -> Ranks:
    """Ranks (from 1) of the samples that bound a quantile, each bound wrong with a chance of at most error.

    The number of samples at or below the quantile is binomial(count, probability) whatever the distribution (David and
    Nagaraja, "Order Statistics", section 7.1). None stands for a bound that so few samples can't give. Neighbouring
    samples must be independent for the error to hold. Raises ValueError for what is no probability.
    """
    if not 0 < probability < 1 or not 0 < error < 1:
        raise ValueError(f"a quantile and an error lie between 0 and 1, unlike {probability} and {error}")
    low = _steps_within(count, probability, error)
    high = _steps_within(count, 1 - probability, error)
    return low or None, count + 1 - high if high else None


def _steps_within(count: int, probability: float, error: float) -> int:
    """Largest j with P(binomial(count, probability) < j) <= error."""
    mean = count * probability
    rank = max(math.floor(mean - _FAR_DEVIATIONS * math.sqrt(mean * (1 - probability)) - _FAR), 0)
    below = 0.0
    while rank <= count:
        below += math.exp(_log_binomial(count, rank, probability))
        if below > error:
            return rank
        rank += 1
    return count


def _log_binomial(count: int, rank: int, probability: float) -> float:
    return _log_choose(count, rank) + rank * math.log(probability) + (count - rank) * math.log1p(-probability)


def _log_choose(count: int, chosen: int) -> float:
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)


def interval_of(ordered: Sequence[float], probability: float, error: float) -> tuple[float, float] | None:
    """Bounds of a quantile of samples that are sorted, each wrong with at most that chance; None with too few."""
    low, high = quantile_ranks(len(ordered), probability, error)
    if low is None or high is None:
        return None
    return ordered[low - 1], ordered[high - 1]


def histogram_interval_us(
    histogram: Mapping[str, Sequence[int]], probability: float, error: float
) -> tuple[float, float] | None:
    """The same from a histogram of _statistics, rounded outwards to the edges of its bins; in microseconds."""
    low, high = quantile_ranks(sum(histogram["count"]), probability, error)
    if low is None or high is None:
        return None
    high_edge_us = _edge_at(histogram, high)
    return float(_edge_at(histogram, low)), float(high_edge_us + bin_width_us(high_edge_us))


def _edge_at(histogram: Mapping[str, Sequence[int]], rank: int) -> int:
    passed = 0
    for edge_us, count in zip(histogram["edge_us"], histogram["count"]):
        passed += count
        if passed >= rank:
            return edge_us
    raise ValueError(f"the histogram has {passed} samples, and not {rank}")


def t_tail(value: float, freedom: int) -> float:
    """P(T > value) of Student's t with whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan2(value, math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    series = 0.0
    for step in range(2 + odd, freedom + 1, 2):
        series += term
        term *= cosine * cosine * (step - 1) / step
    central = (angle + math.sin(angle) * series) * 2 / math.pi if odd else math.sin(angle) * series
    return (1 - central) / 2


@lru_cache(maxsize=256)
def t_quantile(error: float, freedom: int) -> float:
    """The value that Student's t exceeds with a chance of error (below one half). Raises ValueError otherwise."""
    if not 0 < error < 0.5 or freedom < 1:
        raise ValueError(f"no quantile for an error of {error} and {freedom} degrees of freedom")
    low, high = 0.0, 1.0
    while t_tail(high, freedom) > error:
        low, high = high, high * 2
    for _halving in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, freedom) > error else (low, middle)
    return high


def more_lost(lost_before: int, tried_before: int, lost_after: int, tried_after: int) -> float:
    """Chance of at least so many losses after, were they shared out at random (Fisher's exact test, one-sided)."""
    lost = lost_before + lost_after
    tried = tried_before + tried_after
    ways = _log_choose(tried, lost)
    return math.fsum(
        math.exp(_log_choose(tried_after, each) + _log_choose(tried_before, lost - each) - ways)
        for each in range(max(lost_after, lost - tried_before), min(lost, tried_after) + 1)
    )

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Order statistics of latency samples: quantiles, the median's confidence interval, histograms.

Private to this collection: it may change in any release. Pure functions on plain numbers, standard library only,
because the probe runs them on the instance that it measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

# Below this the binomial tail is summed exactly; above it the normal approximation gives the same ranks or, now and
# then, ranks that are one further out (tests compare the two), and costs nothing.
EXACT_UP_TO = 1_000

# The 0.975 quantile of the standard normal distribution, for a two-sided interval of 95 %.
Z_975 = 1.959963984540054

# Histogram bins are 1 us wide below 2 * BINS_PER_OCTAVE us, then BINS_PER_OCTAVE to each doubling.
BINS_PER_OCTAVE = 32


def quantile(ordered: Sequence[float], probability: float) -> float:
    """Quantile of samples that are sorted in ascending order.

    Definition 7 of Hyndman and Fan, "Sample Quantiles in Statistical Packages" (1996): linear interpolation at rank
    ``(n - 1) * probability`` counted from 0. It is the default of NumPy and R, and ``statistics.quantiles`` with
    ``method='inclusive'``, so that 0 gives the minimum, 0.5 the usual median and 1 the maximum.

    Raises ValueError without samples or with a probability outside 0 to 1.
    """
    if not ordered:
        raise ValueError("a quantile needs at least one sample")
    if not 0 <= probability <= 1:
        raise ValueError(f"a probability lies between 0 and 1, not {probability}")
    rank = (len(ordered) - 1) * probability
    below = math.floor(rank)
    fraction = rank - below
    if fraction == 0:
        return ordered[below]
    low, high = ordered[below], ordered[below + 1]
    return low + (high - low) * fraction


def median(ordered: Sequence[float]) -> float:
    """Median of samples that are sorted in ascending order. Raises ValueError without samples."""
    return quantile(ordered, 0.5)


@lru_cache(maxsize=1_024)
def median_ranks(count: int) -> tuple[int, int]:
    """Ranks (from 1) of the two samples that bound the median with a confidence of at least 95 %.

    The number of samples below the true median is binomial(count, 1/2) whatever the distribution, so the interval
    from rank j to rank count + 1 - j misses it with a probability of 2 * P(B < j) (Conover, "Practical Nonparametric
    Statistics", section 3.2; David and Nagaraja, "Order Statistics", section 7.1). The largest j with P(B < j) of at
    most 2.5 % is taken, so neighbouring samples must be independent for the 95 % to hold.

    With fewer than 6 samples no interval reaches 95 %: the ranks are then 1 and ``count``, the widest there is.
    Raises ValueError when count is below 1.
    """
    if count < 1:
        raise ValueError(f"the ranks of a median need at least one sample, not {count}")
    low = _exact_low_rank(count) if count <= EXACT_UP_TO else _normal_low_rank(count)
    return low, count + 1 - low


def _exact_low_rank(count: int) -> int:
    """Largest j with P(binomial(count, 1/2) < j) <= 0.025, at least 1; whole numbers only, so nothing is rounded."""
    limit = 2**count
    term, below, rank = 1, 0, 0
    while (below + term) * 40 <= limit:
        below += term
        term = term * (count - rank) // (rank + 1)
        rank += 1
    return max(rank, 1)


def _normal_low_rank(count: int) -> int:
    """The same from the normal approximation with continuity correction, rounded outwards."""
    return max(math.floor((count + 1 - Z_975 * math.sqrt(count)) / 2), 1)


def median_interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Bounds of the median with a confidence of at least 95 % (see median_ranks). Raises ValueError without samples."""
    low, high = median_ranks(len(ordered))
    return ordered[low - 1], ordered[high - 1]


def summarise_us(samples: Iterable[float], *, per_us: int = 1) -> dict[str, float]:
    """Summary of latencies that are given in units of which per_us make a microsecond (1,000 for nanoseconds).

    Shape: ``{best_us, p0_1_us, median_us, median_low_us, median_high_us, p99_us, p99_9_us}``, in microseconds, rounded
    to a nanosecond. median_low_us and median_high_us bound the median with a confidence of at least 95 %.
    Raises ValueError without samples.
    """
    ordered = sorted(samples)
    low, high = median_interval(ordered)
    summary = {
        "best_us": ordered[0],
        "p0_1_us": quantile(ordered, 0.001),
        "median_us": median(ordered),
        "median_low_us": low,
        "median_high_us": high,
        "p99_us": quantile(ordered, 0.99),
        "p99_9_us": quantile(ordered, 0.999),
    }
    return {name: round(value / per_us, 3) for name, value in summary.items()}


def bin_edge_us(latency_us: int) -> int:
    """Lower edge, in whole microseconds, of the bin that a latency falls in. Raises ValueError when it is negative."""
    if latency_us < 0:
        raise ValueError(f"a latency is not negative, unlike {latency_us}")
    shift = _bin_shift(latency_us)
    return latency_us >> shift << shift


def bin_width_us(edge_us: int) -> int:
    """Width, in microseconds, of the bin that begins at edge_us."""
    return 1 << _bin_shift(edge_us)


def _bin_shift(latency_us: int) -> int:
    return max(latency_us.bit_length() - BINS_PER_OCTAVE.bit_length(), 0)


def histogram_us(samples: Iterable[int], *, per_us: int = 1) -> dict[str, list[int]]:
    """Log-linear histogram of latencies given in units of which per_us make a microsecond.

    Shape: ``{edge_us: [...], count: [...]}``, two lists of one length. Bins without a sample are left out; a bin covers
    edge_us up to, not including, edge_us + bin_width_us(edge_us). The scheme is HdrHistogram's: an error of at most
    1 in 32 (3.1 %) above 64 us, 1 us below it.
    """
    counts: dict[int, int] = {}
    for sample in samples:
        edge_us = bin_edge_us(sample // per_us)
        counts[edge_us] = counts.get(edge_us, 0) + 1
    return _as_lists(counts)


def merge_histograms(histograms: Iterable[Mapping[str, Sequence[int]]]) -> dict[str, list[int]]:
    """Histogram of all samples of several histograms; the same as a histogram made of all samples at once."""
    counts: dict[int, int] = {}
    for one in histograms:
        for edge_us, count in zip(one["edge_us"], one["count"]):
            counts[edge_us] = counts.get(edge_us, 0) + count
    return _as_lists(counts)


def _as_lists(counts: Mapping[int, int]) -> dict[str, list[int]]:
    edges_us = sorted(counts)
    return {"edge_us": edges_us, "count": [counts[edge_us] for edge_us in edges_us]}

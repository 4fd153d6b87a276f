# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties of the order statistics."""

from __future__ import annotations

import math
import random
import statistics
from fractions import Fraction

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils import _statistics
from ansible_collections.lowlatency.ec2.plugins.module_utils._statistics import (
    BINS_PER_OCTAVE,
    bin_edge_us,
    bin_width_us,
    histogram_us,
    median,
    median_interval,
    median_ranks,
    merge_histograms,
    quantile,
    summarise_us,
)
from hypothesis import given
from hypothesis import strategies as st

latencies_ns = st.integers(min_value=0, max_value=10_000_000_000)
samples_ns = st.lists(latencies_ns, min_size=1, max_size=300)
SUMMARY_KEYS = ["best_us", "p0_1_us", "median_us", "median_low_us", "median_high_us", "p99_us", "p99_9_us"]


def chance_below(count: int, rank: int) -> Fraction:
    """P(binomial(count, 1/2) < rank), exactly."""
    return Fraction(sum(math.comb(count, k) for k in range(rank)), 2**count)


@given(st.lists(latencies_ns, min_size=2, max_size=300))
def test_quantiles_are_those_of_the_statistics_module(samples: list[int]) -> None:
    ordered = sorted(samples)
    expected = statistics.quantiles(ordered, n=1000, method="inclusive")
    for per_mille in (1, 10, 250, 500, 990, 999):
        assert quantile(ordered, per_mille / 1000) == pytest.approx(expected[per_mille - 1], rel=1e-9)


@given(samples_ns)
def test_median_is_that_of_the_statistics_module(samples: list[int]) -> None:
    assert median(sorted(samples)) == statistics.median(samples)


@given(samples_ns, st.floats(0, 1), st.floats(0, 1))
def test_quantiles_grow_with_their_probability(samples: list[int], one: float, other: float) -> None:
    ordered = sorted(samples)
    low, high = sorted((one, other))
    assert ordered[0] <= quantile(ordered, low) <= quantile(ordered, high) <= ordered[-1]


@pytest.mark.parametrize("probability", [-0.001, 1.001, math.nan])
def test_quantile_refuses_what_is_no_probability(probability: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile([1.0], probability)


def test_nothing_has_no_quantile() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        quantile([], 0.5)


@pytest.mark.parametrize(
    ("count", "ranks"),
    [
        (1, (1, 1)),
        (5, (1, 5)),
        (6, (1, 6)),
        (9, (2, 8)),
        (100, (40, 61)),
        (200, (86, 115)),
        (1_000, (469, 532)),
        (10_000, (4_902, 5_099)),
    ],
)
def test_ranks_of_known_counts(count: int, ranks: tuple[int, int]) -> None:
    assert median_ranks(count) == ranks


@given(st.integers(min_value=6, max_value=600))
def test_exact_ranks_are_the_tightest_that_reach_95_percent(count: int) -> None:
    low, high = median_ranks(count)
    assert low + high == count + 1
    assert 1 - 2 * chance_below(count, low) >= Fraction(95, 100)
    assert 1 - 2 * chance_below(count, low + 1) < Fraction(95, 100)


@given(st.integers(min_value=_statistics.EXACT_UP_TO + 1, max_value=4_000))
def test_normal_ranks_are_the_exact_ones_or_one_further_out(count: int) -> None:
    assert median_ranks(count)[0] - _statistics._exact_low_rank(count) in (0, -1)


def test_ranks_need_a_sample() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        median_ranks(0)


@pytest.mark.parametrize("count", [15, 100, 1_500])
@pytest.mark.parametrize(
    ("name", "true_median"), [("exponential", math.log(2)), ("heavy_tail", 2 ** (1 / 1.5)), ("normal", 0.0)]
)
def test_interval_holds_the_true_median_as_often_as_it_says(name: str, true_median: float, count: int) -> None:
    chance = random.Random(f"{name} {count}")
    draw = {
        "exponential": lambda: chance.expovariate(1),
        "heavy_tail": lambda: chance.paretovariate(1.5),
        "normal": lambda: chance.gauss(0, 1),
    }[name]
    trials = 400
    held = 0
    for _trial in range(trials):
        low, high = median_interval(sorted(draw() for _sample in range(count)))
        held += low <= true_median <= high
    expected = float(1 - 2 * chance_below(count, median_ranks(count)[0]))
    four_sigma = 4 * math.sqrt(expected * (1 - expected) / trials)
    assert held / trials == pytest.approx(expected, abs=four_sigma)


@given(samples_ns)
def test_summary_is_ordered_and_in_microseconds(samples: list[int]) -> None:
    summary = summarise_us(samples, per_us=1_000)
    assert list(summary) == SUMMARY_KEYS
    assert summary["best_us"] == round(min(samples) / 1_000, 3)
    assert summary["median_us"] == round(statistics.median(samples) / 1_000, 3)
    assert summary["best_us"] <= summary["p0_1_us"] <= summary["median_us"]
    assert summary["median_low_us"] <= summary["median_us"] <= summary["median_high_us"]
    assert summary["median_us"] <= summary["p99_us"] <= summary["p99_9_us"] <= max(samples) / 1_000 + 0.001


@given(samples_ns)
def test_summary_does_not_depend_on_the_order_of_samples(samples: list[int]) -> None:
    assert summarise_us(samples) == summarise_us(reversed(samples))


def test_nothing_has_no_summary() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        summarise_us([])


@given(st.integers(min_value=0, max_value=2**40))
def test_a_bin_holds_its_latency_and_is_fine_enough(latency_us: int) -> None:
    edge_us = bin_edge_us(latency_us)
    width_us = bin_width_us(edge_us)
    assert edge_us <= latency_us < edge_us + width_us
    assert width_us <= max(1, edge_us / BINS_PER_OCTAVE)
    assert bin_edge_us(edge_us) == edge_us
    assert bin_edge_us(edge_us + width_us) == edge_us + width_us, "the next bin begins where this one ends"


def test_a_latency_is_not_negative() -> None:
    with pytest.raises(ValueError, match="not negative"):
        bin_edge_us(-1)


def test_histogram_leaves_empty_bins_out() -> None:
    assert histogram_us([98_100, 98_900, 99_999, 130_000, 63_999], per_us=1_000) == {
        "edge_us": [63, 98, 128],
        "count": [1, 3, 1],
    }


@given(st.lists(latencies_ns, max_size=300))
def test_histogram_counts_every_sample_once(samples: list[int]) -> None:
    histogram = histogram_us(samples, per_us=1_000)
    assert sum(histogram["count"]) == len(samples)
    assert len(histogram["edge_us"]) == len(histogram["count"])
    assert histogram["edge_us"] == sorted(set(histogram["edge_us"]))
    assert all(count > 0 for count in histogram["count"])


@given(st.lists(st.lists(latencies_ns, max_size=60), max_size=6))
def test_merged_histograms_are_the_histogram_of_everything(parts: list[list[int]]) -> None:
    merged = merge_histograms(histogram_us(part, per_us=1_000) for part in parts)
    assert merged == histogram_us([sample for part in parts for sample in part], per_us=1_000)
    assert merge_histograms([merged]) == merged
    assert merge_histograms([merged, histogram_us([])]) == merged

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Intervals against exact sums, tables and simulation."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.intervals import (
    histogram_interval_us,
    interval_of,
    more_lost,
    quantile_ranks,
    t_quantile,
    t_tail,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._statistics import (
    bin_edge_us,
    bin_width_us,
    histogram_us,
    median_ranks,
)
from hypothesis import given
from hypothesis import strategies as st


def chance_below(count: int, probability: Fraction, rank: int) -> Fraction:
    """P(binomial(count, probability) < rank), exactly."""
    return sum(
        (math.comb(count, k) * probability**k * (1 - probability) ** (count - k) for k in range(rank)), Fraction(0)
    )


@given(
    st.integers(1, 150),
    st.sampled_from([Fraction(1, 2), Fraction(9, 10), Fraction(99, 100)]),
    st.sampled_from([Fraction(1, 40), Fraction(1, 1_000), Fraction(1, 20_000)]),
)
def test_ranks_are_the_tightest_whose_bounds_err_no_more_than_told(
    count: int, probability: Fraction, error: Fraction
) -> None:
    low, high = quantile_ranks(count, float(probability), float(error))
    # The quantile lies below rank j when fewer than j samples are at or below it.
    assert chance_below(count, probability, low or 0) <= error
    assert chance_below(count, probability, (low or 0) + 1) > error
    last = count + 1 if high is None else high
    assert 1 - chance_below(count, probability, last) <= error
    assert 1 - chance_below(count, probability, last - 1) > error


@pytest.mark.parametrize("count", [6, 100, 1_000, 10_000, 100_000])
def test_ranks_of_the_median_agree_with_those_of_the_summary(count: int) -> None:
    low, high = quantile_ranks(count, 0.5, 0.025)
    assert low is not None and high is not None
    expected = median_ranks(count)
    assert abs(low - expected[0]) <= 1 and abs(high - expected[1]) <= 1


@pytest.mark.parametrize(("count", "bounded"), [(14, False), (15, True)])
def test_the_median_of_blocks_needs_fifteen_at_the_gates_usual_error(count: int, bounded: bool) -> None:
    assert (interval_of(range(count), 0.5, 0.001 / 12 / 2) is not None) is bounded


@pytest.mark.parametrize(("probability", "error"), [(0, 0.1), (1, 0.1), (0.5, 0), (0.5, 1)])
def test_what_is_no_probability_is_refused(probability: float, error: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile_ranks(10, probability, error)


@given(st.lists(st.integers(0, 5_000), min_size=800, max_size=1_200))
def test_bounds_from_a_histogram_enclose_those_of_the_samples(samples: list[int]) -> None:
    exact = interval_of(sorted(samples), 0.5, 0.001)
    binned = histogram_interval_us(histogram_us(samples), 0.5, 0.001)
    assert exact is not None and binned is not None
    assert binned[0] == bin_edge_us(int(exact[0]))
    assert binned[1] == bin_edge_us(int(exact[1])) + bin_width_us(bin_edge_us(int(exact[1])))


def test_too_few_samples_have_no_bounds() -> None:
    assert interval_of([1.0, 2.0], 0.99, 0.025) is None
    assert histogram_interval_us(histogram_us([1] * 300), 0.99, 0.025) is None
    assert histogram_interval_us({"edge_us": [], "count": []}, 0.5, 0.025) is None


# Abramowitz and Stegun, table 26.10 (one-sided).
@pytest.mark.parametrize(
    ("error", "freedom", "expected"),
    [
        (0.25, 1, 1.000),
        (0.025, 1, 12.706),
        (0.025, 2, 4.303),
        (0.005, 3, 5.841),
        (0.0005, 2, 31.598),
        (0.0005, 4, 8.610),
        (0.0005, 10, 4.587),
        (0.0005, 30, 3.646),
        (0.05, 120, 1.658),
    ],
)
def test_student_t_is_that_of_the_tables(error: float, freedom: int, expected: float) -> None:
    assert t_quantile(error, freedom) == pytest.approx(expected, abs=0.0015 * max(1, expected / 5))
    assert t_tail(t_quantile(error, freedom), freedom) == pytest.approx(error, rel=1e-6)


@pytest.mark.parametrize(("error", "freedom"), [(0, 3), (0.5, 3), (0.1, 0)])
def test_student_t_refuses_what_has_no_quantile(error: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        t_quantile(error, freedom)


@given(st.integers(0, 12), st.integers(1, 30), st.integers(0, 12), st.integers(1, 30))
def test_losses_are_fishers_exact_test(lost_before: int, kept_before: int, lost_after: int, kept_after: int) -> None:
    before, after = lost_before + kept_before, lost_after + kept_after
    lost = lost_before + lost_after
    expected = sum(
        Fraction(math.comb(after, k) * math.comb(before, lost - k), math.comb(before + after, lost))
        for k in range(lost_after, min(lost, after) + 1)
    )
    assert more_lost(lost_before, before, lost_after, after) == pytest.approx(float(expected), rel=1e-9)


def test_a_lost_answer_is_chance_and_many_are_not() -> None:
    assert more_lost(0, 10_000, 1, 10_000) == pytest.approx(0.5)
    assert more_lost(0, 10_000, 0, 10_000) == 1
    assert more_lost(0, 10_000, 3, 3) < 1e-10
    assert more_lost(0, 10_000, 30, 10_000) < 1e-8

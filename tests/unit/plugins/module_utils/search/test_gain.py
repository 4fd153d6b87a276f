# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What another round is expected to gain: the estimate, its interval, and where a search by it stops."""

from __future__ import annotations

import math
import random
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.gain import (
    GAPS,
    erlang_quantile,
    expected_gain,
    figures_of,
    not_worth_it,
    terms_of,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.rounds import limits

unhurried = settings(deadline=None)
figure = st.integers(50_000, 400_000).map(lambda nanoseconds: nanoseconds / 1000)
known = st.lists(figure, min_size=2, max_size=40)
mixed = st.lists(st.none() | figure, min_size=2, max_size=40)


@pytest.mark.parametrize("figures", [[], [120.0], [None, None], [120.0, None, None], [None, 120.0]])
def test_without_two_figures_nothing_is_expected(figures: list[float | None]) -> None:
    assert expected_gain(figures) is None
    assert not_worth_it(figures, 1, 1e9) is None


def test_distances_at_the_bottom_weigh_by_their_rank() -> None:
    gain = expected_gain([110.0, 100.0, 130.0, 101.0])
    assert gain is not None
    # Of 100, 101, 110, 130: one times 1, two times 9, three times 20, their mean over five.
    assert gain.expected_us == pytest.approx((1 + 18 + 60) / 3 / 5)
    assert (gain.rounds, gain.since) == (4, 2)


def test_with_a_candidate_that_ended_early_the_steps_between_records_count() -> None:
    gain = expected_gain([130.0, None, 110.0, 120.0, 100.0, None])
    assert gain is not None
    assert gain.expected_us == pytest.approx((20 + 10) / 2 / 7)
    assert (gain.rounds, gain.since) == (6, 1)


@unhurried
@given(figures=mixed)
def test_the_interval_holds_the_expectation(figures: list[float | None]) -> None:
    gain = expected_gain(figures)
    assume(gain is not None and gain.expected_us > 0)
    assert gain is not None
    assert 0 < gain.low_us < gain.expected_us < gain.high_us
    assert 0 <= gain.since < gain.rounds == len(figures)


@unhurried
@given(figures=mixed, by=st.integers(-40, 40), times=st.integers(1, 8))
def test_units_and_origin_do_not_matter(figures: list[float | None], by: int, times: int) -> None:
    gain = expected_gain(figures)
    moved = expected_gain([None if each is None else each * times + by for each in figures])
    assert (gain is None) == (moved is None)
    if gain is not None and moved is not None:
        assert moved.expected_us == pytest.approx(gain.expected_us * times, abs=1e-6)
        assert moved.since == gain.since


@unhurried
@given(figures=known, order=st.randoms())
def test_where_all_are_known_their_order_does_not_matter(figures: list[float], order: random.Random) -> None:
    shuffled = list(figures)
    order.shuffle(shuffled)
    gain, other = expected_gain(figures), expected_gain(shuffled)
    assert gain is not None and other is not None
    assert other.expected_us == gain.expected_us


@unhurried
@given(figures=st.lists(figure, min_size=GAPS + 1, max_size=40), above=st.integers(0, 100))
def test_a_candidate_that_gains_nothing_lets_less_be_expected(figures: list[float], above: int) -> None:
    before, after = expected_gain(figures), expected_gain([*figures, max(figures) + above])
    assert before is not None and after is not None
    assert after.expected_us <= before.expected_us
    assert after.since == before.since + 1


@unhurried
@given(figures=mixed)
def test_a_candidate_that_ended_early_is_no_gain(figures: list[float | None]) -> None:
    censored = [*figures, None]
    before, after = expected_gain(censored), expected_gain([*censored, None])
    assume(before is not None)
    assert before is not None and after is not None
    assert after.expected_us <= before.expected_us
    assert after.since == before.since + 1


@unhurried
@given(figures=mixed, patience=st.integers(1, 20), min_gain_us=st.integers(0, 50).map(float))
def test_it_is_worth_it_until_both_say_otherwise(
    figures: list[float | None], patience: int, min_gain_us: float
) -> None:
    found = not_worth_it(figures, patience, min_gain_us)
    assert not_worth_it(figures, None, min_gain_us) is None
    assert not_worth_it(figures, patience, None) is None
    if found is not None:
        assert found.since >= patience and found.expected_us < min_gain_us
        assert not_worth_it(figures, found.since + 1, min_gain_us) is None
        assert not_worth_it(figures, patience, found.expected_us) is None


@pytest.mark.parametrize(
    ("shape", "chance", "half_chi_squared"),
    # Chi-squared with twice as many degrees of freedom, from printed tables.
    [(1, 0.95, 5.991 / 2), (1, 0.05, 0.103 / 2), (4, 0.95, 15.507 / 2), (4, 0.05, 2.733 / 2), (10, 0.95, 31.410 / 2)],
)
def test_quantiles_are_those_of_the_tables(shape: int, chance: float, half_chi_squared: float) -> None:
    assert erlang_quantile(shape, chance) == pytest.approx(half_chi_squared, abs=6e-4)


def exponential_tail(draw: random.Random) -> float:
    """Below 200 the chance halves every 14 microseconds: the tail that the estimate is exact for."""
    return 200.0 - draw.expovariate(1 / 20.0)


@pytest.mark.parametrize("censored", [False, True])
def test_the_interval_holds_the_truth_as_often_as_it_says(censored: bool) -> None:
    """Under an exponential tail, 20 candidates each: the true expectation lies in it in nine searches of ten."""
    draw = random.Random(20)
    truth_us = 20.0 / 21
    held = expectations = 0.0
    searches = 0
    while searches < 2000:
        figures = [exponential_tail(draw) for _round in range(20)]
        gain = expected_gain(_as_adaptive(figures) if censored else figures)
        if gain is None:
            continue
        searches += 1
        held += gain.low_us <= truth_us <= gain.high_us
        expectations += gain.expected_us
    assert held / searches == pytest.approx(0.9, abs=0.02)
    # A large step makes further records rarer, so that the steps of a search are rather too large than too small.
    most = 1.3 if censored else 1.05
    assert 0.95 < expectations / searches / truth_us < most


def _as_adaptive(figures: list[float]) -> list[float | None]:
    """What an adaptive probe leaves of them: figures of records, and of the rest that they are none."""
    best = math.inf
    seen: list[float | None] = []
    for each in figures:
        seen.append(each if each < best else None)
        best = min(best, each)
    return seen


class Rack(t.NamedTuple):
    """A distribution of racks, and what its next draw gains on average below a figure."""

    draw: t.Callable[[random.Random], float]
    gain_below_us: t.Callable[[float], float]


def _normal_gain(figure_us: float, mean: float = 200.0, sd: float = 30.0) -> float:
    z = (figure_us - mean) / sd
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return sd * (z * (1 + math.erf(z / math.sqrt(2))) / 2 + density)


RACKS = {
    "exponential": Rack(exponential_tail, lambda x: 20.0 * math.exp((x - 200.0) / 20.0)),
    "uniform": Rack(lambda draw: draw.uniform(100, 200), lambda x: max(x - 100, 0.0) ** 2 / 200),
    "normal": Rack(lambda draw: draw.gauss(200, 30), _normal_gain),
}


def _searched(rack: Rack, over: t.Callable[[list[float]], bool], cost_us: float) -> tuple[float, float]:
    """The mean over searches that end when C(over) says so: rounds, and the best with each round at its price."""
    rounds = total_us = 0.0
    searches = 200
    for seed in range(searches):
        draw = random.Random(seed)
        figures: list[float] = []
        while len(figures) < 300:
            figures.append(rack.draw(draw))
            if over(figures):
                break
        rounds += len(figures)
        total_us += min(figures) + cost_us * len(figures)
    return rounds / searches, total_us / searches


#: By the price of a round in microseconds: how many rounds' price it may lose to the rule that knows the distribution.
LOST_ROUNDS = {0.5: 30, 2.0: 10}


@pytest.mark.parametrize("cost_us", LOST_ROUNDS)
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("name", RACKS)
def test_it_stops_near_the_optimal_point(name: str, adaptive: bool, cost_us: float) -> None:
    """Against the rule that knows the distribution: stop at a figure that a round improves by less than it costs.

    That rule is optimal for independent draws that can be recalled (M. Weitzman, Optimal Search for the Best
    Alternative, 1979). Ours has to learn the distribution from the same rounds.
    """
    rack = RACKS[name]

    def knowing(figures: list[float]) -> bool:
        return rack.gain_below_us(min(figures)) < cost_us

    def learning(figures: list[float]) -> bool:
        return not_worth_it(_as_adaptive(figures) if adaptive else figures, 3, cost_us) is not None

    optimal_rounds, optimal_us = _searched(rack, knowing, cost_us)
    rounds, ours_us = _searched(rack, learning, cost_us)
    # A tail with a floor, as the uniform one, makes it go on too long, and never stop too soon.
    assert 0.7 < rounds / optimal_rounds < 3.6
    assert (ours_us - optimal_us) / cost_us <= LOST_ROUNDS[cost_us]


def test_only_equal_terms_are_put_together() -> None:
    mine = limits()
    lines = [
        {"outcome": "measured", "terms": terms_of(mine), "figure_us": 120.0},
        {"outcome": "measured", "terms": terms_of(limits(samples=77)), "figure_us": 90.0},
        {"outcome": "measured", "terms": terms_of(limits(metric="wire")), "figure_us": 80.0},
        {"outcome": "failed", "terms": terms_of(mine), "figure_us": None},
        {"outcome": "lost"},
        {"outcome": "measured", "terms": terms_of(mine), "figure_us": None},
    ]
    assert figures_of(lines, mine) == [120.0, None]

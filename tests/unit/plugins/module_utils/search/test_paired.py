# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Comparisons in pairs: their error is what is stated, and what holds for all differences."""

from __future__ import annotations

import itertools
import math
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.paired import (
    ERROR_RATE,
    PAIRS,
    addresses_to_compare,
    compare,
    differences_us,
    error_of,
    most_losses,
    pair_order,
    paired_figures,
)
from hypothesis import assume, given
from hypothesis import strategies as st
from support.rounds import address, champion, confirm, endpoint, probe

figures_us = st.integers(-80_000, 80_000).map(lambda nanoseconds: nanoseconds / 1000)
differences = st.lists(st.none() | figures_us, max_size=PAIRS)
known = st.lists(figures_us, min_size=PAIRS, max_size=PAIRS)


def test_the_stated_error_is_the_share_of_sign_sequences_that_an_equal_newcomer_wins_by() -> None:
    won = sum(compare([float(sign) for sign in signs]).better for signs in itertools.product((-1, 1), repeat=PAIRS))
    assert won / 2**PAIRS == compare([]).error_rate == error_of(PAIRS, most_losses(PAIRS)) == 9 / 256
    assert compare([]).error_rate <= ERROR_RATE


@given(st.integers(1, 40), st.floats(0.0001, 0.49))
def test_the_losses_that_are_allowed_are_the_most_within_the_error(pairs: int, error_rate: float) -> None:
    losses = most_losses(pairs, error_rate)
    assert error_of(pairs, losses) <= error_rate < error_of(pairs, losses + 1)


def test_too_few_pairs_prove_nothing() -> None:
    assert most_losses(4) == -1
    assert not compare([-10.0] * 4, planned=4).better
    with pytest.raises(ValueError, match="at least one pair"):
        most_losses(0)
    with pytest.raises(ValueError, match="9 pairs are more than the 8"):
        compare([-1.0] * 9)


@given(differences)
def test_the_newcomer_is_better_if_and_only_if_the_interval_lies_below_zero(found: list[float | None]) -> None:
    judged = compare(found)
    assert judged.better == (judged.high_us is not None and judged.high_us < 0)
    assert judged.pairs == len(found) and 0 <= judged.won <= judged.pairs
    bounds = [judged.low_us, judged.difference_us, judged.high_us]
    present = [each for each in bounds if each is not None]
    assert present == sorted(present)


@given(known)
def test_of_two_at_most_one_is_better(found: list[float]) -> None:
    assert not (compare(found).better and compare([-each for each in found]).better)


@given(differences, st.integers(0, PAIRS - 1), st.floats(0, 1000))
def test_a_lower_newcomer_is_never_judged_worse(found: list[float | None], which: int, less_us: float) -> None:
    assume(which < len(found))
    changed = list(found)
    changed[which] = (found[which] or 0.0) - less_us
    assert compare(found).better <= compare(changed).better


@given(differences, st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_does_not_matter(found: list[float | None], random: t.Any) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)
    assert compare(shuffled) == compare(found)


@given(st.lists(st.none() | figures_us, min_size=PAIRS, max_size=PAIRS))
def test_stopping_once_it_is_decided_changes_no_verdict(found: list[float | None]) -> None:
    whole = compare(found)
    for count in range(PAIRS + 1):
        part = compare(found[:count])
        if part.decided:
            assert part.better == whole.better
            return
    raise AssertionError("all pairs decide")


@given(known)
def test_a_pair_without_figures_is_one_that_was_not_won(found: list[float]) -> None:
    blank: list[float | None] = [None, *found[1:]]
    tied: list[float | None] = [0.0, *found[1:]]
    assert compare(blank).better == compare(tied).better
    assert compare(blank).won == compare(tied).won


def test_ties_speak_for_the_champion() -> None:
    assert not compare([0.0] * PAIRS).better
    assert compare([0.0] * 2).decided


@given(st.floats(-1000, 1000), st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_a_steady_drift_crowns_nobody(slope_us: float, start_us: list[float]) -> None:
    # Both are equal, and all rises by slope_us from each short probe to the next: A B B A A B B A ...
    found: list[float | None] = []
    for number in range(PAIRS):
        times = dict(zip(pair_order(number), (2 * number, 2 * number + 1)))
        found.append(slope_us * (times["newcomer"] - times["champion"]))
    assert not compare(found).better


@given(st.floats(0, 1))
def test_an_effect_of_who_goes_first_does_not_raise_the_error(chance: float) -> None:
    # The newcomer wins the pairs that it begins with this chance, and those that the champion begins with the rest.
    won: dict[int, float] = {0: 1.0}
    for number in range(PAIRS):
        each = chance if pair_order(number)[0] == "newcomer" else 1 - chance
        won = {
            count: won.get(count, 0.0) * (1 - each) + won.get(count - 1, 0.0) * each for count in range(max(won) + 2)
        }
    wrong = sum(share for count, share in won.items() if compare([-1.0] * count + [1.0] * (PAIRS - count)).better)
    assert wrong <= 9 / 256 + 1e-12


def test_the_order_of_the_short_probes() -> None:
    order = [who for number in range(4) for who in pair_order(number)]
    letters = "".join({"champion": "A", "newcomer": "B"}[who] for who in order)
    assert letters == "ABBAABBA"


# -- from probes to pairs -------------------------------------------------------------------------------

TERMS: dict[str, t.Any] = {"endpoint": "fstream-mm", "metric": "wall", "statistic": "best", "samples": 100}


def short(*rows: dict[str, t.Any]) -> dict[str, t.Any]:
    return probe([endpoint("fstream-mm", rows)], 100)


def test_a_pair_holds_the_lowest_over_the_addresses_that_both_measured_in_full() -> None:
    seat = short(address("a", 120, 140, 100), address("b", 130, 150, 100), address("c", 90, 110, 99))
    new = short(address("a", 115, 140, 100), address("b", 110, 150, 99), address("c", 80, 110, 100))
    found = paired_figures({"champion": seat, "newcomer": new}, **TERMS)
    assert found == {"champion_us": 120, "newcomer_us": 115}


def test_a_pair_is_by_the_metric_and_the_statistic_of_the_search() -> None:
    both = {"champion": short(address("a", 120, 140, 100)), "newcomer": short(address("a", 110, 140, 100))}
    assert paired_figures(both, **{**TERMS, "metric": "wire"}) == {"champion_us": 103, "newcomer_us": 93}
    assert paired_figures(both, **{**TERMS, "statistic": "p0_1"}) == {"champion_us": 120.4, "newcomer_us": 110.4}


@pytest.mark.parametrize("silent", [short(), short(address("a", samples=0)), short(address("b", 50, 60, 100)), {}])
def test_without_a_common_address_a_pair_has_no_figures(silent: dict[str, t.Any]) -> None:
    found = paired_figures({"champion": short(address("a", 120, 140, 100)), "newcomer": silent}, **TERMS)
    assert found == {"champion_us": None, "newcomer_us": None}
    assert differences_us({"pairs": [found]}) == [None]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 0.0, -3.0, "90", True])
def test_a_figure_that_is_no_measurement_wins_no_pair(value: t.Any) -> None:
    pairs = [{"champion_us": 150.0, "newcomer_us": value}]
    assert differences_us({"pairs": pairs}) == [None]


def test_differences_are_as_exact_as_figures() -> None:
    found = differences_us(confirm([-0.1, 10.0]))
    assert found == [-0.1, 10.0] and not math.isclose(149.9 - 150.0, -0.1, rel_tol=1e-15)
    assert differences_us({}) == []
    assert len(differences_us(confirm([-1.0] * 50))) == PAIRS


def test_the_addresses_of_both_are_measured_from_both() -> None:
    seat, new = champion(142.5), champion(110)
    new["best_addresses"][-1]["best"]["address"] = "198.19.3.9"
    assert addresses_to_compare(seat, new, "fstream-mm") == ["198.19.3.1", "198.19.3.9"]
    assert addresses_to_compare({"address": "a"}, {}, "fstream-mm") == ["a"]

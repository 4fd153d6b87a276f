# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ends a search beside what it found: money, a request, and a further round that is not worth it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.filter.champion import champion_verdict
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.criteria import Limits, LimitsError
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import figure_seen
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.stopping import STOP_REASONS, Outcome, stop
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rounds import adaptive_probe, champion, confirm, limits, rack_probe, round_result

unhurried = settings(deadline=None)
UNMET = {"median_us": 1, "best_us": 1}
#: Eight candidates of which the last six gained nothing, and hardly differ at the bottom.
FLAT: list[float | None] = [120.0, 100.0, 100.4, 100.2, 100.3, 100.1, 100.5, 100.6]

NEW_KEYS = ("under_way_usd", "next_usd", "patience", "min_gain_us", "figures_us")
amounts = st.none() | st.integers(0, 1000).map(float)


@st.composite
def some_limits(draw: st.DrawFn) -> dict[str, t.Any]:
    """The limits of a round of any search, with or without a budget and patience."""
    return limits(
        stop_requested=draw(st.booleans()),
        max_usd=draw(amounts),
        spent_usd=draw(amounts),
        under_way_usd=draw(amounts),
        next_usd=draw(amounts),
        max_hours=draw(st.none() | st.integers(0, 3)),
        elapsed_s=draw(st.integers(0, 20_000).map(float)),
        round_number=draw(st.integers(1, 10)),
        failures_in_row=draw(st.integers(0, 5)),
        patience=draw(st.none() | st.integers(1, 5)),
        min_gain_us=draw(st.none() | st.integers(0, 20).map(float)),
        figures_us=draw(st.lists(st.none() | st.integers(90, 200).map(float), max_size=12)),
    )


outcomes = st.builds(
    Outcome,
    st.sampled_from(["measured", "no_capacity", "failed", "none"]),
    st.sampled_from(["champion", "rejected", "failed"]),
    figure_us=st.none() | st.integers(90, 200).map(float),
)


@unhurried
@given(asked=some_limits(), found=outcomes)
def test_a_search_ends_for_the_first_reason_that_holds(asked: dict[str, t.Any], found: Outcome) -> None:
    held = Limits.from_dict(asked)
    end = stop(held, found)
    assert end.reason is None or end.reason in STOP_REASONS
    if held.stop_requested:
        assert end.reason == "requested"
    if end.reason in (None, "rounds", "failures", "budget"):
        assert end.told is None
    if end.reason == "gain":
        assert held.patience is not None and end.told is not None and "search_min_gain_us" in end.told


@unhurried
@given(asked=some_limits(), found=outcomes)
def test_more_money_never_ends_a_search(asked: dict[str, t.Any], found: Outcome) -> None:
    before = stop(Limits.from_dict(asked), found).reason
    richer = stop(Limits.from_dict({**asked, "max_usd": None}), found).reason
    assert richer == before or before == "usd"


@unhurried
@given(asked=some_limits())
def test_a_round_and_the_filter_agree_on_any_limits(asked: dict[str, t.Any]) -> None:
    for made in (
        round_result(best_us=150, criteria=UNMET, round_limits=asked),
        round_result("none", criteria=UNMET, round_limits=asked),
    ):
        assert champion_verdict(made, UNMET) == made["verdict"]


def test_the_reason_of_spent_money_names_all_sums() -> None:
    asked = limits(max_usd=5, spent_usd=4.5, under_way_usd=0.25, next_usd=0.3)
    told = round_result("none", round_limits=asked)["verdict"]
    assert told["stop_reason"] == "usd"
    assert told["reason"] == (
        "nothing was launched in this round; 4.50 USD are spent, 0.2500 USD are under way,"
        " another round would take about 0.3000 USD; search_max_usd is 5"
    )


def test_the_reason_of_a_small_gain_has_both_numbers() -> None:
    asked = limits(patience=3, min_gain_us=1.0, figures_us=FLAT)
    told = round_result("none", round_limits=asked)["verdict"]
    assert told["stop_reason"] == "gain"
    assert "is expected to gain 0.04µs (0.02 to 0.09), less than search_min_gain_us: 1" in told["reason"]
    assert "the last 6 of 8 candidates gained nothing" in told["reason"]


@pytest.mark.parametrize(
    ("changed", "ends"),
    [({}, True), ({"patience": 7}, False), ({"min_gain_us": 0.01}, False), ({"patience": None}, False)],
)
def test_patience_and_a_small_gain_are_both_needed(changed: dict[str, t.Any], ends: bool) -> None:
    asked = limits(**{"patience": 4, "min_gain_us": 1.0, "figures_us": FLAT, **changed})
    assert round_result("none", round_limits=asked)["verdict"]["search_over"] is ends


def test_the_candidate_that_is_judged_counts_among_those_seen() -> None:
    asked = limits(patience=7, min_gain_us=1.0, figures_us=FLAT)
    worse = round_result(best_us=130, criteria=UNMET, champion_before=champion(100), round_limits=asked)
    assert worse["verdict"]["stop_reason"] == "gain"
    better = round_result(best_us=90, criteria=UNMET, champion_before=champion(100), round_limits=asked)
    assert better["verdict"]["stop_reason"] is None


def test_a_figure_that_did_not_hold_in_pairs_is_no_gain() -> None:
    asked = limits(confirm=True)
    given_: dict[str, t.Any] = {"outcome": "measured", "champion_before": champion(142.5), "limits": asked}
    assert figure_seen(**given_, probe=rack_probe(130), is_champion=True) == 130
    assert figure_seen(**given_, probe=rack_probe(130), is_champion=False) is None
    assert figure_seen(**given_, probe=rack_probe(150), is_champion=False) == 150
    assert figure_seen(**given_, probe=adaptive_probe(130), is_champion=False) is None
    assert figure_seen(**{**given_, "outcome": "failed"}, probe=None, is_champion=False) is None


def test_results_from_before_there_were_budgets_are_judged_as_they_were() -> None:
    old = {key: value for key, value in limits(max_usd=None).items() if key not in NEW_KEYS}
    made = round_result(round_limits=old, confirm=confirm([-10.0] * 8))
    assert champion_verdict(made, {}) == made["verdict"]
    assert made["verdict"]["stop_reason"] is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"patience": 0}, "limits.patience: 0 is not a whole number from 1 on"),
        ({"patience": 2.5}, "limits.patience: 2.5 is not"),
        ({"patience": True}, "limits.patience: True is not"),
        ({"min_gain_us": -1}, "limits.min_gain_us: -1 is not a number from 0 on"),
        ({"next_usd": float("inf")}, "limits.next_usd: inf is not"),
        ({"figures_us": "many"}, "limits.figures_us: 'many' is not a list"),
        ({"figures_us": [1.0, "x"]}, "limits.figures_us: 'x' is neither a number nor null"),
    ],
)
def test_limits_that_cannot_be_used(changed: dict[str, t.Any], told: str) -> None:
    with pytest.raises(LimitsError) as error:
        Limits.from_dict(limits(**changed))
    assert str(error.value).startswith(told)

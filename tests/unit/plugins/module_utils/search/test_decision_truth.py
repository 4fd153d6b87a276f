# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verdicts and what stands behind them: equal counts, the chance of a fluke, the comparison in pairs."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import (
    ChampionMismatch,
    needs_confirmation,
    next_champion,
    verdict,
)
from support.rounds import (
    adaptive_probe,
    address,
    candidate,
    champion,
    confirm,
    endpoint,
    limits,
    probe,
    rack_probe,
)

UNMET: dict[str, t.Any] = {"median_us": 1, "best_us": 1}
SILENT_PRIMARY = probe(
    [endpoint("fstream-mm", [address("b", samples=0)]), endpoint("fapi-mm", [address("a", 100, 160)])]
)


def judged(outcome: str = "measured", **more: t.Any) -> dict[str, t.Any]:
    """The verdict on a round whose champion's seat is empty and whose criteria nothing meets."""
    given: dict[str, t.Any] = {"probe": rack_probe(150), "criteria": UNMET, "champion_before": None, "limits": limits()}
    return verdict(outcome=outcome, **{**given, **more})


# -- counts, early ends and luck -----------------------------------------------------------------------


def test_a_champion_names_an_address_of_an_endpoint_that_ended_early_with_its_count() -> None:
    short = {**address("c", 90, 100, samples=60), "ended": {"how": "above", "by": "best", "samples": 60}}
    seen = probe([endpoint("fstream-mm", [address("b", 120, 130)]), endpoint("fapi-mm", [short])])
    kept = next_champion(candidate=candidate(), probe=seen, limits=limits(), round_id="r", since="2025-07-22")
    assert [(row["pin"], row["best_median"]["samples"]) for row in kept["best_addresses"]] == [("b", 500), ("c", 60)]


def test_a_verdict_tells_the_samples_behind_the_figure_that_decided() -> None:
    assert judged()["samples"] == 500
    assert judged(probe=SILENT_PRIMARY)["samples"] is None
    assert judged(probe=SILENT_PRIMARY, criteria={})["samples"] == 500
    assert judged("failed", probe=None)["samples"] is None


@pytest.mark.parametrize("samples", [100, 499, 501, 10_000])
def test_a_minimum_over_another_count_is_compared_with_nothing(samples: int) -> None:
    other = probe([endpoint("fstream-mm", [address("a", 50, 60, samples=samples)])])
    found = judged(probe=other, champion_before=champion(), criteria={})
    assert (found["kind"], found["samples"]) == ("rejected", None)


def test_a_candidate_that_was_found_beaten_is_rejected_and_says_how_many_handshakes_told_so() -> None:
    found = judged(probe=adaptive_probe(130, samples=60), champion_before=champion(142.5))
    assert found["kind"] == "rejected"
    assert found["reason"] == (
        "480 handshakes with fstream-mm were enough (8 beaten): it cannot beat 142.50µs of i-0abc123"
    )


@pytest.mark.parametrize(("how", "sits"), [("undecided", True), ("below", True), ("beaten", False)])
def test_what_ended_early_without_being_beaten_is_no_champion_either(how: str, sits: bool) -> None:
    found = judged(probe=adaptive_probe(130, how), champion_before=champion() if sits else None)
    assert (found["kind"], found["is_champion"]) == ("rejected", False)
    assert found["reason"].endswith(f"(8 {how}): no address completed 500, so it cannot be champion")


def test_what_ended_early_meets_no_criteria_however_low() -> None:
    found = judged(probe=adaptive_probe(60, "below"), criteria={"median_us": 5000, "best_us": 5000})
    assert (found["kind"], found["is_anchor"], found["fluke_chance"]) == ("rejected", False, None)


def lucky(hits: int, addresses: int = 24, samples: int = 500) -> dict[str, t.Any]:
    """A probe with one address that has so many handshakes at 90 us; all others lie at 200 us and above."""
    one = address("lucky", 90, 200, samples)
    one["histogram"]["wall"] = {"edge_us": [90, 200], "count": [hits, samples - hits]}
    rest = [address(f"a{number:03}", 200, 220, samples) for number in range(addresses - 1)]
    return probe([endpoint("fstream-mm", [one, *rest])], samples)


def test_a_single_hit_among_many_addresses_is_a_fluke_almost_surely() -> None:
    found = judged(probe=lucky(1), criteria={})
    assert found["kind"] == "anchor"
    # 1 - (1 - 1/500)^(500 * 24), the chance of a single such handshake anywhere when each address has one in 500.
    assert found["fluke_chance"] == pytest.approx(1.0, abs=1e-9)
    assert (
        "best 90.00µs of fstream-mm (lucky, 500 samples) meets 102µs with 1 hit, a fluke with a chance of 1;"
        in (found["reason"])
    )


def test_more_hits_make_a_fluke_unlikely_and_more_addresses_likely() -> None:
    chances = [judged(probe=lucky(hits), criteria={})["fluke_chance"] for hits in (1, 2, 3, 5, 10)]
    assert chances == sorted(chances, reverse=True) and len(set(chances)) == 5
    assert chances[-1] < 1e-5
    alone = judged(probe=lucky(3, addresses=1), criteria={})["fluke_chance"]
    # The upper tail of Poisson's distribution with a mean of 1, from 3 on, is 8.0 %.
    assert alone == pytest.approx(0.080, abs=0.001)
    assert alone < judged(probe=lucky(3, addresses=24), criteria={})["fluke_chance"]


def test_a_pass_by_the_median_is_no_fluke() -> None:
    assert judged(probe=rack_probe(101), criteria={})["fluke_chance"] is None
    assert judged(probe=rack_probe(150), criteria={})["fluke_chance"] is None
    both = probe([endpoint("fstream-mm", [address("lucky", 60, 300), address("steady", 119, 121)])])
    found = judged(probe=both, criteria={})
    assert found["fluke_chance"] is None
    assert found["reason"].startswith("median 121.00µs of fstream-mm (steady, 500 samples) and 1 more meets 122µs")


def test_best_min_hits_refuses_the_fluke() -> None:
    assert judged(probe=lucky(4), criteria={"best_min_hits": 5})["kind"] == "champion"
    assert judged(probe=lucky(5), criteria={"best_min_hits": 5})["kind"] == "anchor"


def test_the_quantile_as_statistic_ranks_and_judges() -> None:
    held = limits(statistic="p0_1")
    lucky_one = address("lucky", 90, 200)
    lucky_one["wall"]["p0_1_us"] = 150.0
    found = judged(probe=probe([endpoint("fstream-mm", [lucky_one])]), criteria={}, limits=held)
    assert (found["kind"], found["is_anchor"]) == ("champion", False)
    assert found["reason"] == "0.1 % quantile 150.00µs of fstream-mm (lucky, 500 samples) is the first"
    sat = champion(142.5, statistic="p0_1")
    assert sat["p0_1_us"] == 142.9
    for p0_1_us, wins in ((142.8, True), (142.9, False)):
        lucky_one["wall"]["p0_1_us"] = p0_1_us
        one = probe([endpoint("fstream-mm", [lucky_one])])
        assert judged(probe=one, champion_before=sat, limits=held)["is_champion"] is wins


def test_a_champion_from_before_there_was_a_statistic_counts_as_best() -> None:
    old = champion(142.5)
    for key in ("statistic", "connect", "probe_mode", "p0_1_us"):
        del old[key]
    assert judged(probe=rack_probe(142.4), champion_before=old)["is_champion"]
    with pytest.raises(ChampionMismatch, match=r"500 samples \(best, blocking, exhaustive\)"):
        judged(champion_before=old, limits=limits(statistic="p0_1"))


# -- the comparison in pairs ----------------------------------------------------------------------------

WINS = [-10.0] * 8


def challenged(found: dict[str, t.Any] | None, **more: t.Any) -> dict[str, t.Any]:
    """The verdict on a candidate that is better by its figures, with this comparison in pairs."""
    given = {"champion_before": champion(), "limits": limits(confirm=True), "instance_id": "i-014fc6ce2eed063b7"}
    return judged(probe=rack_probe(130), confirm=found, **{**given, **more})


def test_a_comparison_that_is_won_promotes_and_says_so() -> None:
    found = challenged(confirm(WINS))
    assert (found["kind"], found["replaces"]) == ("champion", "i-0abc123")
    assert found["reason"] == (
        "best 130.00µs of fstream-mm (198.19.3.1, 500 samples) beats 142.50µs of i-0abc123;"
        " in alternation it was lower in 8 of 8 pairs (-10.00µs in the median)"
    )


NOT_CONFIRMED: dict[str, tuple[t.Any, str]] = {
    "none": (None, "it was not compared with that champion in pairs, so that one stays"),
    "of another champion": (confirm(WINS, champion="i-9"), "it was not compared with that champion in pairs"),
    "lost": (confirm([5.0] * 8), "lower in 0 of 8 pairs (+5.00µs in the median), which does not prove it better"),
    "too close": (confirm([-1.0] * 6 + [1.0] * 2), "lower in 6 of 8 pairs (-1.00µs in the median), which does not"),
    "cut short": (confirm(WINS[:6]), "lower in 6 of 6 pairs"),
    "without figures": (confirm([None] * 8), "lower in 0 of 8 pairs, which does not prove it better"),
    "broken off": (
        confirm(WINS, outcome="broke_off", failure={"who": "champion", "code": "SshTimeout", "message": "x"}),
        "the comparison in pairs broke off at the champion (SshTimeout), so the champion stays",
    ),
}


@pytest.mark.parametrize("name", NOT_CONFIRMED)
def test_a_promotion_that_is_not_confirmed_is_none(name: str) -> None:
    given, told = NOT_CONFIRMED[name]
    found = challenged(given)
    assert (found["kind"], found["is_champion"], found["replaces"]) == ("rejected", False, None)
    assert told in found["reason"]


@pytest.mark.parametrize(
    "changed", [{"newcomer": "i-9"}, {"metric": "wire"}, {"statistic": "p0_1"}, {"endpoint": "fapi-mm"}]
)
def test_a_comparison_of_others_or_on_other_terms_confirms_nothing(changed: dict[str, t.Any]) -> None:
    assert not challenged(confirm(WINS, **changed))["is_champion"]


def test_a_comparison_crowns_no_candidate_whose_figures_are_no_better() -> None:
    assert not challenged(confirm(WINS), champion_before=champion(120))["is_champion"]


def test_an_empty_seat_needs_no_comparison() -> None:
    assert challenged(None, champion_before=None)["is_champion"]
    assert challenged(None, limits=limits(confirm=False))["is_champion"]


def test_an_anchor_is_one_whatever_the_comparison_says() -> None:
    found = challenged(confirm([5.0] * 8), criteria={"median_us": 5000})
    assert (found["kind"], found["is_anchor"], found["is_champion"]) == ("anchor", True, False)


def needed(**more: t.Any) -> bool:
    given: dict[str, t.Any] = {
        "outcome": "measured",
        "probe": rack_probe(130),
        "champion_before": champion(),
        "limits": limits(confirm=True),
        "instance_id": "i-1",
        "confirm": None,
    }
    return needs_confirmation(**{**given, **more})


def test_a_comparison_is_needed_only_where_the_seat_hangs_on_it() -> None:
    assert needed()
    assert needed(confirm=confirm(WINS, champion="i-9"))
    assert not needed(confirm=confirm([5.0] * 8))
    assert not needed(champion_before=None)
    assert not needed(champion_before=champion(130))
    assert not needed(probe=rack_probe(142.5))
    assert not needed(probe=adaptive_probe(100))
    assert not needed(limits=limits())
    assert not needed(outcome="failed", probe=None)
    assert not needed(instance_id="i-0abc123")
    with pytest.raises(ChampionMismatch):
        needed(champion_before=champion(metric="wire"))

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading a probe's figures: what counts, what is lowest, what meets the criteria."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.criteria import Criteria
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.figures import (
    anchor_hits,
    best_addresses,
    counts_of,
    ended_early,
    hits_at_most,
    measured_addresses,
    nearest,
)
from support.rounds import SAMPLES, address, endpoint, probe, rack_probe, silent_probe

NOTHING_BY_MEDIAN = {"median_us": None}


def where(found: dict[str, t.Any] | None) -> tuple[str, float] | None:
    return None if found is None else (found["address"], found["figure_us"])


def test_nearest_takes_the_lowest_handshake_by_the_metric() -> None:
    one = endpoint("fstream-mm", [address("a", 110, 130), address("b", 100, 140)])
    assert nearest(one, "wall") == {
        "address": "b",
        "figure_us": 100,
        "best_us": 100,
        "p0_1_us": 100.4,
        "samples": SAMPLES,
    }
    assert where(nearest(one, "wire")) == ("b", 83)


def test_nearest_goes_by_the_statistic() -> None:
    lucky = address("lucky", 90, 160)
    lucky["wall"]["p0_1_us"] = 120.0
    one = endpoint("fstream-mm", [lucky, address("steady", 100, 140)])
    assert where(nearest(one, "wall")) == ("lucky", 90)
    assert where(nearest(one, "wall", statistic="p0_1")) == ("steady", 100.4)


def test_equal_figures_go_to_the_address_that_sorts_first() -> None:
    forwards = [address("a", 100, 130), address("b", 100, 130)]
    assert nearest(endpoint("x", forwards), "wall") == nearest(endpoint("x", forwards[::-1]), "wall")


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 0.0, -1.0, "90", True])
def test_a_figure_that_cannot_be_trusted_is_missing(value: t.Any) -> None:
    both = endpoint("x", [address("a", 90, 110), address("b", 150, 170)])
    both["addresses"][0]["wall"]["best_us"] = value
    assert where(nearest(both, "wall")) == ("b", 150)
    del both["addresses"][1]
    assert nearest(both, "wall") is None


@pytest.mark.parametrize("samples", [499, 501])
def test_an_address_of_another_count_counts_for_nothing(samples: int) -> None:
    other = address("a", 50, 60, samples=samples)
    assert where(nearest(endpoint("x", [other, address("b", 150, 170)]), "wall", 500)) == ("b", 150)
    assert anchor_hits(probe([endpoint("x", [other])]), Criteria(), "wall", 500) == []


def test_no_endpoint_and_a_silent_one_have_no_nearest() -> None:
    assert nearest(None, "wall") is None
    assert nearest(silent_probe()["endpoints"][0], "wall") is None


def early(name: str, how: str, samples: int, **more: t.Any) -> dict[str, t.Any]:
    return {**address(name, samples=samples, **more), "ended": {"how": how, "by": "champion", "samples": samples}}


def test_ended_early_counts_what_an_adaptive_probe_cut_short() -> None:
    rows = [
        early("a", "beaten", 120),
        early("b", "beaten", 80),
        early("c", "dropped", 0),
        early("d", "full", SAMPLES),
        address("e"),
    ]
    assert ended_early(endpoint("x", rows), SAMPLES) == {"handshakes": 200, "how": {"beaten": 2, "dropped": 1}}
    assert ended_early(endpoint("x", [address("e")]), SAMPLES) == {"handshakes": 0, "how": {}}
    assert ended_early(None, SAMPLES) == {"handshakes": 0, "how": {}}


def test_what_ended_early_is_shown_only_where_nothing_is_whole() -> None:
    short = early("a", "above", 60, best_us=90, median_us=100)
    mixed = probe([endpoint("x", [short, address("b", 100, 120)]), endpoint("y", [short])])
    rows = best_addresses(mixed, "wall", SAMPLES)
    assert [row["best"]["address"] for row in rows] == ["b", "a"]
    assert [row["best"]["samples"] for row in rows] == [SAMPLES, 60]


def test_measured_addresses_leave_silent_ones_out() -> None:
    rows = [address("a"), address("b", samples=3), address("c", samples=0)]
    assert measured_addresses(probe([endpoint("x", rows), endpoint("y", rows[:1])])) == 3
    assert measured_addresses(None) == 0


def test_best_addresses_give_median_best_and_the_one_to_pin() -> None:
    rows = best_addresses(probe([endpoint("x", [address("a", 90, 140), address("b", 100, 120)]), endpoint("y", [])]))
    assert rows[0] == {
        "endpoint": "x",
        "host": "x.binance.com",
        "port": 443,
        "pin": "b",
        "best_median": {"address": "b", "wall_us": 120, "wire_us": 103, "samples": SAMPLES},
        "best": {"address": "a", "wall_us": 90, "wire_us": 73, "samples": SAMPLES},
    }
    assert (rows[1]["pin"], rows[1]["best_median"], rows[1]["best"]) == (None, None, None)


def test_best_addresses_by_wire_may_differ_from_wall() -> None:
    odd = address("a", 90, 200)
    odd["wire"]["median_us"] = 60.0
    one = probe([endpoint("x", [odd, address("b", 100, 120)])])
    assert [best_addresses(one, metric)[0]["pin"] for metric in ("wall", "wire")] == ["b", "a"]


def test_anchor_by_median_at_the_limit_and_not_above_it() -> None:
    for median_us, expected in ((122.0, ["median"]), (122.001, [])):
        one = probe([endpoint("fapi-mm", [address("a", 110, median_us)])])
        assert [hit["by"] for hit in anchor_hits(one, Criteria(), "wall")] == expected


def test_anchor_by_best_of_any_endpoint() -> None:
    one = probe([endpoint("fapi-mm", [address("a", 102, 160)]), endpoint("fstream-mm", [address("b", 150, 170)])])
    assert anchor_hits(one, Criteria(), "wall") == [
        {
            "endpoint": "fapi-mm",
            "address": "a",
            "median_us": 160,
            "best_us": 102,
            "p0_1_us": 102.4,
            "samples": SAMPLES,
            "hits": 1,
            "by": "best",
        }
    ]


def test_those_that_pass_by_their_median_come_first_and_the_lowest_of_them_before_all() -> None:
    found = anchor_hits(rack_probe(80), Criteria(), "wall")
    assert {hit["by"] for hit in found} == {"median"}
    assert [hit["median_us"] for hit in found] == sorted(hit["median_us"] for hit in found)
    mixed = probe([endpoint("x", [address("best", 60, 200), address("median", 119, 121)])])
    assert [hit["address"] for hit in anchor_hits(mixed, Criteria(), "wall")] == ["median", "best"]


def test_of_those_that_pass_by_their_best_the_most_hits_come_first() -> None:
    # The probe's bins from 100 to 102 hold half of the samples of the second, and all that is proven of the first.
    lucky, often = address("lucky", 60, 200), address("often", 100, 200)
    lucky["histogram"]["wall"]["count"] = [1, SAMPLES - 1]
    found = anchor_hits(probe([endpoint("x", [lucky, often])]), Criteria(), "wall")
    assert [(hit["address"], hit["hits"]) for hit in found] == [("often", 250), ("lucky", 1)]


def test_with_the_quantile_as_statistic_a_lucky_handshake_meets_no_limit() -> None:
    lucky = address("lucky", 90, 200)
    lucky["wall"]["p0_1_us"] = 150.0
    one = probe([endpoint("x", [lucky, address("steady", 101, 200)])])
    assert [hit["by"] for hit in anchor_hits(one, Criteria(), "wall")] == ["best", "best"]
    found = anchor_hits(one, Criteria(), "wall", statistic="p0_1")
    assert [(hit["address"], hit["by"]) for hit in found] == [("steady", "p0_1")]


@pytest.mark.parametrize(
    ("hits", "met"),
    [(1, True), (2, True), (250, True), (251, False)],
)
def test_best_min_hits_counts_handshakes_of_the_histogram(hits: int, met: bool) -> None:
    # 250 handshakes at 90 us, in the bin from 90 to 92, and 250 at 160 us.
    one = probe([endpoint("x", [address("a", 90, 160)])])
    criteria = Criteria.from_dict({**NOTHING_BY_MEDIAN, "best_us": 102, "best_min_hits": hits})
    assert bool(anchor_hits(one, criteria, "wall")) is met


def test_the_bin_that_holds_the_limit_is_left_out() -> None:
    one = address("a", 90.5, 160)
    # The bin from 90 to 92 may hold handshakes above 91, so only the best is proven.
    assert hits_at_most(one, "wall", 91.0) == 1
    assert hits_at_most(one, "wall", 92.0) == 250
    assert hits_at_most(one, "wall", 90.4) == 0


def test_the_probe_s_own_count_is_exact_where_a_bin_is_not() -> None:
    one = {**address("a", 90.5, 160), "hits": {"metric": "wall", "limit_us": 91, "count": 37}}
    assert hits_at_most(one, "wall", 91.0) == 37
    # It answers no other question.
    assert hits_at_most(one, "wall", 92.0) == 250
    assert hits_at_most(one, "wire", 91.0) == hits_at_most(address("a", 90.5, 160), "wire", 91.0)


def test_hits_are_counted_by_the_metric() -> None:
    one = address("a", 110, 160)
    assert (hits_at_most(one, "wall", 100), hits_at_most(one, "wire", 100)) == (0, 250)


def test_without_a_histogram_only_the_best_is_proven() -> None:
    one = address("a", 90, 100)
    del one["histogram"]
    assert hits_at_most(one, "wall", 102) == 1


def test_counts_sum_over_all_addresses() -> None:
    assert counts_of(silent_probe(addresses=2)) == {
        "addresses": 6,
        "handshakes": 0,
        "timeout": 18,
        "refused": 0,
        "reset": 0,
        "unreachable": 0,
        "other": 0,
        "retransmitted": 0,
    }
    assert counts_of(None) == {"addresses": 0, "handshakes": 0}

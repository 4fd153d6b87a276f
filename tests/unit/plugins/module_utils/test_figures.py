# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading a probe's figures: what counts, what is lowest, what meets the criteria."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._criteria import Criteria
from ansible_collections.lowlatency.ec2.plugins.module_utils._figures import (
    anchor_hits,
    best_addresses,
    best_of,
    counts_of,
    hits_at_most,
)
from support.rounds import address, endpoint, probe, rack_probe, silent_probe

NOTHING_BY_MEDIAN = {"median_us": None}


def test_best_of_takes_the_lowest_handshake_by_the_metric() -> None:
    one = endpoint("fstream-mm", [address("a", 110, 130), address("b", 100, 140)])
    assert best_of(one, "wall") == {"address": "b", "best_us": 100}
    assert best_of(one, "wire") == {"address": "b", "best_us": 83}


def test_equal_figures_go_to_the_address_that_sorts_first() -> None:
    forwards = [address("a", 100, 130), address("b", 100, 130)]
    assert best_of(endpoint("x", forwards), "wall") == best_of(endpoint("x", forwards[::-1]), "wall")


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 0.0, -1.0, "90", True])
def test_a_figure_that_cannot_be_trusted_is_missing(value: t.Any) -> None:
    both = endpoint("x", [address("a", 90, 110), address("b", 150, 170)])
    both["addresses"][0]["wall"]["best_us"] = value
    assert best_of(both, "wall") == {"address": "b", "best_us": 150}
    del both["addresses"][1]
    assert best_of(both, "wall") is None


def test_an_incomplete_address_counts_for_nothing() -> None:
    short = address("a", 50, 60, samples=499)
    assert best_of(endpoint("x", [short, address("b", 150, 170)]), "wall", 500) == {"address": "b", "best_us": 150}
    assert anchor_hits(probe([endpoint("x", [short])]), Criteria(), "wall", 500) == []


def test_no_endpoint_and_a_silent_one_have_no_best() -> None:
    assert best_of(None, "wall") is None
    assert best_of(silent_probe()["endpoints"][0], "wall") is None


def test_best_addresses_give_median_best_and_the_one_to_pin() -> None:
    rows = best_addresses(probe([endpoint("x", [address("a", 90, 140), address("b", 100, 120)]), endpoint("y", [])]))
    assert rows[0] == {
        "endpoint": "x",
        "host": "x.binance.com",
        "port": 443,
        "pin": "b",
        "best_median": {"address": "b", "wall_us": 120, "wire_us": 103},
        "best": {"address": "a", "wall_us": 90, "wire_us": 73},
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
        {"endpoint": "fapi-mm", "address": "a", "median_us": 160, "best_us": 102, "by": "best"}
    ]


def test_hits_come_lowest_best_first() -> None:
    found = anchor_hits(rack_probe(80), Criteria(), "wall")
    assert [hit["best_us"] for hit in found] == sorted(hit["best_us"] for hit in found)


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

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verdicts by example: who becomes champion, what is an anchor, when a search is over."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.criteria import CriteriaError, LimitsError
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import (
    ChampionMismatch,
    check_comparable,
    is_qualified,
    next_champion,
    verdict,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.stopping import failures_after
from support.rounds import (
    address,
    candidate,
    champion,
    endpoint,
    limits,
    probe,
    rack_probe,
    round_result,
    silent_probe,
)

UNMET: dict[str, t.Any] = {"median_us": 1, "best_us": 1}
KEYS = {
    "kind",
    "is_champion",
    "is_anchor",
    "replaces",
    "reason",
    "samples",
    "fluke_chance",
    "search_over",
    "stop_reason",
}


def judged(outcome: str = "measured", **more: t.Any) -> dict[str, t.Any]:
    """The verdict on a round whose champion's seat is empty and whose criteria nothing meets."""
    given: dict[str, t.Any] = {"probe": rack_probe(150), "criteria": UNMET, "champion_before": None, "limits": limits()}
    return verdict(outcome=outcome, **{**given, **more})


def test_the_first_probed_candidate_is_champion() -> None:
    found = judged()
    assert set(found) == KEYS
    assert (found["kind"], found["is_champion"], found["replaces"]) == ("champion", True, None)
    assert (found["search_over"], found["stop_reason"]) == (False, None)
    assert found["reason"] == "best 150.00µs of fstream-mm (198.19.3.1, 500 samples) is the first"


@pytest.mark.parametrize(("best_us", "wins"), [(142.49, True), (142.5, False), (142.51, False)])
def test_only_a_strictly_lower_best_beats_the_champion(best_us: float, wins: bool) -> None:
    found = judged(probe=rack_probe(best_us), champion_before=champion(142.5))
    assert found["is_champion"] is wins
    assert found["kind"] == ("champion" if wins else "rejected")
    assert found["replaces"] == ("i-0abc123" if wins else None)


def test_the_primary_endpoint_alone_decides_the_champion() -> None:
    one = probe([endpoint("fapi-mm", [address("a", 50, 60)]), endpoint("fstream-mm", [address("b", 150, 170)])])
    assert not judged(probe=one, champion_before=champion(142.5))["is_champion"]


def test_the_sitting_champion_judged_again_stays_and_replaces_nothing() -> None:
    found = judged(probe=rack_probe(142.5), champion_before=champion(142.5, "i-1"), instance_id="i-1")
    assert (found["is_champion"], found["replaces"]) == (True, None)


def test_an_anchor_can_replace_the_champion_and_ends_the_search() -> None:
    found = judged(probe=rack_probe(101), champion_before=champion(142.5), criteria={})
    assert (found["kind"], found["is_anchor"], found["is_champion"]) == ("anchor", True, True)
    assert (found["replaces"], found["stop_reason"]) == ("i-0abc123", "anchor")
    assert found["reason"].startswith("median 121.00µs of fstream-mm (198.19.3.1, 500 samples) meets 122µs; best")


def test_an_anchor_by_another_endpoint_need_not_be_champion() -> None:
    one = probe([endpoint("fapi-mm", [address("a", 100, 160)]), endpoint("fstream-mm", [address("b", 150, 170)])])
    found = judged(probe=one, champion_before=champion(142.5), criteria={})
    assert (found["kind"], found["is_champion"], found["replaces"]) == ("anchor", False, None)


def test_a_wire_search_judges_by_wire() -> None:
    wire = limits(metric="wire")
    found = judged(probe=rack_probe(115), limits=wire, criteria={})
    assert (
        "median 118.00µs of fstream-mm (198.19.3.1, 500 samples) and 1 more meets 122µs; best 98.00µs"
        in found["reason"]
    )


MISSING: dict[str, t.Any] = {
    "no such endpoint": probe([endpoint("fapi-mm", [address("a", 100, 160)])]),
    "no addresses": probe([endpoint("fstream-mm", []), endpoint("fapi-mm", [address("a", 100, 160)])]),
    "a silent primary": probe(
        [endpoint("fstream-mm", [address("b", samples=0)]), endpoint("fapi-mm", [address("a", 100, 160)])]
    ),
    "too few samples": probe([endpoint("fstream-mm", [address("a", 100, 160, samples=499)])]),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_primary_data_never_makes_a_champion(name: str) -> None:
    found = judged(probe=MISSING[name])
    assert (found["kind"], found["is_champion"]) == ("rejected", False)
    assert found["reason"] == "no address of fstream-mm completed 500 handshakes, so it cannot be champion"


def test_a_primary_without_figures_is_missing_too() -> None:
    for broken in ({"best_us": float("nan"), "median_us": 1.0}, {"best_us": None, "median_us": 1.0}, None):
        one = rack_probe(90, addresses=1)
        one["endpoints"][-1]["addresses"][0]["wall"] = broken
        assert not judged(probe=one)["is_champion"]


def test_no_answer_from_any_address_is_a_failure_with_counts() -> None:
    found = judged(probe=silent_probe(), criteria={})
    assert (found["kind"], found["is_champion"], found["is_anchor"]) == ("failed", False, False)
    assert found["reason"].startswith("no answer from any of 24 addresses (handshakes 0")
    assert "timeout 72" in found["reason"]


@pytest.mark.parametrize("nothing", [None, {}, {"endpoints": []}])
def test_a_measured_round_without_a_probe_failed(nothing: t.Any) -> None:
    assert judged(probe=nothing)["reason"] == "no answer from any of 0 addresses (handshakes 0)"


def test_no_capacity_and_failures_tell_step_code_and_message() -> None:
    failure = {"step": "launch", "code": "InsufficientInstanceCapacity", "message": "no candidate"}
    found = judged("no_capacity", probe=None, failure=failure)
    assert (found["kind"], found["reason"]) == ("no_capacity", "launch: InsufficientInstanceCapacity: no candidate")
    assert judged("failed", probe=None, failure=failure)["kind"] == "failed"
    assert judged("failed", probe=None)["reason"] == "the round failed without saying why"
    assert judged("no_capacity", probe=None)["reason"] == "no instance type had capacity"


def test_an_unknown_outcome_is_an_error() -> None:
    with pytest.raises(ValueError, match="outcome: 'lost' is none of measured, no_capacity, failed, none"):
        judged("lost")


def test_bad_criteria_and_limits_are_errors_in_every_round() -> None:
    with pytest.raises(CriteriaError):
        judged("failed", criteria={"best_us": -1})
    with pytest.raises(LimitsError):
        judged("failed", limits=limits(samples=0))


# -- stop rules -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "stop_reason"),
    [
        ({}, None),
        ({"round_number": 7}, None),
        ({"round_number": 8}, "rounds"),
        ({"round_number": 9}, "rounds"),
        ({"anchor": {"instance_id": "i-9"}}, "anchor"),
        ({"stop_requested": True}, "requested"),
        ({"failures_in_row": 5}, None),
        ({"max_hours": 1.0, "elapsed_s": 3599.0}, None),
        ({"max_hours": 1.0, "elapsed_s": 3600.0}, "budget"),
        ({"max_usd": 5.0, "spent_usd": 4.99}, None),
        ({"max_usd": 5.0, "spent_usd": 5.0}, "usd"),
        ({"max_usd": 5.0, "spent_usd": 4.5, "next_usd": 0.6}, None),
        ({"max_usd": 5.0, "spent_usd": 5.0, "max_hours": 0}, "usd"),
        ({"max_usd": 5.0, "spent_usd": None}, None),
        ({"failures_in_row": 4}, None),
        ({"check_mode": True, "round_number": 8}, "check_mode"),
        ({"stop_requested": True, "round_number": 8}, "requested"),
    ],
)
def test_stop_reasons_after_a_probed_round(changed: dict[str, t.Any], stop_reason: str | None) -> None:
    found = judged(limits=limits(**changed))
    assert (found["stop_reason"], found["search_over"]) == (stop_reason, stop_reason is not None)


@pytest.mark.parametrize(("before", "stop_reason"), [(3, None), (4, "failures")])
def test_five_failed_rounds_in_a_row_end_the_search(before: int, stop_reason: str | None) -> None:
    assert judged("failed", limits=limits(failures_in_row=before))["stop_reason"] == stop_reason


def test_a_shortage_is_no_failure_and_ends_no_row() -> None:
    assert [failures_after(kind, 3) for kind in ("failed", "no_capacity", "rejected", "champion")] == [4, 3, 0, 0]
    assert judged("no_capacity", limits=limits(failures_in_row=4))["stop_reason"] is None


def test_a_round_that_tries_nothing_uses_up_no_round() -> None:
    before_the_last = judged("none", probe=None, limits=limits(round_number=8))
    assert (before_the_last["kind"], before_the_last["stop_reason"]) == ("rejected", None)
    assert judged("none", probe=None, limits=limits(round_number=9))["stop_reason"] == "rounds"
    assert judged("none", probe=None, limits=limits(failures_in_row=5))["stop_reason"] == "failures"
    assert judged("none", probe=None, limits=limits(check_mode=True))["stop_reason"] == "check_mode"


def test_qualified_candidates_are_kept_until_there_are_enough() -> None:
    sat = champion(90)
    for count, stop_reason in ((0, None), (1, None), (2, "qualified")):
        found = judged(
            probe=rack_probe(101),
            criteria={},
            champion_before=sat,
            limits=limits(qualified_wanted=3, qualified_count=count),
        )
        assert (found["kind"], found["is_anchor"], found["stop_reason"]) == ("qualified", False, stop_reason)


def test_a_champion_can_qualify_and_counts() -> None:
    wanted = limits(qualified_wanted=1)
    found = judged(probe=rack_probe(101), criteria={}, limits=wanted)
    assert (found["kind"], found["stop_reason"]) == ("champion", "qualified")
    assert is_qualified(outcome="measured", probe=rack_probe(101), criteria={}, limits=wanted)
    assert not is_qualified(outcome="measured", probe=rack_probe(101), criteria={}, limits=limits())
    assert not is_qualified(outcome="failed", probe=rack_probe(101), criteria={}, limits=wanted)


def test_an_earlier_anchor_does_not_end_a_search_for_several() -> None:
    wanted = limits(qualified_wanted=2, anchor={"instance_id": "i-9"})
    assert judged(limits=wanted)["stop_reason"] is None


# -- comparing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"metric": "wire"},
        {"samples": 10000},
        {"endpoint": "fapi-mm"},
        {"statistic": "p0_1"},
        {"connect": "spin"},
        {"probe_mode": "adaptive"},
    ],
)
def test_a_champion_of_another_measure_is_not_compared(changed: dict[str, t.Any]) -> None:
    sat = champion(**changed)
    with pytest.raises(ChampionMismatch) as raised:
        judged(champion_before=sat)
    told = str(raised.value)
    how = f"({sat['statistic']}, {sat['connect']}, {sat['probe_mode']})"
    assert f"{sat['endpoint']}, {sat['metric']} time, {sat['samples']} samples {how}" in told
    assert "fstream-mm, wall time, 500 samples (best, blocking, exhaustive)" in told
    assert "search_reports_dir" in told and "\n" not in told
    with pytest.raises(ChampionMismatch):
        check_comparable(sat, limits())


def test_a_champion_without_a_figure_is_not_compared() -> None:
    with pytest.raises(ChampionMismatch, match="has no figure to compare with"):
        judged(champion_before={**champion(), "best_us": None})


def test_rounds_that_measured_nothing_need_no_comparable_champion() -> None:
    assert judged("failed", champion_before=champion(metric="wire"))["kind"] == "failed"


def test_check_comparable_is_content_with_an_equal_measure_and_an_empty_seat() -> None:
    check_comparable(champion(), limits())
    check_comparable(None, limits())


# -- the next champion -----------------------------------------------------------------------------------


def test_the_next_champion_holds_the_contract_and_where_to_connect() -> None:
    made = next_champion(
        candidate=candidate("i-7"), probe=rack_probe(101), limits=limits(), round_id="r7", since="2025-07-22T05:35:26Z"
    )
    rows = made.pop("best_addresses")
    assert made == {
        "instance_id": "i-7",
        "instance_type": "c8g.24xlarge",
        "placement_group": "dc-machine-cpg-1753162526-i-7",
        "best_us": 101,
        "p0_1_us": 101.4,
        "address": "198.19.3.1",
        "endpoint": "fstream-mm",
        "metric": "wall",
        "statistic": "best",
        "connect": "blocking",
        "probe_mode": "exhaustive",
        "samples": 500,
        "round_id": "r7",
        "since": "2025-07-22T05:35:26Z",
    }
    assert [row["endpoint"] for row in rows] == ["fapi-mm", "ws-fapi-mm", "fstream-mm"]


def test_an_entry_without_primary_figures_has_none() -> None:
    one = probe([endpoint("fapi-mm", [address("a", 100, 160)])])
    made = next_champion(candidate=candidate(), probe=one, limits=limits(), round_id="r", since="now")
    assert (made["best_us"], made["address"]) == (None, None)


def test_the_factory_judges_as_the_core_does() -> None:
    made = round_result(best_us=101, champion_before=champion())
    assert made["verdict"]["kind"] == "anchor"
    assert made["champion"]["instance_id"] == made["candidate"]["instance_id"]

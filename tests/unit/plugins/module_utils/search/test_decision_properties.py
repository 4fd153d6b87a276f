# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verdicts by property: what holds for all probes, criteria and champions."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.lowlatency.ec2.plugins.filter.champion import champion_verdict
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import (
    KINDS,
    needs_confirmation,
    next_champion,
    verdict,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rounds import SAMPLES, address, candidate, confirm, endpoint, limits, probe

#: Decisions are quick, but the machine that tests them may be busy.
unhurried = settings(deadline=None)

NAMES = ("fapi-mm", "ws-fapi-mm", "fstream-mm")
figures_us = st.integers(20_000, 400_000).map(lambda nanoseconds: nanoseconds / 1000)
spoiled = st.sampled_from([None, float("nan"), float("inf"), 0.0, -5.0])


@st.composite
def addresses(draw: st.DrawFn, whole: bool = False) -> dict[str, t.Any]:
    """An address of a probe; unless it has to be whole, it may be silent, short of samples or spoiled."""
    best_us = draw(figures_us)
    name = f"198.19.3.{draw(st.integers(1, 250))}"
    samples = SAMPLES if whole else draw(st.sampled_from([SAMPLES, SAMPLES, SAMPLES, SAMPLES + 1, SAMPLES - 1, 40, 0]))
    made = address(name, best_us, best_us + draw(st.integers(0, 80)), samples)
    if not whole and samples and draw(st.booleans()):
        made["wall"]["best_us"] = draw(spoiled)
    if not whole and samples != SAMPLES and draw(st.booleans()):
        made["ended"] = {"how": draw(st.sampled_from(["above", "beaten", "below", "dropped", "undecided"]))}
    return made


@st.composite
def probes(draw: st.DrawFn, whole: bool = False) -> dict[str, t.Any]:
    """A probe over one to three endpoints, with up to four addresses each."""
    names = NAMES if whole else draw(st.lists(st.sampled_from(NAMES), unique=True))
    made = []
    for name in names:
        rows = draw(st.lists(addresses(whole), min_size=1 if whole else 0, max_size=4))
        one = endpoint(name, [])
        one["addresses"] = rows
        made.append(one)
    return probe(made)


criteria = st.fixed_dictionaries(
    {},
    optional={
        "median_us": st.none() | figures_us,
        "best_us": st.none() | figures_us,
        "best_min_hits": st.integers(1, 300),
    },
)


@st.composite
def champions(draw: st.DrawFn) -> dict[str, t.Any] | None:
    """A sitting champion, or an empty seat."""
    return draw(
        st.none()
        | st.builds(
            lambda best_us: {
                "instance_id": "i-sits",
                "best_us": best_us,
                "endpoint": "fstream-mm",
                "metric": "wall",
                "samples": SAMPLES,
            },
            figures_us,
        )
    )


held = st.builds(
    limits,
    round_number=st.integers(0, 10),
    max_rounds=st.integers(1, 10),
    failures_in_row=st.integers(0, 6),
    qualified_wanted=st.integers(0, 3),
    qualified_count=st.integers(0, 3),
    anchor=st.none() | st.just({"instance_id": "i-anchor"}),
    stop_requested=st.booleans(),
    max_hours=st.none() | st.just(1.0),
    elapsed_s=st.floats(0, 10_000),
    max_usd=st.none() | st.just(5.0),
    spent_usd=st.none() | st.floats(0, 10),
    check_mode=st.booleans(),
    confirm=st.booleans(),
)
confirms = st.none() | st.builds(
    confirm,
    st.lists(st.sampled_from([-5.0, -5.0, -5.0, 5.0, None]), max_size=8),
    champion=st.sampled_from(["i-sits", "i-sits", "i-another"]),
    outcome=st.sampled_from(["measured", "measured", "broke_off"]),
)
outcomes = st.sampled_from(["measured", "measured", "measured", "no_capacity", "failed", "none"])
failures = st.none() | st.just({"code": "SshTimeout", "step": "reach", "message": "no SSH\nwithin 300 s"})


@st.composite
def rounds(draw: st.DrawFn) -> dict[str, t.Any]:
    """Everything that a verdict is made of."""
    return {
        "outcome": draw(outcomes),
        "probe": draw(st.none() | probes()),
        "criteria": draw(criteria),
        "champion_before": draw(champions()),
        "limits": draw(held),
        "failure": draw(failures),
        "confirm": draw(confirms),
    }


@unhurried
@given(rounds())
def test_a_verdict_is_whole_and_consistent(given_: dict[str, t.Any]) -> None:
    found = verdict(**given_)
    assert found["kind"] in KINDS
    assert found["search_over"] == (found["stop_reason"] is not None)
    assert found["reason"] and "\n" not in found["reason"]
    assert found["is_anchor"] == (found["kind"] == "anchor")
    assert found["is_champion"] <= (found["kind"] in ("anchor", "champion"))
    assert (found["replaces"] is not None) == (found["is_champion"] and given_["champion_before"] is not None)


@unhurried
@given(rounds())
def test_the_same_inputs_give_the_same_verdict_also_through_json(given_: dict[str, t.Any]) -> None:
    again = json.loads(json.dumps(given_))
    assert verdict(**given_) == verdict(**given_) == verdict(**again)


@unhurried
@given(rounds(), st.randoms(use_true_random=False))
def test_the_order_of_addresses_and_endpoints_does_not_matter(given_: dict[str, t.Any], random: t.Any) -> None:
    before = verdict(**given_)
    shuffled = json.loads(json.dumps(given_))
    for one in (shuffled["probe"] or {}).get("endpoints", []):
        random.shuffle(one["addresses"])
    random.shuffle((shuffled["probe"] or {}).get("endpoints", []))
    assert verdict(**shuffled) == before


@unhurried
@given(rounds())
def test_no_champion_without_a_whole_finite_figure_of_the_primary(given_: dict[str, t.Any]) -> None:
    found = verdict(**given_)
    rows = [one for one in (given_["probe"] or {}).get("endpoints", []) if one["name"] == "fstream-mm"]
    usable = [
        row["wall"]["best_us"]
        for one in rows
        for row in one["addresses"]
        if row["samples"] == SAMPLES and row["wall"]["best_us"] is not None and 0 < row["wall"]["best_us"] < 1e9
    ]
    if found["is_champion"]:
        before = given_["champion_before"]
        assert given_["outcome"] == "measured"
        assert usable and (before is None or min(usable) < before["best_us"])
        assert before is None or not given_["limits"]["confirm"] or _is_won(given_["confirm"])
    elif given_["outcome"] == "measured" and usable:
        lost = given_["limits"]["confirm"] and not _is_won(given_["confirm"])
        assert lost or given_["champion_before"]["best_us"] <= min(usable)


def _is_won(found: dict[str, t.Any] | None) -> bool:
    """Whether a comparison with the champion that sits was whole, and at most one of eight pairs was not won."""
    if found is None or found["champion"] != "i-sits" or found["outcome"] != "measured":
        return False
    return sum(1 for pair in found["pairs"] if (pair["newcomer_us"] or 999) < pair["champion_us"]) >= 7


@unhurried
@given(rounds())
def test_a_comparison_is_needed_at_most_once_for_each_champion(given_: dict[str, t.Any]) -> None:
    asked = {key: given_[key] for key in ("outcome", "probe", "champion_before", "limits")}
    before = needs_confirmation(**asked)
    if before:
        assert not verdict(**{**given_, "confirm": None})["is_champion"]
        assert verdict(**{**given_, "limits": {**given_["limits"], "confirm": False}})["is_champion"]
        assert not needs_confirmation(**asked, confirm=confirm([], champion="i-sits"))


@unhurried
@given(rounds())
def test_a_comparison_changes_nothing_but_who_is_champion(given_: dict[str, t.Any]) -> None:
    found = verdict(**given_)
    plain = verdict(**{**given_, "limits": {**given_["limits"], "confirm": False}})
    assert found["is_champion"] <= plain["is_champion"]
    assert all(found[key] == plain[key] for key in ("is_anchor", "samples", "fluke_chance", "search_over"))


@unhurried
@given(rounds())
def test_a_fluke_has_a_chance_where_a_pass_hangs_on_a_best(given_: dict[str, t.Any]) -> None:
    found = verdict(**given_)
    chance = found["fluke_chance"]
    assert chance is None or 0 <= chance <= 1
    if chance is not None:
        assert found["samples"] == SAMPLES and "a fluke with a chance of" in found["reason"]
        without_best = {**given_["criteria"], "best_us": None}
        assert not verdict(**{**given_, "criteria": without_best})["is_anchor"]


@unhurried
@given(probes(whole=True), criteria, st.floats(0, 300), st.integers(1, 300))
def test_an_anchor_stays_one_under_looser_criteria(
    found: dict[str, t.Any], strict: dict[str, t.Any], more_us: float, hits: int
) -> None:
    looser: dict[str, t.Any] = {"best_min_hits": min(hits, strict.get("best_min_hits", 1))}
    for key, default in (("median_us", 122), ("best_us", 102)):
        limit_us = strict.get(key, default)
        looser[key] = None if limit_us is None else limit_us + more_us
    before, after = (
        verdict(outcome="measured", probe=found, criteria=each, champion_before=None, limits=limits())
        for each in (strict, looser)
    )
    assert before["is_anchor"] <= after["is_anchor"]


@unhurried
@given(st.lists(probes(whole=True), min_size=1, max_size=8))
def test_champions_of_a_search_only_get_better(found: list[dict[str, t.Any]]) -> None:
    sits: dict[str, t.Any] | None = None
    history: list[float] = []
    for number, each in enumerate(found, 1):
        wanted = limits(round_number=number, max_rounds=99)
        instance = candidate(f"i-{number}")
        judged = verdict(
            outcome="measured", probe=each, criteria={"median_us": 1, "best_us": 1}, champion_before=sits, limits=wanted
        )
        if judged["is_champion"]:
            assert judged["replaces"] == (sits and sits["instance_id"])
            sits = next_champion(candidate=instance, probe=each, limits=wanted, round_id=f"r{number}", since="now")
            history.append(sits["best_us"])
    assert history == sorted(set(history), reverse=True)
    lowest = min(row["wall"]["best_us"] for each in found for row in each["endpoints"][-1]["addresses"])
    assert history[-1] == lowest


@unhurried
@given(rounds())
def test_a_replay_through_the_filter_agrees(given_: dict[str, t.Any]) -> None:
    wanted = given_.pop("criteria")
    claimed = verdict(criteria=wanted, **given_)
    assert champion_verdict({**given_, "verdict": claimed}, wanted) == claimed

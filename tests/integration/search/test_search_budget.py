# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Searches in a lab that end because of money or because somebody asked them to."""

from __future__ import annotations

import pytest
from support.lab import Lab, wait_for_candidate
from support.shared_lab import SharedLab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

NOTHING_MEETS = {"median_us": 1, "best_us": 1}
#: Just enough for a candidate that lives for five minutes.
MOST_USD = 5.5
#: At this price the least of a round, a minute, is one USD.
A_DOLLAR_A_MINUTE = {"c8g.24xlarge": 60.0, "c8g.metal-24xl": 60.0}


@pytest.fixture(scope="module")
def budget_lab(lab_of_worker: SharedLab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    # What a comparison costs is paid like all else; without one a round takes a third of the time.
    quick = {"probe_samples": 100, "search_criteria": NOTHING_MEETS, "search_confirm": False}
    return lab_of_worker.as_new(tmp_path_factory.mktemp("budget"), **quick)


def launches(mine: Lab) -> int:
    return len([call for call in mine.calls() if call["action"] == "RunInstances" and not call["code"]])


def test_limited_money_without_a_price_is_refused_before_a_launch(budget_lab: Lab) -> None:
    before = launches(budget_lab)
    told = budget_lab.play("search", fails=True, search_max_usd=5, search_prices_usd={"c8g.24xlarge": 4.8}).stdout
    assert "search_max_usd: 5" in told and "needs the price of c8g.metal-24xl" in told
    assert "search_prices_usd" in told
    assert launches(budget_lab) == before


def test_money_for_no_round_launches_nothing(budget_lab: Lab) -> None:
    before = launches(budget_lab)
    told = budget_lab.play(
        "search", search_slot_count=1, search_max_usd=0.001, search_prices_usd=A_DOLLAR_A_MINUTE
    ).stdout
    assert "Search over: the money is spent" in told
    assert "search_max_usd is 0.001" in told
    assert launches(budget_lab) == before


def test_a_search_ends_when_its_money_does_and_shows_what_it_cost(budget_lab: Lab) -> None:
    told = budget_lab.play(
        "search",
        search_id="moneyed",
        search_slot_count=1,
        search_candidate_lifetime_min=5,
        search_max_usd=MOST_USD,
        search_prices_usd=A_DOLLAR_A_MINUTE,
        search_max_rounds=20,
    ).stdout
    assert "USD" in told and "would come on top" in told
    assert "Search over: the money is spent" in told
    rounds = [each for each in budget_lab.rounds() if each["search_id"] == "moneyed"]
    costs_usd = [each["cost_usd"] for each in rounds]
    # The first is expected to take the five minutes that a candidate lives, each other what they took before. A minute
    # is the least that is billed. On a busy machine a round takes several, and the money is spent after fewer rounds.
    assert min(costs_usd) >= 1
    assert sum(costs_usd[:-1]) < MOST_USD < sum(costs_usd) + max(costs_usd) + 0.01
    assert [each["limits"]["spent_usd"] for each in rounds] == [
        pytest.approx(sum(costs_usd[:number]), abs=1e-3) for number in range(len(costs_usd))
    ]
    assert f"Cost: {costs_usd[0]:.2f} USD" in told
    assert "What was kept goes on to cost 60.00 USD an hour" in told


def test_another_terminal_asks_a_running_search_to_end(budget_lab: Lab) -> None:
    search = {"search_id": "asked", "search_slot_count": 2, "search_max_rounds": 50}
    out = budget_lab.folder / "search.out"
    with budget_lab.playing("search", **search) as process:
        wait_for_candidate(out, process)
        told = budget_lab.play("search_stop", search_id="asked", search_stop_reason="enough").stdout
        assert "The search asked was asked at" in told
        assert process.wait(240) == 0, out.read_text(encoding="utf-8")[-3000:]
    shown = out.read_text(encoding="utf-8")
    assert shown.count("Search over: it was asked to stop") == 2
    rounds = [each for each in budget_lab.rounds() if each["search_id"] == "asked"]
    assert 1 <= len(rounds) < 20
    assert all(each["outcome"] == "measured" for each in rounds)
    kept = budget_lab.state()["champion"]["instance_id"]
    assert [each["instance_id"] for each in budget_lab.instances()] == [kept]


def test_a_new_search_takes_an_old_request_back(budget_lab: Lab) -> None:
    budget_lab.play("search_stop", search_id="asked")
    assert (budget_lab.reports / "stop_requested_asked.json").exists()
    budget_lab.play("search", search_id="asked", search_slot_count=1, search_max_rounds=1)
    assert not (budget_lab.reports / "stop_requested_asked.json").exists()
    assert budget_lab.rounds()[-1]["verdict"]["stop_reason"] == "rounds"

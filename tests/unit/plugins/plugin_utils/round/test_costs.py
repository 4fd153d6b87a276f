# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The account of a search and the rounds that keep it: what is written when, and what ends a search."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.ownership import Owner, current_owner, machine_name
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.budget import PriceError
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.stop_request import stop_requests
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.controller_guard import ControllerGone
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._reports.reports import Reports
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.costs import account_name
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.slot import SlotMemory
from support.rounds import adaptive_probe, rack_probe
from support.stage import Stage, make_round, steps_of

#: A dollar a second: the least of a round is 60 USD, and one is expected to take 300 at first.
PRICES = {"c8g.large": 3600.0, "c7i.large": 1800.0}


def lines_of(folder: Path, search_id: str = "test") -> list[dict[str, t.Any]]:
    return Reports(str(folder)).read_lines(account_name(search_id))


def write_line(folder: Path, **line: t.Any) -> None:
    Reports(str(folder)).append_line(account_name("test"), line)


def play(folder: Path, *stages: Stage, **changed: t.Any) -> list[dict[str, t.Any]]:
    """The rounds of a slot, one for each stage."""
    memory = SlotMemory()
    results = []
    for number, stage in enumerate(stages):
        stage.instance = f"i-{number}"
        results.append(make_round(folder, stage, memory, prices_usd=PRICES, **changed).run())
    return results


def test_a_round_is_written_down_before_it_costs_and_after_it_ended(tmp_path: Path) -> None:
    stage = Stage(stop_before="placement_group")
    with pytest.raises(ControllerGone):
        make_round(tmp_path, stage, prices_usd=PRICES).run()
    assert [line["event"] for line in lines_of(tmp_path)] == ["begun"]
    (result,) = play(tmp_path, Stage())
    begun, ended = lines_of(tmp_path)[1:]
    assert begun["round_id"] == ended["round_id"] == result["round_id"]
    assert (begun["usd_h"], begun["lifetime_s"]) == (3600.0, 7200.0)
    assert (ended["outcome"], ended["figure_us"]) == ("measured", 120.0)
    assert result["cost_usd"] == ended["cost_usd"] == pytest.approx(60.0, abs=2.0)


def test_the_type_that_was_launched_is_paid(tmp_path: Path) -> None:
    first, second = play(tmp_path, Stage(), Stage())
    assert (first["candidate"]["instance_type"], second["candidate"]["instance_type"]) == ("c8g.large", "c7i.large")
    assert second["cost_usd"] == pytest.approx(30.0, abs=1.0)
    assert second["limits"]["spent_usd"] == first["cost_usd"]


def test_a_round_without_capacity_costs_nothing_and_a_request_ends_its_wait(tmp_path: Path) -> None:
    class Asking(Stage):
        def run(self, module: str, step: str, /, **options: t.Any) -> dict[str, t.Any]:
            if step == "launch":
                stop_requests(str(tmp_path), "test").write({})
            return super().run(module, step, **options)

    stage = Asking()
    stage.shortage = True
    (result,) = play(tmp_path, stage)
    assert (result["verdict"]["kind"], result["cost_usd"]) == ("no_capacity", 0.0)
    # When it lets go of its intent, before each of two writes, and once in the wait, which would otherwise look after
    # its controller for five seconds.
    assert stage.steps[stage.steps.index("drop_group") + 1 :] == ["guard"] * 4


def test_without_prices_nothing_is_told_of_money(tmp_path: Path) -> None:
    result = make_round(tmp_path, Stage()).run()
    assert (result["cost_usd"], result["limits"]["spent_usd"], result["limits"]["next_usd"]) == (None, None, None)


def test_a_candidate_that_failed_is_paid_as_well(tmp_path: Path) -> None:
    (result,) = play(tmp_path, Stage(fail_at="ssh"))
    assert result["verdict"]["kind"] == "failed"
    assert result["cost_usd"] == pytest.approx(60.0, abs=2.0)


def test_money_that_is_too_little_for_a_round_launches_nothing(tmp_path: Path) -> None:
    stage = Stage()
    (result,) = play(tmp_path, stage, max_usd=299.0)
    assert result["verdict"]["stop_reason"] == "usd"
    assert steps_of(stage) == []
    assert lines_of(tmp_path) == []


def test_a_later_run_counts_what_the_earlier_ones_cost(tmp_path: Path) -> None:
    stages = [Stage(), Stage(), Stage(), Stage()]
    stages[1].probe = stages[2].probe = rack_probe(130.0)
    results = play(tmp_path, *stages, max_usd=301.0)
    reasons = [each["verdict"]["stop_reason"] for each in results]
    # They cost 60, 30, 60 and 30, and another one is expected to cost 60.
    assert reasons == [None, None, None, None]
    (last,) = play(tmp_path, Stage(), max_usd=200.0)
    assert last["verdict"]["stop_reason"] == "usd"
    assert last["limits"]["spent_usd"] == pytest.approx(180.0, abs=5.0)


def test_what_another_slot_has_under_way_counts(tmp_path: Path) -> None:
    write_line(tmp_path, event="begun", round_id="other", at_s=1e12, usd_h=3600.0, lifetime_s=7200.0)
    (result,) = play(tmp_path, Stage(), max_usd=599.0)
    assert result["limits"]["under_way_usd"] == pytest.approx(300.0)
    assert result["verdict"]["stop_reason"] == "usd"


@pytest.mark.parametrize("gone", [True, False])
def test_a_round_of_a_run_that_is_gone_is_closed_by_the_next(tmp_path: Path, gone: bool) -> None:
    owner = str(Owner(machine_name(), 2**22 + 1, 1, "slot-1")) if gone else current_owner(os.getpid(), "slot-1")
    write_line(tmp_path, event="begun", round_id="lost", owner=owner, at_s=0.0, usd_h=3600.0, lifetime_s=7200.0)
    play(tmp_path, Stage())
    closed = [line for line in lines_of(tmp_path) if line["round_id"] == "lost" and line["event"] == "ended"]
    assert [line["billed_s"] for line in closed] == ([7200.0] if gone else [])


def test_limited_money_without_a_price_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PriceError, match=r"^search_max_usd: 5 needs the price of c7i\.large"):
        make_round(tmp_path, Stage(), prices_usd={"c8g.large": 0.08}, max_usd=5.0)


def test_a_request_ends_a_search_before_its_next_round(tmp_path: Path) -> None:
    memory = SlotMemory()
    make_round(tmp_path, Stage(), memory).run()
    stop_requests(str(tmp_path), "test").write({"requested_at": "2026-01-01T00:00:00+00:00"})
    stage = Stage()
    result = make_round(tmp_path, stage, memory).run()
    assert (result["verdict"]["stop_reason"], result["verdict"]["search_over"]) == ("requested", True)
    assert steps_of(stage) == []


def test_a_request_for_another_search_is_not_ours(tmp_path: Path) -> None:
    stop_requests(str(tmp_path), "other").write({})
    assert make_round(tmp_path, Stage()).run()["verdict"]["stop_reason"] is None


def test_a_search_ends_when_another_round_is_not_worth_it(tmp_path: Path) -> None:
    stages = [Stage() for _round in range(6)]
    for stage in stages[1:]:
        stage.probe = adaptive_probe(130.0)
    stages[0].probe, stages[1].probe = rack_probe(120.0), rack_probe(119.0)
    results = play(tmp_path, *stages, patience=3, min_gain_us=1.0, confirm=False)
    assert [each["verdict"]["stop_reason"] for each in results] == [None, None, None, None, "gain", "gain"]
    assert results[4]["limits"]["figures_us"] == [120.0, 119.0, None, None]
    assert "expected to gain 0.17µs" in results[4]["verdict"]["reason"]
    # The last one was asked before it began.
    assert results[5]["outcome"] == "none"


def test_a_line_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    play(tmp_path, Stage())
    path = tmp_path / account_name("test")
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"event":"begun","round')
    before = lines_of(tmp_path)
    write_line(tmp_path, event="begun", round_id="2", at_s=0.0)
    assert lines_of(tmp_path) == [*before, {"event": "begun", "round_id": "2", "at_s": 0.0}]
    assert [line["event"] for line in before] == ["begun", "ended"]


def test_a_search_id_is_no_path(tmp_path: Path) -> None:
    assert account_name("../a b") == "account_..%2Fa%20b.jsonl"

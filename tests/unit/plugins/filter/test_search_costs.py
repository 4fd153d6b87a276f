# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters over what a search costs, called as plain functions."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.lowlatency.ec2.plugins.filter.search_costs import (
    FilterModule,
    search_cost_bound,
    search_cost_summary,
)
from support.rounds import champion

FILTERS = Path(__file__).parents[4] / "plugins" / "filter"
TYPES = ["c8g.24xlarge"]
LINES: list[dict[str, t.Any]] = [
    {"event": "begun", "round_id": "1", "at_s": 0.0, "usd_h": 3.6, "lifetime_s": 7200.0},
    {"event": "ended", "round_id": "1", "billed_s": 1000.0, "cost_usd": 1.0, "instance_type": "c8g.24xlarge"},
    {"event": "begun", "round_id": "2", "at_s": 1000.0, "usd_h": 3.6, "lifetime_s": 7200.0},
]
ACCOUNT = "".join(json.dumps(line) + "\n" for line in LINES)


def test_the_bound_is_told_in_usd() -> None:
    assert search_cost_bound({"c8g.24xlarge": 3.6}, TYPES, 10, 1, 60) == (
        "At 3.60 USD for an hour of the dearest that is 36.00 USD."
    )
    assert "search_prices_usd" in search_cost_bound({}, TYPES, 10, 1, 60)
    with pytest.raises(AnsibleFilterError, match=r"search_cost_bound: search_prices_usd\.c8g\.24xlarge: 'much' is not"):
        search_cost_bound({"c8g.24xlarge": "much"}, TYPES, 10, 1, 60)
    with pytest.raises(AnsibleFilterError, match="the prices are a dictionary of types, not list"):
        search_cost_bound([], TYPES, 10, 1, 60)


def test_numbers_of_the_command_line_are_texts() -> None:
    prices = {"c8g.24xlarge": 3.6}
    assert "beyond 5.00 USD" in search_cost_bound(prices, TYPES, 10, 1, 60, max_usd="5", volume_size_gib="8")
    assert " of 5.00 USD for " in search_cost_summary("", prices, TYPES, 120, 0.0, max_usd="5")[0]
    with pytest.raises(AnsibleFilterError, match=r"^search_cost_bound: search_max_usd: 'much' is not a number$"):
        search_cost_bound(prices, TYPES, 10, 1, 60, max_usd="much")


def test_the_summary_tells_what_was_spent_and_what_goes_on_to_cost() -> None:
    told = search_cost_summary(
        ACCOUNT, {"c8g.24xlarge": 3.6}, TYPES, 120, 1100.0, state={"champion": champion()}, max_usd=5.0
    )
    assert told == [
        "Cost: 1.00 USD of 5.00 USD for 1 round of this search",
        "  and about 1.00 USD for 1 round under way",
        "  What was kept goes on to cost 3.60 USD an hour (1 instance)",
    ]


def test_a_survivor_of_two_roles_is_paid_once() -> None:
    told = search_cost_summary(
        "", {"c8g.24xlarge": 3.6}, TYPES, 120, 0.0, state={"champion": champion(), "anchor": champion()}
    )
    assert told[-1].endswith("3.60 USD an hour (1 instance)")


def test_without_prices_or_with_a_bad_one() -> None:
    assert search_cost_summary(ACCOUNT, {}, TYPES, 120, 0.0) == []
    assert search_cost_summary("", {"c8g.24xlarge": 3.6}, TYPES, 120, 0.0) == [
        "Cost: 0.0000 USD for 0 rounds of this search"
    ]
    with pytest.raises(AnsibleFilterError, match="search_cost_summary: search_prices_usd"):
        search_cost_summary("", {"c8g.24xlarge": -1}, TYPES, 120, 0.0)


@pytest.mark.parametrize("name", FilterModule().filters())
def test_every_filter_is_documented(name: str) -> None:
    written = yaml.safe_load((FILTERS / f"{name}.yml").read_text(encoding="utf-8"))
    assert written["DOCUMENTATION"]["name"] == name

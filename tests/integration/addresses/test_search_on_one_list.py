# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A search whose DNS shows 8 of 56 addresses at a time: two slots, and one list of addresses for both."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterator

import pytest
from support.lab import Lab, lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

SLOTS, ROUNDS = 2, 2
Addresses = dict[str, list[str]]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab in which two slots have searched for two rounds each, with criteria that no rack meets."""
    folder = tmp_path_factory.mktemp("one-list")
    with lab(folder, lab_seed=4, lab_scenario="hidden_pool,dead_addresses", probe_samples=20) as mine:
        mine.play(
            "search",
            search_slot_count=SLOTS,
            search_max_rounds=ROUNDS,
            search_criteria={"median_us": 1, "best_us": 1},
        )
        yield mine


def frozen(searched: Lab) -> dict[str, t.Any]:
    (path,) = searched.reports.glob("addresses_*.json")
    return t.cast("dict[str, t.Any]", json.loads(path.read_text(encoding="utf-8")))


def listed(searched: Lab) -> Addresses:
    return {each["name"]: each["addresses"] for each in frozen(searched)["endpoints"]}


def probed(round_: dict[str, t.Any]) -> Addresses:
    return {each["name"]: [one["address"] for one in each["addresses"]] for each in round_["probe"]["endpoints"]}


def test_every_round_after_the_first_ones_is_on_the_list(searched: Lab) -> None:
    later = [probed(round_) for round_ in searched.rounds() if round_["round_number"] > 1]
    assert later == [listed(searched)] * (SLOTS * (ROUNDS - 1))


def test_the_list_is_what_the_first_rounds_found(searched: Lab) -> None:
    first = [probed(round_) for round_ in searched.rounds() if round_["round_number"] == 1]
    assert len(first) == SLOTS
    for name, addresses in listed(searched).items():
        assert len(addresses) > 8
        assert set(addresses) == {address for found in first for address in found[name]}


def test_the_file_says_since_when_and_why(searched: Lab) -> None:
    document = frozen(searched)
    assert {each["reason"] for each in document["endpoints"]} == {"first"}
    assert document["frozen_at"] == max(each["frozen_at"] for each in document["endpoints"])
    assert document["rule"]["refresh_hours"] is None
    assert (document["refused_rounds"], document["earlier"]) == (0, [])
    silent = {address for each in document["endpoints"] for address in each["silent_rounds"]}
    dead = {
        address["address"]
        for round_ in searched.rounds()
        for endpoint in round_["probe"]["endpoints"]
        for address in endpoint["addresses"]
        if address["samples"] == 0
    }
    assert silent == dead
    assert len(dead) > 0

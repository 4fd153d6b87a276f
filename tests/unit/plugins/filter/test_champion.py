# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters over rounds and champions, called as plain functions; a playbook calls them in the callback's tests."""

from __future__ import annotations

import json
import shlex
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.lowlatency.ec2.plugins.filter.champion import (
    FilterModule,
    champion_best_addresses,
    champion_rebind_command,
    champion_summary,
    champion_survivors,
    champion_verdict,
)
from support.rounds import (
    adaptive_probe,
    address,
    champion,
    confirm,
    endpoint,
    limits,
    probe,
    round_result,
    silent_probe,
)

FILTERS = Path(__file__).parents[4] / "plugins" / "filter"
FAILURE = {"step": "reach", "code": "SshTimeout", "message": "no SSH within 300 s"}
CONFIRMED = limits(confirm=True)
ROUNDS: dict[str, dict[str, t.Any]] = {
    "champion": round_result(),
    "anchor": round_result(best_us=101, champion_before=champion()),
    "rejected": round_result(champion_before=champion()),
    "no_capacity": round_result("no_capacity", failure=FAILURE),
    "failed": round_result("failed", failure=FAILURE),
    "silent": round_result(probe=silent_probe()),
    "check mode": round_result("none", round_limits=limits(check_mode=True)),
    "beaten": round_result(probe=adaptive_probe(130), champion_before=champion()),
    "a fluke": round_result(probe=probe([endpoint("fstream-mm", [address("a", 90, 200)])])),
    "confirmed": round_result(
        best_us=130, champion_before=champion(), round_limits=CONFIRMED, confirm=confirm([-10.0] * 8)
    ),
    "not confirmed": round_result(best_us=130, champion_before=champion(), round_limits=CONFIRMED),
}


@pytest.mark.parametrize("name", ROUNDS)
def test_an_honest_round_gets_its_own_verdict(name: str) -> None:
    made = ROUNDS[name]
    assert champion_verdict(made, {}) == made["verdict"]
    assert champion_verdict(json.loads(json.dumps(made))) == made["verdict"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kind", "anchor"),
        ("is_champion", False),
        ("is_anchor", True),
        ("replaces", "i-9"),
        ("reason", "because"),
        ("samples", 10_000),
        ("fluke_chance", 0.5),
        ("search_over", True),
        ("stop_reason", "rounds"),
    ],
)
def test_a_round_that_claims_another_verdict_is_refused(key: str, value: t.Any) -> None:
    made = round_result()
    made["verdict"] = {**made["verdict"], key: value}
    with pytest.raises(AnsibleFilterError, match=rf"round search-1-r1 disagrees with its figures: {key} is {value!r}"):
        champion_verdict(made, {})


def test_a_verdict_by_other_criteria_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="disagrees with its figures"):
        champion_verdict(round_result(best_us=150), {"median_us": 500})


def test_bad_criteria_and_another_measure_are_filter_errors() -> None:
    with pytest.raises(AnsibleFilterError, match=r"search_criteria\.best_us: -1 is below 0"):
        champion_verdict(round_result(), {"best_us": -1})
    with pytest.raises(AnsibleFilterError, match="only equal measures are compared"):
        champion_verdict({**round_result(), "champion_before": champion(metric="wire")}, {})


def test_the_filter_believes_the_pairs_and_not_what_is_said_of_them() -> None:
    made = json.loads(json.dumps(ROUNDS["confirmed"]))
    made["confirm"] = {**made["confirm"], "won": 0, "high_us": 5.0}
    assert champion_verdict(made, {})["is_champion"]
    for pair in made["confirm"]["pairs"][:2]:
        pair["newcomer_us"] += 20
    with pytest.raises(AnsibleFilterError, match="is_champion is True, its figures say False"):
        champion_verdict(made, {})


def test_a_champion_judged_again_in_the_filter_stays_champion() -> None:
    made = round_result(best_us=142.5, champion_before=champion(142.5, "i-1"), instance_id="i-1")
    assert champion_verdict(made, {})["is_champion"]


def test_a_task_that_failed_before_it_judged_ends_the_search() -> None:
    found = champion_verdict({"failed": True, "msg": "no credentials"}, {})
    assert (found["kind"], found["search_over"], found["stop_reason"]) == ("failed", True, "error")
    assert found["reason"] == "no credentials"
    assert champion_verdict({"failed": True}, {})["reason"] == "the task failed without a message"


def test_a_skipped_task_ends_the_search() -> None:
    found = champion_verdict({"skipped": True}, {})
    assert (found["kind"], found["search_over"], found["stop_reason"]) == ("rejected", True, "skipped")


@pytest.mark.parametrize("nonsense", [None, "round", 7, ["x"]])
def test_what_is_no_dictionary_is_refused_by_each_filter(nonsense: t.Any) -> None:
    for name, function in FilterModule().filters().items():
        with pytest.raises(AnsibleFilterError, match=rf"{name}: the input is .* not {type(nonsense).__name__}"):
            function(nonsense)


def test_what_is_no_round_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match=r"not the result of lowlatency\.ec2\.search_round"):
        champion_verdict({"changed": False}, {})
    with pytest.raises(AnsibleFilterError, match="the round has no outcome and no limits"):
        champion_verdict({"verdict": {"kind": "champion"}}, {})


def test_best_addresses_of_a_round_a_champion_and_a_state_agree() -> None:
    made = round_result(best_us=130)
    rows = champion_best_addresses(made)
    assert [row["pin"] for row in rows] == ["198.19.1.1", "198.19.2.1", "198.19.3.1"]
    assert rows == champion_best_addresses(made["champion"])
    assert rows == champion_best_addresses({"champion": made["champion"], "generation": 1})
    assert champion_best_addresses({}) == champion_best_addresses({"champion": None}) == []


def test_best_addresses_of_a_round_leave_incomplete_ones_out() -> None:
    rows = [address("a", 90, 110, samples=499), address("b", 100, 120)]
    found = champion_best_addresses(round_result(probe=probe([endpoint("fstream-mm", rows)])))
    assert found[0]["pin"] == "b"


def test_the_rebind_command_names_instance_address_and_region() -> None:
    state = {"champion": champion(instance_id="i-0abc")}
    plain = "aws ec2 associate-address --instance-id i-0abc --allocation-id eipalloc-1"
    assert champion_rebind_command(state, "eipalloc-1") == plain
    assert shlex.split(champion_rebind_command(state["champion"], "eipalloc-1", "ap-northeast-1"))[5:7] == [
        "--region",
        "ap-northeast-1",
    ]
    assert champion_rebind_command({}, "eipalloc-1") == ""


def test_the_rebind_command_without_an_address_allocates_one() -> None:
    told = champion_rebind_command({"champion": champion(instance_id="i-0abc")})
    assert told == (
        "aws ec2 associate-address --instance-id i-0abc --allocation-id "
        '"$(aws ec2 allocate-address --domain vpc --query AllocationId --output text)"'
    )


def test_the_rebind_command_is_safe_in_a_shell() -> None:
    told = champion_rebind_command({"champion": champion(instance_id="i-1; reboot")}, "x y")
    assert shlex.split(told)[4:] == ["i-1; reboot", "--allocation-id", "x y"]


def test_the_summary_tells_champion_anchor_and_addresses() -> None:
    state = {"champion": champion(120, "i-1"), "anchor": champion(101, "i-2"), "qualified": [champion(99, "i-3")]}
    told = "\n".join(champion_summary(state))
    for part in ("fstream-mm champion: i-1", "120.00µs (198.19.3.1", "Anchor: i-2", "Qualified: i-3"):
        assert part in told
    assert "For ws-fapi-mm.binance.com use 198.19.2.1" in told
    assert champion_summary({}) == ["No champion yet"]


def test_survivors_are_champion_anchor_and_qualified_but_not_the_retiring() -> None:
    state = {"champion": champion(instance_id="i-1"), "anchor": champion(instance_id="i-1"), "qualified": []}
    state |= {"qualified": [champion(instance_id="i-3")], "retiring": [champion(instance_id="i-4")]}
    assert list(champion_survivors(state)) == ["i-1", "i-3"]
    assert list(champion_survivors({})) == []


@pytest.mark.parametrize("name", sorted(FilterModule().filters()))
def test_each_filter_has_documentation_of_its_own(name: str) -> None:
    document = yaml.safe_load((FILTERS / f"{name}.yml").read_text(encoding="utf-8"))
    assert document["DOCUMENTATION"]["name"] == name
    assert yaml.safe_load(document["EXAMPLES"])

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of a round's steps, and what is left when any of them is the last."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import FileChampionStore
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.controller_guard import ControllerGone
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import StepFailed
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.slot import SlotMemory
from support.rounds import rack_probe, silent_probe
from support.stage import Stage, make_round, steps_of


def test_the_first_candidate_is_protected_before_it_is_champion(tmp_path: Path) -> None:
    stage = Stage()
    result = make_round(tmp_path, stage).run()
    assert result["verdict"]["kind"] == "champion"
    steps = ["placement_group", "launch", "ssh", "probe", "stop_on_shutdown", "cancel_timer", "protect"]
    assert steps_of(stage) == steps
    assert stage.options["launch"]["shutdown_behavior"] == "terminate"
    assert stage.options["launch"]["user_data"].endswith("shutdown -h +120\n")
    assert stage.options["stop_on_shutdown"]["shutdown_behavior"] == "stop"
    assert stage.options["protect"]["termination_protection"] is True
    assert stage.options["protect"]["stop_protection"] is True
    assert stage.options["protect"]["tags"]["lowlatency:role"] == "champion"
    assert stage.options["protect"]["tags"]["lowlatency:expires-at"] == "never"
    assert FileChampionStore(tmp_path / "champion_state.json").read().survivors() == {"i-0"}


def second_round(folder: Path, stage: Stage, best_us: float) -> dict[str, t.Any]:
    memory = SlotMemory()
    first = Stage()
    make_round(folder, first, memory).run()
    stage.instance, stage.probe = "i-1", rack_probe(best_us)
    return make_round(folder, stage, memory).run()


def test_a_better_candidate_replaces_the_champion_and_ends_it_last(tmp_path: Path) -> None:
    stage = Stage()
    result = second_round(tmp_path, stage, 110.0)
    assert result["verdict"]["replaces"] == "i-0"
    assert steps_of(stage)[-3:] == ["cancel_timer", "protect", "terminate"]
    assert stage.options["terminate"]["instance_id"] == "i-0"
    state = FileChampionStore(tmp_path / "champion_state.json").read()
    assert state.survivors() == {"i-1"}
    assert state.retiring == ()


def test_a_worse_candidate_is_discarded_and_its_group_swept_later(tmp_path: Path) -> None:
    stage = Stage()
    memory = SlotMemory()
    make_round(tmp_path, Stage(), memory).run()
    stage.instance, stage.probe = "i-1", rack_probe(130.0)
    rejected = make_round(tmp_path, stage, memory)
    assert rejected.run()["verdict"]["kind"] == "rejected"
    assert steps_of(stage)[-1] == "terminate"
    assert stage.options["terminate"]["instance_id"] == "i-1"
    assert memory.pending_groups == [rejected.group]
    third = Stage()
    make_round(tmp_path, third, memory).run()
    assert steps_of(third)[2:5] == ["ssh", "probe", "sweep"]
    assert third.options["sweep"]["placement_groups"] == [rejected.group]


def test_a_host_key_that_the_console_shows_is_the_one_that_was_met(tmp_path: Path) -> None:
    stage = Stage()
    stage.shown = ["ssh-rsa BBBB", "ssh-ed25519 AAAA"]
    assert make_round(tmp_path, stage).run()["verdict"]["kind"] == "champion"


def test_a_host_key_that_the_console_does_not_show_makes_no_survivor(tmp_path: Path) -> None:
    stage = Stage()
    stage.shown = ["ssh-ed25519 BBBB"]
    result = make_round(tmp_path, stage, max_rounds=1).run()
    assert (result["verdict"]["kind"], result["failure"]["code"]) == ("failed", "HostKeyMismatch")
    assert "somebody may answer in its place" in result["failure"]["message"]
    # Neither a shell nor a protection was asked for after that.
    assert steps_of(stage)[-2:] == ["probe", "terminate"]
    assert FileChampionStore(tmp_path / "champion_state.json").read().champion is None


PROMOTION = ["stop_on_shutdown", "cancel_timer", "protect", "terminate"]


@pytest.mark.parametrize("last", PROMOTION)
def test_a_controller_that_ends_in_a_promotion_never_loses_the_champion(tmp_path: Path, last: str) -> None:
    with pytest.raises(ControllerGone):
        second_round(tmp_path, Stage(stop_before=last), 110.0)
    state = FileChampionStore(tmp_path / "champion_state.json").read()
    assert state.champion is not None
    if last == "terminate":
        # The new champion sits; the old one is known to be on its way out, and the next run ends it.
        assert state.champion["instance_id"] == "i-1"
        assert [each["instance_id"] for each in state.retiring] == ["i-0"]
        after = Stage()
        after.instance, after.probe = "i-2", rack_probe(300.0)
        make_round(tmp_path, after).run()
        assert after.steps.index("terminate") < after.steps.index("placement_group")
        assert FileChampionStore(tmp_path / "champion_state.json").read().retiring == ()
    else:
        assert state.champion["instance_id"] == "i-0"


@pytest.mark.parametrize("step", ["stop_on_shutdown", "cancel_timer", "protect"])
def test_a_candidate_that_cannot_be_protected_is_no_champion(tmp_path: Path, step: str) -> None:
    stage = Stage(fail_at=step)
    result = second_round(tmp_path, stage, 110.0)
    assert result["verdict"]["kind"] == "failed"
    assert result["failure"]["code"] == "Broken"
    assert stage.options["terminate"]["instance_id"] == "i-1"
    assert FileChampionStore(tmp_path / "champion_state.json").read().survivors() == {"i-0"}


def test_no_capacity_is_an_outcome_and_its_group_is_deleted_at_once(tmp_path: Path) -> None:
    stage = Stage()
    stage.shortage = True
    memory = SlotMemory()
    made = make_round(tmp_path, stage, memory, max_rounds=1)
    result = made.run()
    assert result["verdict"]["kind"] == "no_capacity"
    assert steps_of(stage) == ["placement_group", "launch", "drop_group"]
    assert memory.backoff_s() == 5.0
    assert set(memory.exhausted_until_s) == {"c8g.large", "c7i.large"}


def test_a_probe_without_an_answer_is_a_failed_round(tmp_path: Path) -> None:
    stage = Stage()
    stage.probe = silent_probe()
    result = make_round(tmp_path, stage).run()
    assert result["verdict"]["kind"] == "failed"
    assert "no answer" in result["verdict"]["reason"]
    assert stage.options["terminate"]["instance_id"] == "i-0"


@pytest.mark.parametrize("step", ["placement_group", "launch", "ssh", "probe", "stop_on_shutdown", "protect"])
def test_what_no_round_can_mend_is_raised_once_the_round_has_put_away_what_it_made(tmp_path: Path, step: str) -> None:
    stage = Stage(fail_at=step, code="UnauthorizedOperation")
    with pytest.raises(StepFailed, match="it broke"):
        make_round(tmp_path, stage).run()
    assert steps_of(stage)[-1] == ("drop_group" if step in ("placement_group", "launch") else "terminate")


@pytest.mark.parametrize("step", ["placement_group", "launch", "ssh", "probe"])
def test_what_another_round_may_mend_is_a_failed_round(tmp_path: Path, step: str) -> None:
    stage = Stage(fail_at=step)
    result = make_round(tmp_path, stage, max_rounds=1).run()
    assert result["verdict"]["kind"] == "failed"
    assert result["failure"] == {"code": "Broken", "step": step, "message": "it broke"}
    assert steps_of(stage)[-1] == ("drop_group" if step in ("placement_group", "launch") else "terminate")


def test_an_anchor_of_this_search_ends_it_before_anything_is_launched(tmp_path: Path) -> None:
    memory = SlotMemory()
    made = make_round(tmp_path, Stage(), memory, criteria={"median_us": 5000}).run()
    assert made["verdict"]["kind"] == "anchor"
    stage = Stage()
    again = make_round(tmp_path, stage, memory, criteria={"median_us": 5000}).run()
    assert again["verdict"]["stop_reason"] == "anchor"
    assert steps_of(stage) == []
    other = Stage()
    other.instance = "i-9"
    fresh = make_round(tmp_path, other, memory, criteria={"median_us": 5000}, search_id="another").run()
    assert fresh["candidate"]["instance_id"] == "i-9"


def test_a_replaced_champion_that_is_an_anchor_is_kept_and_demoted(tmp_path: Path) -> None:
    memory = SlotMemory()
    make_round(tmp_path, Stage(), memory, criteria={"median_us": 5000}).run()
    stage = Stage()
    stage.instance, stage.probe = "i-1", rack_probe(110.0)
    made = make_round(tmp_path, stage, memory, search_id="another").run()
    assert made["verdict"]["replaces"] == "i-0"
    assert "terminate" not in steps_of(stage)
    assert stage.options["demote"] == {
        "module": "lowlatency.ec2.candidate_instance",
        "instance_id": "i-0",
        "tags": {"lowlatency:champion": "false"},
    }
    assert FileChampionStore(tmp_path / "champion_state.json").read().survivors() == {"i-0", "i-1"}


def test_a_replaced_champion_that_cannot_be_ended_now_is_ended_by_a_later_run(tmp_path: Path) -> None:
    stage = Stage(fail_at="terminate", code="RequestLimitExceeded")
    assert second_round(tmp_path, stage, 110.0)["verdict"]["kind"] == "champion"
    state = FileChampionStore(tmp_path / "champion_state.json").read()
    assert [each["instance_id"] for each in state.retiring] == ["i-0"]
    later = Stage()
    later.instance, later.probe = "i-2", rack_probe(300.0)
    make_round(tmp_path, later).run()
    assert later.steps.index("terminate") < later.steps.index("placement_group")
    assert FileChampionStore(tmp_path / "champion_state.json").read().retiring == ()


def test_all_candidates_of_a_search_are_probed_on_one_list_of_addresses(tmp_path: Path) -> None:
    first, second, other = Stage(), Stage(), Stage()
    second.instance, other.instance = "i-1", "i-2"
    for stage, search_id in ((first, "test"), (second, "test"), (other, "another")):
        stage.probe = rack_probe(300.0)
        make_round(tmp_path, stage, search_id=search_id).run()
    asked = [stage.options["round_probe"]["endpoints"] for stage in (first, second, other)]
    assert all(not each.get("addresses") for each in asked[0] + asked[2])
    assert [each["addresses"] for each in asked[1]] == [
        [f"198.19.{network}.{last}" for last in range(1, 9)] for network in (1, 2, 3)
    ]


def test_a_list_of_addresses_that_cannot_be_read_is_found_before_anything_is_launched(tmp_path: Path) -> None:
    (tmp_path / "addresses_test.json").write_text("{", encoding="utf-8")
    stage = Stage()
    with pytest.raises(ValueError, match=r"addresses_test\.json is no list of addresses"):
        make_round(tmp_path, stage).run()
    assert steps_of(stage) == []


def test_a_list_that_is_spoiled_during_a_launch_ends_the_round_and_puts_the_candidate_away(tmp_path: Path) -> None:
    stage = Stage()
    made = make_round(tmp_path, stage)
    wait_for_ssh = stage.wait_for_ssh

    def spoil(timeout_s: float) -> float:
        (tmp_path / "addresses_test.json").write_text("{", encoding="utf-8")
        return wait_for_ssh(timeout_s)

    stage.wait_for_ssh = spoil  # type: ignore[method-assign]
    with pytest.raises(StepFailed, match="is no list of addresses"):
        made.run()
    assert steps_of(stage)[-1] == "terminate"


def test_a_venue_that_refuses_everybody_is_left_alone_for_a_while(tmp_path: Path) -> None:
    stage = Stage()
    stage.probe = silent_probe()
    for one in stage.probe["endpoints"]:
        for row in one["addresses"]:
            row["errors"] = {**row["errors"], "timeout": 0, "refused": 3}
    memory = SlotMemory()
    make_round(tmp_path, stage, memory, max_rounds=1).run()
    assert memory.refused_wait_s == 60.0
    make_round(tmp_path, Stage(), memory, max_rounds=2).run()
    assert memory.refused_wait_s == 0.0

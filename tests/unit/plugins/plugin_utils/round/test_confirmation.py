# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Before a champion is replaced: both are probed in turn, and what becomes of either when that cannot be done."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.filter.champion import champion_verdict
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import FileChampionStore
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.controller_guard import ControllerGone
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.access import keep_host_key, name_host_keys
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.confirmation import LOCK_NAME, TURN_LOOK_S
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.round import Round
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.slot import SlotMemory
from support.rounds import adaptive_probe, champion, rack_probe
from support.stage import UNMET, Stage, make_round, steps_of

Result = dict[str, t.Any]


def challenge(folder: Path, stage: Stage, best_us: float = 110.0, **changed: t.Any) -> Result:
    """A round whose candidate i-1 has this best, against the champion i-0 with one of 120 us."""
    make_round(folder, Stage()).run()
    stage.instance, stage.probe = "i-1", rack_probe(best_us)
    return make_round(folder, stage, SlotMemory(rounds=1), **changed).run()


def sitting(folder: Path) -> str | None:
    seat = FileChampionStore(folder / "champion_state.json").read().champion
    return None if seat is None else str(seat["instance_id"])


def test_a_newcomer_that_is_better_in_turn_takes_the_seat(tmp_path: Path) -> None:
    stage = Stage()
    result = challenge(tmp_path, stage)
    assert (result["verdict"]["kind"], result["verdict"]["replaces"], sitting(tmp_path)) == ("champion", "i-0", "i-1")
    # A B B A A B B A ..., until seven pairs of eight are won and the last can change nothing.
    assert stage.probed == ["champion", "newcomer", "newcomer", "champion"] * 3 + ["champion", "newcomer"]
    found = result["confirm"]
    assert (found["outcome"], found["won"], len(found["pairs"])) == ("measured", 7, 7)
    assert (found["difference_us"], found["high_us"]) == (-10.0, -10.0)
    assert found["error_rate"] == pytest.approx(9 / 256)
    assert result["verdict"]["reason"].endswith("in alternation it was lower in 7 of 7 pairs (-10.00µs in the median)")
    assert result["timings"]["confirm_s"] >= 0


def test_both_are_asked_for_the_same_addresses_samples_and_methods(tmp_path: Path) -> None:
    stage = Stage()
    given = {"samples": 500, "timeout_ms": 50, "connect": "spin", "cpu": "1", "full_addresses": 2, "warmup": 100}
    make_round(tmp_path, Stage(), probe=given).run()
    stage.instance, stage.probe = "i-1", rack_probe(110.0)
    # The newcomer has its best handshake and its best median at other addresses than the champion.
    stage.probe["endpoints"][-1]["addresses"][4]["wall"]["best_us"] = 105.0
    result = make_round(tmp_path, stage, probe=given).run()
    assert stage.options["short_probe"] == {
        "endpoints": [
            {
                "name": "fstream-mm",
                "host": "fstream-mm.binance.com",
                "port": 443,
                "addresses": ["198.19.3.1", "198.19.3.5"],
            }
        ],
        "metric": "wall",
        "probe_mode": "exhaustive",
        "samples": 100,
        "warmup": 6,
        "timeout_ms": 50,
        "connect": "spin",
        "cpu": "1",
    }
    assert result["confirm"]["addresses"] == ["198.19.3.1", "198.19.3.5"]


@pytest.mark.parametrize("newcomer_us", [120.0, 121.0])
def test_a_newcomer_that_had_the_better_hour_stays_a_candidate(tmp_path: Path, newcomer_us: float) -> None:
    stage = Stage()
    stage.best_us["newcomer"] = [newcomer_us]
    result = challenge(tmp_path, stage)
    assert (result["verdict"]["kind"], sitting(tmp_path)) == ("rejected", "i-0")
    assert "which does not prove it better, so the champion stays" in result["verdict"]["reason"]
    assert stage.options["terminate"]["instance_id"] == "i-1"
    # Two pairs that were not won are enough to know.
    assert len(stage.probed) == 4


def test_one_pair_may_be_lost_to_a_burst_of_noise(tmp_path: Path) -> None:
    stage = Stage()
    stage.best_us["newcomer"] = [110.0, 110.0, 900.0, 110.0]
    result = challenge(tmp_path, stage)
    assert (sitting(tmp_path), result["confirm"]["won"], len(result["confirm"]["pairs"])) == ("i-1", 7, 8)


def test_an_anchor_stays_an_anchor_whatever_the_comparison_says(tmp_path: Path) -> None:
    stage = Stage()
    stage.best_us["newcomer"] = [130.0]
    result = challenge(tmp_path, stage, criteria={"median_us": 5000})
    decided = result["verdict"]
    assert (decided["kind"], decided["is_anchor"], decided["is_champion"]) == ("anchor", True, False)
    state = FileChampionStore(tmp_path / "champion_state.json").read()
    assert state.survivors() == {"i-0", "i-1"}
    assert sitting(tmp_path) == "i-0"
    assert "lowlatency:champion" not in stage.options["protect"]["tags"]


def test_off_is_the_plain_rule(tmp_path: Path) -> None:
    stage = Stage()
    stage.best_us["newcomer"] = [130.0]
    result = challenge(tmp_path, stage, confirm=False)
    assert (result["verdict"]["replaces"], result["confirm"], sitting(tmp_path)) == ("i-0", None, "i-1")
    assert stage.probed == []


@pytest.mark.parametrize("best_us", [120.0, 130.0])
def test_a_candidate_that_is_no_better_by_its_figures_is_compared_with_nobody(tmp_path: Path, best_us: float) -> None:
    stage = Stage()
    result = challenge(tmp_path, stage, best_us)
    assert (result["confirm"], stage.probed, sitting(tmp_path)) == (None, [], "i-0")
    assert "find_champion" not in stage.steps


# -- a champion that cannot be measured -----------------------------------------------------------------


@pytest.mark.parametrize("state", ["stopped", "stopping", "pending", "unknown"])
def test_a_champion_that_does_not_run_stays(tmp_path: Path, state: str) -> None:
    stage = Stage()
    stage.champion_state = state
    result = challenge(tmp_path, stage)
    assert (result["verdict"]["kind"], sitting(tmp_path)) == ("rejected", "i-0")
    assert result["verdict"]["reason"].endswith(
        "the comparison in pairs broke off at the champion (ChampionNotRunning), so the champion stays"
    )


@pytest.mark.parametrize(("step", "code"), [("champion_ssh", "Broken"), ("find_champion", "Broken")])
def test_a_champion_that_cannot_be_reached_stays(tmp_path: Path, step: str, code: str) -> None:
    stage = Stage(fail_at=step)
    result = challenge(tmp_path, stage)
    assert (result["verdict"]["kind"], sitting(tmp_path)) == ("rejected", "i-0")
    assert result["confirm"]["failure"]["who"] == "champion"
    assert f"broke off at the champion ({code})" in result["verdict"]["reason"]


def test_a_champion_whose_host_key_is_not_known_is_not_talked_to(tmp_path: Path) -> None:
    make_round(tmp_path, Stage()).run()
    os.unlink(tmp_path / "known_hosts" / "i-0")
    # As in a document from before it held the key.
    store = FileChampionStore(tmp_path / "champion_state.json")
    store.update(lambda state: replace(state, champion={**(state.champion or {}), "host_key": None}))
    stage = Stage()
    stage.instance, stage.probe = "i-1", rack_probe(110.0)
    result = make_round(tmp_path, stage).run()
    assert (result["confirm"]["failure"]["code"], sitting(tmp_path)) == ("HostKeyUnknown", "i-0")
    assert "champion_ssh" not in stage.steps


def test_a_champion_is_reached_at_the_address_that_it_has_and_its_host_key_checked(tmp_path: Path) -> None:
    stage = Stage()
    challenge(tmp_path, stage)
    assert {key: stage.options["connect"][key] for key in ("address", "host_key_alias", "known")} == {
        "address": "198.18.4.7",
        "host_key_alias": "i-0",
        "known": True,
    }


HASHED = "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg="


@pytest.mark.parametrize("name", ["198.18.4.1", "198.18.4.1,host", "[198.18.4.1]:22", HASHED, "i-0"])
def test_host_keys_are_named_by_the_instance_whatever_they_were_kept_under(tmp_path: Path, name: str) -> None:
    path = tmp_path / "i-0"
    kept = [f"{name} ssh-ed25519 AAAAC3 root@host", f"{name} ssh-rsa AAAAB3"]
    path.write_text("\n".join(["# a remark", *kept, "", "cut"]) + "\n", encoding="utf-8")
    for _time in range(2):
        name_host_keys(str(path), "i-0")
        assert path.read_text(encoding="utf-8") == "i-0 ssh-ed25519 AAAAC3\ni-0 ssh-rsa AAAAB3\n"
    assert [each.name for each in tmp_path.iterdir()] == ["i-0"]


@pytest.mark.parametrize("who", ["champion", "newcomer"])
@pytest.mark.parametrize("after", [0, 6])
def test_a_connection_that_is_lost_promotes_nobody(tmp_path: Path, who: str, after: int) -> None:
    stage = Stage()
    stage.breaks_off[who] = after
    result = challenge(tmp_path, stage)
    assert (result["verdict"]["kind"], sitting(tmp_path)) == ("rejected", "i-0")
    assert result["confirm"]["outcome"] == "broke_off"
    assert result["confirm"]["failure"]["code"] == "ConnectionLost"
    assert len(result["confirm"]["pairs"]) == after


@pytest.mark.parametrize("state", [None, "shutting-down", "terminated"])
def test_a_champion_that_is_gone_is_lost_and_the_seat_is_the_newcomers(tmp_path: Path, state: str | None) -> None:
    stage = Stage()
    stage.champion_state = state
    result = challenge(tmp_path, stage)
    assert (result["verdict"]["kind"], result["verdict"]["replaces"], sitting(tmp_path)) == ("champion", None, "i-1")
    assert (result["confirm"], result["champion_before"]) == (None, None)
    told = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("champion_log_*.txt"))
    assert "CHAMPION_LOST" in told and told.count("INITIAL_CHAMPION") == 2
    assert "terminate" not in steps_of(stage)


def test_a_controller_that_ends_in_a_comparison_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ControllerGone):
        challenge(tmp_path, Stage(stop_before="champion_ssh"))
    assert sitting(tmp_path) == "i-0"


# -- others that promote meanwhile ----------------------------------------------------------------------


class Overtaken(Round):
    """A round under which another slot promotes i-9, at the moment that the test chose."""

    def overtake(self, best_us: float) -> None:
        """Put another champion on the seat, as its own round would have."""
        entry = champion(best_us, "i-9", samples=500, probe_mode="adaptive")
        self.store.update(lambda state: replace(state, champion=entry))
        (Path(self.options.reports_dir) / "known_hosts" / "i-9").write_text("i-9 ssh-ed25519 AAAA\n", encoding="utf-8")


def overtaken(folder: Path, stage: Stage, best_us: float) -> Result:
    """A challenge in which i-9 takes the seat once the newcomer has won against i-0 and is being protected."""
    make_round(folder, Stage()).run()
    stage.instance, stage.probe = "i-1", rack_probe(110.0)
    made = make_round(folder, stage)
    made.__class__ = Overtaken
    run, done = stage.run, []

    def run_and_be_overtaken(module: str, step: str, /, **options: t.Any) -> Result:
        if step == "protect" and not done:
            done.append(True)
            t.cast(Overtaken, made).overtake(best_us)
        return run(module, step, **options)

    stage.run = run_and_be_overtaken  # type: ignore[method-assign]
    return made.run()


def test_a_new_champion_is_compared_with_anew(tmp_path: Path) -> None:
    stage = Stage()
    result = overtaken(tmp_path, stage, 115.0)
    assert (result["verdict"]["replaces"], sitting(tmp_path)) == ("i-9", "i-1")
    assert result["confirm"]["champion"] == "i-9"
    assert stage.probed.count("champion") == 14


def test_a_win_against_the_old_champion_is_none_against_the_new_one(tmp_path: Path) -> None:
    stage = Stage()
    stage.best_us["newcomer"] = [110.0] * 7 + [130.0]
    result = overtaken(tmp_path, stage, 115.0)
    assert (result["verdict"]["kind"], sitting(tmp_path)) == ("rejected", "i-9")
    assert result["confirm"]["champion"] == "i-9"
    assert stage.options["terminate"] == {
        "module": "lowlatency.ec2.candidate_instance",
        "state": "absent",
        "instance_id": "i-1",
        "force": True,
    }


def test_a_new_champion_that_is_better_needs_no_comparison(tmp_path: Path) -> None:
    stage = Stage()
    result = overtaken(tmp_path, stage, 105.0)
    assert (result["verdict"]["kind"], sitting(tmp_path)) == ("rejected", "i-9")
    assert stage.probed.count("champion") == 7


def test_slots_compare_one_after_the_other(tmp_path: Path) -> None:
    make_round(tmp_path, Stage()).run()
    lock = os.open(tmp_path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(lock, fcntl.LOCK_EX)
    stage = Stage()
    stage.instance, stage.probe = "i-1", rack_probe(110.0)
    waits = threading.Event()
    probed, check = [], stage.check

    def check_while_waiting() -> None:
        check()
        # The guard is asked once for each look at the lock; the other slot ends its turn at the third.
        if "probe" in stage.steps and stage.steps[-1] == "guard" and stage.steps[-3:] == ["guard"] * 3:
            if not waits.is_set():
                probed.extend(stage.probed)
                os.close(lock)
            waits.set()

    stage.check = check_while_waiting  # type: ignore[method-assign]
    result = make_round(tmp_path, stage).run()
    assert waits.is_set() and probed == []
    # Two looks in vain, and a third that gets the lock.
    assert stage.paused.count(TURN_LOOK_S) == 2
    assert result["verdict"]["is_champion"]


# -- what the filter makes of it ------------------------------------------------------------------------


def test_the_filter_recomputes_the_verdict_from_the_pairs(tmp_path: Path) -> None:
    result = json.loads(json.dumps(challenge(tmp_path, Stage())))
    assert champion_verdict(result, UNMET) == result["verdict"]
    for pair in result["confirm"]["pairs"]:
        pair["newcomer_us"] = pair["champion_us"]
    with pytest.raises(Exception, match="disagrees with its figures: kind is 'champion', its figures say 'rejected'"):
        champion_verdict(result, UNMET)


def test_the_probe_is_told_what_decides(tmp_path: Path) -> None:
    stage = Stage()
    make_round(tmp_path, Stage()).run()
    stage.instance, stage.probe = "i-1", adaptive_probe(130)
    made = make_round(tmp_path, stage, criteria={"median_us": None, "best_us": 102, "best_min_hits": 3})
    result = made.run()
    asked = stage.options["round_probe"]
    assert "median_limit_us" not in asked
    assert {key: asked[key] for key in ("metric", "best_limit_us", "best_min_hits", "primary_endpoint")} == {
        "metric": "wall",
        "best_limit_us": 102,
        "best_min_hits": 3,
        "primary_endpoint": "fstream-mm",
    }
    assert (asked["champion_us"], asked["champion_statistic"], asked["probe_mode"]) == (120.0, "best", "adaptive")
    assert result["verdict"]["reason"] == (
        "480 handshakes with fstream-mm were enough (8 beaten): it cannot beat 120.00µs of i-0"
    )


def test_a_controller_that_did_not_launch_the_champion_knows_its_host_key_from_the_document(tmp_path: Path) -> None:
    make_round(tmp_path, Stage()).run()
    (tmp_path / "known_hosts" / "i-0").unlink()
    stage = Stage()
    stage.instance, stage.probe = "i-1", rack_probe(110.0)
    result = make_round(tmp_path, stage, SlotMemory(rounds=1)).run()
    assert (result["confirm"]["outcome"], sitting(tmp_path)) == ("measured", "i-1")
    assert stage.options["protect"]["tags"]["lowlatency:host-key"] == "ssh-ed25519@20AAAA"


@pytest.mark.parametrize(
    "wrong", [None, 7, "", "ssh-ed25519", "ssh-ed25519 AAAA\n* ssh-ed25519 BBBB", "@cert-authority ssh-ed25519 AAAA"]
)
def test_what_is_not_one_host_key_is_not_taken_for_one(tmp_path: Path, wrong: object) -> None:
    keep_host_key(str(tmp_path / "known_hosts" / "i-0"), "i-0", wrong)
    assert not (tmp_path / "known_hosts").exists()


def test_a_host_key_that_is_kept_here_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "i-0"
    path.write_text("i-0 ssh-ed25519 AAAA\n", encoding="utf-8")
    keep_host_key(str(path), "i-0", "ssh-ed25519 BBBB")
    assert path.read_text(encoding="utf-8") == "i-0 ssh-ed25519 AAAA\n"

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts take turns: by each one's own clock, with nothing left on either, and never over by itself."""

from __future__ import annotations

import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.paired import PAIRS, turn_times_s
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.controller_guard import ControllerGone
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round import modules, turn_taking
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import (
    CandidateHost,
    RunningModule,
    StepFailed,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.turn_taking import (
    LEAD_S,
    LOOKING_S,
    BrokeOff,
    TurnTaking,
)
from support.stage import Host, Stage

TURN_S = 0.6
CLEARED = "cleared /tmp/round-1.stop"
PROBE = {"endpoints": [{"name": "one", "host": "one.example.com", "addresses": ["198.19.3.1"]}], "samples": 100}
NOW_S = 1_800_000_000.0


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time stands still here, so that every time and every pause is known beforehand."""
    monkeypatch.setattr(turn_taking, "time", SimpleNamespace(time=lambda: NOW_S))


def taking(stage: Stage, folder: Path) -> TurnTaking:
    hosts = {
        who: t.cast(
            CandidateHost,
            Host(stage, known=who == "champion", known_hosts=str(folder / who), host_key_alias=who),
        )
        for who in ("champion", "newcomer")
    }
    return TurnTaking(hosts, PROBE, turn_s=TURN_S, path="/tmp/round-1", check=stage.check, pause=stage.paused.append)


def test_turns_lie_between_each_other_s_by_the_controller_s_clock(tmp_path: Path) -> None:
    stage = Stage()
    stage.ahead_s = {"champion": 7.5, "newcomer": -3.25}
    with taking(stage, tmp_path) as turns:
        assert len(list(turns.pairs())) == PAIRS
    here = sorted(
        (at_s - stage.ahead_s[who], who)
        for who in ("champion", "newcomer")
        for at_s in stage.options[f"{who}_turns"]["turns"]
    )
    assert here[0][0] - NOW_S == pytest.approx(LEAD_S, abs=0.002)
    assert "".join(who[0] for _at_s, who in here) == "cnnc" * (PAIRS // 2)
    gaps_s = [later[0] - earlier[0] for earlier, later in zip(here, here[1:])]
    assert gaps_s == pytest.approx([TURN_S, TURN_S + LOOKING_S] * (PAIRS - 1) + [TURN_S], abs=0.002)


def test_both_are_asked_the_same_and_keep_their_files_apart(tmp_path: Path) -> None:
    stage = Stage()
    with taking(stage, tmp_path):
        pass
    asked = [stage.options[f"{who}_turns"] for who in ("champion", "newcomer")]
    for each in asked:
        assert each["module"] == "lowlatency.ec2.latency_probe_turns"
        assert each["probe"] == PROBE
        assert (each["progress_path"], each["stop_path"]) == ("/tmp/round-1.json", "/tmp/round-1.stop")


def test_it_waits_for_a_pair_and_no_longer(tmp_path: Path) -> None:
    stage = Stage()
    with taking(stage, tmp_path) as turns:
        next(turns.pairs())
        assert sum(stage.paused) == pytest.approx(LEAD_S + 2 * TURN_S, abs=0.002)


@pytest.mark.parametrize("after", [0, 3])
def test_both_are_ended_and_nothing_stays_behind(tmp_path: Path, after: int) -> None:
    stage = Stage()
    with taking(stage, tmp_path) as turns:
        for _pair in zip(range(after), turns.pairs()):
            pass
    # Neither goes on while the other is waited for.
    assert stage.commands == [f"{who} {did}" for did in ("touch", CLEARED) for who in ("champion", "newcomer")]


def test_who_breaks_off_is_named_and_the_other_is_ended(tmp_path: Path) -> None:
    stage = Stage()
    stage.breaks_off["champion"] = 2
    with pytest.raises(BrokeOff) as raised, taking(stage, tmp_path) as turns:
        list(turns.pairs())
    assert raised.value.failure == {
        "who": "champion",
        "code": "ConnectionLost",
        "message": "the connection was lost",
    }
    assert f"newcomer {CLEARED}" in stage.commands


def test_the_first_is_ended_when_the_second_does_not_start(tmp_path: Path) -> None:
    stage = Stage(fail_at="newcomer_turns")
    with pytest.raises(BrokeOff) as raised, taking(stage, tmp_path):
        raise AssertionError("there is nobody to take turns with")
    assert raised.value.failure["who"] == "newcomer"
    assert stage.commands == ["champion touch", f"champion {CLEARED}"]


def test_a_turn_that_never_comes_is_given_up(tmp_path: Path) -> None:
    stage = Stage()
    stage.best_us["newcomer"] = []
    with pytest.raises(BrokeOff) as raised, taking(stage, tmp_path) as turns:
        list(turns.pairs())
    assert (raised.value.failure["who"], raised.value.failure["code"]) == ("newcomer", "TurnMissed")


def test_a_controller_that_ends_says_nothing_more_to_the_hosts(tmp_path: Path) -> None:
    stage = Stage()
    with pytest.raises(ControllerGone), taking(stage, tmp_path):
        raise ControllerGone("the controller has ended")
    assert stage.commands == []


def test_turns_of_a_pair_do_not_overlap() -> None:
    with pytest.raises(ValueError, match=r"a pair of 1\.0 s has no room for two turns of 0\.6 s"):
        turn_times_s(0, 0.6, 1.0)


# -- a module that runs on a host -----------------------------------------------------------------------


def running(outputs: list[str], told: list[str]) -> RunningModule:
    def command(text: str) -> tuple[int, str, str]:
        told.append(text)
        return 0, outputs.pop(0) if outputs else "", ""

    return RunningModule(command, "/root/.ansible_async/j1", "/tmp/p 1.json", "confirm")


def test_a_look_reads_progress_and_result_at_once() -> None:
    told: list[str] = []
    seen = running(['{"stage": "turns", "turns": []}\n{"started": 1}', '\n{"turns": [1], "finished": 1}'], told)
    assert seen.look() == ({"stage": "turns", "turns": []}, None)
    assert seen.look() == (None, {"turns": [1], "finished": 1})
    seen.clear("/tmp/p 1.stop")
    assert told[0] == "cat '/tmp/p 1.json' 2>/dev/null; echo; cat /root/.ansible_async/j1"
    assert told[-1] == "rm -f '/tmp/p 1.json' /root/.ansible_async/j1 '/tmp/p 1.stop'"


def test_a_module_that_failed_says_why_and_leaves_nothing() -> None:
    told: list[str] = []
    with pytest.raises(StepFailed) as raised:
        running(['\n{"failed": true, "msg": "turns[0]: too early", "finished": 1}'], told).look()
    assert (raised.value.step, raised.value.code, raised.value.message) == (
        "confirm",
        "ProbeFailed",
        "turns[0]: too early",
    )
    assert told[-1].startswith("rm -f ")


class ClockHost(CandidateHost):
    """A host that answers every command with the same text."""

    def __init__(self, out: str, err: str = "") -> None:
        self._answer = (0, out, err)

    def command(self, command: str) -> tuple[int, str, str]:
        assert command == "date +%s.%N"
        return self._answer


def test_a_clock_is_ahead_by_what_it_shows_beyond_the_controller_s(monkeypatch: pytest.MonkeyPatch) -> None:
    times_s = iter([NOW_S, NOW_S + 2])
    monkeypatch.setattr(modules, "time", SimpleNamespace(time=lambda: next(times_s)))
    assert ClockHost(f"{NOW_S + 4:.9f}\n").clock_ahead_s() == 3


def test_a_host_without_a_clock_fails_the_comparison_with_what_it_said() -> None:
    with pytest.raises(StepFailed) as raised:
        ClockHost("", "date: not found").clock_ahead_s()
    assert (raised.value.step, raised.value.code) == ("confirm", "NoClock")
    assert raised.value.message == "date +%s.%N says 'date: not found'"

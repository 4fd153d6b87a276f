# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns: each begins at its time, a late one at once, and none after the stop."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import BadOption, Plan, plan_from
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.turns import MOST_TURNS, checked_turns, run_turns
from hypothesis import given
from hypothesis import strategies as st

ENDPOINT = {"name": "one", "host": "one.example.com", "port": 443, "addresses": ["127.0.0.1"]}
NOW_S = 1_795_348_800.0


class Clockwork:
    """A clock that only waiting and probing move; a probe takes so many seconds, by its number."""

    def __init__(self, takes_s: list[float]) -> None:
        self.now_s = NOW_S
        self.plans: list[Plan] = []
        self._takes_s = takes_s

    def clock_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds

    def probe(self, plan: Plan) -> dict[str, Any]:
        self.plans.append(plan)
        takes_s = self._takes_s[len(self.plans) - 1]
        self.now_s += takes_s
        figures = {"wall": {"median_us": 100.0}, "wire": {"median_us": 90.0}, "histogram": {"wall": []}}
        address = {"address": "127.0.0.1", "samples": 5, "errors": {}, "dropped": False, **figures}
        endpoint = {**ENDPOINT, "addresses": [address], "best": None}
        return {"duration_s": takes_s, "handshakes": 5, "endpoints": [endpoint], "msg": "measured"}


def plan(progress_path: Path | None = None) -> Plan:
    return plan_from({"endpoints": [ENDPOINT], "progress_path": progress_path and str(progress_path)}, [0, 1])


def made(clockwork: Clockwork, turns: list[float], stop: Path | None = None, **given_on: Any) -> list[dict[str, Any]]:
    return run_turns(
        plan(**given_on),
        turns,
        stop and str(stop),
        clock_s=clockwork.clock_s,
        sleep=clockwork.sleep,
        probe=clockwork.probe,
    )


@given(st.lists(st.tuples(st.floats(0.1, 5), st.floats(0.01, 8)), min_size=1, max_size=8))
def test_no_turn_begins_before_its_time_nor_later_than_it_must(gaps_and_lengths: list[tuple[float, float]]) -> None:
    turns, at_s = [], NOW_S
    for gap_s, _takes_s in gaps_and_lengths:
        at_s += gap_s
        turns.append(at_s)
    found = made(Clockwork([takes_s for _gap_s, takes_s in gaps_and_lengths]), turns)
    free_s = NOW_S
    for due_s, (_gap_s, takes_s), turn in zip(turns, gaps_and_lengths, found):
        began_s = max(due_s, free_s)
        assert turn["began_s"] == pytest.approx(began_s, abs=0.002)
        assert turn["late_s"] == pytest.approx(began_s - due_s, abs=0.002)
        free_s = began_s + takes_s
    assert len(found) == len(turns)


def test_a_turn_keeps_the_figures_and_leaves_the_rest() -> None:
    (turn,) = made(Clockwork([0.5]), [NOW_S + 1])
    assert (turn["handshakes"], turn["duration_s"], turn["late_s"]) == (5, 0.5, 0.0)
    (endpoint,) = turn["endpoints"]
    assert set(endpoint) == {"name", "host", "port", "addresses"}
    assert set(endpoint["addresses"][0]) == {"address", "samples", "errors", "dropped", "wall", "wire"}


def test_the_progress_holds_the_turns_so_far_and_belongs_to_no_single_probe(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    clockwork = Clockwork([0.1, 0.1])
    seen: list[int] = []
    probe = clockwork.probe

    def look_and_probe(planned: Plan) -> dict[str, Any]:
        seen.append(len(json.loads(path.read_text(encoding="utf-8"))["turns"]))
        return probe(planned)

    clockwork.probe = look_and_probe  # type: ignore[method-assign]
    found = made(clockwork, [NOW_S + 1, NOW_S + 2], progress_path=path)
    assert seen == [0, 1]
    assert json.loads(path.read_text(encoding="utf-8")) == {"stage": "turns", "turns": found}
    assert [each.progress_path for each in clockwork.plans] == [None, None]


def test_nothing_begins_once_it_is_to_stop(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    clockwork = Clockwork([0.1] * 3)
    sleep = clockwork.sleep

    def sleep_and_stop(seconds: float) -> None:
        sleep(seconds)
        if clockwork.now_s > NOW_S + 15:
            stop.touch()

    clockwork.sleep = sleep_and_stop  # type: ignore[method-assign]
    found = made(clockwork, [NOW_S + 10, NOW_S + 20, NOW_S + 30], stop)
    assert len(found) == 1
    # It ends at its next look, and does not sit out the wait.
    assert clockwork.now_s < NOW_S + 15.2


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "turns: 0 is not between 1 and 64 turns"),
        ([NOW_S + n for n in range(MOST_TURNS + 1)], "turns: 65 is not between 1 and 64 turns"),
        ([NOW_S, NOW_S], f"turns[1]: {NOW_S!r} is not after the turn before it"),
        ([NOW_S + 3_601], f"turns[0]: {NOW_S + 3_601!r} is not within an hour of 1795348800, the time on this host"),
        ([12.0], "turns[0]: 12.0 is not within an hour of 1795348800, the time on this host"),
        ([math.nan], "turns[0]: nan is not within an hour of 1795348800, the time on this host"),
    ],
)
def test_turns_that_cannot_be(turns: list[float], message: str) -> None:
    with pytest.raises(BadOption) as raised:
        checked_turns(turns, NOW_S)
    assert str(raised.value) == message


def test_a_turn_that_has_just_passed_can_be() -> None:
    assert checked_turns([NOW_S - 2, NOW_S + 2], NOW_S) == (NOW_S - 2, NOW_S + 2)

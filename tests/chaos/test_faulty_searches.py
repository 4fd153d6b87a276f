# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sixty rounds of real searches in which everything goes wrong now and then: nothing is leaked, lost or doubled."""

from __future__ import annotations

import json
import random
import time
import typing as t
from collections import Counter
from pathlib import Path

import pytest
from support.imp import Imp, small_disk
from support.lab import Lab, lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(7200)]

SEARCH = {
    "search_slot_count": 2,
    "search_max_rounds": 4,
    "search_max_failures_in_row": 9,
    "search_confirm": False,
    "search_criteria": {"median_us": 1, "best_us": 1},
    "search_id": "chaos",
    "search_ssh_timeout_s": 32,
}
#: Rounds of two slots that are running when the number is reached are finished.
SCENARIOS = {"throttled,server_errors,late_views": 44, "no_capacity,slow_boot": 16}
MOST_SEARCHES = 30
#: Worse than any rack of the lab, so that the next candidate that can be measured wins.
WORSE_THAN_ANY_US = 9999.0


def rounds_begun(mine: Lab) -> int:
    """How many groups were made, one a round, as the region counted."""
    return sum(each["action"] == "CreatePlacementGroup" and each["code"] is None for each in mine.calls())


def sitting(mine: Lab) -> dict[str, t.Any] | None:
    path = mine.reports / "champion_state.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return t.cast("dict[str, t.Any] | None", found.get("champion"))


def worsen(mine: Lab) -> None:
    """Let the champion be one that any candidate beats."""
    path = mine.reports / "champion_state.json"
    if path.exists():
        state = json.loads(path.read_text(encoding="utf-8"))
        if state["champion"]:
            state["champion"]["best_us"] = WORSE_THAN_ANY_US
        path.write_text(json.dumps(state), encoding="utf-8")


def wait_for_guardians(mine: Lab) -> None:
    """Until no round is open, or those that are will be finished by the next run."""
    for _look in range(180):
        if not list((mine.reports / "rounds").glob("*.json")):
            return
        time.sleep(0.5)


def lost(mine: Lab, before: dict[str, t.Any] | None, told: set[str]) -> list[str]:
    """What is wrong with the champion after a search, of which these instances were said to have become champion."""
    now = sitting(mine)
    if now is None:
        return ["there was a champion, and there is none"] if before or told else []
    found = []
    if now["instance_id"] not in {each["instance_id"] for each in mine.instances()}:
        found.append(f"{now['instance_id']} is champion, and has ended")
    if told and now["best_us"] == WORSE_THAN_ANY_US:
        found.append(f"{sorted(told)} became champion, and {now['instance_id']} sits again")
    return found


def said_champions(mine: Lab, since: int) -> set[str]:
    new = mine.rounds()[since:]
    return {each["candidate"]["instance_id"] for each in new if each["verdict"]["is_champion"]}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_searches_with_faults_leak_lose_and_double_nothing(tmp_path: Path, scenario: str) -> None:
    ended: Counter[int] = Counter()
    wrong: list[str] = []
    with small_disk(tmp_path / "reports"), lab(tmp_path, lab_seed=4, probe_samples=100, lab_scenario=scenario) as mine:
        imp = Imp(mine, random.Random(scenario))
        for _search in range(MOST_SEARCHES):
            if rounds_begun(mine) >= SCENARIOS[scenario]:
                break
            worsen(mine)
            before, written = sitting(mine), len(mine.rounds())
            with mine.playing("search", **SEARCH) as process, imp.at(process):
                process.wait(900)
            ended[process.returncode] += 1
            wait_for_guardians(mine)
            wrong += lost(mine, before, said_champions(mine, written))
            print(f"{rounds_begun(mine)} rounds; {dict(imp.did)}; ended {dict(ended)}; wrong: {wrong}", flush=True)
        begun = rounds_begun(mine)
        codes = Counter(str(each["code"]) for each in mine.calls() if each["code"])
        # The next run, in which nobody interferes.
        mine.play("search", **SEARCH)
        champion = sitting(mine)
        assert champion is not None
        live = {each["instance_id"]: each["tags"].get("lowlatency:champion") for each in mine.instances()}
        assert live == {champion["instance_id"]: "true"}
        assert mine.groups() == {champion["placement_group"]}
        assert list((mine.reports / "rounds").glob("*.json")) == []
        assert mine.state()["retiring"] == []
    print(f"{scenario}: {begun} rounds; faults: {dict(imp.did)}; refused calls {dict(codes)}")
    assert wrong == []
    assert begun >= SCENARIOS[scenario]

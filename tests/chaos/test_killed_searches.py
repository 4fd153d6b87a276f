# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Searches that are killed at their API calls, in a lab: real processes, real ssh, a real guardian.

The unit tests end a round in process at each call and each write; here a sample of the calls is taken with the three
ways in which a controller dies. `make chaos` prints the table.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.killing_proxy import KillingProxy, killing_proxy
from support.lab import Lab, lab
from support.whole_run import descendants

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

SITE = Path(__file__).with_name("killing_site")
NOTHING_MEETS = {"median_us": 1, "best_us": 1}
FORMS = ("main KILL", "main HUP", "main and workers KILL")
#: How the interrupted round would have ended, and the sitting champion's figure that makes it end so.
SITTING_US = {"discard": 1.0, "promote": 9999.0}


@dataclass
class Stand:
    """A lab with a champion that sits, behind a proxy."""

    lab: Lab
    proxy: KillingProxy
    url: str

    def search(self, **more: t.Any) -> dict[str, t.Any]:
        return {
            "search_slot_count": 1,
            "search_max_rounds": 1,
            "search_confirm": False,
            "search_criteria": NOTHING_MEETS,
            "search_id": "chaos",
            **more,
        }

    def give_champion(self, best_us: float) -> str:
        """Let the sitting champion's figure be such that the next candidate surely loses or wins."""
        path = self.lab.reports / "champion_state.json"
        state = json.loads(path.read_text(encoding="utf-8"))
        state["champion"]["best_us"] = best_us
        path.write_text(json.dumps(state), encoding="utf-8")
        return str(state["champion"]["instance_id"])


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with (
        lab(tmp_path_factory.mktemp("chaos"), lab_seed=4, probe_samples=100) as mine,
        killing_proxy(4566 + mine.index) as (proxy, url),
    ):
        made = Stand(mine, proxy, url)
        mine.play("search", **made.search())
        yield made


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    rows = ["| ending | killed | form | found by the guardian | it did | late calls | after the next run |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    yield rows
    print("\n" + "\n".join(rows))


def kill(process: subprocess.Popen[str], form: str) -> None:
    """End the controller in one of the three ways; workers are its children, modules their children."""
    workers = [pid for pid in descendants(process.pid) if _parent(pid) == process.pid]
    process.send_signal(signal.SIGHUP if form == "main HUP" else signal.SIGKILL)
    for pid in workers if form == "main and workers KILL" else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def interrupted_reports(mine: Lab) -> set[str]:
    return {path.name for path in mine.reports.glob("interrupted_*.json")}


def wait_for_report(mine: Lab, before: set[str]) -> dict[str, t.Any]:
    for _look in range(900):
        new = interrupted_reports(mine) - before
        if new:
            text = (mine.reports / new.pop()).read_text(encoding="utf-8")
            return t.cast("dict[str, t.Any]", json.loads(text))
        time.sleep(0.1)
    raise AssertionError("no guardian told of the round within 90 s")


def run_killed(stand: Stand, at: int, *, before: bool, form: str) -> dict[str, t.Any]:
    """Run a round until this call, and return the guardian's report."""
    old = interrupted_reports(stand.lab)
    playing = stand.lab.playing("search", **stand.search(aws_endpoint_url=stand.url))
    with playing as process:
        stand.proxy.arm(at, before=before, kill=lambda: kill(process, form))
        process.wait(300)
    assert stand.proxy.killed_at_s is not None, f"the round made {len(stand.proxy.seen)} calls: {stand.proxy.seen}"
    return wait_for_report(stand.lab, old)


def run_killed_at_write(stand: Stand, at: int, *, before: bool, form: str) -> dict[str, t.Any]:
    """Run a round until this write of an intent or of the champion's document, and return the guardian's report."""
    old = interrupted_reports(stand.lab)
    stand.proxy.arm(0, before=True, kill=None)
    told = {"KILLED_SEARCH": f"{at} {'before' if before else 'after'} {form}", "PYTHONPATH": str(SITE)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, value)
        with stand.lab.playing("search", **stand.search(aws_endpoint_url=stand.url)) as process:
            process.wait(300)
            stand.proxy.killed_at_s = time.time()
    assert process.returncode in (-signal.SIGKILL, -signal.SIGHUP), f"there are fewer than {at} writes"
    return wait_for_report(stand.lab, old)


#: From 1, CreatePlacementGroup, on. The last ones of a promotion come after its verdict.
SAMPLE = [
    ("discard", 1, False, "main KILL"),
    ("discard", 5, False, "main and workers KILL"),
    ("discard", 7, True, "main HUP"),
    ("promote", 9, True, "main and workers KILL"),
    ("promote", 12, False, "main KILL"),
    ("promote", 15, False, "main HUP"),
]


#: Writes: the group's intent twice (without and with the guardian), launch, launched, promote or discard, the document.
WRITES = [
    ("discard", 3, False, "main and workers KILL"),
    ("promote", 5, True, "main KILL"),
    ("promote", 6, False, "main HUP"),
]


@pytest.mark.parametrize(("ending", "at", "before", "form"), WRITES)
def test_a_search_that_is_killed_at_a_write_leaves_one_champion_and_nothing_else(
    stand: Stand, table: list[str], ending: str, at: int, before: bool, form: str
) -> None:
    sitting = stand.give_champion(SITTING_US[ending])
    report = run_killed_at_write(stand, at, before=before, form=form)
    settle(stand, table, sitting, report, f"{ending} | {'before' if before else 'after'} write {at} | {form}")


@pytest.mark.parametrize(("ending", "at", "before", "form"), SAMPLE)
def test_a_killed_search_leaves_one_champion_and_nothing_else(
    stand: Stand, table: list[str], ending: str, at: int, before: bool, form: str
) -> None:
    sitting = stand.give_champion(SITTING_US[ending])
    report = run_killed(stand, at, before=before, form=form)
    when = f"{'before' if before else 'after'} call {at}, {stand.proxy.seen[-1]}"
    settle(stand, table, sitting, report, f"{ending} | {when} | {form}")


def settle(stand: Stand, table: list[str], sitting: str, report: dict[str, t.Any], case: str) -> None:
    """Hold what the guardian and then the next run left against what is to be left."""
    mine = stand.lab
    assert report["failure"] is None
    assert report["took_s"] <= 60
    assert [each for each in stand.proxy.late if each[1] > 2] == []
    stand.give_champion(1.0)  # so that the next run's own candidate is no champion
    champion = mine.state()["champion"]["instance_id"]
    if report["step"] == "promote":
        assert champion != sitting, "the verdict was made, and the better one is lost"
    else:
        assert champion == sitting
    mine.play("search", **stand.search())
    state = mine.state()
    assert state["champion"]["instance_id"] == champion
    assert [each["instance_id"] for each in mine.instances()] == [champion]
    assert list((mine.reports / "rounds").glob("*.json")) == []
    found = ", ".join(f"{each['state']} {each['role']}" for each in report["found"]) or "nothing"
    did = "; ".join(each.split(":")[0] for each in report["did"]) or "nothing"
    table.append(f"| {case} | {found} | {did} | {len(stand.proxy.late)} | one champion |")


def test_ctrl_c_names_the_file_that_tells_what_became_of_the_round(stand: Stand) -> None:
    mine = stand.lab
    old = interrupted_reports(mine)
    stand.give_champion(1.0)
    with mine.playing("search", **stand.search(aws_endpoint_url=stand.url)) as process:
        stand.proxy.arm(4, before=False, kill=lambda: process.send_signal(signal.SIGINT))
        process.wait(300)
    report = wait_for_report(mine, old)
    printed = (mine.folder / "search.out").read_text(encoding="utf-8")
    lines = [line for line in printed.splitlines() if "interrupted_" in line]
    assert len(lines) == 1, printed[-3000:]
    assert f"interrupted_{report['round_id']}.json" in lines[0]
    assert len(mine.instances()) == 1


def test_check_mode_starts_no_guardian_and_writes_no_intent(stand: Stand) -> None:
    old = interrupted_reports(stand.lab)
    stand.lab.play("search", "--check", **stand.search(search_id="checked"))
    assert interrupted_reports(stand.lab) == old
    assert list((stand.lab.reports / "rounds").glob("*.json")) == []

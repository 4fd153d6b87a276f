# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Searches that are killed at each API call and each write of a round, in a lab: real processes, ssh and guardians.

The unit tests end a round in process at each call and each write, before and after it. Here the same is done to real
searches, in the three ways in which a controller dies, which take turns from one point to the next. Each killed search
is the next run of the one before it. `make chaos` prints the table; `--every N` takes one point in N.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import ownership
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.intents import Intent, open_intents
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.keeper import judge_owner
from support.kill_points import times_told
from support.killing_proxy import KillingProxy, killing_proxy
from support.lab import Lab, lab
from support.whole_run import descendants

pytestmark = [pytest.mark.lab, pytest.mark.timeout(14_400)]

SITE = Path(__file__).with_name("killing_site")
NOTHING_MEETS = {"median_us": 1, "best_us": 1}
#: Looks, ten a second, after which a guardian that shows nowhere was not started.
STARTS_LOOKS = 100
FORMS = ("main KILL", "main HUP", "main and workers KILL")
#: How the interrupted round would have ended, and the sitting champion's figure that makes it end so.
SITTING_US = {"discard": 1.0, "promote": 9999.0}
BUCKET, KEY = "champions", "chaos.json"


@dataclass
class Stand:
    """A lab with a champion that sits, behind a proxy."""

    lab: Lab
    proxy: KillingProxy
    url: str
    store: str

    def search(self, **more: t.Any) -> dict[str, t.Any]:
        return {
            "search_slot_count": 1,
            "search_max_rounds": 1,
            "search_confirm": False,
            "search_criteria": NOTHING_MEETS,
            "search_id": "chaos",
            "search_champion_store": None if self.store == "file" else f"s3://{BUCKET}/{KEY}",
            **more,
        }

    def state(self) -> dict[str, t.Any]:
        """The champion's document."""
        if self.store == "file":
            return self.lab.state()
        body = self.lab.client("s3").get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
        return t.cast("dict[str, t.Any]", json.loads(body))

    def give_champion(self, best_us: float) -> str:
        """Let the sitting champion's figure be such that the next candidate surely loses or wins."""
        state = self.state()
        state["champion"]["best_us"] = best_us
        text = json.dumps(state)
        if self.store == "file":
            (self.lab.reports / "champion_state.json").write_text(text, encoding="utf-8")
        else:
            self.lab.client("s3").put_object(Bucket=BUCKET, Key=KEY, Body=text.encode())
        return str(state["champion"]["instance_id"])


@pytest.fixture(scope="module", params=["file", "s3"])
def stand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with (
        lab(tmp_path_factory.mktemp("chaos"), lab_seed=4, probe_samples=100) as mine,
        killing_proxy(4566 + mine.index) as (proxy, url),
    ):
        made = Stand(mine, proxy, url, request.param)
        if made.store == "s3":
            mine.make_bucket(BUCKET)
        mine.play("search", **made.search())
        yield made


@dataclass(frozen=True)
class Point:
    """Where a controller ends: before or after the call or the write of that number, from 1 on."""

    kind: str
    number: int
    before: bool

    @property
    def when(self) -> str:
        return "before" if self.before else "after"


def points_of(stand: Stand, ending: str) -> tuple[list[Point], int]:
    """Every point of a whole round that ends so, and how many of them are calls."""
    stand.give_champion(SITTING_US[ending])
    stand.proxy.arm(0, before=True, kill=None)
    counted = stand.lab.folder / "writes"
    counted.write_text("", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KILLED_SEARCH", f"0 before {counted}")
        patch.setenv("PYTHONPATH", str(SITE))
        stand.lab.play("search", **stand.search(aws_endpoint_url=stand.url))
    calls, writes = len(stand.proxy.seen), len(counted.read_text(encoding="utf-8").splitlines())
    assert calls > 5 and writes > 3
    kinds = [("call", calls), ("write", writes)]
    points = [Point(kind, n, before) for kind, most in kinds for n in range(1, most + 1) for before in (True, False)]
    return points, calls


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


def open_rounds(mine: Lab) -> list[Intent]:
    """The intents on the disk."""
    return list(open_intents(str(mine.reports), lambda _why: None))


def unguarded(mine: Lab) -> bool:
    """Whether the worker is gone that had written down what it was about to do, and had not started its guardian."""
    return all(each.guardian is None and judge_owner(each.owner) == ownership.GONE for each in open_rounds(mine))


def wait_for_report(mine: Lab, before: set[str]) -> dict[str, t.Any] | None:
    """The report of the guardian; None when the round had ended before the controller did, or had no guardian yet."""
    for look in range(900):
        new = interrupted_reports(mine) - before
        if not new and (not open_rounds(mine) or (look >= STARTS_LOOKS and unguarded(mine))):
            return None
        if new:
            text = (mine.reports / new.pop()).read_text(encoding="utf-8")
            return t.cast("dict[str, t.Any]", json.loads(text))
        time.sleep(0.1)
    raise AssertionError("no guardian told of the round within 90 s")


def some_of(points: list[Point], every: int) -> list[Point]:
    """One point in so many, in their order; which ones is the same each time."""
    drawn = random.Random(0).sample(range(len(points)), -(-len(points) // every))
    return [points[number] for number in sorted(drawn)]


def run_killed(stand: Stand, point: Point, form: str) -> dict[str, t.Any] | None:
    """Run a round until this point, and return the guardian's report; None when the round was over before it."""
    old = interrupted_reports(stand.lab)
    if point.kind == "write":
        return _killed_at_write(stand, point, form, old)
    with stand.lab.playing("search", **stand.search(aws_endpoint_url=stand.url)) as process:
        stand.proxy.arm(point.number, before=point.before, kill=lambda: kill(process, form))
        process.wait(300)
    return None if stand.proxy.killed_at_s is None else wait_for_report(stand.lab, old)


def _killed_at_write(stand: Stand, point: Point, form: str, old: set[str]) -> dict[str, t.Any] | None:
    stand.proxy.arm(0, before=True, kill=None)
    told = {"KILLED_SEARCH": f"{point.number} {point.when} {form}", "PYTHONPATH": str(SITE)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, value)
        with stand.lab.playing("search", **stand.search(aws_endpoint_url=stand.url)) as process:
            process.wait(300)
    if process.returncode not in (-signal.SIGKILL, -signal.SIGHUP):
        return None
    stand.proxy.killed_at_s = time.time()
    return wait_for_report(stand.lab, old)


@pytest.mark.parametrize("ending", SITTING_US)
def test_killed_searches_leave_one_champion_and_nothing_else(
    stand: Stand, ending: str, request: pytest.FixtureRequest
) -> None:
    points, calls = points_of(stand, ending)
    chosen = some_of(points, request.config.getoption("--every"))
    rows, over = [], 0
    print(f"\n{stand.store}, {ending}: {calls} calls and {len(points) // 2 - calls} writes")
    print("| killed | form | found by the guardian | it did | took, s | late calls | champion |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for turn, point in enumerate(chosen):
        form = FORMS[turn % len(FORMS)]
        sitting = stand.give_champion(SITTING_US[ending])
        report = run_killed(stand, point, form)
        if stand.proxy.killed_at_s is None:
            # A round polls once less now and then, so that its last points may not be reached.
            over += 1
            continue
        if report is None:
            why = "no guardian was there yet" if open_rounds(stand.lab) else "the round had ended"
            leave_nothing_after_the_next_run(stand)
            row = f"nothing, {why} | the next run did | | | as decided"
        else:
            row = settled(stand, sitting, report)
        what = f" {stand.proxy.seen[-1]}" if point.kind == "call" else ""
        rows.append(f"| {point.when} {point.kind} {point.number}{what} | {form} | {row} |")
        print(rows[-1], flush=True)
    assert over <= 3
    leave_nothing_after_the_next_run(stand)
    print(f"{stand.store}, {ending}: {len(rows)} kills, after each of them one champion and nothing else")


def settled(stand: Stand, sitting: str, report: dict[str, t.Any]) -> str:
    """Hold what the guardian left against what is to be left; returns a part of the table's row."""
    assert report["failure"] is None, report
    assert report["left"] == [], report
    assert report["took_s"] <= 60
    assert [each for each in stand.proxy.late if each[1] > 2] == []
    champion = stand.state()["champion"]["instance_id"]
    if report["step"] == "promote":
        assert champion != sitting, "the verdict was made, and the better one is lost"
        assert times_told(stand.lab.reports, [champion]) == {champion: 1}
    else:
        assert champion == sitting
    only_the_champion_is_there(stand)
    found = ", ".join(f"{each['state']} {each['role']}" for each in report["found"]) or "nothing"
    did = "; ".join(each.split(":")[0] for each in report["did"]) or "nothing"
    who = "who sat" if champion == sitting else "the newcomer"
    return f"{found} | {did} | {report['took_s']} | {len(stand.proxy.late)} | {who}"


def only_the_champion_is_there(stand: Stand) -> None:
    """One live instance, the champion, in the one group; no round is open."""
    champion = stand.state()["champion"]
    assert [each["instance_id"] for each in stand.lab.instances()] == [champion["instance_id"]]
    assert stand.lab.groups() == {champion["placement_group"]}
    assert list((stand.lab.reports / "rounds").glob("*.json")) == []
    assert stand.state()["retiring"] == []


def leave_nothing_after_the_next_run(stand: Stand) -> None:
    champion = stand.give_champion(1.0)  # so that the next run's own candidate is no champion
    stand.lab.play("search", **stand.search())
    assert stand.state()["champion"]["instance_id"] == champion
    only_the_champion_is_there(stand)


def test_ctrl_c_names_the_file_that_tells_what_became_of_the_round(stand: Stand) -> None:
    mine = stand.lab
    old = interrupted_reports(mine)
    stand.give_champion(1.0)
    with mine.playing("search", **stand.search(aws_endpoint_url=stand.url)) as process:
        stand.proxy.arm(4, before=False, kill=lambda: process.send_signal(signal.SIGINT))
        process.wait(300)
    report = wait_for_report(mine, old)
    assert report is not None
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

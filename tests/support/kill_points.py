# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Endings of a round, a round that ends at one of its points, and what must be so after the next run."""

from __future__ import annotations

import re
import typing as t
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.interruption import Killed, Saved, World

#: What the next run's candidate measures: it never wins against one that was kept.
WORSE_US = 300.0
#: What keeps a survivor on its host.
STAYS = {"AutoRecovery": "disabled", "RebootMigration": "disabled"}


@dataclass(frozen=True)
class Case:
    """A champion that sits (or none), and a newcomer whose round is interrupted."""

    sitting_us: float | None
    newcomer_us: float
    options: dict[str, t.Any] = field(default_factory=dict)


ENDINGS = {
    "discard": Case(120.0, 130.0),
    "promote first": Case(None, 120.0),
    "promote replacing": Case(120.0, 110.0),
    "anchor": Case(120.0, 130.0, {"criteria": {"median_us": 5000}}),
}


def _with_champion(folder: Path, patch: pytest.MonkeyPatch, case: Case, in_s3: bool) -> World:
    folder.mkdir()
    world = World(folder, patch, in_s3)
    if case.sitting_us is not None:
        world.round(case.sitting_us, alive=False)
    return world


def seat(folder: Path, case: Case, *, in_s3: bool = False) -> Saved:
    """The world before the newcomer's round, with the champion that sits then; copied to a folder beside this one."""
    with pytest.MonkeyPatch.context() as patch:
        return _with_champion(folder, patch, case, in_s3).save(folder.with_name(f"{folder.name}.seated"))


def interrupted(
    folder: Path,
    patch: pytest.MonkeyPatch,
    case: Case,
    kill_at: int | None,
    hides_for: int = 0,
    *,
    in_s3: bool = False,
    seated: Saved | None = None,
) -> World:
    """A world in which the newcomer's round has ended at this point, counted from 1, or at its end.

    With C(seated), the world before the newcomer's round is this one of L(seat) in the same folder.
    """
    if seated is not None:
        world = World.restored(seated, folder, patch, in_s3)
    else:
        world = _with_champion(folder, patch, case, in_s3)
    world.points.seen.clear()
    world.points.kill_at = kill_at
    if kill_at is None:
        world.round(case.newcomer_us, alive=False, **case.options)
    else:
        with pytest.raises(Killed):
            world.round(case.newcomer_us, alive=False, **case.options)
    assert world.points.after_death == []
    world.points.dead, world.points.kill_at = False, None
    if world.open_intents() and world.open_intents()[0].step == "launch":
        world.ec2.hide_newest(hides_for)
    return world


def judged_best(world: World) -> str | None:
    """Who is the better one: the newcomer once it was about to be promoted to champion, else whoever sits."""
    promotions = [each.promotion for each in world.open_intents() if each.promotion]
    new = [each["record"]["instance_id"] for each in promotions if each["is_champion"]]
    sitting = world.champion()
    return new[0] if new else None if sitting is None else str(sitting["instance_id"])


def kept_for_another_reason(world: World) -> set[str]:
    promotions = [each.promotion for each in world.open_intents() if each.promotion]
    return {str(each["record"]["instance_id"]) for each in promotions if each["record"]["kind"] == "anchor"}


def put_away(world: World) -> list[str]:
    """Let the guardian act; what is wrong then, before any next run, with the champion or with what lives."""
    reports = [world.act_as_guardian(intent) for intent in world.open_intents()]
    found = [f"the guardian: {each['failure']} {each['left']}" for each in reports if each["failure"] or each["left"]]
    if reports and world.ec2.live() != world.survivors():
        found.append(f"after the guardian {sorted(world.ec2.live())} live, {sorted(world.survivors())} survive")
    if reports and len(world.ec2.groups) != len(world.survivors()):
        found.append(f"after the guardian there are the groups {sorted(world.ec2.groups)}")
    return found


def kill_guardian(world: World, at: int) -> bool:
    """Let the guardian end at one of its own points; false when it was done before."""
    world.points.seen.clear()
    world.points.kill_at = at
    try:
        for intent in world.open_intents():
            world.act_as_guardian(intent)
    except Killed:
        return True
    finally:
        world.points.dead, world.points.kill_at = False, None
    return False


def next_run(world: World) -> None:
    world.reap()
    world.round(WORSE_US, alive=True)
    world.reap()


def problems(world: World, best: str | None, kept: set[str]) -> list[str]:
    """What is not as it should be after the next run."""
    found = []
    champion = world.champion()
    if champion is None or (best is not None and champion["instance_id"] != best):
        found.append(f"the champion is {champion and champion['instance_id']}, not {best}")
    survivors = world.survivors()
    if world.ec2.live() != survivors:
        found.append(f"{sorted(world.ec2.live())} live, {sorted(survivors)} survive")
    if not kept <= survivors:
        found.append(f"{sorted(kept - survivors)} was an anchor, and is lost")
    groups = {world.ec2.instances[each]["Placement"]["GroupName"] for each in world.ec2.live()}
    if set(world.ec2.groups) != groups:
        found.append(f"groups {sorted(world.ec2.groups)}, survivors are in {sorted(groups)}")
    found += [f"{each} {what}" for each in world.ec2.live() for what in exposed(world, each)]
    told = times_told(world.folder, survivors)
    found += [f"{each} has {count} blocks in the champion log" for each, count in told.items() if count != 1]
    if world.open_intents():
        found.append(f"{[each.round_id for each in world.open_intents()]} are still open")
    if world.retiring():
        found.append(f"{world.retiring()} are still retiring")
    return found


def times_told(reports: Path, instance_ids: t.Iterable[str]) -> dict[str, int]:
    """How often the champion log tells of each instance that it was kept."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(reports.glob("champion_log_*.txt")))
    found = Counter(re.findall(r"^  (?:New Champion|Anchor|Qualified): (\S+) \(", text, re.MULTILINE))
    return {each: found[each] for each in sorted(instance_ids)}


def exposed(world: World, instance_id: str) -> list[str]:
    """What a survivor lacks of the ways in which it is kept."""
    tags, one = world.ec2.tags(instance_id), world.ec2.instances[instance_id]
    attributes = one["attributes"]
    found = []
    if tags["lowlatency:role"] == "candidate" or tags["lowlatency:expires-at"] != "never":
        found.append("is tagged as a candidate")
    if not attributes["disableApiTermination"] or attributes["instanceInitiatedShutdownBehavior"] != "stop":
        found.append("is not protected")
    if one.get("MaintenanceOptions") != STAYS:
        found.append("may be put on another host by AWS")
    return found


def points_of(folder: Path, case: Case, *, in_s3: bool = False) -> list[str]:
    """Every call and write of a round that ends so, each before and after."""
    with pytest.MonkeyPatch.context() as patch:
        return list(interrupted(folder, patch, case, None, in_s3=in_s3).points.seen)

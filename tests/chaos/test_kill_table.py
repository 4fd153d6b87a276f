# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of kill points: what became of a round that ended there, in process, with its guardian and without it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support.kill_points import (
    ENDINGS,
    interrupted,
    judged_best,
    kept_for_another_reason,
    next_run,
    points_of,
    problems,
    put_away,
)


def outcome(folder: Path, ending: str, number: int, *, guardian: bool, in_s3: bool) -> str:
    """Who is champion after the next run, the newcomer or who sat before; or what is wrong."""
    with pytest.MonkeyPatch.context() as patch:
        world = interrupted(folder, patch, ENDINGS[ending], number, in_s3=in_s3)
        best, kept, before = judged_best(world), kept_for_another_reason(world), set(world.ec2.instances)
        wrong = put_away(world) if guardian else []
        next_run(world)
        wrong += problems(world, best, kept)
        champion = world.champion()
    if wrong or champion is None:
        return f"WRONG: {wrong}"
    if ENDINGS[ending].sitting_us is not None and champion["instance_id"] == min(before):
        return "who sat"
    return "newcomer" if champion["instance_id"] in before else "the next run's"


@pytest.mark.parametrize("in_s3", [False, True], ids=["file", "s3"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_print_the_kill_points(tmp_path: Path, ending: str, in_s3: bool) -> None:
    points = points_of(tmp_path / "whole", ENDINGS[ending], in_s3=in_s3)
    rows = []
    counts: Counter[str] = Counter()
    for number, point in enumerate(points, 1):
        ends = [
            outcome(tmp_path / f"{number}-{each}", ending, number, guardian=each, in_s3=in_s3) for each in (True, False)
        ]
        counts.update(ends)
        rows.append(f"| {number} | {point} | {ends[0]} | {ends[1]} |")
    store = "s3" if in_s3 else "file"
    print(f"\n{ending}, {store}: {len(points)} points, each with a guardian and without: {dict(counts)}")
    print("The only champion after the next run; nothing else is left:")
    print("\n".join(["| point | killed | guardian | guardian dead too |", "| --- | --- | --- | --- |", *rows]))
    assert not any("WRONG" in row for row in rows)

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A round that ends at any of its calls or writes: one champion is left, the better one, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.interruption import World
from support.kill_points import (
    ENDINGS,
    interrupted,
    judged_best,
    kept_for_another_reason,
    kill_guardian,
    next_run,
    points_of,
    problems,
    put_away,
    seat,
)


@pytest.mark.parametrize(("in_s3", "hides_for"), [(False, 0), (False, 3), (True, 0)], ids=["file", "hidden", "s3"])
@pytest.mark.parametrize("guardian", [True, False], ids=["guardian", "both dead"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_whatever_the_last_call_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, guardian: bool, in_s3: bool, hides_for: int
) -> None:
    case = ENDINGS[ending]
    points = points_of(tmp_path / "whole", case, in_s3=in_s3)
    assert len(points) > 30
    wrong: dict[str, list[str]] = {}
    folder = tmp_path / "world"
    seated = seat(folder, case, in_s3=in_s3)
    for number, point in enumerate(points, 1):
        with monkeypatch.context() as patch:
            world = interrupted(folder, patch, case, number, hides_for, in_s3=in_s3, seated=seated)
            best, kept = judged_best(world), kept_for_another_reason(world)
            found = put_away(world) if guardian else []
            next_run(world)
            found += problems(world, best, kept)
        if found:
            wrong[f"{number} {point}"] = found
    assert wrong == {}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_guardian_may_end_half_way_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    case = ENDINGS[ending]
    points = points_of(tmp_path / "whole", case)
    wrong: dict[str, list[str]] = {}
    tried = 0
    folder = tmp_path / "world"
    seated = seat(folder, case)
    # Of the round every sixth point, of its guardian every one.
    for number in range(1, len(points) + 1, 6):
        with monkeypatch.context() as patch:
            killed = interrupted(folder, patch, case, number, seated=seated).save(tmp_path / f"{number}")
        for at in range(1, 100):
            with monkeypatch.context() as patch:
                world = World.restored(killed, folder, patch)
                best, kept = judged_best(world), kept_for_another_reason(world)
                if not kill_guardian(world, at):
                    break
                tried += 1
                next_run(world)
                found = problems(world, best, kept)
            if found:
                wrong[f"{number} {points[number - 1]}, guardian at {at}"] = found
    assert wrong == {}
    assert tried > 20

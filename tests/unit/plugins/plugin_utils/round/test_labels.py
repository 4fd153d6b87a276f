# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No two rounds have a name in common, however many of them begin in one second."""

from __future__ import annotations

import itertools
import secrets
from datetime import datetime, timezone, tzinfo
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round import labels
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round import round as round_module
from support.kill_points import ENDINGS, interrupted, judged_best, next_run, problems
from support.stage import Stage, make_round

ONE_SECOND = datetime(2025, 7, 22, 5, 35, 26, tzinfo=timezone.utc)
#: With four hexadecimal digits about 30 pairs of so many rounds share a name, with twelve one pair in 140 million runs.
ROUNDS = 2_000
NAMES = ("group", "round_id")


@pytest.mark.parametrize("name", NAMES)
def test_rounds_of_one_slot_in_one_second_have_names_of_their_own(tmp_path: Path, name: str) -> None:
    options = make_round(tmp_path, Stage()).options
    made = [labels.Labels(options, slot="slot-1", owner="one", began=ONE_SECOND) for _round in range(ROUNDS)]
    assert len({getattr(each, name) for each in made}) == ROUNDS


class StoppedClock(datetime):
    """A clock of rounds that stays within one second."""

    at = datetime.now(timezone.utc)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return cls.at.astimezone(tz)


def test_rounds_whose_names_begin_alike_leave_each_other_s_instances_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rounds with one name share the client token of their launch: EC2 answers with the champion itself, which is then
    # probed, judged, and written to the champion log a second time.
    drawn = itertools.count()

    def begin_alike(size_bytes: int) -> str:
        return "7f3a" + f"{next(drawn):0{2 * size_bytes}x}"[4:]

    monkeypatch.setattr(round_module, "datetime", StoppedClock)
    monkeypatch.setattr(secrets, "token_hex", begin_alike)
    world = interrupted(tmp_path / "world", monkeypatch, ENDINGS["anchor"], 7)
    best = judged_best(world)
    next_run(world)
    assert problems(world, best, set()) == []

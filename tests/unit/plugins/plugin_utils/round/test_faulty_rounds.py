# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rounds in which everything goes wrong now and then: nothing is leaked, lost or doubled."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from support.faults import ALL, FaultyWorld

ROUNDS = 20


@pytest.mark.parametrize("searches", [16, pytest.param(50, marks=pytest.mark.full)])
@pytest.mark.parametrize("in_s3", [False, True], ids=["file", "s3"])
def test_rounds_with_faults_leak_lose_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_s3: bool, searches: int
) -> None:
    happened: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for seed in range(searches):
        rng = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        with monkeypatch.context() as patch:
            world = FaultyWorld(folder, patch, rng, in_s3=in_s3)
            best_us = 400.0
            for _number in range(ROUNDS):
                best_us *= rng.choice([0.95, 0.98, 1.03])
                world.faulty_round(round(best_us, 1))
            assert world.final_problems() == [], seed
        happened += world.happened
        outcomes += world.outcomes
    print(f"\n{searches * ROUNDS} rounds; faults: {dict(happened)}; rounds ended: {dict(outcomes)}")
    assert set(happened) == set(ALL)
    assert outcomes["champion"] > 2 * searches

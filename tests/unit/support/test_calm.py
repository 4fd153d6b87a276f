# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A measurement that was spoiled is taken again, a few times."""

from __future__ import annotations

import pytest
from support.calm import MOST_TRIES, calm


def why_of(number: int) -> str | None:
    return f"{number} came late" if number < 3 else None


def test_the_first_that_is_not_spoiled_is_taken() -> None:
    numbers = iter(range(1, 10))
    assert calm(lambda: next(numbers), why_of) == 3
    assert next(numbers) == 4


def test_one_that_is_always_spoiled_is_a_counted_skip_with_every_reason() -> None:
    tries: list[int] = []

    def measure() -> int:
        tries.append(1)
        return 1

    with pytest.raises(pytest.skip.Exception, match=r"^too busy: 1 came late; 1 came late"):
        calm(measure, why_of)
    assert len(tries) == MOST_TRIES

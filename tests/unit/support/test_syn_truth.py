# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test can ask of the rig's truth."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.syn_rig import Truth

DELAYS_US = st.lists(st.floats(min_value=0, max_value=10_000), min_size=1)


def truth_of(kept_us: list[float], asked_us: list[float] | None = None) -> Truth:
    count = len(kept_us)
    return Truth(
        at_s=tuple(n / 10 for n in range(count)),
        asked_us=tuple(asked_us or kept_us),
        kept_us=tuple(kept_us),
    )


@given(DELAYS_US, st.floats(min_value=0, max_value=10_000))
def test_figures_are_those_of_what_was_kept(kept_us: list[float], limit_us: float) -> None:
    truth = truth_of(kept_us)
    assert truth.median_us == statistics.median(kept_us)
    assert truth.best_us == min(kept_us)
    assert truth.share_within(limit_us) == sum(one <= limit_us for one in kept_us) / len(kept_us)
    assert truth.share_within(max(kept_us)) == 1


def test_what_was_late_is_disturbed() -> None:
    assert truth_of([100, 105, 105.1, 100], asked_us=[100] * 4).undisturbed() == [0, 1, 3]


def test_a_warm_up_can_be_left_out() -> None:
    truth = truth_of([5.0, 1.0, 2.0]).without_first(1)
    assert (truth.kept_us, truth.at_s, truth.best_us) == ((1.0, 2.0), (0.1, 0.2), 1.0)


def test_no_answers_have_no_figures() -> None:
    nothing = truth_of([])
    with pytest.raises(statistics.StatisticsError):
        assert nothing.median_us
    with pytest.raises(ZeroDivisionError):
        nothing.share_within(100)

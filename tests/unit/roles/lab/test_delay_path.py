# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the delay line learns of its path, and how a calibration is read."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_region.delay_line.client import judge, middle_mean
from local_region.delay_line.path import CLASSES, PathTime

QUIET_NS = [6_000, 9_000, 10_000, 11_000, 12_000, 13_000]
SECOND_NS = 1_000_000_000


def test_without_a_calibration_nothing_is_taken_off() -> None:
    path = PathTime()
    for _dummy in range(100):
        path.note(0, 20_000)
    assert path.due(SECOND_NS, 80_000)[0] == SECOND_NS + 80_000


@pytest.mark.parametrize("low_ns", [5_000, 8_000, 10_500])
def test_the_lower_end_of_the_writes_is_followed_and_outliers_are_not(low_ns: int) -> None:
    path = PathTime()
    path.correct(1.0, QUIET_NS)
    chance = random.Random(1)
    for number in range(2_000):
        later_ns = 14_000 if number % 2 else 0  # half of the writes also wake somebody up
        path.note(0, low_ns + later_ns + chance.randrange(500) + (300_000 if number % 50 == 0 else 0))
    assert path.path_ns(0) == pytest.approx(low_ns, abs=1_000)
    assert path.recent_ns == pytest.approx(low_ns, abs=1_000)


@given(st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, 10_000_000)), max_size=300))
def test_the_path_stays_near_what_was_measured(writes: list[tuple[int, int]]) -> None:
    path = PathTime()
    path.correct(1.0, QUIET_NS)
    for quiet_class, write_ns in writes:
        path.note(quiet_class, write_ns)
    for quiet_class, measured_ns in enumerate(QUIET_NS):
        assert measured_ns - 3_000 <= path.path_ns(quiet_class) <= measured_ns + 6_000


def test_a_lone_syn_meets_a_cold_path_and_one_among_many_a_warm_one() -> None:
    path = PathTime()
    path.correct(1.0, QUIET_NS)
    _dummy, alone = path.due(SECOND_NS, 380_000)
    _dummy, right_behind = path.due(SECOND_NS + 1_000, 380_000)
    _dummy, before_both = path.due(SECOND_NS + 2_000, 80_000)
    assert (alone, right_behind, before_both) == (CLASSES - 1, 0, 0)


def test_a_quiet_time_is_not_longer_than_the_delay() -> None:
    path = PathTime()
    path.due(SECOND_NS, 80_000)
    assert path.due(60 * SECOND_NS, 80_000)[1] == 80_000 >> 16


def test_the_middle_mean_is_finer_than_whole_microseconds() -> None:
    assert middle_mean([90, 91, 91, 91, 92, 92, 92, 400]) == pytest.approx(91.5)


def test_a_calibration_takes_the_quietest_pass_of_each_delay() -> None:
    seen = [(80.0, 30.0, 9.0), (80.0, 9.8, 10.0), (200.0, 11.4, 12.0), (200.0, 50.0, 9.0)]
    found = judge(seen)
    assert found.ratio == pytest.approx(0.965)
    assert found.added_us == {80.0: 9.8, 200.0: 11.4}
    assert found.write_us == {80.0: 10.0, 200.0: 12.0}


@pytest.mark.parametrize(("added_us", "ratio"), [(4.0, 0.95), (40.0, 1.05)])
def test_a_calibration_beside_heavy_work_is_bounded(added_us: float, ratio: float) -> None:
    assert judge([(80.0, added_us, 10.0)]).ratio == ratio

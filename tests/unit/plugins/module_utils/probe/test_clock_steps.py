# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of the time of day, by two clocks that move as told, and by the real ones."""

from __future__ import annotations

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.clock_steps import (
    MOST_STEPS,
    SMALLEST_STEP_NS,
    ClockWatch,
    Reading,
    step_between,
)
from hypothesis import given
from hypothesis import strategies as st

EPOCH_NS = 1_780_000_000 * 10**9
NS_PER_S = 10**9


class Clocks:
    """Both clocks of a machine; each look costs the next of the given times."""

    def __init__(self, cost_ns: int = 50) -> None:
        self.monotonic_now_ns = 77 * NS_PER_S
        self.offset_ns = EPOCH_NS
        self.cost_ns = cost_ns
        self.looks = 0

    def monotonic_ns(self) -> int:
        self.monotonic_now_ns += self.cost_ns
        return self.monotonic_now_ns

    def realtime_ns(self) -> int:
        self.looks += 1
        self.monotonic_now_ns += self.cost_ns
        return self.monotonic_now_ns + self.offset_ns

    def run(self, seconds: float) -> None:
        self.monotonic_now_ns += int(seconds * NS_PER_S)

    def watch(self) -> ClockWatch:
        return ClockWatch(self.realtime_ns, self.monotonic_ns)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(-(10**13), 10**13)), max_size=30), st.integers(20, 2_000))
def test_every_step_is_seen_with_its_size_and_nothing_else(moves: list[tuple[float, int]], cost_ns: int) -> None:
    clocks = Clocks(cost_ns)
    watch = clocks.watch()
    for seconds, step_ns in moves:
        clocks.run(seconds)
        clocks.offset_ns += step_ns
        seen_ns = watch.look()
        if abs(step_ns) >= SMALLEST_STEP_NS + 4 * cost_ns:
            assert seen_ns == pytest.approx(step_ns, abs=2 * cost_ns)
        elif abs(step_ns) < SMALLEST_STEP_NS:
            assert seen_ns == 0


def test_result_tells_when_and_by_how_much() -> None:
    clocks = Clocks()
    watch = clocks.watch()
    for seconds, step_ns in ((2.5, 0), (1.5, -3_000_000), (4.0, 500_000_000)):
        clocks.run(seconds)
        clocks.offset_ns += step_ns
        watch.look()
    shown = watch.result()
    assert (shown["count"], shown["net_us"]) == (2, pytest.approx(497_000, abs=1))
    assert [step["at_s"] for step in shown["steps"]] == [pytest.approx(4.0, abs=0.01), pytest.approx(8.0, abs=0.01)]
    assert [step["step_us"] for step in shown["steps"]] == [pytest.approx(-3_000, abs=1), pytest.approx(500_000, abs=1)]


def test_step_after_the_last_look_is_seen_by_the_result() -> None:
    clocks = Clocks()
    watch = clocks.watch()
    clocks.offset_ns += NS_PER_S
    assert watch.result()["count"] == 1


def test_clock_that_goes_to_and_fro_is_in_the_count_but_not_in_the_net() -> None:
    clocks = Clocks()
    watch = clocks.watch()
    for _time in range(MOST_STEPS):
        for step_ns in (NS_PER_S, -NS_PER_S):
            clocks.offset_ns += step_ns
            watch.look()
    shown = watch.result()
    assert (shown["count"], shown["net_us"], len(shown["steps"])) == (2 * MOST_STEPS, 0, MOST_STEPS)


def test_interrupted_reading_is_passed_over() -> None:
    clocks = Clocks()
    watch = clocks.watch()
    plain = clocks.realtime_ns

    def interrupted_ns() -> int:
        # The process is taken off its CPU for 20 ms between the clocks, but not every time.
        if clocks.looks % 5:
            clocks.run(0.02)
        return plain()

    watch._realtime_ns = interrupted_ns
    assert watch.look() == 0


def test_change_within_the_error_of_the_readings_is_no_step() -> None:
    before = Reading(EPOCH_NS, 3_000_000, 0)
    assert step_between(before, Reading(EPOCH_NS + 5_000_000, 3_000_000, NS_PER_S)) == 0
    assert step_between(before, Reading(EPOCH_NS + 7_000_000, 3_000_000, NS_PER_S)) == 7_000_000


def test_real_clocks_can_be_watched() -> None:
    watch = ClockWatch()
    # Whether this machine's clock was just set is not ours to say; its reading is that of a clock.
    assert set(watch.result()) == {"count", "net_us", "steps"}
    assert watch._last.offset_ns > 10**18
    assert watch._last.error_ns < NS_PER_S

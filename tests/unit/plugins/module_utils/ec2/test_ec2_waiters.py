# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The poller, against a clock that only its own pauses move."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import waiters
from hypothesis import given
from hypothesis import strategies as st


class World:
    """A clock, and something that becomes ready at a time."""

    def __init__(self, ready_at_s: float = float("inf")) -> None:
        self.now_s = 0.0
        self.ready_at_s = ready_at_s
        self.reads: list[float] = []

    def read(self) -> str:
        self.reads.append(self.now_s)
        return "ready" if self.now_s >= self.ready_at_s else "pending"

    def sleep(self, pause_s: float) -> None:
        assert pause_s > 0
        self.now_s += pause_s

    def wait(self, timeout_s: float, **more: t.Any) -> str:
        return waiters.wait_until(
            self.read, lambda seen: seen == "ready", timeout_s, clock=lambda: self.now_s, sleep=self.sleep, **more
        )


@given(st.floats(0, 100), st.floats(0, 100))
def test_ends_in_time_with_what_it_saw_last(ready_at_s: float, timeout_s: float) -> None:
    world = World(ready_at_s)
    if ready_at_s <= timeout_s:
        assert world.wait(timeout_s) == "ready"
        assert world.now_s <= min(timeout_s, ready_at_s + waiters.LONGEST_PAUSE_S) + 1e-6
    else:
        with pytest.raises(waiters.WaitTimeout) as caught:
            world.wait(timeout_s)
        assert caught.value.last == "pending"
        assert world.now_s == pytest.approx(timeout_s)


def test_what_was_read_already_is_not_read_again() -> None:
    world = World(0)
    assert world.wait(10, first="ready") == "ready"
    assert world.reads == []
    assert world.wait(10, first="pending") == "ready"
    assert world.reads == [waiters.FIRST_PAUSE_S]


def test_an_instance_that_takes_eighteen_seconds_costs_at_most_seven_reads() -> None:
    world = World(18)
    world.wait(60, first="pending")
    assert len(world.reads) <= 7


def test_pauses_grow_to_their_limit() -> None:
    pauses = list(itertools.islice(waiters.pauses_s(), 20))
    assert pauses[0] == waiters.FIRST_PAUSE_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == waiters.LONGEST_PAUSE_S

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notices when the clock that tells the time of day was set during a probe.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.

Figures are safe from that: they are differences of the monotonic clock, which can't be set. What is not safe are times
of day in records. The kernel slews both clocks together, so their difference only changes when CLOCK_REALTIME is
set (clock_settime(2), ADJ_SETOFFSET of adjtimex(2), a leap second) or when the machine was suspended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

NS_PER_S = 1_000_000_000

#: Smaller changes than this are not told from the reading of two clocks one after the other.
SMALLEST_STEP_NS = 10_000

# A record that would tell more steps than these tells the first.
MOST_STEPS = 50

# Of so many readings the one that took the least time is kept.
_READINGS = 5


class Reading(NamedTuple):
    """CLOCK_REALTIME less CLOCK_MONOTONIC, how far that may be off, and when (monotonic), all in ns."""

    offset_ns: int
    error_ns: int
    at_ns: int


def read_clocks(realtime_ns: Callable[[], int], monotonic_ns: Callable[[], int]) -> Reading:
    """The least uncertain of a few readings of the two clocks."""
    return min((_read_once(realtime_ns, monotonic_ns) for _time in range(_READINGS)), key=lambda one: one.error_ns)


def _read_once(realtime_ns: Callable[[], int], monotonic_ns: Callable[[], int]) -> Reading:
    before_ns = monotonic_ns()
    real_ns = realtime_ns()
    after_ns = monotonic_ns()
    middle_ns = (before_ns + after_ns) // 2
    return Reading(real_ns - middle_ns, (after_ns - before_ns + 1) // 2, middle_ns)


def step_between(before: Reading, after: Reading) -> int:
    """Nanoseconds that the time of day was set forwards (or back, below 0) in between; 0 if it can't be told."""
    change_ns = after.offset_ns - before.offset_ns
    return change_ns if abs(change_ns) >= SMALLEST_STEP_NS + before.error_ns + after.error_ns else 0


class ClockWatch:
    """Looks at the clocks now and then, and keeps the steps. A look takes some microseconds."""

    def __init__(
        self,
        realtime_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._realtime_ns = realtime_ns
        self._monotonic_ns = monotonic_ns
        self._first = self._last = read_clocks(realtime_ns, monotonic_ns)
        self._steps: list[dict[str, float]] = []
        self._count = 0

    def look(self) -> int:
        """Nanoseconds that the time of day was set by since the last look, 0 for none."""
        now = read_clocks(self._realtime_ns, self._monotonic_ns)
        step_ns = step_between(self._last, now)
        if step_ns:
            self._count += 1
            if self._count <= MOST_STEPS:
                at_s = round((now.at_ns - self._first.at_ns) / NS_PER_S, 3)
                self._steps.append({"at_s": at_s, "step_us": round(step_ns / 1_000, 1)})
        self._last = now
        return step_ns

    def result(self) -> dict[str, Any]:
        """A last look, and what was seen: ``{count, net_us, steps: [{at_s, step_us}]}``.

        at_s is when a step was noticed, in seconds since the watch began; steps has the first MOST_STEPS of count.
        """
        self.look()
        net_ns = step_between(self._first, self._last)
        return {"count": self._count, "net_us": round(net_ns / 1_000, 1), "steps": list(self._steps)}

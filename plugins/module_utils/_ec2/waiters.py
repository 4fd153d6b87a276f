# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a state at the EC2 API.

Private to lowlatency.ec2: its interface may change at any time.

botocore's waiters pause for a fixed time of whole seconds and forget what they saw last. A round waits for states that
take from one second to a few minutes, and a failure must name the last state, hence this poller.
"""

from __future__ import annotations

import time
import typing as t

T = t.TypeVar("T")

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
GROWTH = 1.7


class WaitTimeout(Exception):
    """The time was up; C(last) is what was read last."""

    def __init__(self, last: t.Any, waited_s: float) -> None:
        super().__init__(f"gave up after {waited_s:.1f} s")
        self.last = last
        self.waited_s = waited_s


def pauses_s() -> t.Iterator[float]:
    """0.5 s, growing by 1.7 up to 5 s: six reads in the first 15 s."""
    pause = FIRST_PAUSE_S
    while True:
        yield pause
        pause = min(pause * GROWTH, LONGEST_PAUSE_S)


def wait_until(
    read: t.Callable[[], T],
    done: t.Callable[[T], bool],
    timeout_s: float,
    *,
    first: T | None = None,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> T:
    """Read until C(done) says so and return what was read then.

    With C(first), something that was read already, the first read comes after the first pause.
    The last read happens at the time limit, not before it. Raises C(WaitTimeout).
    """
    started = clock()
    last = read() if first is None else first
    for pause in pauses_s():
        if done(last):
            return last
        left = timeout_s - (clock() - started)
        if left <= 0:
            raise WaitTimeout(last, clock() - started)
        sleep(min(pause, left))
        last = read()
    raise AssertionError("the pauses never end")

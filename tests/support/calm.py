# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes a measurement again that other work spoiled, a few times, and then skips the test as too busy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from support.busy_machine import TOO_BUSY

MOST_TRIES = 4

Measured = TypeVar("Measured")


def calm(measure: Callable[[], Measured], spoiled: Callable[[Measured], str | None]) -> Measured:
    """The first measurement that is not spoiled. ``spoiled`` says by the rig's own record why one is, or returns None.

    Only what a rig writes down of itself may spoil a measurement, never what is judged: or a fault would be a skip.
    """
    reasons = []
    for _try in range(MOST_TRIES):
        measured = measure()
        reason = spoiled(measured)
        if reason is None:
            return measured
        reasons.append(reason)
    pytest.skip(f"{TOO_BUSY}{'; '.join(reasons)}")

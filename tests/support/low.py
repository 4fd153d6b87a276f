# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a time is when nothing else is on the machine, read off a machine that has other work.

Other work, also a host's that shows nowhere inside a virtual machine, only ever adds to a time. It moves the median of
many as far as it likes, and the least tenth hardly.
"""

from __future__ import annotations

from collections.abc import Sequence


def low_us(times_us: Sequence[float]) -> float:
    """The 10th percentile. Raises IndexError when there is none."""
    return sorted(times_us)[len(times_us) // 10]

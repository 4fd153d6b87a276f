# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the API asks before it does something: should this go wrong?"""

from __future__ import annotations

from typing import Protocol


class Faults(Protocol):
    """Decisions of a scenario. Both counters start at 0 and run over the region's life."""

    def launch_error(self, n: int, instance_type: str) -> str | None:
        """Return the EC2 error code that the n-th launch meets, or None."""

    def throttle(self, n: int, action: str) -> bool:
        """Return whether the n-th EC2 call is refused with RequestLimitExceeded."""


class NoFaults:
    """Nothing goes wrong."""

    def launch_error(self, n: int, instance_type: str) -> str | None:
        del n, instance_type
        return None

    def throttle(self, n: int, action: str) -> bool:
        del n, action
        return False

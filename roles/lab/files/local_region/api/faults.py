# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the API asks before it does something: should this go wrong?"""

from __future__ import annotations

from typing import Final, Protocol

THROTTLED: Final = "RequestLimitExceeded"


class Faults(Protocol):
    """Decisions of a scenario. Both counters start at 0 and run over the region's life."""

    def launch_error(self, n: int, instance_type: str) -> str | None:
        """Return the EC2 error code that the n-th launch meets, or None."""

    def call_error(self, n: int, action: str) -> str | None:
        """Return the error code that the n-th EC2 call meets before anything is done, or None."""

    def hidden_s(self, resource_id: str) -> float:
        """Return how many seconds pass before EC2 shows a new instance or placement group."""

    def event_code(self, instance_id: str) -> str | None:
        """Return the code of the event that AWS has scheduled for an instance, or None."""


class NoFaults:
    """Nothing goes wrong. A test overrides what it needs."""

    def launch_error(self, n: int, instance_type: str) -> str | None:
        del n, instance_type
        return None

    def throttle(self, n: int, action: str) -> bool:
        """Return whether the n-th EC2 call is refused with RequestLimitExceeded."""
        del n, action
        return False

    def call_error(self, n: int, action: str) -> str | None:
        return THROTTLED if self.throttle(n, action) else None

    def hidden_s(self, resource_id: str) -> float:
        del resource_id
        return 0.0

    def event_code(self, instance_id: str) -> str | None:
        del instance_id
        return None

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: what a slot decides for itself from one round to the next."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: Seconds that an exhausted instance type is not asked for again (Karpenter remembers as long).
EXHAUSTED_S = 180.0
BACKOFF_FIRST_S, BACKOFF_LAST_S = 5.0, 60.0


@dataclass
class SlotMemory:
    """What a slot knows from one round to the next; it lives in the slot's worker process."""

    started_s: float = field(default_factory=time.monotonic)
    rounds: int = 0
    failures_in_row: int = 0
    shortages_in_row: int = 0
    #: Seconds to wait because the venue refused every handshake of the last round.
    refused_wait_s: float = 0.0
    pending_groups: list[str] = field(default_factory=list)
    #: What AWS had scheduled for survivors when the slot began: C({instance_id, code, not_before, ...}).
    scheduled_events: list[dict[str, t.Any]] = field(default_factory=list)
    exhausted_until_s: dict[str, float] = field(default_factory=dict)

    def types_to_try(self, instance_types: list[str], now_s: float) -> list[str]:
        """Rotate by round, without the types that had no capacity a short while ago (unless all had)."""
        turn = (self.rounds - 1) % len(instance_types)
        rotated = instance_types[turn:] + instance_types[:turn]
        fresh = [name for name in rotated if self.exhausted_until_s.get(name, 0.0) <= now_s]
        return fresh or rotated

    def note_shortages(self, attempts: Iterable[Mapping[str, t.Any]], now_s: float) -> None:
        """Remember which types a launch could not have."""
        for attempt in attempts:
            if attempt["code"]:
                self.exhausted_until_s[attempt["instance_type"]] = now_s + EXHAUSTED_S

    def backoff_s(self) -> float:
        """Seconds to wait after a round in which no type had capacity: 5, 10, 20, 40, then 60."""
        if not self.shortages_in_row:
            return 0.0
        doubled: float = BACKOFF_FIRST_S * 2.0 ** (self.shortages_in_row - 1)
        return min(BACKOFF_LAST_S, doubled)


def dead_man_timer(lifetime_min: int) -> str:
    """User data that ends the candidate after its lifetime, whatever becomes of the controller.

    With shutdown behaviour C(terminate) a shutdown from inside terminates the instance.
    """
    return f"#!/bin/sh\n# Ends this candidate when nobody has kept it by then.\nshutdown -h +{lifetime_min}\n"

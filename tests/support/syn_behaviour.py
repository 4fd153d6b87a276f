# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an address of the rig behaves, and what delay its law asks for. Pure: no clock, no network."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

SHARES = ("other_share", "lose_share")
NEVER_NEGATIVE = (
    "delay_us",
    "jitter_us",
    "other_us",
    "swing_us",
    "swing_s",
    "swing_connections",
    "lose_every",
    "reset_after_us",
    "silent_after",
)


@dataclass(frozen=True)
class Behaviour:
    """How an address behaves. Times are in microseconds where the name does not say otherwise.

    The delay of an answer is the sum of what is given here, and never below zero:

    - constant: ``delay_us``;
    - jittered: and an exponential delay of mean ``jitter_us``;
    - bimodal: ``other_us`` takes the place of ``delay_us`` in a random share ``other_share`` of the connections;
    - drifting in a line: and ``climb_us_per_s`` for each second since the address' first SYN, or
      ``climb_us_per_1000`` for each 1,000 connections;
    - drifting in waves: and a sine of amplitude ``swing_us`` whose period is ``swing_s`` seconds or
      ``swing_connections`` connections;
    - by path: and ``slow_port_us`` where the client's port is a multiple of ``slow_port_every``.

    ``lose_every`` n drops the first SYN of every nth connection and ``lose_share`` that of a random share of them; it
    is answered when it is sent again. ``silent_after`` n answers n connections and then never again. ``refuse`` answers
    with a reset. ``reset_after_us`` accepts and sends a reset so much later. ``hang`` accepts and never says anything
    again; without it the end of a connection (FIN) is answered at once, and data never is. Raises ValueError.
    """

    delay_us: float = 100.0
    jitter_us: float = 0.0
    other_us: float = 0.0
    other_share: float = 0.0
    climb_us_per_s: float = 0.0
    climb_us_per_1000: float = 0.0
    swing_us: float = 0.0
    swing_s: float = 0.0
    swing_connections: int = 0
    slow_port_us: float = 0.0
    slow_port_every: int = 0
    lose_every: int = 0
    lose_share: float = 0.0
    silent_after: int | None = None
    refuse: bool = False
    reset_after_us: float | None = None
    hang: bool = False

    def __post_init__(self) -> None:
        for name in NEVER_NEGATIVE:
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} is below zero: {getattr(self, name)}")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is no share: {getattr(self, name)}")
        if self.swing_us and bool(self.swing_s) == bool(self.swing_connections):
            raise ValueError("swing_us needs either swing_s or swing_connections")
        if self.refuse and (self.reset_after_us is not None or self.hang):
            raise ValueError("what refuses accepts nothing that it could reset or leave hanging")


def asked_delay_us(
    behaviour: Behaviour, *, connection: int, elapsed_s: float, client_port: int, chance: random.Random
) -> float:
    """Delay that the behaviour asks for.

    ``connection`` counts from 0, ``elapsed_s`` is since the first SYN of the address.
    """
    other = behaviour.other_share and chance.random() < behaviour.other_share
    delay_us = behaviour.other_us if other else behaviour.delay_us
    if behaviour.jitter_us:
        delay_us += chance.expovariate(1 / behaviour.jitter_us)
    delay_us += behaviour.climb_us_per_s * elapsed_s + behaviour.climb_us_per_1000 * connection / 1_000
    if behaviour.swing_us:
        period, at = (behaviour.swing_s, elapsed_s) if behaviour.swing_s else (behaviour.swing_connections, connection)
        delay_us += behaviour.swing_us * math.sin(2 * math.pi * at / period)
    if behaviour.slow_port_every and client_port % behaviour.slow_port_every == 0:
        delay_us += behaviour.slow_port_us
    return max(delay_us, 0.0)

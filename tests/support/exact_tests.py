# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sequential test of a share does, calculated and not simulated: by dynamic programming over its counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Optional

Answer = Callable[[int, int], Optional[str]]

# States that are less likely than this are left out; their sum stays far below any error rate of interest.
_NEGLIGIBLE = 1e-16


class Exact(NamedTuple):
    """Chances of either answer and of none within the most samples, and the mean number of samples."""

    passes: float
    fails: float
    open: float
    mean_samples: float


def exact_test(answer: Answer, share: float, most: int, every: int = 1) -> Exact:
    """Follow all ways that a test can take over independent handshakes of which each is a hit with a chance of share.

    ``answer(hits, misses)`` is asked after each ``every`` handshakes, at most ``most`` of them.
    """
    states = {0: 1.0}
    ended = {"pass": 0.0, "fail": 0.0}
    mean = 0.0
    for samples in range(1, most + 1):
        following: dict[int, float] = {}
        for hits, chance in states.items():
            following[hits] = following.get(hits, 0.0) + chance * (1 - share)
            following[hits + 1] = following.get(hits + 1, 0.0) + chance * share
        mean += sum(states.values())
        states = {hits: chance for hits, chance in following.items() if chance > _NEGLIGIBLE}
        if samples % every:
            continue
        for hits in list(states):
            found = answer(hits, samples - hits)
            if found is not None:
                ended[found] += states.pop(hits)
    return Exact(ended["pass"], ended["fail"], sum(states.values()), mean)

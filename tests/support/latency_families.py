# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Families of latencies, each placed so that a given share of its handshakes lies at or under a limit, exactly.

The truth is the distribution that generates them: its quantile function places it, so nothing is estimated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import NormalDist

Source = Callable[[], float]

_NORMAL = NormalDist()

_LOGNORMAL_US, _LOGNORMAL_SIGMA = 20.0, 0.6
_GAMMA_SHAPE, _GAMMA_US = 3, 8.0
_FAST, _SLOW, _FAST_SHARE = NormalDist(0, 4), NormalDist(60, 6), 0.6
_PARETO_US, _PARETO_INDEX = 15.0, 1.1
_STUDENT_US = 5.0

# The location of the quick drift makes up this part of the variance of the logarithm, and is forgotten (to 1 / e) over
# so many handshakes of the address.
DRIFT_VARIANCE, DRIFT_HANDSHAKES = 0.05, 5.0

# The slow drift swings by so much about its middle, once in so many handshakes of the address.
SWING_US, SWING_HANDSHAKES = 6.0, 2_000


def _solve(cdf: Callable[[float], float], share: float, low: float, high: float) -> float:
    for _halving in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(middle) < share else (low, middle)
    return high


def lognormal_quantile(share: float) -> float:
    """Of a lognormal distribution with a median of 20 us."""
    return _LOGNORMAL_US * math.exp(_LOGNORMAL_SIGMA * _NORMAL.inv_cdf(share))


def gamma_cdf(value_us: float) -> float:
    """Of a gamma distribution of shape 3, which as a whole number has a closed form."""
    if value_us <= 0:
        return 0.0
    scaled = value_us / _GAMMA_US
    return 1 - math.exp(-scaled) * (1 + scaled + scaled * scaled / 2)


def gamma_quantile(share: float) -> float:
    """Of the same."""
    return _solve(gamma_cdf, share, 0.0, 1_000.0)


def bimodal_cdf(value_us: float) -> float:
    """Of two ways, 60 us apart; three in five handshakes take the faster one."""
    return _FAST_SHARE * _FAST.cdf(value_us) + (1 - _FAST_SHARE) * _SLOW.cdf(value_us)


def bimodal_quantile(share: float) -> float:
    """Of the same."""
    return _solve(bimodal_cdf, share, -200.0, 300.0)


def pareto_quantile(share: float) -> float:
    """Of a Pareto distribution from 0 on, whose variance is infinite."""
    return _PARETO_US * (math.pow(1 - share, -1 / _PARETO_INDEX) - 1)


def student_quantile(share: float) -> float:
    """Of Student's t with two degrees of freedom, heavy on both sides."""
    return _STUDENT_US * (2 * share - 1) / math.sqrt(2 * share * (1 - share))


def _lognormal(chance: Random) -> Source:
    gauss = chance.gauss
    return lambda: _LOGNORMAL_US * math.exp(gauss(0, _LOGNORMAL_SIGMA))


def _gamma(chance: Random) -> Source:
    uniform = chance.random
    return lambda: -_GAMMA_US * math.log((1 - uniform()) * (1 - uniform()) * (1 - uniform()))


def _bimodal(chance: Random) -> Source:
    uniform, gauss = chance.random, chance.gauss
    return lambda: gauss(_FAST.mean, _FAST.stdev) if uniform() < _FAST_SHARE else gauss(_SLOW.mean, _SLOW.stdev)


def _inverse(quantile: Callable[[float], float]) -> Callable[[Random], Source]:
    def source(chance: Random) -> Source:
        uniform = chance.random
        # random() gives 0 but not 1; half of its smallest step keeps both ends out.
        return lambda: quantile(uniform() + 2**-54)

    return source


def drifting(variance: float, handshakes: float) -> Callable[[Random], Source]:
    """The lognormal one with a location that wanders: an autoregressive process, stationary from the first handshake.

    Each handshake by itself has the lognormal distribution; what changes is that neighbours are alike.
    """

    def source(chance: Random) -> Source:
        gauss = chance.gauss
        keep = math.exp(-1 / handshakes)
        fresh = math.sqrt(1 - keep * keep)
        by_drift, by_itself = math.sqrt(variance), math.sqrt(1 - variance)
        drift = gauss(0, 1)

        def draw() -> float:
            nonlocal drift
            drift = keep * drift + fresh * gauss(0, 1)
            return _LOGNORMAL_US * math.exp(_LOGNORMAL_SIGMA * (by_drift * drift + by_itself * gauss(0, 1)))

        return draw

    return source


def _swinging(chance: Random) -> Source:
    plain = _lognormal(chance)
    angle, step = chance.uniform(0, math.tau), math.tau / SWING_HANDSHAKES

    def draw() -> float:
        nonlocal angle
        angle += step
        return plain() + SWING_US * math.sin(angle)

    return draw


@dataclass(frozen=True)
class Family:
    """A shape of latencies; ``swing_us`` is how far its location leaves its middle, 0 for one that has no trend."""

    name: str
    quantile: Callable[[float], float]
    shape: Callable[[Random], Source]
    swing_us: float = 0.0

    def source(self, share: float, limit_us: float, chance: Random, *, at_least: bool = True) -> Source:
        """Function that draws one latency in us, such that P(latency <= limit_us) is share.

        For a swinging location the share is at least (or at most, as at_least says) this at every moment, and exactly
        this at its worst.
        """
        offset_us = limit_us - self.quantile(share) + (-self.swing_us if at_least else self.swing_us)
        draw = self.shape(chance)
        return lambda: offset_us + draw()


FAMILIES = (
    Family("lognormal", lognormal_quantile, _lognormal),
    Family("shifted gamma", gamma_quantile, _gamma),
    Family("bimodal", bimodal_quantile, _bimodal),
    Family("drifting, quick", lognormal_quantile, drifting(DRIFT_VARIANCE, DRIFT_HANDSHAKES)),
    Family("drifting, slow", lognormal_quantile, _swinging, SWING_US),
    Family("heavy-tailed, Pareto", pareto_quantile, _inverse(pareto_quantile)),
    Family("heavy-tailed, Student", student_quantile, _inverse(student_quantile)),
)

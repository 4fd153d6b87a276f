# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chance that a pass is a fluke, given the counts behind it.

Private to this collection: it may change in any release. Pure functions on plain numbers, standard library only.
"""

from __future__ import annotations

import math

# A term this much smaller than the sum no longer changes it in double precision.
_NEGLIGIBLE = 1e-18


def fluke_chance(*, hits: int, samples: int, addresses: int, share: float) -> float:
    """Chance that luck alone shows at least so many hits among samples at any of so many addresses.

    A hit is a handshake at or under the limit; each address is taken to have a true share of hits of ``share``, the
    most that an address without merit has. The chance at one address is the upper tail of the binomial distribution
    (Johnson, Kemp and Kotz, "Univariate Discrete Distributions", section 3.4), and any of several independent ones
    shows it with 1 - (1 - tail) ** addresses (Z. Sidak, "Rectangular Confidence Regions for the Means of Multivariate
    Normal Distributions", JASA 62, 1967). Raises ValueError for counts below 0, no address, or what is no share.
    """
    if hits < 0 or samples < 0 or hits > samples:
        raise ValueError(f"hits lie between 0 and the samples, unlike {hits} of {samples}")
    if addresses < 1:
        raise ValueError(f"a fluke needs an address to happen at, not {addresses}")
    tail = binomial_tail(hits, samples, share)
    if tail >= 1:
        return 1.0
    return -math.expm1(addresses * math.log1p(-tail))


def binomial_tail(hits: int, samples: int, share: float) -> float:
    """P(binomial(samples, share) >= hits), with a relative error around 1e-10 also where it is tiny.

    Raises ValueError when share is no probability.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share lies between 0 and 1, unlike {share}")
    if hits <= 0:
        return 1.0
    if hits > samples or share == 0:
        return 0.0
    if share == 1:
        return 1.0
    if hits > samples * share:
        return min(_sum_away(hits, samples, share), 1.0)
    # Below the mean the tail is nearly everything, so its complement is summed instead.
    return max(1.0 - _sum_away(samples - hits + 1, samples, 1 - share), 0.0)


def _sum_away(hits: int, samples: int, share: float) -> float:
    """The tail from hits on, for hits above the mean, where its terms fall from the first on."""
    log_term = (
        math.lgamma(samples + 1)
        - math.lgamma(hits + 1)
        - math.lgamma(samples - hits + 1)
        + hits * math.log(share)
        + (samples - hits) * math.log1p(-share)
    )
    odds = share / (1 - share)
    term = total = 1.0
    for count in range(hits, samples):
        term *= odds * (samples - count) / (count + 1)
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return math.exp(log_term) * total

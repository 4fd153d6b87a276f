# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: what another round is expected to gain, from the candidates seen so far.

Candidates are draws from one unknown distribution of racks. Of n draws in a row, the next is the lowest with a
probability of exactly 1 / (n + 1), whatever the distribution is (A. Renyi, Theorie des elements saillants d'une suite
d'observations, 1962). How much lower it is then follows from the lower tail. Near its end a tail without a sharp floor
is exponential with some mean excess s (I. Weissman, Estimation of parameters and large quantiles based on the k largest
observations, 1978), and then

- the distances between the lowest figures, each times its rank from the bottom, are independent and exponential with
  mean s, and
- so are the steps from one record to the next, which need nothing but the records. (In a given number of rounds a large
  step leaves room for fewer records, which makes their mean rather too large.)

The mean of r of them estimates s, 2 r times it over s is chi-squared with 2 r degrees of freedom, and another round
gains s / (n + 1). A tail that ends at a floor gains less than that, so that the search goes on rather too long than too
short.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .criteria import number

#: Distances at the bottom that s is estimated from: more are steadier, fewer are nearer to the end of the tail.
GAPS = 6

#: Chance that the interval misses the expected gain, half of it on each side.
ERROR_RATE = 0.1

#: What two rounds must have in common so that their figures can be compared.
TERMS: tuple[str, ...] = ("primary_endpoint", "metric", "statistic", "connect", "probe_mode", "samples")

Figures = Sequence[t.Optional[float]]


@dataclass(frozen=True)
class Gain:
    """What another round is expected to gain in microseconds, with its interval; C(since) rounds gained nothing."""

    expected_us: float
    low_us: float
    high_us: float
    rounds: int
    since: int


def expected_gain(figures_us: Figures) -> Gain | None:
    """What another round is expected to gain, or None while two figures that differ are still missing.

    C(figures_us) are those of the measured candidates in the order of their rounds, lower being better. None stands for
    one that is only known not to have been better, as when an adaptive probe ended early. Where there is such a one,
    the ranks are not known, and the steps between records alone are counted.
    """
    gaps_us = _record_steps(figures_us) if None in figures_us else _spacings(figures_us)
    if not gaps_us:
        return None
    rounds, count = len(figures_us), len(gaps_us)
    total_us = math.fsum(gaps_us)
    return Gain(
        expected_us=total_us / count / (rounds + 1),
        low_us=total_us / erlang_quantile(count, 1 - ERROR_RATE / 2) / (rounds + 1),
        high_us=total_us / erlang_quantile(count, ERROR_RATE / 2) / (rounds + 1),
        rounds=rounds,
        since=_since_record(figures_us),
    )


def not_worth_it(figures_us: Figures, patience: int | None, min_gain_us: float | None) -> Gain | None:
    """The expected gain when it is too small to go on for, else None.

    It is after C(patience) rounds that gained nothing, while another one is expected to gain less than C(min_gain_us).
    With a patience of None the question is never asked.
    """
    if patience is None or min_gain_us is None:
        return None
    gain = expected_gain(figures_us)
    if gain is None or gain.since < patience or gain.expected_us >= min_gain_us:
        return None
    return gain


def figures_of(ended: Sequence[Mapping[str, t.Any]], limits: Mapping[str, t.Any]) -> list[float | None]:
    """The figures of the rounds that were measured on the terms of C(limits), in the order in which they ended.

    C(ended) are lines of the search's account with C({outcome, terms, figure_us}).
    """
    wanted = terms_of(limits)
    measured = [line for line in ended if line.get("outcome") == "measured" and line.get("terms") == wanted]
    return [number(line.get("figure_us")) for line in measured]


def terms_of(limits: Mapping[str, t.Any]) -> list[t.Any]:
    """The terms of a round, as the account holds them."""
    return [limits.get(name) for name in TERMS]


def _spacings(figures_us: Figures) -> list[float]:
    """The distances between the lowest figures, each times its rank."""
    lowest = sorted(figure for figure in figures_us if figure is not None)[: GAPS + 1]
    return [rank * (above - below) for rank, (below, above) in enumerate(zip(lowest, lowest[1:]), start=1)]


def _record_steps(figures_us: Figures) -> list[float]:
    """The last steps from one record to the next."""
    records: list[float] = []
    for figure in figures_us:
        if figure is not None and (not records or figure < records[-1]):
            records.append(figure)
    return [before - after for before, after in zip(records, records[1:])][-GAPS:]


def _since_record(figures_us: Figures) -> int:
    known = [figure for figure in figures_us if figure is not None]
    return len(figures_us) - 1 - list(figures_us).index(min(known))


def erlang_quantile(shape: int, chance: float) -> float:
    """The value that the sum of so many exponential variables of mean 1 does not exceed with this chance.

    Half the quantile of a chi-squared distribution with twice as many degrees of freedom.
    """
    low, high = 0.0, 10.0 * shape + 100.0
    for _halving in range(80):
        middle = (low + high) / 2
        if _erlang_below(shape, middle) < chance:
            low = middle
        else:
            high = middle
    return high


def _erlang_below(shape: int, value: float) -> float:
    term, total = 1.0, 1.0
    for index in range(1, shape):
        term *= value / index
        total += term
    return 1.0 - math.exp(-value) * total

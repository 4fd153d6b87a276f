# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sequential tests on the share of handshakes that lie at or under a limit.

Private to this collection: it may change in any release. Pure functions on plain numbers, standard library only,
because the probe runs them on the instance that it measures.

Whatever the distribution of latencies, a handshake lies at or under the limit (a hit) or not (a miss), so nothing is
assumed of its shape. Neighbouring handshakes of one address must be nearly independent: what makes them alike is seen
in the batches of a Tally and allowed for, as long as it passes within a few handshakes of that address. A drift that is
slower than the whole test can't be seen by it: its answer is then about the time at which it was asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# Hits are kept by batches of this many handshakes; the dispersion needs so many batches to say anything, and is drawn
# towards 1 as if this many further degrees of freedom had shown exactly 1.
BATCH = 10
LEAST_BATCHES = 6
PRIOR_FREEDOM = 40

# Tests are made for this fraction of the error that is stated: the margin covers what the dispersion sees too late.
# tests/bench/verdicts.py shows what is left of it.
MARGIN = 4

# Error of the look at an address that showed a hit; its answer only says who gets more handshakes.
FEW_HITS_ERROR = 0.01


class Sprt:
    """Wald's sequential probability ratio test of a share: at least pass_share, or at most fail_share?

    After each handshake the likelihood of what was seen under the one share is held against that under the other, and
    the test ends when one is (1 - error) / error times as likely (A. Wald, "Sequential Tests of Statistical
    Hypotheses", Annals of Mathematical Statistics 16, 1945, sections 3.2 and 5). Each of the two errors is then at most
    about error_rate for independent handshakes, also for shares beyond the two; between them either answer may come.
    """

    def __init__(self, pass_share: float, fail_share: float, error_rate: float) -> None:
        """Raises ValueError unless 0 < fail_share < pass_share < 1 and 0 < error_rate < 0.5."""
        if not 0 < fail_share < pass_share < 1:
            raise ValueError(f"shares must be 0 < fail < pass < 1, unlike {fail_share} and {pass_share}")
        if not 0 < error_rate < 0.5:
            raise ValueError(f"an error rate lies between 0 and 0.5, unlike {error_rate}")
        self.pass_share = pass_share
        self.fail_share = fail_share
        self.error_rate = error_rate
        self.boundary = math.log((1 - error_rate) / error_rate)
        self._per_hit = math.log(pass_share / fail_share)
        self._per_miss = math.log((1 - pass_share) / (1 - fail_share))

    def log_likelihood_ratio(self, hits: int, misses: int) -> float:
        """Natural logarithm of how much likelier the counts are under pass_share than under fail_share."""
        return hits * self._per_hit + misses * self._per_miss

    def after(self, hits: int, misses: int, dispersion: float = 1.0) -> str | None:
        """``pass``, ``fail``, or None while more handshakes are needed; the ratio is divided by dispersion."""
        ratio = self.log_likelihood_ratio(hits, misses) / dispersion
        if ratio >= self.boundary:
            return "pass"
        return "fail" if ratio <= -self.boundary else None

    @property
    def fewest_to_pass(self) -> int:
        """Handshakes after which the test can end in ``pass`` at the earliest: all of them hits."""
        return math.ceil(self.boundary / self._per_hit)

    @property
    def fewest_to_fail(self) -> int:
        """Handshakes after which the test can end in ``fail`` at the earliest: all of them misses."""
        return math.ceil(self.boundary / -self._per_miss)


class Tally:
    """Hits and misses of one address at one limit, in the order in which they came."""

    def __init__(self) -> None:
        self.hits = 0
        self.samples = 0
        self._batches: list[int] = []
        self._before = 0

    def note(self, hit: bool) -> None:
        """Count one handshake."""
        self.hits += hit
        self.samples += 1
        if not self.samples % BATCH:
            self._batches.append(self.hits - self._before)
            self._before = self.hits

    @property
    def misses(self) -> int:
        """Handshakes above the limit."""
        return self.samples - self.hits

    def dispersion(self) -> float:
        """See the function of that name."""
        return dispersion(self._batches)


def dispersion(batches: Sequence[int]) -> float:
    """How much wider the hits of batches of BATCH handshakes scatter than independent ones do; 1 or more.

    Pearson's statistic over its degrees of freedom, by which a log likelihood of counts that are alike is divided
    (McCullagh and Nelder, "Generalized Linear Models", 2nd edition, section 4.5). What stays alike for longer than a
    batch shows in longer ones (B. Schmeiser, "Batch Size Effects in the Analysis of Simulation Output", Operations
    Research 30, 1982), so batches are joined in pairs again and again, and the widest scatter is taken.
    """
    widest = 1.0
    size = BATCH
    totals = list(batches)
    while len(totals) >= LEAST_BATCHES:
        mean = sum(totals) / len(totals)
        share = (sum(totals) + 0.5) / (size * len(totals) + 1)
        pearson = sum((total - mean) ** 2 for total in totals) / (size * share * (1 - share))
        widest = max(widest, (pearson + PRIOR_FREEDOM) / (len(totals) - 1 + PRIOR_FREEDOM))
        totals = [one + other for one, other in zip(totals[::2], totals[1::2])]
        size *= 2
    return widest


class ShareTest:
    """Whether the share of hits is at least pass_share or at most fail_share, for handshakes that may be a bit alike.

    Wald's test for a fraction of the stated error, its ratio divided by the dispersion of what was seen.
    """

    def __init__(self, pass_share: float, fail_share: float, error_rate: float) -> None:
        """Raises ValueError as Sprt does."""
        self._test = Sprt(pass_share, fail_share, error_rate / MARGIN)

    def after(self, tally: Tally) -> str | None:
        """``pass``, ``fail``, or None while more handshakes are needed."""
        # A dispersion only ever defers an answer, so it is worked out only for an answer that could be given.
        if self._test.after(tally.hits, tally.misses) is None:
            return None
        return self._test.after(tally.hits, tally.misses, tally.dispersion())

    def log_likelihood_ratio(self, tally: Tally) -> float:
        """Wald's ratio divided by the dispersion."""
        return self._test.log_likelihood_ratio(tally.hits, tally.misses) / tally.dispersion()

    @property
    def fewest(self) -> int:
        """Handshakes after which there can be an answer at the earliest."""
        return min(self._test.fewest_to_pass, self._test.fewest_to_fail)


class ShareLook:
    """Whether a share of hits of at least ``share`` is likely enough for the full samples to be worth while.

    Without a hit the test is share against a tenth of it. An address that did show a hit is looked at for longer, at an
    eighth of the share against a tenth of that: one hit among few handshakes proves neither. It passes with three or
    four hits; after most_samples without an answer it is given up. A share of hits of 1 in 10,000 practically never
    passes. What passes only gets its full samples, so that the error on that side costs handshakes and no verdict.

    An address that fails may still have some hits in a thousand, and a best handshake under the limit among 10,000: by
    the rule of one lucky handshake it would have passed. tests/bench/verdicts.py shows how often an address passes by
    its share of hits.
    """

    def __init__(self, share: float, error_rate: float) -> None:
        """Raises ValueError unless 0 < share < 1 and 0 < error_rate < 0.5."""
        self._without_hits = Sprt(share, share / 10, error_rate)
        self._with_hits = Sprt(share / 8, share / 80, max(error_rate, FEW_HITS_ERROR))
        self.most_samples = 4 * self._without_hits.fewest_to_fail

    def after(self, tally: Tally) -> str | None:
        """``pass`` when the full samples are worth while, ``fail`` when the address is given up, None before."""
        found = self._applies(tally).after(tally.hits, tally.misses)
        if found is None and tally.samples >= self.most_samples:
            return "fail"
        return found

    def log_likelihood_ratio(self, tally: Tally) -> float:
        """Wald's ratio of the test that applies to an address with or without a hit."""
        return self._applies(tally).log_likelihood_ratio(tally.hits, tally.misses)

    @property
    def fewest(self) -> int:
        """Handshakes after which there can be an answer at the earliest."""
        return min(self._with_hits.fewest_to_pass, self._without_hits.fewest_to_fail)

    def _applies(self, tally: Tally) -> Sprt:
        return self._with_hits if tally.hits else self._without_hits

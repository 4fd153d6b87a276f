# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sequential tests on the share of handshakes that lie at or under a limit.

Private to this collection: it may change in any release. Pure functions on plain numbers, standard library only,
because the probe runs them on the instance that it measures.
"""

from __future__ import annotations

import math


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


class ShareLook:
    """Whether an address shows a share of at least ``share`` under a limit, so that its full samples are worth while.

    Without a hit the test is share against a tenth of it. An address that did show a hit is looked at for longer, at
    a quarter of the share against a tenth of that: one hit among few handshakes proves neither. After ``most_samples``
    without a decision the address is given up. So an address passes at about four hits, and a share of 1 in 10,000
    nearly never does.
    """

    def __init__(self, share: float, error_rate: float) -> None:
        """Raises ValueError unless 0 < share < 1 and 0 < error_rate < 0.5."""
        self._without_hits = Sprt(share, share / 10, error_rate)
        self._with_hits = Sprt(share / 4, share / 40, error_rate)
        self.most_samples = 3 * self._without_hits.fewest_to_fail

    def log_likelihood_ratio(self, hits: int, misses: int) -> float:
        """Natural logarithm of how much likelier the counts are under the greater share of the test that applies."""
        return self._test(hits).log_likelihood_ratio(hits, misses)

    def after(self, hits: int, misses: int) -> str | None:
        """``pass`` when the full samples are worth while, ``fail`` when the address is given up, None before."""
        found = self._test(hits).after(hits, misses)
        if found is None and hits + misses >= self.most_samples:
            return "fail"
        return found

    def _test(self, hits: int) -> Sprt:
        return self._with_hits if hits else self._without_hits

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which address of an adaptive probe gets how many handshakes, and how it ended.

Private to this collection: it may change in any release. Pure: no clock, no network, no chance. Standard library only,
because the probe runs it on the instance that it measures.

First all addresses go round in small blocks until what is asked of each is decided; then the few that are worth it get
their full samples, because only full samples are ever compared with a champion or judged by the criteria.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lowlatency.ec2.plugins.module_utils._sequential import ShareLook, Sprt
from ansible_collections.lowlatency.ec2.plugins.module_utils._statistics import median, quantile

# Handshakes that an address makes even if nothing is asked of it, so that addresses can be ranked.
LEAST_LOOK = 50

# An address with a share of hits of at least this is worth its full samples (see ShareLook).
WORTHWHILE_SHARE = 0.08


@dataclass(frozen=True)
class Question:
    """What is asked of an address. Limits are in microseconds of the metric that the figures are of; None: not asked.

    ``champion_us`` is the champion's figure by ``champion_statistic`` (best or p0_1), asked of primary addresses only;
    None means that there is no champion yet.
    """

    samples: int
    median_limit_us: float | None = None
    best_limit_us: float | None = None
    best_min_hits: int = 1
    champion_us: float | None = None
    champion_statistic: str = "best"
    primary: bool = False
    error_rate: float = 0.001
    indifference: float = 0.1
    worthwhile_share: float = WORTHWHILE_SHARE


@dataclass(frozen=True)
class Ended:
    """How an address ended.

    ``how``: ``full`` (it has its full samples), ``below`` (its median is under the limit, but another address has met
    the criteria already), ``above`` (it meets no limit), ``beaten`` (only the champion kept it, and it can't beat it),
    ``dropped`` (it does not answer), ``undecided``. ``by`` is the question that decided: ``median``, ``best``,
    ``champion``, ``count`` or ``errors``. ``log_likelihood_ratio`` is that question's, None where none was asked.
    """

    how: str
    by: str
    samples: int
    log_likelihood_ratio: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Shape: ``{how, by, samples, log_likelihood_ratio}``, the ratio rounded to three decimals."""
        ratio = self.log_likelihood_ratio
        return {
            "how": self.how,
            "by": self.by,
            "samples": self.samples,
            "log_likelihood_ratio": None if ratio is None else round(ratio, 3),
        }


class _Ask:
    """One question to an address: its limit, its test, and what that has found so far."""

    def __init__(self, by: str, limit_us: float, test: Sprt | ShareLook) -> None:
        self.by = by
        self.limit_us = limit_us
        self.hits = 0
        self.found: str | None = None
        self.ratio = 0.0
        self._test = test

    def settle(self, samples: int) -> bool:
        """Ask the test, unless it has answered already; True when it answers now."""
        if self.found is not None:
            return False
        misses = samples - self.hits
        self.found = self._test.after(self.hits, misses)
        self.ratio = self._test.log_likelihood_ratio(self.hits, misses)
        return self.found is not None


def _asks_of(question: Question) -> list[_Ask]:
    asks: list[_Ask] = []
    if question.median_limit_us is not None:
        test = Sprt(0.5, 0.5 - question.indifference, question.error_rate / 3)
        asks.append(_Ask("median", question.median_limit_us, test))
    share = question.worthwhile_share
    if question.best_limit_us is not None:
        # An address that needs many hits among its full samples needs a share to match.
        enough = max(share, min(question.best_min_hits / question.samples, 0.5))
        asks.append(_Ask("best", question.best_limit_us, ShareLook(enough, question.error_rate / 3)))
    if question.primary and question.champion_us is not None:
        asks.append(_Ask("champion", question.champion_us, ShareLook(share, question.error_rate / 3)))
    return asks


class AddressCourse:
    """The figures of one address in the order in which they were measured, and what they have decided so far."""

    def __init__(self, question: Question) -> None:
        """Raises ValueError for error rates, shares or an indifference that no test can be made of."""
        self.question = question
        self.figures: list[float] = []
        self.ended: Ended | None = None
        self._asks = _asks_of(question)
        self._last: _Ask | None = None

    def note(self, figure_us: float) -> None:
        """Add the figure of one completed handshake."""
        self.figures.append(figure_us)
        for ask in self._asks:
            if figure_us <= ask.limit_us:
                ask.hits += 1

    @property
    def samples(self) -> int:
        """Completed handshakes."""
        return len(self.figures)

    def settle(self) -> None:
        """Let the tests look at the figures so far: called between blocks."""
        answered = [ask for ask in self._asks if ask.settle(self.samples)]
        if answered:
            self._last = answered[0]

    def found(self, by: str) -> str | None:
        """What the question of that name has found: ``pass``, ``fail``, or None while open or not asked."""
        return next((ask.found for ask in self._asks if ask.by == by), None)

    @property
    def is_screened(self) -> bool:
        """Whether small blocks can tell no more: the median passed, or every question has its answer."""
        if self.found("median") == "pass":
            return True
        if self._asks:
            return all(ask.found is not None for ask in self._asks)
        return self.samples >= min(LEAST_LOOK, self.question.samples)

    @property
    def is_promising(self) -> bool:
        """Whether it may meet the criteria, so that its full samples are worth while."""
        return self.found("median") == "pass" or self.found("best") == "pass"

    @property
    def may_be_champion(self) -> bool:
        """Whether it is of the primary endpoint and nothing says that it can't beat the champion."""
        return self.question.primary and self.found("champion") != "fail"

    @property
    def rank(self) -> tuple[bool, float, float]:
        """Sorts the most promising first: the median passed, then the lower running median, then the lower best."""
        if not self.figures:
            return True, float("inf"), float("inf")
        return self.found("median") != "pass", median(sorted(self.figures)), min(self.figures)

    @property
    def meets(self) -> str | None:
        """Which of the criteria its figures meet, ``median`` or ``best``; None without its full samples."""
        asked = self.question
        if self.samples < asked.samples:
            return None
        # Rounded as the result is, so that both come to the same end.
        if asked.median_limit_us is not None and round(median(sorted(self.figures)), 3) <= asked.median_limit_us:
            return "median"
        if asked.best_limit_us is not None:
            hits = sum(round(figure_us, 3) <= asked.best_limit_us for figure_us in self.figures)
            if hits >= asked.best_min_hits:
                return "best"
        return None

    @property
    def beats_champion(self) -> bool:
        """Whether its full samples beat the champion by its statistic."""
        asked = self.question
        if not asked.primary or asked.champion_us is None or self.samples < asked.samples:
            return False
        share = 0.0 if asked.champion_statistic == "best" else 0.001
        return round(quantile(sorted(self.figures), share), 3) < asked.champion_us

    def end(self, how: str, by: str) -> None:
        """Take no more figures. A second end changes nothing."""
        if self.ended is None:
            ratio = next((ask.ratio for ask in self._asks if ask.by == by), None)
            self.ended = Ended(how, by, self.samples, ratio)

    def end_full(self) -> None:
        """End with the full samples, by what they show."""
        self.settle()
        self.end("full", self.meets or ("champion" if self.beats_champion else "count"))

    def end_without_full(self) -> None:
        """End an address that is screened, and that gets no full samples."""
        if self.found("median") == "pass":
            self.end("below", "median")
        elif self.found("best") == "pass":
            self.end("undecided", "best")
        elif self.found("champion") == "pass":
            self.end("undecided", "champion")
        elif self._last is None:
            self.end("undecided", "count")
        else:
            self.end("beaten" if self._last.by == "champion" else "above", self._last.by)


class AdaptiveSchedule:
    """Hands out blocks of handshakes until every address has ended.

    Between two calls of next_block the caller makes the handshakes and notes each figure with its course. A handshake
    that fails is noted nowhere; after too many of those the address ends as ``undecided`` by ``errors``.
    """

    def __init__(self, courses: Sequence[AddressCourse], block_size: int, full_addresses: int, samples: int) -> None:
        """block_size is handshakes an address in one block, full_addresses how many get the full samples at a time."""
        self._courses = list(courses)
        self._block_size = block_size
        self._full_addresses = full_addresses
        self._samples = samples
        self._asked = [0] * len(self._courses)
        self._granted: list[int] = []

    def drop(self, index: int) -> None:
        """End an address that does not answer."""
        self._courses[index].end("dropped", "errors")

    def next_block(self) -> list[tuple[int, int]]:
        """The next block as pairs of a course's index and a count of handshakes; [] when every address has ended."""
        self._settle()
        turn = [index for index, course in self._open() if not course.is_screened]
        if not turn:
            self._grant()
            turn = [index for index in self._granted if self._courses[index].ended is None]
        if not turn:
            for _index, course in self._open():
                course.end_without_full()
        return [self._hand_out(index) for index in turn]

    def _open(self) -> list[tuple[int, AddressCourse]]:
        return [(index, course) for index, course in enumerate(self._courses) if course.ended is None]

    def _settle(self) -> None:
        for index, course in self._open():
            if course.samples >= self._samples:
                course.end_full()
            elif self._asked[index] - course.samples > self._samples // 10 + 20:
                course.end("undecided", "errors")
            else:
                course.settle()

    def _grant(self) -> None:
        """Give free lanes to the best that wait. Every open address is screened when this is called."""
        lanes = self._full_addresses - sum(self._courses[index].ended is None for index in self._granted)
        waiting = [(course.rank, index) for index, course in self._open() if index not in self._granted]
        for _rank, index in sorted(waiting):
            if lanes <= 0:
                return
            if self._deserves_full(index):
                self._granted.append(index)
                lanes -= 1

    def _deserves_full(self, index: int) -> bool:
        course = self._courses[index]
        if course.is_promising and not any(one.meets for one in self._courses if one.ended is not None):
            return True
        return course.may_be_champion and self._primary_full() < self._full_addresses

    def _primary_full(self) -> int:
        """Primary addresses that have their full samples or are on the way to them."""
        return sum(
            course.question.primary
            and (course.ended.how == "full" if course.ended is not None else index in self._granted)
            for index, course in enumerate(self._courses)
        )

    def _hand_out(self, index: int) -> tuple[int, int]:
        count = min(self._block_size, self._samples - self._courses[index].samples)
        self._asked[index] += count
        return index, count

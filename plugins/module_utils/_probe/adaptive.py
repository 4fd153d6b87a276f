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

from .._statistics import median, quantile
from .sequential import ShareLook, ShareTest, Tally

# Handshakes that an address makes even if nothing is asked of it, so that addresses can be ranked.
LEAST_LOOK = 50

# An address with a share of hits of at least this is worth its full samples (see ShareLook).
WORTHWHILE_SHARE = 0.08

# The closer look that an address has while it gets its full samples: its zone of indifference, as a part of the first.
CLOSER = 0.3


@dataclass(frozen=True)
class Question:
    """What is asked of an address. Limits are in microseconds of the metric that the figures are of; None: not asked.

    ``champion_us`` is the champion's figure by ``champion_statistic`` (best or p0_1), asked of primary addresses only;
    None means that there is no champion yet. A median passes when P(X <= limit) is at least 0.5 and fails at 0.5 -
    ``indifference`` or less, either one wrong at most as often as ``error_rate``. ``worthwhile_share`` is the share of
    handshakes under the best limit, or under the champion, at which an address gets its full samples (see ShareLook).
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

    def __init__(self, by: str, limit_us: float, test: ShareTest | ShareLook) -> None:
        self.by = by
        self.limit_us = limit_us
        self.tally = Tally()
        self.found: str | None = None
        self._ratio: float | None = None
        self._test = test

    def settle(self) -> bool:
        """Ask the test, unless it has answered already; True when it answers now."""
        if self.found is not None:
            return False
        self.found = self._test.after(self.tally)
        if self.found is None:
            return False
        self._ratio = self.ratio
        return True

    @property
    def ratio(self) -> float:
        """The log likelihood ratio that the test answered with, or the present one while it has not."""
        return self._test.log_likelihood_ratio(self.tally) if self._ratio is None else self._ratio

    def overrule(self, test: ShareTest) -> None:
        """Take the answer ``fail`` of a later test in place of the first one's."""
        self.found = "fail"
        self._ratio = test.log_likelihood_ratio(self.tally)


def _asks_of(question: Question) -> list[_Ask]:
    asks: list[_Ask] = []
    error_rate, share = question.error_rate, question.worthwhile_share
    if question.median_limit_us is not None:
        asks.append(_Ask("median", question.median_limit_us, ShareTest(0.5, 0.5 - question.indifference, error_rate)))
    if question.best_limit_us is not None:
        # An address that needs many hits among its full samples needs a share to match.
        enough = max(share, min(question.best_min_hits / question.samples, 0.5))
        asks.append(_Ask("best", question.best_limit_us, ShareLook(enough, error_rate)))
    if question.primary and question.champion_us is not None:
        asks.append(_Ask("champion", question.champion_us, ShareLook(share, error_rate)))
    return asks


class AddressCourse:
    """The figures of one address in the order in which they were measured, and what they have decided so far."""

    def __init__(self, question: Question) -> None:
        """Raises ValueError for error rates, shares or an indifference that no test can be made of."""
        self.question = question
        self.figures: list[float] = []
        self.ended: Ended | None = None
        self.meets: str | None = None
        self._asks = _asks_of(question)
        self._last: _Ask | None = None
        self._closer_test = ShareTest(0.5, 0.5 - CLOSER * question.indifference, question.error_rate)
        self._closer_found: str | None = None
        self._rank: tuple[float, float] | None = None

    def note(self, figure_us: float) -> None:
        """Add the figure of one completed handshake."""
        self.figures.append(figure_us)
        self._rank = None
        for ask in self._asks:
            ask.tally.note(figure_us <= ask.limit_us)

    @property
    def samples(self) -> int:
        """Completed handshakes."""
        return len(self.figures)

    def settle(self) -> None:
        """Let the tests look at the figures so far: called between blocks."""
        answered = [ask for ask in self._asks if ask.settle()]
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
    def rank(self) -> tuple[float, float]:
        """Sorts the most promising first: by the median so far, then by the best."""
        if self._rank is None:
            ordered = sorted(self.figures) or [float("inf")]
            self._rank = median(ordered), ordered[0]
        return self._rank

    def fails_closer_look(self) -> bool:
        """Whether further figures of an address whose median passed have shown that it is above the limit after all.

        The question is the median's with a zone of indifference of CLOSER of it, which takes more figures.
        """
        asked = next((ask for ask in self._asks if ask.by == "median" and ask.found == "pass"), None)
        if asked is None or self._closer_found is not None:
            return False
        self._closer_found = self._closer_test.after(asked.tally)
        if self._closer_found != "fail":
            return False
        asked.overrule(self._closer_test)
        return True

    def _criterion_met(self) -> str | None:
        # Rounded as the probe's result is, so that both come to the same end.
        asked = self.question
        if asked.median_limit_us is not None and round(median(sorted(self.figures)), 3) <= asked.median_limit_us:
            return "median"
        if asked.best_limit_us is not None:
            hits = sum(round(figure_us, 3) <= asked.best_limit_us for figure_us in self.figures)
            if hits >= asked.best_min_hits:
                return "best"
        return None

    def _beats_champion(self) -> bool:
        asked = self.question
        if not asked.primary or asked.champion_us is None:
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
        self.meets = self._criterion_met()
        self.end("full", self.meets or ("champion" if self._beats_champion() else "count"))

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
        """block_size is handshakes an address in one block; samples are those of the questions.

        full_addresses is how many of those that may meet the criteria get their full samples at a time, until one of
        them does meet them, and how many of the primary endpoint do for the champion's sake.
        """
        self._courses = list(courses)
        self._block_size = block_size
        self._full_addresses = full_addresses
        self._samples = samples
        self._asked = [0] * len(self._courses)
        self._granted: list[int] = []
        self._is_met = False

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
                self._is_met = self._is_met or course.meets is not None
            elif self._asked[index] - course.samples > self._samples // 10 + 20:
                course.end("undecided", "errors")
            else:
                course.settle()
                self._look_closer(index)

    def _look_closer(self, index: int) -> None:
        """End an address whose median proves to be above the limit while it gets its full samples for nothing else."""
        course = self._courses[index]
        if index not in self._granted or not course.fails_closer_look() or course.is_promising:
            return
        if not course.may_be_champion or self._primary_full() > self._full_addresses:
            course.end("above", "median")

    def _grant(self) -> None:
        """Begin the full samples of the best that wait. Every open address is screened when this is called."""
        waiting = [(index, course) for index, course in self._open() if index not in self._granted]
        for _rank, index in sorted((course.rank, index) for index, course in waiting):
            if self._deserves_full(self._courses[index]):
                self._granted.append(index)

    def _deserves_full(self, course: AddressCourse) -> bool:
        if course.is_promising and not self._is_met:
            under_way = [self._courses[index] for index in self._granted]
            if sum(one.is_promising for one in under_way if one.ended is None) < self._full_addresses:
                return True
        # As many as made the champion, so that both are the best of equally many.
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

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: what a search was asked for, as checked plain values.

L(Criteria) says what makes an anchor, L(Limits) what ends a search and how it compares. Both are built
from dictionaries that a person wrote, and refuse what they cannot use in one line that names the option.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

#: Figures of a handshake that a search can rank by.
METRICS: tuple[str, ...] = ("wall", "wire")

#: Figures of an address that a search can rank by: its lowest handshake, or the quantile of 0.1 %.
STATISTICS: tuple[str, ...] = ("best", "p0_1")

#: How a probe waits for the end of a handshake; the wall times of the two are not comparable.
CONNECTS: tuple[str, ...] = ("blocking", "spin")

#: Ways in which a probe spreads its samples over addresses.
PROBE_MODES: tuple[str, ...] = ("adaptive", "exhaustive")


class CriteriaError(ValueError):
    """A criterion cannot be used; the message is one line that names C(search_criteria.<key>) and the value."""


class LimitsError(ValueError):
    """A limit of the search cannot be used; the message is one line that names C(limits.<key>) and the value."""


def number(value: object) -> float | None:
    """Return a finite number as a float, and None for anything else: booleans, text, NaN, infinities, null."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True)
class Criteria:
    """What makes an anchor: an address with a median at or below C(median_us) or a best at or below C(best_us).

    Units are microseconds. A limit of None is switched off; with both off nothing is an anchor.
    C(best_min_hits) is how many handshakes of one address must lie at or below C(best_us): 1 trusts a single one.
    The defaults are the limits that the search was first run with (122 and 102 microseconds).
    """

    median_us: float | None = 122.0
    best_us: float | None = 102.0
    best_min_hits: int = 1

    @classmethod
    def from_dict(cls, given: Mapping[str, t.Any] | None) -> Criteria:
        """Build from C(search_criteria); a missing key takes its default. Raises CriteriaError."""
        if given is None:
            return cls()
        if not isinstance(given, Mapping):
            raise CriteriaError(f"search_criteria: {given!r} is not a dictionary")
        known = [field.name for field in fields(cls)]
        for key in given:
            if key not in known:
                raise CriteriaError(f"search_criteria.{key}: {given[key]!r} is unknown, known are {', '.join(known)}")
        return cls(
            median_us=_limit_us(given, "median_us", cls.median_us),
            best_us=_limit_us(given, "best_us", cls.best_us),
            best_min_hits=_hits(given.get("best_min_hits", cls.best_min_hits)),
        )


def _limit_us(given: Mapping[str, t.Any], key: str, default: float | None) -> float | None:
    value = given.get(key, default)
    if value is None:
        return None
    limit_us = number(value)
    if limit_us is None:
        raise CriteriaError(f"search_criteria.{key}: {value!r} is not a number of microseconds (null switches it off)")
    if limit_us < 0:
        raise CriteriaError(f"search_criteria.{key}: {value!r} is below 0")
    return limit_us


def _hits(value: object) -> int:
    hits = number(value)
    if hits is None or hits != int(hits):
        raise CriteriaError(f"search_criteria.best_min_hits: {value!r} is not a whole number")
    if hits < 1:
        raise CriteriaError(f"search_criteria.best_min_hits: {value!r} is below 1")
    return int(hits)


@dataclass(frozen=True)
class Limits:
    """What a round is compared by, and what ends its search: the plain values of a round's C(limits).

    Counters are those before this round: C(failures_in_row) and C(qualified_count) leave this round out.
    C(elapsed_s) and C(spent_usd) are the search's until now, this round included.
    C(round_number) counts from 1. C(anchor) is the anchor that this search holds already, or None.
    C(confirm) says whether a sitting champion is replaced only after a paired comparison with it.
    Money is that of the whole search, over all its slots and runs: C(spent_usd) by rounds that have ended,
    C(under_way_usd) expected of those that have not, C(next_usd) expected of one more. C(figures_us) are those of the
    candidates seen so far, this round left out, in the order of their rounds (see L(gain.expected_gain)).
    """

    primary_endpoint: str
    metric: str = "wall"
    statistic: str = "best"
    connect: str = "blocking"
    probe_mode: str = "exhaustive"
    confirm: bool = False
    samples: int = 1
    round_number: int = 1
    max_rounds: int = 200
    failures_in_row: int = 0
    max_failures_in_row: int = 5
    qualified_wanted: int = 0
    qualified_count: int = 0
    anchor: Mapping[str, t.Any] | None = None
    stop_requested: bool = False
    max_hours: float | None = None
    elapsed_s: float | None = None
    max_usd: float | None = None
    spent_usd: float | None = None
    under_way_usd: float | None = None
    next_usd: float | None = None
    patience: int | None = None
    min_gain_us: float | None = None
    figures_us: Sequence[float | None] = ()
    check_mode: bool = False

    @classmethod
    def from_dict(cls, given: Mapping[str, t.Any]) -> Limits:
        """Build from a round's C(limits); keys beyond the known ones are left to others. Raises LimitsError."""
        if not isinstance(given, Mapping):
            raise LimitsError(f"limits: {given!r} is not a dictionary")
        known = {field.name: given[field.name] for field in fields(cls) if field.name in given}
        if not known.get("primary_endpoint") or not isinstance(known["primary_endpoint"], str):
            raise LimitsError(f"limits.primary_endpoint: {known.get('primary_endpoint')!r} names no endpoint")
        limits = cls(**known)
        _check_limits(limits)
        return limits


#: Least value of each count of Limits.
_LEAST: dict[str, int] = {
    "samples": 1,
    "round_number": 0,
    "max_rounds": 1,
    "failures_in_row": 0,
    "max_failures_in_row": 1,
    "qualified_wanted": 0,
    "qualified_count": 0,
}


def _check_limits(limits: Limits) -> None:
    for key, known in (
        ("metric", METRICS),
        ("statistic", STATISTICS),
        ("connect", CONNECTS),
        ("probe_mode", PROBE_MODES),
    ):
        if getattr(limits, key) not in known:
            raise LimitsError(f"limits.{key}: {getattr(limits, key)!r} is none of {', '.join(known)}")
    if not isinstance(limits.confirm, bool):
        raise LimitsError(f"limits.confirm: {limits.confirm!r} is neither true nor false")
    for key, least in _LEAST.items():
        value = getattr(limits, key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise LimitsError(f"limits.{key}: {value!r} is not a whole number from {least} on")
    for key in _AMOUNTS:
        value = getattr(limits, key)
        if value is not None and (number(value) is None or value < 0):
            raise LimitsError(f"limits.{key}: {value!r} is not a number from 0 on")
    _check_gain(limits)


#: What is a number from 0 on where it is given.
_AMOUNTS: tuple[str, ...] = (
    "max_hours",
    "elapsed_s",
    "max_usd",
    "spent_usd",
    "under_way_usd",
    "next_usd",
    "min_gain_us",
)


def _check_gain(limits: Limits) -> None:
    patience = limits.patience
    if patience is not None and (isinstance(patience, bool) or not isinstance(patience, int) or patience < 1):
        raise LimitsError(f"limits.patience: {patience!r} is not a whole number from 1 on")
    if isinstance(limits.figures_us, (str, bytes)) or not isinstance(limits.figures_us, Sequence):
        raise LimitsError(f"limits.figures_us: {limits.figures_us!r} is not a list")
    for value in limits.figures_us:
        if value is not None and number(value) is None:
            raise LimitsError(f"limits.figures_us: {value!r} is neither a number nor null")

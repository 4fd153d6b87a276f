# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: when a search is over, and why. Pure functions on a round's limits and on what it found."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .budget import is_spent, usd_text
from .criteria import Limits
from .gain import Gain, not_worth_it

#: Why a search is over, in the order in which they are asked: what was found comes before what ran out.
STOP_REASONS: tuple[str, ...] = (
    "check_mode",
    "anchor",
    "qualified",
    "requested",
    "usd",
    "budget",
    "failures",
    "rounds",
    "gain",
)


@dataclass(frozen=True)
class Outcome:
    """What one round found out, as far as the end of the search hangs on it.

    C(figure_us) is the candidate's figure, None for one that is only known not to be better than the champion.
    """

    outcome: str
    kind: str
    is_anchor: bool = False
    meets_criteria: bool = False
    figure_us: float | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing was tried: such a round is asked before it begins."""
        return self.outcome == "none"


class Stop(t.NamedTuple):
    """Why a search is over, and the figures of it where they say more; both None while it goes on."""

    reason: str | None = None
    told: str | None = None


def stop(limits: Limits, found: Outcome) -> Stop:
    """Whether the search is over after this round.

    A round that tried nothing neither uses up its number nor touches the row of failures.
    """
    rounds = limits.round_number - (1 if found.idle else 0)
    failures = limits.failures_in_row if found.idle else failures_after(found.kind, limits.failures_in_row)
    gain = not_worth_it(_figures(limits, found), limits.patience, limits.min_gain_us)
    asked = {
        "check_mode": limits.check_mode,
        "anchor": limits.qualified_wanted == 0 and (found.is_anchor or limits.anchor is not None),
        "qualified": _enough_qualified(limits, found),
        "requested": limits.stop_requested,
        "usd": _money_spent(limits, found),
        "budget": limits.max_hours is not None and (limits.elapsed_s or 0.0) >= limits.max_hours * 3600,
        "failures": failures >= limits.max_failures_in_row,
        "rounds": rounds >= limits.max_rounds,
        "gain": gain is not None,
    }
    reason = next((each for each in STOP_REASONS if asked[each]), None)
    return Stop(reason, _told(reason, limits, gain))


def failures_after(kind: str, failures_in_row: int) -> int:
    """Failed rounds in a row, this one included: a failed round adds one, a probed one ends the row.

    A round without capacity says nothing about whether rounds work, so it leaves the row as it is.
    """
    if kind == "failed":
        return failures_in_row + 1
    return failures_in_row if kind == "no_capacity" else 0


def _figures(limits: Limits, found: Outcome) -> list[float | None]:
    own = [found.figure_us] if found.outcome == "measured" and found.kind != "failed" else []
    return [*limits.figures_us, *own]


def _money_spent(limits: Limits, found: Outcome) -> bool:
    # What another round is expected to cost is asked before it begins: the end of this one tells more of it.
    if found.idle:
        return is_spent(limits.max_usd, limits.spent_usd, limits.under_way_usd, limits.next_usd)
    return is_spent(limits.max_usd, limits.spent_usd, None, None)


def _enough_qualified(limits: Limits, found: Outcome) -> bool:
    count = limits.qualified_count + (1 if found.meets_criteria else 0)
    return 0 < limits.qualified_wanted <= count


def _told(reason: str | None, limits: Limits, gain: Gain | None) -> str | None:
    if reason == "usd":
        return _usd_told(limits)
    if reason == "requested":
        return "the search was asked to end"
    if reason == "gain" and gain is not None:
        return (
            f"another round is expected to gain {gain.expected_us:.2f}µs ({gain.low_us:.2f} to {gain.high_us:.2f}),"
            f" less than search_min_gain_us: {limits.min_gain_us:g}, and the last {gain.since} of {gain.rounds}"
            " candidates gained nothing"
        )
    return None


def _usd_told(limits: Limits) -> str:
    told = [f"{usd_text(limits.spent_usd or 0.0)} are spent"]
    if limits.under_way_usd:
        told.append(f"{usd_text(limits.under_way_usd)} are under way")
    if limits.next_usd:
        told.append(f"another round would take about {usd_text(limits.next_usd)}")
    return f"{', '.join(told)}; search_max_usd is {limits.max_usd:g}"

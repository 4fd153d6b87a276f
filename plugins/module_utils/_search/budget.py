# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: what rounds cost, and whether there is money for another one.

Pure functions on plain values. EC2 bills an instance by the second from its launch to its end, 60 s at least
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/concepts.html, "per-second billing"), and a volume by the second
with the same minimum. A month of a volume has 730 hours, as in AWS's own examples.

A search keeps account in lines: C({event: begun, round_id, at_s, usd_h, lifetime_s}) before a launch,
C({event: ended, round_id, at_s, billed_s, cost_usd, ...}) after the round. A round that began and never ended, because
its controller died, is counted up to the end of its candidate's life.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .criteria import number

#: What EC2 bills at least for an instance, in seconds.
LEAST_S = 60.0

#: Seconds that a round is expected to take as long as none has ended.
FIRST_ROUND_S = 300.0

HOURS_A_MONTH = 730.0

MARKETS: tuple[str, ...] = ("on-demand", "spot")

Line = Mapping[str, t.Any]


class PriceError(ValueError):
    """A price is missing or cannot be used; the message is one line that names the option, the type and the value."""


def price_of(given: Mapping[str, t.Any], instance_type: str, market: str = "on-demand") -> float | None:
    """USD for an hour of a type, or None where it is not given.

    C(given) maps types to a number, which is the price on demand, or to C({on-demand, spot}). A spot instance costs the
    price on demand at most (what EC2 takes for its highest price when none is named), so that this serves as bound
    where no spot price is given. Raises PriceError for what is no price.
    """
    entry = given.get(instance_type)
    if entry is None:
        return None
    if not isinstance(entry, Mapping):
        return _usd(f"search_prices_usd.{instance_type}", entry)
    for key in entry:
        if key not in MARKETS:
            raise PriceError(f"search_prices_usd.{instance_type}.{key}: is none of {', '.join(MARKETS)}")
    for name in dict.fromkeys((market, "on-demand")):
        if entry.get(name) is not None:
            return _usd(f"search_prices_usd.{instance_type}.{name}", entry[name])
    return None


def _usd(option: str, value: object) -> float:
    usd = number(value)
    if usd is None or usd < 0:
        raise PriceError(f"{option}: {value!r} is not a number of USD for an hour")
    return usd


@dataclass(frozen=True)
class Tariff:
    """What the instances of a search cost: C(usd_h) by type, and their volume's share of a month."""

    usd_h: Mapping[str, float] = field(default_factory=dict)
    volume_gib: float = 0
    usd_gib_month: float = 0.0

    @property
    def dearest_usd_h(self) -> float | None:
        """The hour of the dearest type, or None without any price."""
        return max(self.usd_h.values(), default=None)

    @property
    def volume_usd_h(self) -> float:
        """The hour of a candidate's volume."""
        return self.volume_gib * self.usd_gib_month / HOURS_A_MONTH

    def cost_usd(self, billed_s: float, instance_type: str | None = None) -> float | None:
        """What an instance costs that ran for so long; without a type, or one that has no price, the dearest counts.

        None without any price. Not rounded: AWS rounds the bill of a month, not of an instance.
        """
        known = self.usd_h.get(instance_type, self.dearest_usd_h) if instance_type else self.dearest_usd_h
        return None if known is None else cost_usd(billed_s, known + self.volume_usd_h)


def cost_usd(billed_s: float, usd_h: float) -> float:
    """What so many seconds cost at so much an hour, 60 s at least."""
    return max(billed_s, LEAST_S) * usd_h / 3600


def tariff(
    given: Mapping[str, t.Any],
    instance_types: Sequence[str],
    market: str = "on-demand",
    volume_gib: float | None = None,
    usd_gib_month: float | None = None,
) -> Tariff:
    """The tariff of these types; those without a price are left out. Raises PriceError."""
    found = {name: price_of(given, name, market) for name in instance_types}
    return Tariff(
        {name: usd_h for name, usd_h in found.items() if usd_h is not None}, volume_gib or 0, usd_gib_month or 0.0
    )


def check_priced(known: Tariff, instance_types: Sequence[str], max_usd: float | None) -> None:
    """Raise PriceError when money is limited and a type has no price: nothing may be launched then."""
    for name in instance_types:
        if max_usd is not None and name not in known.usd_h:
            raise PriceError(
                f"search_max_usd: {max_usd:g} needs the price of {name}:"
                f" give search_prices_usd: {{{name}: <USD for an hour>}}"
            )


@dataclass(frozen=True)
class Account:
    """How a search stands: money in USD, None where no price is known.

    C(spent_usd) is what the rounds that have ended cost, C(under_way_usd) what those that have not are expected to, and
    C(next_usd) what one more is, C(worst_usd) were its candidate to live as long as it can.
    """

    ended: int
    under_way: int
    spent_usd: float | None
    under_way_usd: float | None
    next_usd: float | None
    worst_usd: float | None


def account(lines: Iterable[Line], known: Tariff, *, now_s: float, lifetime_s: float) -> Account:
    """Add up the lines of a search over all its slots and runs, as of C(now_s) (Unix time).

    A round that ended without a price counts with the dearest of today. One that is under way counts with what rounds
    have taken on average, or with the time since it began if that is longer, up to the end of its candidate's life.
    """
    begun, ended = rounds_of(lines)
    taken = [_seconds(line, "billed_s") for line in ended.values() if line.get("instance_type")]
    mean_s = min(sum(taken) / len(taken) if taken else FIRST_ROUND_S, lifetime_s)
    open_lines = [line for round_id, line in begun.items() if round_id not in ended]
    if known.dearest_usd_h is None:
        return Account(len(ended), len(open_lines), None, None, None, None)
    spent = sum(_ended_usd(line, known) for line in ended.values())
    under_way = sum(_open_usd(line, known, mean_s, now_s) for line in open_lines)
    return Account(len(ended), len(open_lines), spent, under_way, known.cost_usd(mean_s), known.cost_usd(lifetime_s))


def rounds_of(lines: Iterable[Line]) -> tuple[dict[str, Line], dict[str, Line]]:
    """The lines that begin a round and those that end one, each by the round's id and in their order."""
    begun: dict[str, Line] = {}
    ended: dict[str, Line] = {}
    for line in lines:
        where = {"begun": begun, "ended": ended}.get(str(line.get("event")))
        if where is not None and line.get("round_id"):
            where[str(line["round_id"])] = line
    return begun, ended


def _seconds(line: Line, key: str) -> float:
    return max(number(line.get(key)) or 0.0, 0.0)


def _ended_usd(line: Line, known: Tariff) -> float:
    usd = number(line.get("cost_usd"))
    if usd is not None:
        return usd
    billed_s = _seconds(line, "billed_s")
    launched = bool(line.get("instance_type")) or billed_s > 0
    return (known.cost_usd(billed_s, line.get("instance_type")) or 0.0) if launched else 0.0


def _open_usd(line: Line, known: Tariff, mean_s: float, now_s: float) -> float:
    # It costs at least as long as it has run, and never longer than its candidate can live.
    ran_s = now_s - _seconds(line, "at_s")
    expected_s = min(max(mean_s, ran_s), _seconds(line, "lifetime_s") or mean_s)
    usd_h = number(line.get("usd_h"))
    return cost_usd(expected_s, usd_h) if usd_h is not None else (known.cost_usd(expected_s) or 0.0)


def lost_s(line: Line, now_s: float) -> float:
    """Seconds the candidate of a lost round counts with: until now, or to the end of its life if that came first."""
    return min(max(now_s - _seconds(line, "at_s"), 0.0), _seconds(line, "lifetime_s"))


def is_spent(
    max_usd: float | None, spent_usd: float | None, under_way_usd: float | None, next_usd: float | None
) -> bool:
    """Whether another round may not be begun, since it would probably go beyond what may be spent.

    Without an expectation, as in results from before there was one, it is spent once that much was.
    """
    if max_usd is None:
        return False
    committed_usd = (spent_usd or 0.0) + (under_way_usd or 0.0)
    return committed_usd + next_usd > max_usd if next_usd else committed_usd >= max_usd


def usd_text(usd: float | None) -> str:
    """An amount with its currency; small ones with the digits that matter. C(0.0021 USD), C(12.40 USD)."""
    if usd is None:
        return "an unknown amount"
    return f"{usd:.4f} USD" if abs(usd) < 1 else f"{usd:,.2f} USD"


def bound_text(
    known: Tariff, instance_types: Sequence[str], *, launches: int, slots: int, lifetime_min: int, max_usd: float | None
) -> str:
    """What a search may cost at the very most, in a sentence; without all prices it says which are missing."""
    missing = [name for name in instance_types if name not in known.usd_h]
    if missing:
        return f"No price is known of {', '.join(missing)} (search_prices_usd), so that there is no bound in USD."
    worst_usd = known.cost_usd(lifetime_min * 60.0) or 0.0
    told = f"At {usd_text(known.dearest_usd_h)} for an hour of the dearest that is {usd_text(launches * worst_usd)}."
    if max_usd is None:
        return told
    return (
        f"{told} search_max_usd lets no round begin that would probably go beyond {usd_text(max_usd)}; were the"
        f" candidates under way then to live as long as they can, {usd_text(slots * worst_usd)} would come on top."
    )

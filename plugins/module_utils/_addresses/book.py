# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of the addresses of endpoints, and every decision of the address discoverer.

Private to this collection: it may change in any release. Pure: no clock, no network, no Ansible. Standard library
only: it runs on instances. Times are whole seconds since 1970, UTC; in the document they are ISO 8601.

DNS shows a subset of an endpoint's addresses at a time and leaves out some that still answer, so a book is kept:

- an address that DNS names comes in, and stays in while it answers, whether or not DNS still names it;
- one that has not answered for some hours is dead. It is no longer in C(addresses); while DNS goes on naming it, it is
  remembered in C(dead), looked at now and then, and back at the first answer;
- nothing dies in a pass in which nobody at all answered: that tells of this host's network, not of addresses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

#: Outcomes of a check.
ALIVE, REFUSED, SILENT = "alive", "refused", "silent"

#: Failed checks in a row after which an address is not handed to a probe, and is checked less often.
FAILURES_ALLOWED = 3

#: An address that fails is checked at least this often, whatever its history.
LONGEST_WAIT_S = 3600

#: What is remembered of one endpoint, so that a DNS that lies fills no disk; what answered last stays.
MOST_ADDRESSES = 512

#: Addresses that are tried first when an endpoint that refused everybody may be asked again.
SCOUTS = 3

#: How long an endpoint whose addresses all refuse is left alone: Bybit asks for ten minutes, Binance's bans last from
#: two minutes to three days (docs/venue-limits.md).
REFUSAL_WAIT_S, LONGEST_REFUSAL_WAIT_S = 600, 86_400


def is_one_host(address: object) -> bool:
    """Whether this is the IPv4 address of one host, as text."""
    if not isinstance(address, str):
        return False
    try:
        parsed = ipaddress.IPv4Address(address)
    except ipaddress.AddressValueError:
        return False
    return not (parsed.is_unspecified or parsed.is_multicast or int(parsed) == 0xFFFFFFFF)


def in_order(addresses: Iterable[str]) -> list[str]:
    """Each address once, in numeric order."""
    return sorted(set(addresses), key=ipaddress.IPv4Address)


@dataclass(frozen=True)
class Entry:
    """What is known of an address: when DNS named it first and last, when it answered last, and how checks went."""

    first_seen_s: int
    last_seen_s: int
    last_alive_s: int | None = None
    last_checked_s: int | None = None
    checks: int = 0
    failures: int = 0
    failures_in_row: int = 0

    @property
    def answers(self) -> bool:
        """It has answered, and has not failed three times in a row since."""
        return self.last_alive_s is not None and self.failures_in_row < FAILURES_ALLOWED

    def after_check(self, outcome: str, now_s: int) -> Entry:
        """The entry after one check."""
        seen = replace(self, checks=self.checks + 1, last_checked_s=now_s)
        if outcome == ALIVE:
            return replace(seen, last_alive_s=now_s, failures_in_row=0)
        return replace(seen, failures=self.failures + 1, failures_in_row=self.failures_in_row + 1)

    def not_after(self, now_s: int) -> Entry:
        """The entry without times in the future, which a clock that was wrong has left."""
        alive_s, checked_s = self.last_alive_s, self.last_checked_s
        return replace(
            self,
            first_seen_s=min(self.first_seen_s, now_s),
            last_seen_s=min(self.last_seen_s, now_s),
            last_alive_s=None if alive_s is None else min(alive_s, now_s),
            last_checked_s=None if checked_s is None else min(checked_s, now_s),
        )


@dataclass(frozen=True)
class EndpointBook:
    """The addresses of one endpoint. An address is in C(addresses) or in C(dead), never in both."""

    host: str
    port: int
    addresses: Mapping[str, Entry] = field(default_factory=dict)
    dead: Mapping[str, Entry] = field(default_factory=dict)
    refusals_in_row: int = 0
    refused_at_s: int | None = None

    def all(self) -> dict[str, Entry]:
        """Every entry, dead or not."""
        return {**self.addresses, **self.dead}


Book = Mapping[str, EndpointBook]


def aligned(book: Book, endpoints: Mapping[str, tuple[str, int]], now_s: int) -> dict[str, EndpointBook]:
    """The book of exactly these endpoints, C({name: (host, port)}): another host or port begins anew."""
    made = {}
    for name, (host, port) in endpoints.items():
        known = book.get(name)
        if known is None or (known.host, known.port) != (host, port):
            made[name] = EndpointBook(host, port)
            continue
        refused_at_s = None if known.refused_at_s is None else min(known.refused_at_s, now_s)
        made[name] = replace(
            known,
            addresses={address: entry.not_after(now_s) for address, entry in known.addresses.items()},
            dead={address: entry.not_after(now_s) for address, entry in known.dead.items()},
            refused_at_s=refused_at_s,
        )
    return made


def named(endpoint: EndpointBook, answer: Iterable[str], now_s: int) -> EndpointBook:
    """The book after DNS named these addresses; what can't be one host's address is passed over."""
    addresses, dead = dict(endpoint.addresses), dict(endpoint.dead)
    for address in answer:
        if address in dead:
            dead[address] = replace(dead[address], last_seen_s=now_s)
        elif address in addresses:
            addresses[address] = replace(addresses[address], last_seen_s=now_s)
        elif is_one_host(address):
            addresses[address] = Entry(first_seen_s=now_s, last_seen_s=now_s)
    return _bounded(replace(endpoint, addresses=addresses, dead=dead))


def _bounded(endpoint: EndpointBook) -> EndpointBook:
    entries = endpoint.all()
    if len(entries) <= MOST_ADDRESSES:
        return endpoint

    def worth(address: str) -> tuple[int, int, int, str]:
        entry = entries[address]
        alive_s = -1 if entry.last_alive_s is None else entry.last_alive_s
        return alive_s, entry.last_seen_s, -entry.first_seen_s, address

    kept = set(sorted(entries, key=worth, reverse=True)[:MOST_ADDRESSES])
    return replace(
        endpoint,
        addresses={address: entry for address, entry in endpoint.addresses.items() if address in kept},
        dead={address: entry for address, entry in endpoint.dead.items() if address in kept},
    )


def wait_after_s(failures_in_row: int, interval_s: int) -> int:
    """Seconds from a check to the next: the interval, and from the third failure in a row on twice as long each time.

    At most an hour, or the interval where that is longer.
    """
    doublings = max(0, failures_in_row - FAILURES_ALLOWED + 1)
    return min(interval_s << min(doublings, 30), max(interval_s, LONGEST_WAIT_S))


def refusal_wait_s(refusals_in_row: int) -> int:
    """Seconds that an endpoint is left alone after so many passes of nothing but refusals: 10 minutes to a day."""
    if refusals_in_row <= 0:
        return 0
    return min(REFUSAL_WAIT_S << min(refusals_in_row - 1, 30), LONGEST_REFUSAL_WAIT_S)


def to_check(endpoint: EndpointBook, now_s: int, interval_s: int) -> list[str]:
    """Addresses to make one handshake with now, those that wait longest first.

    None while the endpoint is left alone because it refused everybody; after that a few scouts at a time, until one of
    them answers.
    """
    entries = endpoint.all()
    waiting = sorted(entries, key=lambda each: (entries[each].last_checked_s or 0, each))
    if endpoint.refusals_in_row:
        alone = now_s - (endpoint.refused_at_s or 0) < refusal_wait_s(endpoint.refusals_in_row)
        return [] if alone else waiting[:SCOUTS]
    return [address for address in waiting if _is_due(entries[address], now_s, interval_s)]


def _is_due(entry: Entry, now_s: int, interval_s: int) -> bool:
    if entry.last_checked_s is None or entry.failures_in_row < FAILURES_ALLOWED:
        return True
    return now_s - entry.last_checked_s >= wait_after_s(entry.failures_in_row, interval_s)


def checked(endpoint: EndpointBook, outcomes: Mapping[str, str], now_s: int) -> EndpointBook:
    """The book after these checks, C({address: ALIVE | REFUSED | SILENT}). A dead address that answers is back."""
    addresses, dead = dict(endpoint.addresses), dict(endpoint.dead)
    for address, outcome in outcomes.items():
        holder = dead if address in dead else addresses
        if address not in holder:
            continue
        entry = holder.pop(address).after_check(outcome, now_s)
        (addresses if outcome == ALIVE else holder)[address] = entry
    seen = set(outcomes.values())
    in_row, at_s = endpoint.refusals_in_row, endpoint.refused_at_s
    if ALIVE in seen:
        in_row, at_s = 0, None
    elif REFUSED in seen:
        in_row, at_s = in_row + 1, now_s
    return replace(endpoint, addresses=addresses, dead=dead, refusals_in_row=in_row, refused_at_s=at_s)


def expired(endpoint: EndpointBook, now_s: int, expire_s: int, *, anybody_answered: bool) -> EndpointBook:
    """The book without what is dead: not alive for C(expire_s) seconds and three checks in a row failed.

    C(anybody_answered): some address of some endpoint answered in this pass; if none did, nothing is taken for dead.
    """
    if not anybody_answered:
        return endpoint
    addresses: dict[str, Entry] = {}
    gone = dict(endpoint.dead)
    for address, entry in endpoint.addresses.items():
        alive_s = entry.first_seen_s if entry.last_alive_s is None else entry.last_alive_s
        died = now_s - alive_s > expire_s and entry.failures_in_row >= FAILURES_ALLOWED
        (gone if died else addresses)[address] = entry
    remembered = {address: entry for address, entry in gone.items() if now_s - entry.last_seen_s <= expire_s}
    return replace(endpoint, addresses=addresses, dead=remembered)


def usable(endpoint: EndpointBook) -> list[str]:
    """Addresses to hand to a probe, in numeric order: those that answer."""
    return in_order(address for address, entry in endpoint.addresses.items() if entry.answers)


def addresses_for(book: Book, host: str, port: int) -> list[str]:
    """What a probe of this host and port is to be given, in numeric order: none when the book does not know them."""
    found = [endpoint for endpoint in book.values() if (endpoint.host.lower(), endpoint.port) == (host.lower(), port)]
    return in_order(address for endpoint in found for address in usable(endpoint))


def endpoints_with(book: Book, asked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Endpoints to probe, C({name, host, port, addresses}): those asked for, or all of the book where none is.

    One that names no addresses gets those that the book knows; an unknown one stays without, and its host is asked for.
    """
    if not asked:
        return [
            {"name": name, "host": endpoint.host, "port": endpoint.port, "addresses": usable(endpoint)}
            for name, endpoint in book.items()
        ]
    return [
        {**each, "addresses": list(each["addresses"]) or addresses_for(book, each["host"], each["port"])}
        for each in asked
    ]


# -- manners of a search --------------------------------------------------------------------------------

#: A search that meets nothing but refusals waits this long before its next round, twice as long each time.
ROUND_WAIT_S, LONGEST_ROUND_WAIT_S = 60.0, 600.0


def refused_by_all(endpoints: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a probe's endpoints met no answer but refusals: no sample of any address, and a refusal of some.

    C(endpoints) are those of a result of M(lowlatency.ec2.latency_probe). One address that answers, or an address that
    is merely silent everywhere, is no refusal.
    """
    addresses = [address for endpoint in endpoints for address in endpoint.get("addresses") or ()]
    refusals = sum(_refusals(address) for address in addresses)
    return refusals > 0 and not any(address.get("samples") for address in addresses)


def _refusals(address: Mapping[str, Any]) -> int:
    errors: Mapping[str, int] = address.get("errors") or {}
    return errors.get("refused", 0) + errors.get("reset", 0)


def round_wait_s(refused_rounds_in_row: int) -> float:
    """Seconds to wait before the next round after so many rounds that met nothing but refusals: 1 to 10 minutes."""
    if refused_rounds_in_row <= 0:
        return 0.0
    return min(ROUND_WAIT_S * 2.0 ** min(refused_rounds_in_row - 1, 30), LONGEST_ROUND_WAIT_S)


def answered(outcomes: Collection[str]) -> bool:
    """Whether anybody gave an answer in these checks; a refusal is one."""
    return ALIVE in outcomes or REFUSED in outcomes

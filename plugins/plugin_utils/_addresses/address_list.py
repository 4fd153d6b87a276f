# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the one list of addresses that all candidates of a search are probed on, and when it is made anew.

Pure functions on plain values: no clock, no files, no Ansible. Times are whole seconds since 1970, UTC.

- The first round of a search has no list: its candidate asks DNS, and what it found is the list.
- Rounds that began before the list was there add what they found, since slots begin at once and DNS shows each a part.
- From then on the list stays as it is, unless it is older than the search allows or more than half of it is dead.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.book import (
    Book,
    addresses_for,
    in_order,
    is_one_host,
    refused_by_all,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.document import seconds_of, stamp

SCHEMA_VERSION = 1

#: An address is dead when it gave no handshake in this many rounds in a row; one round may be its candidate's fault.
SILENT_ROUNDS = 2

#: The list is made anew when more than this share of it is dead...
DEAD_SHARE = 0.5

#: ...and for that reason once an hour at most: DNS may go on naming the dead.
DEAD_REFRESH_EVERY_S = 3600

#: Lists that were replaced are kept for whoever wonders; the last ones are enough.
MOST_EARLIER = 20

RULE = (
    "frozen at the first round that resolved; rounds that began before add what they found; made anew, with what still "
    "answers, after refresh_hours (null: never) or when more than dead_share gave no handshake in two rounds in a row"
)

Endpoint = Mapping[str, t.Any]


@dataclass(frozen=True)
class FrozenEndpoint:
    """The list of one endpoint. C(reason) is V(first), V(age), V(dead) or V(document)."""

    name: str
    host: str
    port: int
    addresses: tuple[str, ...]
    frozen_at_s: int
    reason: str
    silent_rounds: Mapping[str, int] = field(default_factory=dict)

    def dead(self) -> frozenset[str]:
        """Addresses that gave no handshake lately."""
        return frozenset(each for each in self.addresses if self.silent_rounds.get(each, 0) >= SILENT_ROUNDS)

    def is_of(self, endpoint: Endpoint) -> bool:
        """Whether it was made for this endpoint: another host or port has other addresses."""
        return (self.name, self.host, self.port) == (endpoint["name"], endpoint["host"], int(endpoint["port"]))

    def refresh_reason(self, now_s: int, refresh_hours: float | None) -> str | None:
        """Why it is to be made anew, or None."""
        age_s = now_s - self.frozen_at_s
        if refresh_hours is not None and age_s >= refresh_hours * 3600:
            return "age"
        half_dead = len(self.dead()) > DEAD_SHARE * len(self.addresses)
        if half_dead and not (self.reason == "dead" and age_s < DEAD_REFRESH_EVERY_S):
            return "dead"
        return None


@dataclass(frozen=True)
class FrozenList:
    """The lists of a search. C(refused_rounds) counts rounds in a row that met nothing but refusals."""

    generation: int = 0
    endpoints: tuple[FrozenEndpoint, ...] = ()
    refused_rounds: int = 0
    earlier: tuple[Mapping[str, t.Any], ...] = ()

    def of(self, endpoint: Endpoint) -> FrozenEndpoint | None:
        """The list of an endpoint, or None."""
        return next((each for each in self.endpoints if each.is_of(endpoint)), None)

    def having(self, made: FrozenEndpoint) -> FrozenList:
        """The lists with this one in place of the one of that name."""
        others = tuple(each for each in self.endpoints if each.name != made.name)
        return replace(self, endpoints=tuple(sorted((*others, made), key=lambda each: each.name)))


def is_given(endpoint: Endpoint) -> bool:
    """Whether the user said which addresses to probe; those are never touched."""
    return bool(endpoint.get("addresses"))


def filled(
    frozen: FrozenList, endpoints: Sequence[Endpoint], now_s: int, refresh_hours: float | None
) -> list[dict[str, t.Any]]:
    """The endpoints to probe, with the addresses of the list; without addresses where the candidate is to ask DNS."""
    made = []
    for endpoint in endpoints:
        known = None if is_given(endpoint) else frozen.of(endpoint)
        if known is None or known.refresh_reason(now_s, refresh_hours) is not None:
            made.append(dict(endpoint))
        else:
            made.append({**endpoint, "addresses": list(known.addresses)})
    return made


def with_book(frozen: FrozenList, endpoints: Sequence[Endpoint], book: Book, now_s: int) -> FrozenList:
    """The lists with those that a discoverer's book knows, for endpoints that have none yet."""
    for endpoint in endpoints:
        if is_given(endpoint) or frozen.of(endpoint) is not None:
            continue
        addresses = addresses_for(book, endpoint["host"], int(endpoint["port"]))
        if addresses:
            frozen = frozen.having(_made(endpoint, addresses, now_s, "document"))
    return frozen


def after_round(
    frozen: FrozenList,
    asked: Sequence[Endpoint],
    probed: Sequence[Endpoint],
    *,
    began_s: int,
    now_s: int,
    refresh_hours: float | None,
) -> FrozenList:
    """The lists after a round.

    C(asked) are the endpoints as the round handed them to the probe, C(probed) those of the probe's result. Where none
    were handed over, the candidate asked DNS. A round in which nobody answered tells nothing of what is dead.
    """
    found = {endpoint["name"]: endpoint.get("addresses") or [] for endpoint in probed}
    anybody = any(_samples(address) for addresses in found.values() for address in addresses)
    for endpoint in asked:
        addresses = found.get(endpoint["name"], [])
        if not addresses:
            continue
        if not endpoint.get("addresses"):
            resolved = [each["address"] for each in addresses]
            known = frozen.of(endpoint)
            if known is None:
                frozen = frozen.having(_made(endpoint, resolved, now_s, "first"))
            elif began_s <= known.frozen_at_s:
                frozen = frozen.having(replace(known, addresses=tuple(in_order({*known.addresses, *resolved}))))
            else:
                frozen = _refreshed(frozen, known, resolved, now_s, known.refresh_reason(now_s, refresh_hours))
        known = frozen.of(endpoint)
        if known is not None and anybody:
            frozen = frozen.having(replace(known, silent_rounds=_silent_rounds(known, addresses)))
    if anybody:
        return replace(frozen, refused_rounds=0)
    return replace(frozen, refused_rounds=frozen.refused_rounds + refused_by_all(probed))


def _refreshed(
    frozen: FrozenList, known: FrozenEndpoint, resolved: Sequence[str], now_s: int, reason: str | None
) -> FrozenList:
    """The lists with one made anew: what DNS names now, and what still answers of the old one."""
    if reason is None:
        return frozen
    alive = set(known.addresses) - known.dead()
    made = replace(known, addresses=tuple(in_order({*alive, *resolved})), frozen_at_s=now_s, reason=reason)
    replaced = {
        "name": known.name,
        "addresses": list(known.addresses),
        "frozen_at": stamp(known.frozen_at_s),
        "replaced_at": stamp(now_s),
        "reason": reason,
    }
    return replace(frozen.having(made), earlier=(*frozen.earlier, replaced)[-MOST_EARLIER:])


def _made(endpoint: Endpoint, addresses: t.Iterable[str], now_s: int, reason: str) -> FrozenEndpoint:
    name, host, port = endpoint["name"], endpoint["host"], int(endpoint["port"])
    return FrozenEndpoint(name, host, port, tuple(in_order(addresses)), now_s, reason)


def _silent_rounds(known: FrozenEndpoint, addresses: Sequence[Mapping[str, t.Any]]) -> dict[str, int]:
    """How many rounds in a row each address of the list was silent, those that were not left out."""
    counts = dict(known.silent_rounds)
    for address in addresses:
        if _samples(address):
            counts.pop(address["address"], None)
        elif any((address.get("errors") or {}).values()):
            counts[address["address"]] = counts.get(address["address"], 0) + 1
    return {each: count for each, count in sorted(counts.items()) if each in known.addresses}


def _samples(address: Mapping[str, t.Any]) -> int:
    return int(address.get("samples") or 0)


# -- the document ----------------------------------------------------------------------------------------


def document_from(frozen: FrozenList, search_id: str, refresh_hours: float | None) -> dict[str, t.Any]:
    """The lists as they are written."""
    return {
        "schema_version": SCHEMA_VERSION,
        "generation": frozen.generation,
        "search_id": search_id,
        "frozen_at": stamp(max((each.frozen_at_s for each in frozen.endpoints), default=0))
        if frozen.endpoints
        else None,
        "rule": {"refresh_hours": refresh_hours, "dead_share": DEAD_SHARE, "text": RULE},
        "endpoints": [
            {
                "name": each.name,
                "host": each.host,
                "port": each.port,
                "addresses": list(each.addresses),
                "frozen_at": stamp(each.frozen_at_s),
                "reason": each.reason,
                "silent_rounds": dict(each.silent_rounds),
            }
            for each in frozen.endpoints
        ],
        "refused_rounds": frozen.refused_rounds,
        "earlier": [dict(each) for each in frozen.earlier],
    }


def list_from(document: object) -> FrozenList:
    """The lists of a document. Raises ValueError, which says what is wrong with it."""
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ValueError(f"its schema_version is {version!r}, this collection reads {SCHEMA_VERSION}")
    endpoints, earlier = document.get("endpoints"), document.get("earlier", [])
    if not isinstance(endpoints, list) or not isinstance(earlier, list):
        raise ValueError("its endpoints are no list")
    return FrozenList(
        _count(document, "generation"),
        tuple(_endpoint_from(each) for each in endpoints),
        _count(document, "refused_rounds"),
        tuple(earlier),
    )


def _endpoint_from(given: object) -> FrozenEndpoint:
    if not isinstance(given, dict):
        raise ValueError("it holds something else than an endpoint")
    name, host, port, addresses = (given.get(key) for key in ("name", "host", "port", "addresses"))
    if not isinstance(name, str) or not isinstance(host, str) or not isinstance(port, int):
        raise ValueError(f"its endpoint {name!r} has no name, host or port")
    if not isinstance(addresses, list) or not addresses or not all(is_one_host(each) for each in addresses):
        raise ValueError(f"its endpoint {name!r} has addresses that are none: {addresses!r}")
    silent = given.get("silent_rounds") or {}
    if not isinstance(silent, dict):
        raise ValueError(f"its endpoint {name!r} has silent_rounds that are no counts")
    counts = {str(each): _count(silent, each) for each in silent}
    at_s = seconds_of(given.get("frozen_at"))
    return FrozenEndpoint(name, host, port, tuple(in_order(addresses)), at_s, str(given.get("reason")), counts)


def _count(holder: Mapping[str, t.Any], key: str) -> int:
    count = holder.get(key, 0)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"its {key} is {count!r}, not a whole number from 0 on")
    return count

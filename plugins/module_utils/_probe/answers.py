# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which answers of DNS are measured: a resolver that lies must not make this very host the nearest of all.

Private to this collection: it may change in any release. Pure: no clock, no network, no Ansible.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import NamedTuple

# RFC 1122, section 3.2.1.3: "this host on this network", never a destination. Linux takes 0.0.0.0 for itself.
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")


class Answers(NamedTuple):
    """Addresses to measure, and those that are left alone as ``(address, reason)``, each in its given order."""

    kept: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


def why_refused(address: str) -> str | None:
    """Why an IPv4 address can't be a venue's, as one word; None when it can.

    Private addresses (RFC 1918) can: that is what an endpoint in a peered or own network resolves to.
    """
    parsed = ipaddress.IPv4Address(address)
    if parsed in _THIS_NETWORK:
        return "unspecified"
    for reason, is_so in (
        ("loopback", parsed.is_loopback),
        ("multicast", parsed.is_multicast),
        ("link_local", parsed.is_link_local),
        ("reserved", parsed.is_reserved),
    ):
        if is_so:
            return reason
    return None


def sorted_out(host: str, addresses: Iterable[str], is_own: Callable[[str], bool]) -> Answers:
    """The answers for a host, sorted into those to measure and those to leave alone.

    ``is_own`` says whether an address is of this host itself. A host that is an address, or localhost by name (RFC
    6761, section 6.3), means what it says, and all its answers are kept.
    """
    kept: list[str] = []
    refused: list[tuple[str, str]] = []
    meant = _means_what_it_says(host)
    for address in addresses:
        reason = None if meant else why_refused(address) or ("own" if is_own(address) else None)
        if reason is None:
            kept.append(address)
        else:
            refused.append((address, reason))
    return Answers(tuple(kept), tuple(refused))


def _means_what_it_says(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.IPv4Address(host)
    except ipaddress.AddressValueError:
        return False
    return True

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every IPv4 address behind a host name.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import NamedTuple

# A name with more addresses than fit an answer gets a subset each time (Route 53 gives up to eight, at random), so one
# answer without news proves little.
QUIET_ATTEMPTS = 3

# getaddrinfo retries by itself (resolv.conf: attempts), so a resolver that stays silent is asked only this often.
FAILED_ATTEMPTS = 2

Lookup = Callable[[str], list[str]]


class Resolution(NamedTuple):
    """What a host resolved to, in numeric order, and the last error of the resolver, as ``(code, message)``."""

    addresses: tuple[str, ...]
    error: tuple[str, str] | None


def lookup_ipv4(host: str) -> list[str]:
    """IPv4 addresses in one answer of the system's resolver. Raises socket.gaierror, UnicodeError for no such name."""
    found = socket.getaddrinfo(host, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def resolve(host: str, attempts: int, lookup: Lookup = lookup_ipv4) -> Resolution:
    """Ask for a host's addresses until three answers in a row bring nothing new, at most ``attempts`` times.

    The error is kept even when another answer brought addresses, so that a partial result shows its reason.
    """
    if _is_literal(host):
        return Resolution((host,), None)
    found: set[str] = set()
    error: tuple[str, str] | None = None
    quiet = failed = 0
    for _attempt in range(attempts):
        try:
            answer = lookup(host)
        except socket.gaierror as caught:
            error = (_error_name(caught.errno), caught.strerror or "no reason given")
            failed += 1
        except UnicodeError as caught:
            return Resolution((), ("EAI_NONAME", f"not a host name: {caught}"))
        else:
            quiet = quiet + 1 if found.issuperset(answer) else 0
            found.update(answer)
        if quiet == QUIET_ATTEMPTS or failed == FAILED_ATTEMPTS:
            break
    return Resolution(tuple(sorted(found, key=ipaddress.IPv4Address)), error)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ipaddress.AddressValueError:
        return False
    return True


def _error_name(code: int | None) -> str:
    """Symbolic name of a getaddrinfo error, such as EAI_NONAME."""
    names = {value: name for name, value in vars(socket).items() if name.startswith("EAI_")}
    return names.get(code, str(code))


def local_address_towards(address: str) -> str | None:
    """Source address that the kernel picks towards an address, None without a route. Sends no packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        if made.connect_ex((address, 9)):
            return None
        return str(made.getsockname()[0])

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pools of addresses: pure bookkeeping of which address comes next."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection


class PoolExhausted(Exception):
    """No address of the pool is free."""


class AddressPool:
    """Hands out the host addresses of a CIDR block in turn.

    Who holds an address is not kept here but asked for (`in_use`), so it can't go out of step with the
    resources. The turn goes on after the last address given, so that a freed address rests as long as
    possible: hosts that are about to vanish may still answer on it.
    """

    def __init__(self, cidr: str, in_use: Callable[[], Collection[str]], reserved: int = 0) -> None:
        """`reserved` is how many of the first host addresses are never given."""
        self.cidr = ipaddress.ip_network(cidr)
        self._in_use = in_use
        self._first = reserved
        self._next = reserved
        self._size = max(0, self.cidr.num_addresses - 2)

    def free(self) -> int:
        """Return how many addresses are left."""
        taken = sum(1 for address in set(self._in_use()) if ipaddress.ip_address(address) in self.cidr)
        return max(0, self._size - self._first - taken)

    def take(self) -> str:
        """Return the next free address. Raises PoolExhausted."""
        taken = set(self._in_use())
        for _dummy in range(self._first, self._size):
            address = str(self.cidr[1 + self._next])
            self._next = self._next + 1 if self._next + 1 < self._size else self._first
            if address not in taken:
                return address
        raise PoolExhausted(str(self.cidr))

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers for endpoints with more addresses than a DNS answer shows: eight of them, another eight each time."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from local_region.topology import seeded

_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHHIH4s")
_TYPE_A = 1
_CLASS_IN = 1
_NAME_IS_QUESTION = 0xC00C  # a pointer to the name right behind the header
_RESPONSE_AUTHORITATIVE = 0x8400
_RECURSION_DESIRED = 0x0100
_NO_SUCH_NAME = 3


class PoolResponder:
    """Answers DNS queries over UDP from pools of addresses.

    `hosts` is {host: all its addresses}; an answer holds the next `shown` of them in an order drawn from the seed,
    so that every address is seen once before any is seen twice.
    """

    def __init__(self, hosts: Mapping[str, Sequence[str]], shown: int, ttl_s: int, seed: int) -> None:
        self._shown = shown
        self._ttl_s = ttl_s
        self._next = {host: 0 for host in hosts}
        self._pools = {host: seeded(seed, host).sample(list(pool), len(pool)) for host, pool in hosts.items()}

    def answer(self, query: bytes) -> bytes | None:
        """Return the answer to one query message, or None for what is not a query with one question."""
        if len(query) < _HEADER.size:
            return None
        number, flags, questions, *_dummy = _HEADER.unpack_from(query)
        if flags & 0x8000 or questions != 1:
            return None
        parsed = _parse_name(query, _HEADER.size)
        if parsed is None or len(query) < parsed[1] + _QUESTION.size:
            return None
        name, end = parsed
        kind, kind_class = _QUESTION.unpack_from(query, end)
        addresses = self._draw(name) if (kind, kind_class) == (_TYPE_A, _CLASS_IN) and name in self._pools else []
        code = 0 if name in self._pools else _NO_SUCH_NAME
        flags = _RESPONSE_AUTHORITATIVE | (flags & _RECURSION_DESIRED) | code
        return b"".join(
            [
                _HEADER.pack(number, flags, 1, len(addresses), 0, 0),
                query[_HEADER.size : end + _QUESTION.size],
                *(self._record(address) for address in addresses),
            ]
        )

    def _draw(self, name: str) -> list[str]:
        pool, start = self._pools[name], self._next[name]
        self._next[name] = (start + self._shown) % len(pool)
        return [pool[(start + offset) % len(pool)] for offset in range(min(self._shown, len(pool)))]

    def _record(self, address: str) -> bytes:
        packed = bytes(int(part) for part in address.split("."))
        return _RECORD.pack(_NAME_IS_QUESTION, _TYPE_A, _CLASS_IN, self._ttl_s, len(packed), packed)


def _parse_name(message: bytes, start: int) -> tuple[str, int] | None:
    """Return the name at `start` in lower case and where it ends, or None where there is no whole plain name."""
    labels: list[str] = []
    position = start
    while position < len(message):
        length = message[position]
        position += 1
        if length == 0:
            return ".".join(labels).lower(), position
        if length > 63 or position + length > len(message):
            return None
        labels.append(message[position : position + length].decode("ascii", "replace"))
        position += length
    return None

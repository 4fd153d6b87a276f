# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way the kernel takes to an address, asked of the kernel itself (rtnetlink), as C(ip route get) does.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

# linux/netlink.h and linux/rtnetlink.h
_RTM_GETROUTE, _NLM_F_REQUEST, _NLMSG_ERROR = 26, 1, 2
_RTA_DST, _RTA_OIF, _RTA_PREFSRC = 1, 4, 7
_RTN_LOCAL = 2
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")

# A netlink socket in the kernel answers within the call; this only bounds what can't happen.
_TIMEOUT_S = 5


class Path(NamedTuple):
    """The way to an address. loopback: it does not leave the host. Without a route there is no device and no source."""

    device: str | None
    source: str | None
    loopback: bool


def path_to(address: str) -> Path:
    """The way that the kernel takes to an IPv4 address now. Raises OSError when it can't be asked."""
    answer = _asked(socket.inet_aton(address))
    (kind,) = struct.unpack_from("=H", answer, 4)
    if kind == _NLMSG_ERROR:
        return Path(None, None, False)
    route_type = _ROUTE.unpack_from(answer, _HEADER.size)[7]
    device = source = None
    for attribute, value in _attributes(answer):
        if attribute == _RTA_OIF:
            device = socket.if_indextoname(int.from_bytes(value, "little" if struct.pack("=H", 1)[0] else "big"))
        elif attribute == _RTA_PREFSRC:
            source = socket.inet_ntoa(value)
    return Path(device, source, route_type == _RTN_LOCAL or device == "lo")


def is_own(address: str) -> bool:
    """Whether an IPv4 address is of this host itself.

    With a kernel that tells no routes it is not known to be: that it is is then seen by its times alone.
    """
    try:
        return path_to(address).loopback
    except OSError:
        return False


def _asked(packed: bytes) -> bytes:
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + 4, _RTA_DST) + packed
    body = _ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + attribute
    message = _HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as made:
        made.settimeout(_TIMEOUT_S)
        made.send(message)
        return made.recv(8_192)


def _attributes(answer: bytes) -> Iterator[tuple[int, bytes]]:
    (end,) = struct.unpack_from("=I", answer)
    at = _HEADER.size + _ROUTE.size
    while at + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(answer, at)
        yield kind, answer[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) // 4 * 4

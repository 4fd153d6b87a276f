# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network device says of allowances of the instance that were exceeded, asked by the ethtool ioctl.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance, where
the program ethtool need not be installed.

An ENA counts the packets that were queued or dropped because the instance was above what its type allows (AWS, "Monitor
network performance for ENA settings on your EC2 instance"). A probe during which one of them moved did not measure
the path alone.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from array import array
from collections.abc import Iterable, Mapping

from .route import path_to

#: Counters of packets that an allowance stopped, by their names in the driver (ena_ethtool.c).
EXCEEDED = (
    "bw_in_allowance_exceeded",
    "bw_out_allowance_exceeded",
    "pps_allowance_exceeded",
    "conntrack_allowance_exceeded",
    "linklocal_allowance_exceeded",
)

#: Connections that may still be tracked: no counter but a level. From version 2.8.1 of the driver.
AVAILABLE = "conntrack_allowance_available"

# linux/sockios.h and linux/ethtool.h
_SIOCETHTOOL = 0x8946
_GSTRINGS, _GSTATS, _GSSET_INFO = 0x1B, 0x1D, 0x37
_SS_STATS = 1
_STRING_BYTES, _COUNTER_BYTES = 32, 8
_SPARE = 1_024
_IFREQ = struct.Struct("16sP16x")
_SET_INFO = struct.Struct("=IIQI")
_STRINGS = struct.Struct("=III")
_STATS = struct.Struct("=II")

# Devices without such statistics, and none at all: to the probe both are a device that counts nothing.
_HAS_NONE = frozenset((errno.EOPNOTSUPP, errno.ENODEV))


def device_statistics(interface: str) -> dict[str, int]:
    """Everything that C(ethtool -S) shows of an interface, by name; empty where there is nothing.

    Needs no privilege. Raises OSError when the kernel can't be asked, EAGAIN when the device was changed meanwhile.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            count = _statistics_count(asking, interface)
            if not count:
                return {}
            # The kernel fills in as many as the device has by then, whatever was said: there is room for more queues.
            room = count + _SPARE
            strings = _asked(asking, interface, _STRINGS.pack(_GSTRINGS, _SS_STATS, count), room * _STRING_BYTES)
            counters = _asked(asking, interface, _STATS.pack(_GSTATS, count), room * _COUNTER_BYTES)
        except OSError as error:
            if error.errno in _HAS_NONE:
                return {}
            raise
    if not _STRINGS.unpack_from(strings)[2] == _STATS.unpack_from(counters)[1] == count:
        raise OSError(errno.EAGAIN, f"the statistics of {interface} changed while they were read")
    starts = range(_STRINGS.size, _STRINGS.size + count * _STRING_BYTES, _STRING_BYTES)
    names = (strings[at : at + _STRING_BYTES].partition(b"\0")[0].decode("ascii", "replace") for at in starts)
    return dict(zip(names, struct.unpack_from(f"={count}Q", counters, _STATS.size)))


def _statistics_count(asking: socket.socket, interface: str) -> int:
    answer = _asked(asking, interface, _SET_INFO.pack(_GSSET_INFO, 0, 1 << _SS_STATS, 0), 0)
    _command, _reserved, sets, count = _SET_INFO.unpack(answer)
    return count if sets else 0


def _asked(asking: socket.socket, interface: str, command: bytes, room: int) -> bytes:
    """The command as the kernel filled it in, with room bytes behind it. Raises OSError when it refuses."""
    buffer = array("B", command + bytes(room))
    address, _length = buffer.buffer_info()
    fcntl.ioctl(asking.fileno(), _SIOCETHTOOL, _IFREQ.pack(interface.encode()[:15], address))
    return buffer.tobytes()


def allowances_of(statistics: Mapping[str, int]) -> dict[str, int]:
    """Those of a device's statistics that are allowances, in the order of EXCEEDED, then AVAILABLE."""
    return {name: statistics[name] for name in (*EXCEEDED, AVAILABLE) if name in statistics}


def together(devices: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Allowances of several devices as one: counters added up, of AVAILABLE the least. They are of one instance."""
    whole: dict[str, int] = {}
    for allowances in devices:
        for name, value in allowances.items():
            if name == AVAILABLE:
                whole[name] = min(value, whole.get(name, value))
            else:
                whole[name] = whole.get(name, 0) + value
    return whole


def moved(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Packets that an allowance stopped in between, by counter; only those that moved.

    A counter that went back was started again with its device, so all that it shows is new. AVAILABLE is a level, which
    every handshake moves, and never among them.
    """
    changes = {}
    for name in EXCEEDED:
        first, last = before.get(name, 0), after.get(name, 0)
        change = last - first if last >= first else last
        if change:
            changes[name] = change
    return changes


def interfaces_towards(addresses: Iterable[str]) -> list[str]:
    """Names of the interfaces by which this machine reaches IPv4 addresses, but for loopback. Raises OSError."""
    paths = [path_to(address) for address in addresses]
    return sorted({path.device for path in paths if path.device is not None and not path.loopback})


def read_allowances(interfaces: Iterable[str]) -> dict[str, int]:
    """Allowances of some interfaces now, together(); empty where no driver has any. Raises OSError."""
    return together(allowances_of(device_statistics(interface)) for interface in interfaces)

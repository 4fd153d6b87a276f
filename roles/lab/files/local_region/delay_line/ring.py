# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packets of a device with the kernel's arrival time, read from a ring that is shared with the kernel.

The layout is that of TPACKET_V2: linux/if_packet.h and Documentation/networking/packet_mmap.rst.
"""

from __future__ import annotations

import mmap
import socket
import struct

_SOL_PACKET = 263
_PACKET_RX_RING = 5
_PACKET_VERSION = 10
_TPACKET_V2 = 1
_ETH_P_IP = 0x0800
_STATUS_USER = 1
_STATUS_NO_CHECKSUM = 8  # TP_STATUS_CSUMNOTREADY
_BLOCK_BYTES = 65536
_FRAME_BYTES = 256  # a SYN has at most 134 bytes with its Ethernet header, the kernel's header takes 82
_FRAMES = 4096
_RING = struct.Struct("IIII")
# status, length, captured length, offset of the link header, of the network header, seconds, nanoseconds
_HEADER = struct.Struct("=IIIHHII")
_STATUS = struct.Struct("=I")
_TO_KERNEL = _STATUS.pack(0)


class PacketRing:
    """The IPv4 packets that arrive on a device of the caller's network namespace. Raises OSError."""

    def __init__(self, device: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        blocks = _FRAME_BYTES * _FRAMES // _BLOCK_BYTES
        self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, _RING.pack(_BLOCK_BYTES, blocks, _FRAME_BYTES, _FRAMES))
        self._ring = mmap.mmap(
            self._socket.fileno(), _FRAME_BYTES * _FRAMES, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        )
        self._at = 0
        self._socket.bind((device, _ETH_P_IP))

    def fileno(self) -> int:
        return self._socket.fileno()

    def take(self) -> tuple[int, bytearray, bool] | None:
        """Return (arrival in ns since the epoch, the IP packet, whether its checksum is missing), or None."""
        ring, at = self._ring, self._at
        if not _STATUS.unpack_from(ring, at)[0] & _STATUS_USER:
            return None
        status, _dummy, captured, link, network, second, nanosecond = _HEADER.unpack_from(ring, at)
        packet = bytearray(ring[at + network : at + link + captured])
        ring[at : at + 4] = _TO_KERNEL
        self._at = (at + _FRAME_BYTES) % (_FRAME_BYTES * _FRAMES)
        return second * 1_000_000_000 + nanosecond, packet, bool(status & _STATUS_NO_CHECKSUM)

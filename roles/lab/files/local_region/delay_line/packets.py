# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the delay line needs to know of an IPv4 packet without options that carries a TCP SYN. Pure."""

from __future__ import annotations

import struct

HEADERS_BYTES = 40  # IPv4 without options, TCP without options
_PROTOCOL_TCP = 6
_IP_HEADER_BYTES = 20
_TCP_CHECKSUM_AT = 36
_FLOW = struct.Struct("!12xIIH")
# One unpack of the whole segment costs less than a loop over it; a SYN has 20 to 60 bytes of TCP.
_WORDS = {count: struct.Struct(f"!{count}H").unpack_from for count in range(10, 64)}


def flow_of(packet: bytes | bytearray) -> tuple[int, int, int]:
    """Return (source address, destination address, source port) as numbers."""
    source, destination, port = _FLOW.unpack_from(packet)
    return source, destination, port


def is_syn(packet: bytes | bytearray) -> bool:
    """Whether this is a whole IPv4 packet without options that holds a TCP SYN, as the tap is to send."""
    return (
        HEADERS_BYTES <= len(packet) < 2 * (_IP_HEADER_BYTES // 2 + 64)
        and len(packet) % 2 == 0
        and packet[0] == 0x45
        and packet[9] == _PROTOCOL_TCP
        and packet[33] & 0x12 == 0x02
    )


def finish_checksum(packet: bytearray) -> None:
    """Replace the sum over the pseudo-header, which is all that the kernel put into a packet that leaves through a
    virtual device, with the TCP checksum (RFC 9293, section 3.1). The sum's carry is folded as RFC 1071 shows."""
    total = sum(_WORDS[(len(packet) - _IP_HEADER_BYTES) // 2](packet, _IP_HEADER_BYTES))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    packet[_TCP_CHECKSUM_AT] = total >> 8
    packet[_TCP_CHECKSUM_AT + 1] = total & 0xFF

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the delay line does with the bytes of a SYN, with its log and with the requests of its parent."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_region.delay_line.delays import DelayTable, as_number
from local_region.delay_line.log import HoldLog, read
from local_region.delay_line.packets import finish_checksum, flow_of, is_syn
from local_region.delay_line.path import CLASSES, PathTime
from local_region.delay_line.process import Requests

SOURCE, DESTINATION = "198.18.0.17", "198.19.3.4"


def tcp_packet(port: int = 40000, flags: int = 0x02, options: bytes = b"", protocol: int = 6) -> bytearray:
    """An IPv4 packet as the kernel hands it to a virtual device: with the pseudo-header's sum for a checksum."""
    source, destination = socket.inet_aton(SOURCE), socket.inet_aton(DESTINATION)
    tcp_bytes = 20 + len(options)
    pseudo = sum(struct.unpack("!6H", source + destination + struct.pack("!HH", protocol, tcp_bytes)))
    pseudo = (pseudo & 0xFFFF) + (pseudo >> 16)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + tcp_bytes, 1, 0x4000, 63, protocol, 0, source, destination)
    tcp = struct.pack("!HHIIBBHHH", port, 443, 12345, 0, (tcp_bytes // 4) << 4, flags, 64240, pseudo, 0)
    return bytearray(ip + tcp + options)


def folded_sum(packet: bytes) -> int:
    """The sum that RFC 1071 has a receiver make over pseudo-header and segment: all ones when nothing is wrong."""
    segment = packet[20:]
    pseudo = packet[12:20] + struct.pack("!HH", packet[9], len(segment))
    total = sum(struct.unpack(f"!{(len(pseudo) + len(segment)) // 2}H", pseudo + segment))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.integers(1, 65535), st.integers(0, 10).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n)))
def test_a_finished_checksum_is_one_that_a_receiver_accepts(port: int, options: bytes) -> None:
    packet = tcp_packet(port, options=options)
    finish_checksum(packet)
    assert folded_sum(bytes(packet)) == 0xFFFF


def test_a_syn_is_told_from_everything_else() -> None:
    assert is_syn(tcp_packet())
    assert is_syn(tcp_packet(flags=0x02 | 0x40))  # with ECN bits
    assert not is_syn(tcp_packet(flags=0x12))
    assert not is_syn(tcp_packet(flags=0x10))
    assert not is_syn(tcp_packet(protocol=17))
    assert not is_syn(tcp_packet()[:39])
    assert not is_syn(b"")
    with_ip_options = tcp_packet()
    with_ip_options[0] = 0x46
    assert not is_syn(with_ip_options)


def test_the_flow_is_read_from_the_packet() -> None:
    assert flow_of(tcp_packet(port=51234)) == (as_number(SOURCE), as_number(DESTINATION), 51234)


def test_the_log_gives_back_what_was_done(tmp_path: Path) -> None:
    path = tmp_path / "held"
    log = HoldLog(str(path))
    log.add(1_700_000_000_123_456_789, (as_number(SOURCE), as_number(DESTINATION), 51234), 120_000, 111_000)
    log.add(1_700_000_000_223_456_789, (as_number(SOURCE), as_number(DESTINATION), 51235), 130_000, 119_000)
    assert log.pending
    log.flush()
    path.write_bytes(path.read_bytes()[:-1])
    (held,) = read(path)
    assert held == (1_700_000_000_123_456_789, SOURCE, DESTINATION, 51234, 120_000, 111_000)


def test_a_log_without_a_path_is_not_wanted() -> None:
    assert not HoldLog(None).wanted


class Parent:
    """The parent's ends of the pipes to Requests."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        reader, self.writer = os.pipe()
        self.table = DelayTable({"rack-00": {DESTINATION: 80.0}}, [0.0], 400.0)
        self.path = PathTime()
        self.requests = Requests(self.table, self.path, reader)

    def send(self, text: str) -> list[dict]:
        os.write(self.writer, text.encode())
        self.requests.serve()
        return [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]

    def planned_us(self) -> float:
        planned_ns = self.table.planned_ns(as_number(SOURCE), as_number(DESTINATION))
        assert planned_ns is not None
        return planned_ns / 1000


def test_requests_change_the_table_and_are_answered(capsys: pytest.CaptureFixture[str]) -> None:
    parent = Parent(capsys)
    (answer,) = parent.send(json.dumps({"do": "place", "source": SOURCE, "rack": "rack-00"}) + "\n")
    assert answer["ok"] and parent.planned_us() == 80.0
    parent.send(json.dumps({"do": "fix", "source": SOURCE, "delay_us": 200.0}) + "\n")
    assert parent.planned_us() == 200.0
    parent.send(json.dumps({"do": "correct", "ratio": 1.0, "measured_us": [9.0] * CLASSES}) + "\n")
    assert parent.path.path_ns(0) == 9000
    parent.send(json.dumps({"do": "forget", "source": SOURCE}) + "\n")
    assert parent.planned_us() == 400.0


def test_requests_may_come_in_pieces_and_together(capsys: pytest.CaptureFixture[str]) -> None:
    parent = Parent(capsys)
    text = json.dumps({"do": "place", "source": SOURCE, "rack": "rack-00"}) + "\n"
    assert parent.send(text[:10]) == []
    assert len(parent.send(text[10:] + text)) == 2


@pytest.mark.parametrize(
    "request_",
    [
        {"do": "dance"},
        {"do": "place", "source": SOURCE, "rack": "rack-99"},
        {"do": "place", "source": "nowhere", "rack": "rack-00"},
        {"source": SOURCE},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(request_: dict, capsys: pytest.CaptureFixture[str]) -> None:
    parent = Parent(capsys)
    (answer,) = parent.send(json.dumps(request_) + "\n")
    assert "error" in answer
    assert not parent.requests.ended


def test_the_end_of_the_input_is_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    parent = Parent(capsys)
    os.close(parent.writer)
    parent.requests.serve()
    assert parent.requests.ended

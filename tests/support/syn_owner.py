# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner of the rig's device, a process of its own: it answers SYNs when they are due, and writes down when it did.

Started by tests/support/syn_rig.py in the rig's namespace. Says "ready" once the device is up, answers until its stdin
is closed, and then prints what it saw as JSON.
"""

from __future__ import annotations

import fcntl
import gc
import heapq
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.syn_behaviour import Behaviour, asked_delay_us

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
MSS_OPTION = b"\x02\x04\x05\xb4"
OUR_SEQUENCE = 1_000_000

# An answer is waited for without a look at the device when it is due sooner than a look takes.
NEAR_NS = 3_000
# A look that comes so much later than the last one does not say when a packet came. A write that takes so long does not
# say when it went; it usually takes some 15 us, for the client's softirq and wake-up are in it.
BLURRED_NS = 10_000
BLURRED_WRITE_NS = 50_000
# How often the owner looks whether it is still wanted.
WANTED_EVERY_NS = 20_000_000
# How often it keeps the kernel's receive path in its caches.
WARM_EVERY_NS = 300_000


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def answer_to(packet: bytes, flags: int, sequence: int, acknowledged: int) -> bytes:
    """IPv4 packet from the packet's target to its source, with the same two ports the other way round."""
    source, target = packet[12:16], packet[16:20]
    options = MSS_OPTION if flags & SYN else b""
    length = 20 + len(options)
    ports = packet[22:24] + packet[20:22]
    numbers = struct.pack("!IIBBHHH", sequence, acknowledged & 0xFFFFFFFF, length // 4 << 4, flags, 65_535, 0, 0)
    tcp = ports + numbers + options
    total = checksum(target + source + struct.pack("!HH", socket.IPPROTO_TCP, length) + tcp)
    tcp = tcp[:16] + total.to_bytes(2, "big") + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, socket.IPPROTO_TCP, 0) + target + source
    return ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:] + tcp


def echo_of(datagram: bytes) -> bytes:
    """UDP datagram back to where it came from; the checksum of its header stays right, and its own is left out."""
    back = datagram[16:20] + datagram[12:16] + datagram[22:24] + datagram[20:22]
    return datagram[:12] + back + datagram[24:26] + bytes(2) + datagram[28:]


def stray_reset(source: bytes, target: bytes) -> bytes:
    """Reset from an address for a connection of the target that does not exist; the kernel answers it with nothing."""
    syn = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, socket.IPPROTO_TCP, 0) + target + source
    return answer_to(syn + struct.pack("!HHIIBBHHH", 1, 443, 0, 0, 0x50, SYN, 0, 0, 0), RST | ACK, 0, 1)


def unnoted(_now_ns: int, _clear: bool) -> None:
    """What is called once an echo is sent: nobody asks when it was."""


class Answer(NamedTuple):
    """When a SYN came, what delay was asked for and what was kept, and whether the owner saw it come and go in time."""

    seen_ns: int
    asked_ns: int
    kept_ns: int
    clear: bool


@dataclass
class AddressState:
    """What an address has seen: times of SYNs, connections by port and sequence number, and how it answered."""

    behaviour: Behaviour
    connections: int = 0
    lost: int = 0
    finished: int = 0
    resets: int = 0
    last_connection: bytes = b""
    syn_ns: list[int] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    answers_again: list[Answer] = field(default_factory=list)

    def is_again(self, connection: bytes) -> bool:
        """Whether this SYN was seen before, else it is a new connection's; it is told by port and sequence number."""
        again = connection == self.last_connection
        if not again:
            self.connections += 1
            self.last_connection = connection
        return again

    def wants_answer(self, again: bool, chance: random.Random) -> bool:
        """Whether this SYN is answered at all."""
        behaviour = self.behaviour
        if behaviour.silent_after is not None and self.connections > behaviour.silent_after:
            return False
        if again:
            return True
        every, share = behaviour.lose_every, behaviour.lose_share
        lost = bool(every and self.connections % every == 0) or bool(share and chance.random() < share)
        self.lost += lost
        return not lost

    def report(self) -> dict[str, Any]:
        """What syn_rig.SynRig.report shows of an address; times are of the monotonic clock."""
        return {
            "syns": len(self.syn_ns),
            "connections": self.connections,
            "lost": self.lost,
            "finished": self.finished,
            "resets": self.resets,
            "first_s": self.syn_ns[0] / 1e9 if self.syn_ns else None,
            "last_s": self.syn_ns[-1] / 1e9 if self.syn_ns else None,
            "at_s": [(one.seen_ns - self.syn_ns[0]) / 1e9 for one in self.answers],
            "asked_us": [one.asked_ns / 1e3 for one in self.answers],
            "kept_us": [one.kept_ns / 1e3 for one in self.answers],
            "clear": [one.clear for one in self.answers],
            "again_us": [one.kept_ns / 1e3 for one in self.answers_again],
        }


class Owner:
    """Answers what arrives at a device, each answer when it is due."""

    def __init__(self, device: int, states: Mapping[bytes, AddressState], client: bytes, chance: random.Random) -> None:
        self._device = device
        self._states = states
        self._chance = chance
        # By time: due, a number that tells ties apart, the packet, and what is called with the time it was sent at and
        # whether that is certain.
        self._due: list[tuple[int, int, bytes, Any]] = []
        self._number = 0
        self._stray = stray_reset(next(iter(states)), client)
        self._stdin = select.poll()
        self._stdin.register(0, select.POLLIN | select.POLLHUP)
        self._wanted_ns = 0

    def serve(self, life_s: float) -> None:
        """Answer until stdin is closed, or for this long."""
        clock_ns, read, device, due = time.perf_counter_ns, os.read, self._device, self._due
        end_ns = clock_ns() + int(life_s * 1e9)
        look_ns = before_ns = 0
        while True:
            missed_ns, before_ns = before_ns, clock_ns()
            if due and due[0][0] - before_ns < NEAR_NS:
                self._send_first()
                continue
            try:
                packet = read(device, 2_048)
            except BlockingIOError:
                if before_ns > look_ns:
                    if before_ns > end_ns or not self._pass_time(before_ns):
                        return
                    look_ns = before_ns + WARM_EVERY_NS
                continue
            # A SYN came between the look that missed it and this one, which are 1 to 2 us apart; a longer gap means
            # that the owner was interrupted or sent an answer, which is not the packet's time.
            seen_ns = max((missed_ns + before_ns) // 2, before_ns - 1_000)
            self._arrived(packet, seen_ns, clock_ns() - missed_ns < BLURRED_NS)

    def _pass_time(self, now_ns: int) -> bool:
        """Stay ready while nothing happens; False once stdin is closed.

        The client's side of an answer's arrival runs in the owner's write, on its CPU. After some milliseconds without
        one its code has left the caches, and the way in would be 5 to 10 us instead of 2. A NIC's queue sees other
        packets meanwhile; here a reset for a connection that nobody has goes the same way, and the kernel drops it.
        """
        if not self._due:
            os.write(self._device, self._stray)
        if now_ns > self._wanted_ns:
            self._wanted_ns = now_ns + WANTED_EVERY_NS
            return not self._stdin.poll(0)
        return True

    def _send_first(self) -> None:
        due_ns, _number, packet, sent = heapq.heappop(self._due)
        clock_ns = time.perf_counter_ns
        while (now_ns := clock_ns()) < due_ns:
            pass
        os.write(self._device, packet)
        sent(now_ns, clock_ns() - now_ns < BLURRED_WRITE_NS)

    def _send_at(self, due_ns: int, packet: bytes, sent: Any) -> None:
        self._number += 1
        heapq.heappush(self._due, (due_ns, self._number, packet, sent))

    def _arrived(self, packet: bytes, seen_ns: int, clear: bool) -> None:
        state = self._states.get(packet[16:20])
        if len(packet) < 40 or packet[0] != 0x45 or state is None:
            return
        if packet[9] == socket.IPPROTO_UDP:
            self._send_at(seen_ns + int(state.behaviour.delay_us * 1e3), echo_of(packet), unnoted)
        elif packet[9] == socket.IPPROTO_TCP:
            self._segment(state, packet, seen_ns, clear)

    def _segment(self, state: AddressState, packet: bytes, seen_ns: int, clear: bool) -> None:
        flags = packet[33]
        if flags & RST:
            return
        if flags & SYN:
            self._syn(state, packet, seen_ns, clear)
        elif flags & FIN:
            self._fin(state, packet)

    def _syn(self, state: AddressState, packet: bytes, seen_ns: int, clear: bool) -> None:
        state.syn_ns.append(seen_ns)
        again = state.is_again(packet[20:22] + packet[24:28])
        if not state.wants_answer(again, self._chance):
            return
        behaviour = state.behaviour
        delay_us = asked_delay_us(
            behaviour,
            connection=state.connections - 1,
            elapsed_s=(seen_ns - state.syn_ns[0]) / 1e9,
            client_port=int.from_bytes(packet[20:22], "big"),
            chance=self._chance,
        )
        asked_ns = int(delay_us * 1e3)
        theirs = int.from_bytes(packet[24:28], "big") + 1
        answers = state.answers_again if again else state.answers

        def sent(now_ns: int, clear_out: bool) -> None:
            answers.append(Answer(seen_ns, asked_ns, now_ns - seen_ns, clear and clear_out))
            if behaviour.reset_after_us is not None:
                reset = answer_to(packet, RST | ACK, OUR_SEQUENCE + 1, theirs)
                self._send_at(now_ns + int(behaviour.reset_after_us * 1e3), reset, was_reset)

        def was_reset(_now_ns: int, _clear: bool) -> None:
            state.resets += 1

        answer = answer_to(packet, *((RST | ACK, 0) if behaviour.refuse else (SYN | ACK, OUR_SEQUENCE)), theirs)
        self._send_at(seen_ns + asked_ns, answer, sent)

    def _fin(self, state: AddressState, packet: bytes) -> None:
        if state.behaviour.hang:
            return
        state.finished += 1
        sequence, acknowledged = struct.unpack_from("!II", packet, 24)
        data = len(packet) - 20 - (packet[32] >> 4) * 4
        os.write(self._device, answer_to(packet, FIN | ACK, acknowledged, sequence + data + 1))


def open_device(name: str, client: str, network: str) -> int:
    """TUN device, up, with the rig's network routed into it."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN_NO_PI))
    for arguments in (
        ["link", "set", "lo", "up"],
        ["addr", "add", f"{client}/32", "dev", name],
        ["link", "set", name, "up"],
        ["route", "add", network, "dev", name, "src", client],
    ):
        subprocess.run(["ip", *arguments], check=True)
    return device


def main(settings: Mapping[str, Any]) -> None:
    """Own the device until stdin is closed; the settings are made by syn_rig.SynRig."""
    device = open_device(settings["device"], settings["client"], settings["network"])
    states = {
        socket.inet_aton(address): AddressState(Behaviour(**behaviour))
        for address, behaviour in settings["behaviours"].items()
    }
    os.sched_setaffinity(0, {settings["cpu"]})
    gc.disable()
    print("ready", flush=True)
    client = socket.inet_aton(settings["client"])
    Owner(device, states, client, random.Random(settings["seed"])).serve(settings["life_s"])
    print(json.dumps({socket.inet_ntoa(packed): state.report() for packed, state in states.items()}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

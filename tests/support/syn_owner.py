# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner of the rig's device, a process of its own: it answers SYNs when they are due, and writes down when it did.

Started by tests/support/syn_rig.py in the rig's namespace. Says "ready" once the device is up, answers until its stdin
is closed, and then prints what it saw as JSON.

A packet socket shows the owner each packet of its device, out and in, with the time at which the kernel had it there. A
delay runs from the one stamp to the other, so it is known to the microsecond also when the owner waited for its CPU.
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
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
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

ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35
TAP_BYTES = 8 << 20

# An answer is waited for without a look at the device when it is due sooner than a look takes.
NEAR_NS = 3_000
# The owner wakes up so long before an answer is due, and spins for the rest: a sleep is not exact. It sleeps otherwise,
# so that a machine of one CPU has time for the caller, and two rigs for each other.
SPIN_NS = 100_000
# How often it keeps the kernel's receive path in its caches.
WARM_S = 300e-6
# The kernel begins to stamp packets a moment after it was asked to.
STAMPS_WITHIN_S = 30.0


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


def unnoted(_at_ns: int) -> None:
    """What is called for a packet whose time nobody asks for."""


class Answer(NamedTuple):
    """When a SYN left by the device, what delay was asked for, and how much later the answer entered by it."""

    seen_ns: int
    asked_ns: int
    kept_ns: int


class Planned(NamedTuple):
    """A packet, and what is called with the time of the owner's write and with the time at which the kernel had it."""

    packet: bytes
    written: Callable[[int], None] = unnoted
    entered: Callable[[int], None] = unnoted


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
    echoed_ns: list[int] = field(default_factory=list)
    entered_ns: int = 0
    returned_ns: list[int] = field(default_factory=list)

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
        """What syn_rig.SynRig.report shows of an address; times are of the clock of the kernel's stamps."""
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
            "again_us": [one.kept_ns / 1e3 for one in self.answers_again],
            "returned_us": [lag_ns / 1e3 for lag_ns in self.returned_ns],
            "echoed_us": [kept_ns / 1e3 for kept_ns in self.echoed_ns],
        }


class Tap:
    """Shows each packet that passes the device, in order, with the kernel's own time of it."""

    def __init__(self, device: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, TAP_BYTES)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.bind((device, ETH_P_ALL))

    def fileno(self) -> int:
        return self._socket.fileno()

    def next(self) -> tuple[bytes, int, bool] | None:
        """The next packet, when it passed in nanoseconds since the epoch, and whether it went out; None without one."""
        try:
            packet, controls, _flags, sender = self._socket.recvmsg(2_048, 64)
        except BlockingIOError:
            return None
        seconds, nanoseconds = struct.unpack("=qq", controls[0][2])
        return packet, seconds * 10**9 + nanoseconds, sender[2] == PACKET_OUTGOING


class Owner:
    """Answers what leaves by a device, each answer when it is due."""

    def __init__(
        self, device: int, tap: Tap, states: Mapping[bytes, AddressState], client: bytes, chance: random.Random
    ) -> None:
        self._device = device
        self._tap = tap
        self._states = states
        self._chance = chance
        # By time: due, a number that tells ties apart, and the packet.
        self._due: list[tuple[int, int, Planned]] = []
        self._number = 0
        # What was written and has not been seen to enter, in order.
        self._written: deque[Planned] = deque()
        self._stray = stray_reset(next(iter(states)), client)

    def wait_for_stamps(self) -> None:
        """Return once the kernel stamps packets: until then the time of a packet is the time of the look at it.

        Raises RuntimeError when it never does.
        """
        end_s = time.monotonic() + STAMPS_WITHIN_S
        while time.monotonic() < end_s:
            self._write(Planned(self._stray))
            written_ns = time.time_ns()
            time.sleep(0.001)
            while (seen := self._tap.next()) is not None:
                _packet, at_ns, went_out = seen
                if not went_out:
                    self._written.popleft()
                    if at_ns <= written_ns:
                        return
        raise RuntimeError("the kernel does not stamp the packets of the device")

    def serve(self, life_s: float) -> None:
        """Answer until stdin is closed, or for this long."""
        clock_ns, look, due = time.time_ns, self._look, self._due
        end_s = time.monotonic() + life_s
        while time.monotonic() < end_s:
            left_ns = due[0][0] - clock_ns() if due else None
            if left_ns is not None and left_ns < NEAR_NS:
                self._send_first()
            elif look() or (left_ns is not None and left_ns < SPIN_NS):
                continue
            elif not self._sleep(WARM_S if left_ns is None else (left_ns - SPIN_NS) / 1e9):
                return
        self._look_at_all()

    def _sleep(self, longest_s: float) -> bool:
        """Sleep until a packet comes, or so long; False once stdin is closed.

        The client's side of an answer's arrival runs in the owner's write, on its CPU. After some milliseconds without
        one its code has left the caches, and the way in would be 5 to 10 us instead of 2. A NIC's queue sees other
        packets meanwhile; here a reset for a connection that nobody has goes the same way, and the kernel drops it.
        """
        ready, _none, _none_either = select.select((self._tap, 0), (), (), longest_s)
        if not ready and not self._due:
            self._write(Planned(self._stray))
        if 0 in ready:
            self._look_at_all()
        return 0 not in ready

    def _look_at_all(self) -> None:
        while self._look():
            pass

    def _look(self) -> bool:
        """Take note of the next packet that passed the device; False without one."""
        seen = self._tap.next()
        if seen is None:
            return False
        packet, at_ns, went_out = seen
        if went_out:
            # The tap has shown it; the device is only emptied.
            with suppress(BlockingIOError):
                os.read(self._device, 2_048)
            self._left(packet, at_ns)
        else:
            planned = self._written.popleft()
            if planned.packet != packet:
                raise RuntimeError("the tap has lost packets")
            planned.entered(at_ns)
        return True

    def _write(self, planned: Planned) -> None:
        self._written.append(planned)
        os.write(self._device, planned.packet)

    def _send_first(self) -> None:
        due_ns, _number, planned = heapq.heappop(self._due)
        clock_ns = time.time_ns
        while (now_ns := clock_ns()) < due_ns:
            pass
        self._write(planned)
        planned.written(now_ns)

    def _send_at(self, due_ns: int, planned: Planned) -> None:
        self._number += 1
        heapq.heappush(self._due, (due_ns, self._number, planned))

    def _left(self, packet: bytes, seen_ns: int) -> None:
        state = self._states.get(packet[16:20])
        if len(packet) < 28 or packet[0] != 0x45 or state is None:
            return
        if packet[9] == socket.IPPROTO_UDP:
            self._datagram(state, packet, seen_ns)
        elif packet[9] == socket.IPPROTO_TCP and len(packet) >= 40:
            self._segment(state, packet, seen_ns)

    def _datagram(self, state: AddressState, packet: bytes, seen_ns: int) -> None:
        def entered(at_ns: int) -> None:
            state.echoed_ns.append(at_ns - seen_ns)

        due_ns = seen_ns + int(state.behaviour.delay_us * 1e3)
        self._send_at(due_ns, Planned(echo_of(packet), entered=entered))

    def _segment(self, state: AddressState, packet: bytes, seen_ns: int) -> None:
        flags = packet[33]
        if flags & (RST | FIN) and state.entered_ns:
            state.returned_ns.append(seen_ns - state.entered_ns)
        if flags & RST:
            return
        if flags & SYN:
            self._syn(state, packet, seen_ns)
        elif flags & FIN:
            self._fin(state, packet)

    def _syn(self, state: AddressState, packet: bytes, seen_ns: int) -> None:
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

        def entered(at_ns: int) -> None:
            state.entered_ns = at_ns
            answers.append(Answer(seen_ns, asked_ns, at_ns - seen_ns))

        def written(now_ns: int) -> None:
            if behaviour.reset_after_us is not None:
                reset = answer_to(packet, RST | ACK, OUR_SEQUENCE + 1, theirs)
                self._send_at(now_ns + int(behaviour.reset_after_us * 1e3), Planned(reset, was_reset))

        def was_reset(_now_ns: int) -> None:
            state.resets += 1

        answer = answer_to(packet, *((RST | ACK, 0) if behaviour.refuse else (SYN | ACK, OUR_SEQUENCE)), theirs)
        self._send_at(seen_ns + asked_ns, Planned(answer, written, entered))

    def _fin(self, state: AddressState, packet: bytes) -> None:
        if state.behaviour.hang:
            return
        state.finished += 1
        sequence, acknowledged = struct.unpack_from("!II", packet, 24)
        data = len(packet) - 20 - (packet[32] >> 4) * 4
        self._write(Planned(answer_to(packet, FIN | ACK, acknowledged, sequence + data + 1)))


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
    tap = Tap(settings["device"])
    states = {
        socket.inet_aton(address): AddressState(Behaviour(**behaviour))
        for address, behaviour in settings["behaviours"].items()
    }
    os.sched_setaffinity(0, {settings["cpu"]})
    gc.disable()
    owner = Owner(device, tap, states, socket.inet_aton(settings["client"]), random.Random(settings["seed"]))
    owner.wait_for_stamps()
    print("ready", flush=True)
    owner.serve(settings["life_s"])
    print(json.dumps({socket.inet_ntoa(packed): state.report() for packed, state in states.items()}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

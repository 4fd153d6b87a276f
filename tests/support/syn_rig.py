# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rig that knows the truth: a TUN device whose owner answers every SYN an exact time later.

The device lives in a network namespace of its own and the addresses in 198.18.0.0/15 (RFC 2544, never routed), so no
packet can leave the machine. The owner runs on another CPU than the probe and spins, which is what makes its
answers exact; it does so only while the rig is open. Needs root, iproute2 and /dev/net/tun.

The delay runs from the SYN's arrival, halfway between the look that missed it and the one that found it, to the
write of the answer. What a probe reads on the wire is the delay and about 2 us for the kernel's way in and out.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import random
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

NETWORK = "198.19.248.0/24"
CLIENT = "198.19.248.1"
DEVICE = "synrig"

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001

FIN_SYN_RST = 0x07
SYN, RST_ACK, SYN_ACK = 0x02, 0x14, 0x12
MSS_OPTION = b"\x02\x04\x05\xb4"

# The owner ends by itself after this, should whoever opened it be gone.
LONGEST_LIFE_S = 120


@dataclass(frozen=True)
class Behaviour:
    """How an address behaves. Times are in microseconds.

    ``jitter_us`` is the mean of an exponential delay on top; ``lose_every`` n drops the first SYN of every nth
    connection, and answers when it is sent again; ``silent_after`` n answers n connections and then never again;
    ``refuse`` answers with a reset.
    """

    delay_us: float = 100.0
    jitter_us: float = 0.0
    lose_every: int = 0
    silent_after: int | None = None
    refuse: bool = False


def why_not() -> str | None:
    """Why the rig can't run here, None if it can."""
    if os.geteuid() != 0:
        return "the rig needs root for its network namespace"
    if not os.path.exists("/dev/net/tun"):
        return "the rig needs /dev/net/tun"
    if len(os.sched_getaffinity(0)) < 2:
        return "the rig needs a CPU beside the probe's"
    return None


def cpus() -> tuple[int, int]:
    """CPU for the probe and CPU for the owner of the device."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


class SynRig:
    """Context manager for a namespace in which the given addresses behave as told."""

    def __init__(self, behaviours: Mapping[str, Behaviour], seed: int = 1) -> None:
        self.name = f"synrig-{os.getpid()}-{time.monotonic_ns() % 1_000_000}"
        self._behaviours = behaviours
        self._seed = seed
        self._owner: subprocess.Popen[str] | None = None
        self.report: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> SynRig:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        try:
            self._start_owner()
            for address in self._behaviours:
                self._check_route(address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._owner is not None:
            told, _nothing = self._owner.communicate("", timeout=10)
            self.report = json.loads(told) if told else {}
            self._owner = None
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs argv in the namespace, before other work on the machine."""
        return ["chrt", "--fifo", "1", "ip", "netns", "exec", self.name, *argv]

    def _start_owner(self) -> None:
        settings = {
            "seed": self._seed,
            "behaviours": {address: asdict(one) for address, one in self._behaviours.items()},
        }
        self._owner = subprocess.Popen(
            self.command([sys.executable, "-I", str(Path(__file__).resolve()), json.dumps(settings)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._owner.stdout is not None
        if self._owner.stdout.readline() != "ready\n":
            raise RuntimeError("the owner of the rig's device did not start")

    def _check_route(self, address: str) -> None:
        """Raise unless packets to the address go to our device and nowhere else."""
        command = self.command(["ip", "-json", "route", "get", address])
        shown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        if shown[0]["dev"] != DEVICE:
            raise RuntimeError(f"{address} does not lead into the rig but to {shown[0]['dev']}")


# What follows runs as a process of its own, the owner of the device.


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def answer_to(packet: bytes, flags: int) -> bytes:
    """IPv4 packet that answers a SYN (which carries no data) with SYN-ACK or RST-ACK."""
    source, target = packet[12:16], packet[16:20]
    client_port, port, sequence = struct.unpack_from("!HHI", packet, 20)
    options = MSS_OPTION if flags == SYN_ACK else b""
    ours = 1_000_000 if flags == SYN_ACK else 0
    length = 20 + len(options)
    tcp = struct.pack(
        "!HHIIBBHHH", port, client_port, ours, (sequence + 1) & 0xFFFFFFFF, length // 4 << 4, flags, 65_535, 0, 0
    )
    pseudo = target + source + struct.pack("!HH", socket.IPPROTO_TCP, length)
    tcp = tcp[:16] + checksum(pseudo + tcp + options).to_bytes(2, "big") + tcp[18:] + options
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, socket.IPPROTO_TCP, 0) + target + source
    return ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:] + tcp


@dataclass
class AddressState:
    """What an address has seen: times of SYNs, connections by port and sequence number, delays it really kept."""

    behaviour: Behaviour
    connections: int = 0
    last_connection: bytes = b""
    syn_ns: list[int] = field(default_factory=list)
    kept_ns: list[int] = field(default_factory=list)

    def wants_answer(self, connection: bytes) -> bool:
        """Whether this SYN is answered at all; connection is its source port and sequence number."""
        again = connection == self.last_connection
        if not again:
            self.connections += 1
            self.last_connection = connection
        behaviour = self.behaviour
        if behaviour.silent_after is not None and self.connections > behaviour.silent_after:
            return False
        return again or not (behaviour.lose_every and self.connections % behaviour.lose_every == 0)

    def report(self) -> dict[str, Any]:
        """Shape: ``{syns, connections, first_s, last_s, kept_median_us}``; times are of the monotonic clock."""
        return {
            "syns": len(self.syn_ns),
            "connections": self.connections,
            "first_s": self.syn_ns[0] / 1e9 if self.syn_ns else None,
            "last_s": self.syn_ns[-1] / 1e9 if self.syn_ns else None,
            "kept_median_us": statistics.median(self.kept_ns) / 1e3 if self.kept_ns else None,
        }


def open_device() -> int:
    """TUN device, up, with the rig's network routed into it."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", DEVICE.encode(), IFF_TUN_NO_PI))
    for arguments in (
        ["link", "set", "lo", "up"],
        ["addr", "add", f"{CLIENT}/32", "dev", DEVICE],
        ["link", "set", DEVICE, "up"],
        ["route", "add", NETWORK, "dev", DEVICE, "src", CLIENT],
    ):
        subprocess.run(["ip", *arguments], check=True)
    return device


def serve(device: int, states: Mapping[bytes, AddressState], chance: random.Random) -> None:
    """Answer until stdin is closed, or for LONGEST_LIFE_S."""
    clock_ns, read, write = time.perf_counter_ns, os.read, os.write
    end_ns = clock_ns() + LONGEST_LIFE_S * 1_000_000_000
    stdin = select.poll()
    stdin.register(0, select.POLLIN | select.POLLHUP)
    look_ns = before_ns = 0
    while True:
        missed_ns, before_ns = before_ns, clock_ns()
        try:
            packet = read(device, 2_048)
        except BlockingIOError:
            if before_ns > look_ns:
                if stdin.poll(0) or before_ns > end_ns:
                    return
                look_ns = before_ns + 20_000_000
            continue
        # Looks are 1 to 2 us apart; a longer gap means that the owner was interrupted, which is not the packet's time.
        seen_ns = max((missed_ns + before_ns) // 2, before_ns - 1_000)
        if len(packet) < 40 or packet[0] != 0x45 or packet[9] != 6 or packet[33] & FIN_SYN_RST != SYN:
            continue
        state = states.get(packet[16:20])
        if state is None:
            continue
        state.syn_ns.append(seen_ns)
        if not state.wants_answer(packet[20:22] + packet[24:28]):
            continue
        behaviour = state.behaviour
        answer = answer_to(packet, RST_ACK if behaviour.refuse else SYN_ACK)
        jitter_us = chance.expovariate(1 / behaviour.jitter_us) if behaviour.jitter_us else 0.0
        due_ns = seen_ns + int((behaviour.delay_us + jitter_us) * 1e3)
        while (now_ns := clock_ns()) < due_ns:
            pass
        write(device, answer)
        state.kept_ns.append(now_ns - seen_ns)


def main(settings: Mapping[str, Any]) -> None:
    """Own the device: say "ready", answer until stdin is closed, then print what was seen as JSON."""
    device = open_device()
    states = {
        socket.inet_aton(address): AddressState(Behaviour(**behaviour))
        for address, behaviour in settings["behaviours"].items()
    }
    os.sched_setaffinity(0, {cpus()[1]})
    gc.disable()
    print("ready", flush=True)
    serve(device, states, random.Random(settings["seed"]))
    print(json.dumps({socket.inet_ntoa(packed): state.report() for packed, state in states.items()}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

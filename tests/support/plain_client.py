# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Handshakes as anybody would make them in Python, one after the other: what the rig and the probe are held against.

None of the collection's code is in it. A process of its own, so that it can live in a namespace and on one CPU.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LINGER_RESET = struct.pack("@ii", 1, 0)
RTT_AT, TOTAL_RETRANS_AT = 68, 100  # in struct tcp_info of linux/tcp.h


@dataclass(frozen=True)
class Calls:
    """What to do. ``method`` is one of METHODS; ``reset`` closes with a reset and else with a FIN.

    ``after_s`` waits so long for what the other side does with the open connection, after a FIN if ``finish`` says so.
    """

    address: str
    count: int
    method: str = "blocking"
    port: int = 443
    warmup: int = 0
    timeout_s: float = 10.0
    reset: bool = True
    after_s: float = 0.0
    finish: bool = False
    cpu: int | None = None


@dataclass(frozen=True)
class Call:
    """A handshake: 0 or its errno, its times, how often a segment was sent again, our port, and what came after it.

    ``after`` is None when nothing was waited for, else "silent", "closed" or "reset".
    """

    code: int
    wall_ns: int
    wire_us: int
    retransmits: int
    client_port: int
    after: str | None


def blocking(calls: Calls) -> tuple[socket.socket, int, int]:
    """A blocking connect that the kernel bounds."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    timeout = struct.pack("@ll", int(calls.timeout_s), int(calls.timeout_s % 1 * 1e6))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
    target = (calls.address, calls.port)
    start_ns = time.perf_counter_ns()
    code = made.connect_ex(target)
    return made, code, time.perf_counter_ns() - start_ns


def with_timeout(calls: Calls) -> tuple[socket.socket, int, int]:
    """``settimeout`` and ``connect``: a non-blocking connect and a poll, as many published figures were made."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.settimeout(calls.timeout_s)
    start_ns = time.perf_counter_ns()
    try:
        made.connect((calls.address, calls.port))
    except OSError as error:
        return made, error.errno or errno.ETIMEDOUT, time.perf_counter_ns() - start_ns
    return made, 0, time.perf_counter_ns() - start_ns


def create_connection(calls: Calls) -> tuple[socket.socket, int, int]:
    """``socket.create_connection``, which also resolves and makes the socket in the timed part."""
    start_ns = time.perf_counter_ns()
    try:
        made = socket.create_connection((calls.address, calls.port), calls.timeout_s)
    except OSError as error:
        taken_ns = time.perf_counter_ns() - start_ns
        return socket.socket(), error.errno or errno.ETIMEDOUT, taken_ns
    return made, 0, time.perf_counter_ns() - start_ns


METHODS: dict[str, Callable[[Calls], tuple[socket.socket, int, int]]] = {
    "blocking": blocking,
    "settimeout": with_timeout,
    "create_connection": create_connection,
}


def what_came(made: socket.socket, calls: Calls) -> str:
    """What the other side does with the open connection in the time that is waited for it."""
    if calls.finish:
        made.shutdown(socket.SHUT_WR)
    poll = select.poll()
    poll.register(made, select.POLLIN)
    if not poll.poll(calls.after_s * 1_000):
        return "silent"
    try:
        return "data" if made.recv(1) else "closed"
    except ConnectionResetError:
        return "reset"


def call_once(calls: Calls) -> Call:
    """One handshake, from the socket's making to its close."""
    made, code, wall_ns = METHODS[calls.method](calls)
    with made:
        info = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TOTAL_RETRANS_AT + 4)
        (wire_us,), (retransmits,) = (
            struct.unpack_from("=I", info, RTT_AT),
            struct.unpack_from("=I", info, TOTAL_RETRANS_AT),
        )
        if calls.reset:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        after = what_came(made, calls) if calls.after_s and not code else None
        return Call(code, wall_ns, wire_us, retransmits, made.getsockname()[1], after)


def run_calls(calls: Calls, prefix: Sequence[str], *, timeout_s: float = 300) -> list[Call]:
    """Run this file as a process and return its calls without the warm-up; prefix goes before its command."""
    command = [*prefix, sys.executable, "-I", "-B", str(Path(__file__).resolve()), json.dumps(asdict(calls))]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout_s)
    return [Call(*fields) for fields in json.loads(done.stdout)]


def main(settings: dict[str, Any]) -> None:
    """Make the calls, then print them as JSON."""
    calls = Calls(**settings)
    if calls.cpu is not None:
        os.sched_setaffinity(0, {calls.cpu})
    gc.disable()
    for _call in range(calls.warmup):
        call_once(calls)
    made = [call_once(calls) for _call in range(calls.count)]
    print(json.dumps([list(asdict(one).values()) for one in made]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Round trips of a small message on established TCP connections, from plan to result.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.
"""

from __future__ import annotations

import errno
import platform
import random
import socket
import struct
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._probe.handshake import ERROR_KINDS, KIND_BY_ERRNO, NS_PER_S, Pacer
from .._probe.plan import (
    FIRST_CHANCES,
    LONGEST_TIMEOUT_MS,
    BadOption,
)
from .._probe.route import Path, path_to
from .._probe.run import quiet_process
from .._statistics import (
    histogram_us,
    median,
    quantile,
    summarise_us,
)
from .intervals import interval_of
from .ping_daemon import checked_address, online_cpus
from .ping_server import (
    GREETING,
    LEAST_BYTES,
    MAGIC,
    MOST_BYTES,
    SEQUENCE,
    receive_all,
    timeval,
)

NS_PER_US = 1_000

# socket has no name for it before Python 3.12; linux/socket.h of all architectures that we know has it so.
SO_BUSY_POLL = 46

# Offsets in struct tcp_info of linux/tcp.h, which only ever grows at its end.
_RTT_AT, _TOTAL_RETRANS_AT, _MIN_RTT_AT = 68, 100, 148
_TCP_INFO_BYTES = 152
_TCP_INFO = struct.Struct(f"={_RTT_AT}xI{_TOTAL_RETRANS_AT - _RTT_AT - 4}xI{_MIN_RTT_AT - _TOTAL_RETRANS_AT - 4}xI")


@dataclass(frozen=True)
class Plan:
    """Everything that a ping is asked to do. samples: in all; warmup: per block; max_rate: round trips a second."""

    address: str
    port: int
    samples: int
    blocks: int
    warmup: int
    max_rate: int
    timeout_ms: int
    message_bytes: int
    receive: str
    busy_poll_us: int | None
    cpu: int | None

    @property
    def per_block(self) -> int:
        """Round trips to measure in a block."""
        return -(-self.samples // self.blocks)


def plan_from(options: Mapping[str, Any], cpus: Sequence[int] | None = None) -> Plan:
    """Plan from the module's options. Raises BadOption for the first value that can't be."""
    for option, low, high in (
        ("port", 1, 65_535),
        ("samples", 1, 10_000_000),
        ("blocks", 1, 1_000),
        ("warmup", 0, 100_000),
        ("max_rate", 1, 1_000_000),
        ("timeout_ms", 1, LONGEST_TIMEOUT_MS),
        ("message_bytes", LEAST_BYTES, MOST_BYTES),
        ("busy_poll_us", 0, 1_000_000),
    ):
        value = options[option]
        if value is not None and not low <= value <= high:
            raise BadOption(option, value, f"is not from {low} to {high}")
    checked_address(options["address"])
    cpu = options["cpu"]
    # Not what the scheduler would give this process: an isolated CPU is exactly what one wants to measure from.
    cpus = online_cpus() if cpus is None else cpus
    if cpu is not None and cpu not in cpus:
        raise BadOption("cpu", cpu, f"is not a CPU that is online ({', '.join(map(str, cpus))})")
    return Plan(**{name: options[name] for name in Plan.__dataclass_fields__})


@dataclass
class Record:
    """What was seen so far: finished blocks with their samples in ns, and errors by kind."""

    blocks: list[dict[str, Any]] = field(default_factory=list)
    samples_ns: array[int] = field(default_factory=lambda: array("Q"))
    errors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ERROR_KINDS, 0))
    other_codes: dict[str, int] = field(default_factory=dict)

    def note_error(self, code: int) -> None:
        """Count a failure by its errno."""
        kind = KIND_BY_ERRNO.get(code, "other")
        self.errors[kind] += 1
        if kind == "other":
            name = errno.errorcode.get(code, str(code))
            self.other_codes[name] = self.other_codes.get(name, 0) + 1

    def note_block(self, taken_ns: array[int], connection: socket.socket) -> None:
        """Keep the samples of a connection, and what the kernel says of it."""
        smoothed_us, retransmitted, lowest_us = _TCP_INFO.unpack(
            connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        )
        self.errors["retransmitted"] += retransmitted
        if not taken_ns:
            return
        self.samples_ns.extend(taken_ns)
        ordered = sorted(taken_ns)
        self.blocks.append(
            {
                "samples": len(ordered),
                "best_us": ordered[0] / NS_PER_US,
                "median_us": median(ordered) / NS_PER_US,
                "p99_us": round(quantile(ordered, 0.99) / NS_PER_US, 3),
                "kernel_min_us": lowest_us,
                "kernel_smoothed_us": smoothed_us,
                "source_port": connection.getsockname()[1],
            }
        )


def connected(plan: Plan) -> socket.socket:
    """Connection to the responder, greeted. Raises OSError when there is none to be had."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Kernel timeouts: settimeout would make the socket non-blocking and add a poll to what is timed.
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            made.setsockopt(socket.SOL_SOCKET, option, timeval(plan.timeout_ms / 1_000))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if plan.busy_poll_us is not None:
            made.setsockopt(socket.SOL_SOCKET, SO_BUSY_POLL, plan.busy_poll_us)
        made.connect((plan.address, plan.port))
        made.sendall(GREETING.pack(MAGIC, plan.message_bytes))
        back = bytearray(GREETING.size)
        if not receive_all(made, memoryview(back)) or GREETING.unpack(back) != (MAGIC, plan.message_bytes):
            raise OSError(errno.ECONNRESET, "the peer is no responder, or has no place for another connection")
    except BaseException:
        made.close()
        raise
    return made


Trip = Callable[[int], int]


def round_tripper(connection: socket.socket, plan: Plan) -> Trip:
    """Function that sends a sequence number and waits for it; returns the ns that took.

    It raises OSError on a timeout or a closed connection. All buffers are made here, so that nothing is on the way.
    """
    out = bytearray(plan.message_bytes)
    back = memoryview(bytearray(plan.message_bytes))
    size = plan.message_bytes
    send, receive_into = connection.send, connection.recv_into
    clock_ns, pack_into, unpack_from = time.perf_counter_ns, SEQUENCE.pack_into, SEQUENCE.unpack_from
    flags = socket.MSG_DONTWAIT if plan.receive == "spin" else 0
    timeout_ns = plan.timeout_ms * 1_000_000

    def received(start_ns: int) -> int:
        """Bytes of a first receive; spins when told to."""
        while True:
            try:
                return receive_into(back, size, flags)
            except BlockingIOError:
                if not flags or clock_ns() - start_ns > timeout_ns:
                    raise

    def trip(number: int) -> int:
        pack_into(out, 0, number)
        start_ns = clock_ns()
        sent = send(out)
        count = received(start_ns) if flags else receive_into(back)
        end_ns = clock_ns()
        if sent != size:
            raise OSError(errno.EMSGSIZE, "a message was not sent in one go")
        if count != size:
            if not count or not receive_all(connection, back[count:]):
                raise OSError(errno.ECONNRESET, "the peer closed the connection")
            end_ns = clock_ns()
        if unpack_from(back)[0] != number:
            raise OSError(errno.EPROTO, "the answer is not that of the message")
        return end_ns - start_ns

    return trip


def measure_block(plan: Plan, record: Record, pacer: Pacer) -> bool:
    """Measure one block on a connection of its own; false when it failed. What it has by then is kept."""
    taken_ns = array("Q")
    try:
        connection = connected(plan)
    except OSError as error:
        record.note_error(error.errno or 0)
        return False
    with connection:
        trip = round_tripper(connection, plan)
        wait, append = pacer.wait, taken_ns.append
        complete = True
        try:
            for number in range(plan.warmup):
                wait()
                trip(number)
            for number in range(plan.warmup, plan.warmup + plan.per_block):
                wait()
                append(trip(number))
        except OSError as error:
            record.note_error(error.errno or 0)
            complete = False
        record.note_block(taken_ns, connection)
    return complete


def run_ping(plan: Plan, *, dry: bool = False) -> dict[str, Any]:
    """Measure as planned and return the module's result; a dry run finds the way, but makes no connection.

    Raises OSError when this machine makes no sockets or does not let itself be pinned.
    """
    path = path_to(plan.address)
    record = Record()
    start_ns = time.perf_counter_ns()
    if not dry:
        _measure(plan, record)
    duration_s = (time.perf_counter_ns() - start_ns) / NS_PER_S
    samples_ns = record.samples_ns
    return {
        "address": plan.address,
        "port": plan.port,
        "path": path._asdict(),
        "samples": len(samples_ns),
        "errors": record.errors,
        "other_codes": record.other_codes,
        "round_trip": summary_us(samples_ns) if samples_ns else None,
        "histogram": histogram_us(samples_ns, per_us=NS_PER_US),
        "blocks": record.blocks,
        "duration_s": round(duration_s, 3),
        "method": method(plan),
        "msg": summary_line(plan, path, len(samples_ns), dry),
    }


def _measure(plan: Plan, record: Record) -> None:
    # Seeded by the system, so that two probes never draw the same gaps; nothing here has to be hard to guess.
    chance = random.Random()  # noqa: S311
    pacer = Pacer(time.perf_counter_ns, time.sleep, chance.random, lambda: None)
    pacer.set_rate(plan.max_rate)
    failed_in_row = 0
    with quiet_process(plan.cpu):
        for _block in range(plan.blocks):
            failed_in_row = 0 if measure_block(plan, record, pacer) else failed_in_row + 1
            if failed_in_row == FIRST_CHANCES:
                return


def summary_us(samples: Sequence[int], per_us: int = NS_PER_US) -> dict[str, float | None]:
    """Summary as every probe gives it, with 95 % intervals of the upper quantiles where the samples allow them."""
    summary: dict[str, float | None] = dict(summarise_us(samples, per_us=per_us))
    ordered = sorted(samples)
    for name, probability in (("p99", 0.99), ("p99_9", 0.999)):
        bounds = interval_of(ordered, probability, 0.025)
        for side, bound in zip(("low", "high"), bounds or (None, None)):
            summary[f"{name}_{side}_us"] = None if bound is None else round(bound / per_us, 3)
    return summary


def method(plan: Plan) -> dict[str, Any]:
    """How the figures were made: results are comparable only where these agree."""
    own = ("samples", "blocks", "warmup", "max_rate", "timeout_ms", "message_bytes", "receive", "busy_poll_us", "cpu")
    return {
        **{name: getattr(plan, name) for name in own},
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
    }


def summary_line(plan: Plan, path: Path, samples: int, dry: bool) -> str:
    """One line for a person: what was measured, or what would be."""
    way = "without a route" if path.device is None else f"over {path.device}"
    peer = f"{plan.address}:{plan.port}"
    if not dry:
        return f"Measured {samples} round trips with {peer} {way}."
    planned = plan.per_block * plan.blocks
    took_s = (planned + plan.warmup * plan.blocks) / plan.max_rate
    return f"Would measure {planned} round trips with {peer} {way}, {took_s:.0f} s or more."

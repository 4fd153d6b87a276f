# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thousands of timed TCP handshakes, interleaved at a bounded rate, and what is kept of them.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.
"""

from __future__ import annotations

import errno
import socket
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .connectors import (
    Connect,
    Outcome,
    SocketAddress,
    connector,
)
from .plan import (
    FIRST_CHANCES,
    LATER_CHANCES,
    allowed_rate,
    most_attempts,
    warmup_shares,
)

NS_PER_S = 1_000_000_000

ERROR_KINDS = ("timeout", "refused", "reset", "unreachable", "other", "retransmitted")

# A blocking connect that SO_SNDTIMEO cuts short ends in EINPROGRESS (inet_stream_connect); ETIMEDOUT is the kernel's
# own end of its SYN retries. EPIPE is what a connection says that was reset before it is written to.
KIND_BY_ERRNO = {
    errno.EINPROGRESS: "timeout",
    errno.EAGAIN: "timeout",
    errno.ETIMEDOUT: "timeout",
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTDOWN: "unreachable",
    errno.ENETDOWN: "unreachable",
}

# Sleeps end late by the timer's slack (50 us) and a wake-up, so the pacer sleeps short by this much and spins the rest.
SPIN_NS = 80_000

# An address that fails twice in a row sits out 1, 3, 7 ... of its turns before each further try, this many at most:
# with the default cap of 200 a second that is 3 tries a second, as often as the strictest venue allows connections.
LONGEST_REST = 63

# A handshake for which the kernel has no round-trip time, which should not be; its wire time would be no measurement.
NO_RTT = "NO_RTT"

# What the pacer may catch up on after it was held up. Small, so that a stall is not followed by a burst.
CREDIT_NS = 5_000_000


class LoopbackTouch:
    """One refused handshake with this host itself, a call; no packet leaves the host.

    After a sleep the kernel's connect path is out of the caches and the next handshake looks slower than one of a busy
    series: +10 to +25 us wall and +2 to +8 us wire were seen, depending on the gap. The touch takes most of that back,
    so that figures hardly depend on how many addresses share the rate.
    """

    def __init__(self) -> None:
        """Raises OSError when this machine has no loopback address to bind to."""
        # Bound but not listening: the port is ours as long as the object lives, so the answer is a reset.
        self._closed = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._closed.bind(("127.0.0.1", 0))
        except OSError as error:
            raise OSError(error.errno, "127.0.0.1 can't be bound to; is the device lo up?") from error
        self._address: SocketAddress = self._closed.getsockname()
        self._connect = connector("blocking", 1, time.perf_counter_ns)

    def __call__(self) -> Outcome:
        return self._connect(self._address)

    def close(self) -> None:
        """Give the port back."""
        self._closed.close()


class AddressRecord:
    """What was seen of one address of one endpoint, raw.

    Of each sample its wall time in ns, its wire time in us and its source port; of the rest errors by kind.
    """

    def __init__(self, endpoint: str, address: str, port: int, samples: int) -> None:
        self.endpoint = endpoint
        self.address = address
        self.socket_address: SocketAddress = (address, port)
        self.samples = samples
        self.wall_ns = array("Q")
        self.wire_us = array("I")
        self.ports = array("H")
        self.best_ns: int | None = None
        self.errors = dict.fromkeys(ERROR_KINDS, 0)
        self.other_codes: dict[str, int] = {}
        self.dropped = False
        #: How a schedule ended it: ``{how, by, samples, log_likelihood_ratio}``, None while it has not.
        self.ended: dict[str, Any] | None = None
        #: What one TLS handshake came to, None without one.
        self.tls: dict[str, Any] | None = None
        self._rest = 0
        self._answered = False
        self._failed_in_row = 0
        self._attempts_left = most_attempts(samples)

    @property
    def wanted(self) -> int:
        """Handshakes still to be made; 0 when the samples are complete, the address is dropped or tries ran out."""
        if self.dropped:
            return 0
        return min(self.samples - len(self.wall_ns), self._attempts_left)

    def note(self, outcome: Outcome, *, measured: bool) -> None:
        """Count one handshake; a completed one becomes a sample only when measured (not in the warm-up)."""
        if measured:
            self._attempts_left -= 1
        if outcome.code == 0 and outcome.retransmits == 0 and outcome.wire_us:
            self._answered = True
            self._failed_in_row = 0
            if measured:
                self._keep(outcome)
        else:
            self._count_failure(outcome)

    def sits_out(self) -> bool:
        """Whether it lets this turn go by, because it failed in a row; each call is a turn."""
        if not self._rest:
            return False
        self._rest -= 1
        return True

    def _keep(self, outcome: Outcome) -> None:
        wall_ns = outcome.wall_ns
        self.wall_ns.append(wall_ns)
        self.wire_us.append(outcome.wire_us)
        self.ports.append(outcome.port)
        if self.best_ns is None or wall_ns < self.best_ns:
            self.best_ns = wall_ns

    def _count_failure(self, outcome: Outcome) -> None:
        if outcome.code == 0:
            # It did answer, only late: the time is the kernel's retry timer, so it is no sample, but no death either.
            self._answered = True
            self._failed_in_row = 0
            if outcome.retransmits:
                self.errors["retransmitted"] += 1
            else:
                self._count_other(NO_RTT)
            return
        kind = KIND_BY_ERRNO.get(outcome.code, "other")
        if kind == "other":
            self._count_other(errno.errorcode.get(outcome.code, str(outcome.code)))
        else:
            self.errors[kind] += 1
        self._failed_in_row += 1
        self._rest = min(2 ** (self._failed_in_row - 1) - 1, LONGEST_REST)
        self.dropped = self._failed_in_row >= (LATER_CHANCES if self._answered else FIRST_CHANCES)

    def _count_other(self, name: str) -> None:
        self.errors["other"] += 1
        self.other_codes[name] = self.other_codes.get(name, 0) + 1


class Pacer:
    """Keeps handshakes to a mean rate with gaps drawn at random.

    A fixed period would lock into phase with other probes and with periodic work on the path, so the gap from one
    start to the next is uniform between half and one and a half times its mean. Up to CREDIT_NS of delay is made up
    for, so over any time T at most about rate * (T + CREDIT_NS) handshakes start.
    """

    def __init__(
        self,
        clock_ns: Callable[[], int],
        sleep: Callable[[float], None],
        uniform: Callable[[], float],
        after_sleep: Callable[[], object],
    ) -> None:
        """``uniform`` draws from 0 to 1; ``after_sleep`` is called when a wait slept, just before it returns."""
        self._after_sleep = after_sleep
        self._clock_ns = clock_ns
        self._sleep = sleep
        self._uniform = uniform
        self._gap_ns = 0.0
        self._due_ns = clock_ns()

    def set_rate(self, per_second: float) -> None:
        """Aim for this many handshakes a second from now on."""
        self._gap_ns = NS_PER_S / per_second

    def wait(self) -> int:
        """Wait until the next handshake is due; returns the time then, in ns of the clock."""
        clock_ns = self._clock_ns
        now_ns = clock_ns()
        due_ns = self._due_ns
        if due_ns > now_ns:
            short_ns = due_ns - now_ns - SPIN_NS
            if short_ns > 0:
                self._sleep(short_ns / NS_PER_S)
            while now_ns < due_ns:
                now_ns = clock_ns()
            if short_ns > 0:
                self._after_sleep()
        else:
            due_ns = max(due_ns, now_ns - CREDIT_NS)
        self._due_ns = due_ns + int(self._gap_ns * (0.5 + self._uniform()))
        return now_ns


class Schedule(Protocol):
    """Hands out what is measured next. It sees what came of it in the records."""

    def next_block(self) -> Sequence[tuple[int, int]]:
        """How many handshakes to make with which record, as (index, count); nothing at all ends the measurement."""


class Campaign:
    """The handshakes of one probe: a warm-up, then shuffled blocks until a schedule has no more of them."""

    def __init__(
        self,
        records: Sequence[AddressRecord],
        *,
        connect: Connect,
        pacer: Pacer,
        max_rate: int,
        max_rate_per_address: int,
        shuffle: Callable[[list[AddressRecord]], None],
        report: Callable[[int], None],
    ) -> None:
        """``report`` is called with the pacer's time before each handshake; it must be quick."""
        self._records = records
        self._connect = connect
        self._pacer = pacer
        self._max_rate = max_rate
        self._max_rate_per_address = max_rate_per_address
        self._shuffle = shuffle
        self._report = report

    def warm_up(self, handshakes: int) -> None:
        """Go round the addresses until each had its share of the warm-up or was dropped."""
        shares = warmup_shares(handshakes, len(self._records))
        for lap in range(max(shares, default=0)):
            turn = [one for one, share in zip(self._records, shares) if lap < share and not one.dropped]
            self._run(turn, measured=False)

    def measure(self, schedule: Schedule) -> None:
        """Measure in shuffled blocks, as the schedule hands them out, until it has no more."""
        while True:
            block = [self._records[index] for index, count in schedule.next_block() for _turn in range(count)]
            if not block:
                return
            self._shuffle(block)
            self._run(block, measured=True)

    def _run(self, block: Sequence[AddressRecord], *, measured: bool) -> None:
        """Go through a block, and again through the turns that an address sat out, until none is left."""
        while block:
            addresses = [record.address for record in block]
            self._pacer.set_rate(allowed_rate(addresses, self._max_rate, self._max_rate_per_address))
            block = self._go_through(block, measured=measured)

    def _go_through(self, block: Sequence[AddressRecord], *, measured: bool) -> list[AddressRecord]:
        """Make the handshakes of a block; returns the turns that were sat out."""
        wait, connect, report = self._pacer.wait, self._connect, self._report
        sat_out = []
        for record in block:
            # A dropped address keeps its turn in the block, empty, so that the others don't get faster than their cap.
            report(wait())
            if record.dropped:
                continue
            if record.sits_out():
                sat_out.append(record)
                continue
            record.note(connect(record.socket_address), measured=measured)
        return sat_out

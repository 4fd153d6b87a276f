# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The delay line's process: reads SYNs, holds each for as long as the table says, releases it to the exchange.

Only SYNs pass here. A SYN is due at the kernel's arrival time plus its delay, so reading it late does no harm; what
counts is that it is released on time. Hence: sleep until shortly before the next one is due, watch the clock for the
rest, release before reading, and run before everything else on the machine. Idle it sleeps without a timeout.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import heapq
import json
import os
import select
import sys
import time
from typing import Any

from local_region.delay_line.delays import DelayTable, as_ns
from local_region.delay_line.devices import WakeUpHold, open_tun
from local_region.delay_line.log import HoldLog
from local_region.delay_line.packets import finish_checksum, flow_of, is_syn
from local_region.delay_line.path import PathTime
from local_region.delay_line.ring import PacketRing
from local_region.network.child import enter_namespace, say

# A longer watch runs into the kernel's limit for real-time tasks, which takes the processor away for up to 40 ms.
SPIN_NS = 60_000
HOLD_NS = 2_000_000_000
PRIORITY = 50
_IDLE_CHECK_S = 0.5
# Under load the loop never sleeps; so often it looks for requests then.
_REQUEST_CHECK_PACKETS = 64
_MCL_CURRENT_AND_FUTURE = 3
_PR_SET_TIMERSLACK = 29

# due at, sequence number, arrived at, planned round trip, class of quiet time before, packet
_Due = tuple[int, int, int, int, int, bytearray]


class Requests:
    """Requests of the parent on standard input, one line of JSON each, answered at once."""

    def __init__(self, table: DelayTable, path: PathTime, descriptor: int = 0) -> None:
        self._table = table
        self._path = path
        self._descriptor = descriptor
        self._pending = b""
        self.ended = False

    def fileno(self) -> int:
        return self._descriptor

    def serve(self) -> None:
        """Read what is there and answer it; the end of the input is the end of the process."""
        chunk = os.read(self._descriptor, 65536)
        self.ended = not chunk
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        for line in lines:
            say(**self._answer(json.loads(line)))

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            self._apply(request)
        except (KeyError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        return {"ok": True, "write_us": self._path.recent_ns / 1000}

    def _apply(self, request: dict[str, Any]) -> None:
        verb, table = request["do"], self._table
        if verb == "place":
            table.place(request["source"], request["rack"])
        elif verb == "fix":
            table.fix(request["source"], request["delay_us"])
        elif verb == "forget":
            table.forget(request["source"])
        elif verb == "correct":
            self._path.correct(request["ratio"], [as_ns(us) for us in request["measured_us"]])
        else:
            raise ValueError(f"no such request: {verb}")


class Loop:
    """The heart of the process; every method but `run` returns at once."""

    def __init__(
        self,
        *,
        ring: PacketRing,
        tun: int,
        table: DelayTable,
        path: PathTime,
        requests: Requests,
        hold: WakeUpHold,
        log: HoldLog,
    ) -> None:
        self._ring = ring
        self._tun = tun
        self._table = table
        self._path = path
        self._requests = requests
        self._hold = hold
        self._log = log
        self._heap: list[_Due] = []
        self._sequence = 0
        self._last_arrival_ns = 0
        self._sources = [ring.fileno(), requests.fileno()]

    def run(self) -> None:
        """Work until the parent is gone."""
        release, take, wait, requests = self._release, self._take, self._wait, self._requests
        while not requests.ended:
            if not release() and not take():
                wait()

    def _release(self) -> bool:
        """Release one SYN if it is due; return whether one was."""
        heap = self._heap
        if not heap or heap[0][0] > time.time_ns():
            return False
        _dummy, _dummy, arrival_ns, planned_ns, quiet_class, packet = heapq.heappop(heap)
        released_ns = time.time_ns()
        with contextlib.suppress(BlockingIOError):  # a full queue drops, as a network does
            os.write(self._tun, packet)
        self._path.note(quiet_class, time.time_ns() - released_ns)
        if self._log.wanted:
            self._log.add(arrival_ns, flow_of(packet), planned_ns, released_ns - arrival_ns)
        return True

    def _take(self) -> bool:
        """Read one SYN and put it on the heap; return whether there was one."""
        taken = self._ring.take()
        if taken is None:
            return False
        arrival_ns, packet, unfinished = taken
        self._sequence += 1
        if not self._sequence % _REQUEST_CHECK_PACKETS:
            self._look_for_requests()
        if not is_syn(packet):
            return True
        source, destination, _dummy = flow_of(packet)
        planned_ns = self._table.planned_ns(source, destination)
        if planned_ns is None:
            return True
        if unfinished:
            finish_checksum(packet)
        due_ns, quiet_class = self._path.due(arrival_ns, planned_ns)
        heapq.heappush(self._heap, (due_ns, self._sequence, arrival_ns, planned_ns, quiet_class, packet))
        self._last_arrival_ns = arrival_ns
        self._hold.take()
        return True

    def _wait(self) -> None:
        """Sleep until a packet or a request comes or the next release is near; return at once when it is."""
        if self._heap:
            left_ns = self._heap[0][0] - time.time_ns() - SPIN_NS
            if left_ns <= 0:
                return
            timeout_s: float | None = left_ns / 1e9
        else:
            timeout_s = _IDLE_CHECK_S if self._hold.held or self._log.pending else None
        ready = select.select(self._sources, [], [], timeout_s)[0]
        if self._requests.fileno() in ready:
            self._requests.serve()
        elif not ready and not self._heap:
            self._rest()

    def _rest(self) -> None:
        """Nothing came for a while: do what can wait."""
        self._log.flush()
        if time.time_ns() - self._last_arrival_ns > HOLD_NS:
            self._hold.let_go()

    def _look_for_requests(self) -> None:
        if select.select(self._sources[1:], [], [], 0)[0]:
            self._requests.serve()


def become_punctual() -> None:
    """Make this process one that no paging, garbage collection, timer slack or other task delays. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    if libc.mlockall(_MCL_CURRENT_AND_FUTURE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "mlockall")
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    gc.collect()
    gc.freeze()
    gc.disable()


def main() -> None:
    config: dict[str, Any] = json.loads(sys.stdin.readline())
    try:
        enter_namespace(config["namespace"])
        ring = PacketRing(config["tap"])
        tun = open_tun(config["tun"])
        log = HoldLog(config["log_path"])
        table = DelayTable(config["racks_us"], config["jitter_us"], config["default_us"], config["dead"])
        hold = WakeUpHold()
        path = PathTime()
        requests = Requests(table, path)
        loop = Loop(ring=ring, tun=tun, table=table, path=path, requests=requests, hold=hold, log=log)
        become_punctual()
    except OSError as error:
        say(error=str(error))
        return
    say(ready=True, holds_wake_up=hold.possible)
    loop.run()
    log.flush()


if __name__ == "__main__":
    main()

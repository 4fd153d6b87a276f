# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes by pid and start time, so that a pid that was used again is never taken for the old one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ProcessId:
    """A process for certain: `start_ticks` is field 22 of /proc/PID/stat, in clock ticks since boot."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Identify a process that runs now; None when there is none (a zombie counts as none)."""
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
                # The second field is the command in parentheses, which may hold spaces and parentheses.
                state, *rest = stat.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if state in "ZX" else cls(pid, int(rest[18]))

    def runs(self) -> bool:
        """Whether it still runs."""
        return ProcessId.of(self.pid) == self

    def end(self, timeout_s: float, first: signal.Signals = signal.SIGTERM) -> bool:
        """Signal it, wait, and kill it after `timeout_s`. Return whether it is gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            # The descriptor holds one process; asking again now makes sure that it holds the right one.
            if not self.runs():
                return True
            for number, wait_s in ((first, timeout_s), (signal.SIGKILL, 5.0)):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)
                if select.select([descriptor], [], [], wait_s)[0]:
                    return True
            return False
        finally:
            os.close(descriptor)


def pids() -> Iterable[int]:
    """Yield the pids that this /proc shows."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def with_argument(argument: str) -> list[ProcessId]:
    """Return the processes that were started with exactly this argument among theirs."""
    found = []
    for pid in pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                arguments = file.read().split(b"\0")
            process = ProcessId.of(pid) if argument.encode() in arguments else None
            if process is not None:
                found.append(process)
    return found


def in_network_namespaces(paths: Iterable[str]) -> list[ProcessId]:
    """Return the processes that live in any of the network namespaces that the files stand for."""
    wanted = set()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(path)
            wanted.add((status.st_dev, status.st_ino))
    found = []
    for pid in pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            status = os.stat(f"/proc/{pid}/ns/net")
            process = ProcessId.of(pid) if (status.st_dev, status.st_ino) in wanted else None
            if process is not None:
                found.append(process)
    return found

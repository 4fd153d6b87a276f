# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process the responder is, and how it is started and stopped.

Private to this collection: it may change in any release. Standard library only: it runs on the peer.
"""

from __future__ import annotations

import ipaddress
import json
import os
import select
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from .._probe.plan import BadOption
from .ping_server import Server, detach, listener

# What a process that is asked to end is given before it is killed.
GRACE_S = 5


@dataclass(frozen=True)
class Wanted:
    """How the responder is to run."""

    address: str
    port: int
    lifetime_s: int
    max_connections: int
    cpu: int | None


@dataclass(frozen=True)
class Running:
    """A responder that runs: its process, and how it was started. started_s is of the clock since boot."""

    pid: int | None
    ticks: int
    boot_id: str
    started_s: float
    wanted: Wanted


def wanted_from(options: Mapping[str, Any]) -> Wanted:
    """The responder as the module's options want it. Raises BadOption for the first value that can't be."""
    for option, low, high in (("port", 1, 65_535), ("lifetime_s", 1, 86_400), ("max_connections", 1, 64)):
        if not low <= options[option] <= high:
            raise BadOption(option, options[option], f"is not from {low} to {high}")
    checked_address(options["address"])
    cpus = online_cpus()
    if options["cpu"] is not None and options["cpu"] not in cpus:
        raise BadOption("cpu", options["cpu"], f"is not a CPU that is online ({', '.join(map(str, cpus))})")
    return Wanted(**{name: options[name] for name in Wanted.__dataclass_fields__})


def checked_address(address: str) -> None:
    """Raises BadOption for what is not the IPv4 address of one host."""
    try:
        parsed = ipaddress.IPv4Address(address)
    except ipaddress.AddressValueError:
        raise BadOption("address", address, "is not an IPv4 address") from None
    if parsed.is_unspecified or parsed.is_multicast or int(parsed) == 0xFFFFFFFF:
        raise BadOption("address", address, "is not the address of one host")


def online_cpus() -> list[int]:
    """CPUs that are online, also those that the scheduler leaves alone (isolated), which an affinity does not list."""
    with open("/sys/devices/system/cpu/online", encoding="ascii") as file:
        parts = [part.split("-") for part in file.read().strip().split(",") if part]
    return [number for part in parts for number in range(int(part[0]), int(part[-1]) + 1)]


def default_pid_path(port: int) -> str:
    """Where the responder of a port is written down."""
    if os.geteuid() == 0:
        return f"/run/lowlatency-ec2-ping-{port}.json"
    return os.path.expanduser(f"~/.lowlatency-ec2-ping-{port}.json")


def boot_id() -> str:
    """What tells this boot of the machine from any other."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None when there is no such process, or it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name stands in parentheses and may hold anything, so what counts comes after the last one.
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


class Keeper:
    """Knows the responder by the file at path: starts it, finds it, stops it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def running(self) -> Running | None:
        """The responder that the file names, if that very process lives. Raises BadOption when the file is no such."""
        try:
            with open(self.path, encoding="utf-8") as file:
                document = json.load(file)
            found = Running(**{**document, "wanted": Wanted(**document["wanted"])})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise BadOption("pid_path", self.path, f"is not a file of the responder: {error}") from error
        return found if self._lives(found) else None

    @staticmethod
    def _lives(found: Running) -> bool:
        return found.pid is not None and found.boot_id == boot_id() and start_ticks(found.pid) == found.ticks

    @staticmethod
    def serves(found: Running, wanted: Wanted) -> bool:
        """Whether a responder that runs is as wanted."""
        return found.wanted == wanted

    @staticmethod
    def shown(found: Running) -> dict[str, Any]:
        """A responder as the module returns it."""
        ends_in_s = found.started_s + found.wanted.lifetime_s - time.clock_gettime(time.CLOCK_BOOTTIME)
        return {"pid": found.pid, **asdict(found.wanted), "ends_in_s": round(max(ends_in_s, 0.0), 1)}

    def start(self, wanted: Wanted, check: bool) -> Running:
        """Start the responder, in the place of one that runs. Raises OSError when its port can't be had."""
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        if check:
            return Running(None, 0, boot_id(), now_s, wanted)
        self.stop(check)
        # The socket is made here, so that whatever is wrong with it is told, and clients can come at once.
        with listener(wanted.address, wanted.port) as listening:
            server = Server(listening, wanted.max_connections, wanted.lifetime_s)
            pid = detach(server.run, listening.fileno(), wanted.cpu)
        ticks = start_ticks(pid)
        if ticks is None:
            raise OSError(0, "its process ended at once")
        started = Running(pid, ticks, boot_id(), now_s, wanted)
        try:
            self._write(started)
        except OSError:
            # Written down nowhere, nobody could stop it.
            self._end(started)
            raise
        return started

    def _write(self, started: Running) -> None:
        beside = f"{self.path}.{os.getpid()}.tmp"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(started), file)
        os.replace(beside, self.path)

    def stop(self, check: bool) -> bool:
        """End the responder that runs and forget it; tells whether there was one. Raises OSError when it can't be."""
        found = self.running()
        if check:
            return found is not None
        if found is not None:
            self._end(found)
        self.forget(check)
        return found is not None

    def forget(self, check: bool) -> bool:
        """Remove a file that names no process (any more). It is no change: nothing ran."""
        if not check:
            with suppress(FileNotFoundError):
                os.unlink(self.path)
        return False

    def _end(self, found: Running) -> None:
        """Ask the process to end, then make it; a pidfd keeps its number from becoming another's meanwhile."""
        if found.pid is None:
            return
        try:
            handle = os.pidfd_open(found.pid)
        except ProcessLookupError:
            return
        try:
            if not self._lives(found):
                return
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            for number in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(handle, number)
                if poll.poll(GRACE_S * 1_000):
                    return
            raise OSError(0, f"process {found.pid} does not end")
        finally:
            os.close(handle)

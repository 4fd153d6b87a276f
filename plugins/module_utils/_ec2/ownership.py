# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who owns a resource: the value of the tag C(lowlatency:owner), and whether that owner still lives.

Private to lowlatency.ec2: its interface may change at any time.

The value is C(<machine>:<pid>:<start ticks>:<slot>). An owner is provably gone if it was a process of this machine and
no process with this id was started at this tick. Nothing can be said of an owner on another machine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import os
import typing as t

ALIVE = "alive"
GONE = "gone"
UNKNOWN = "unknown"

UNIDENTIFIED = "unidentified"


@dataclasses.dataclass(frozen=True)
class Owner:
    """A process of a controller, and the slot that it works for."""

    machine: str
    pid: int
    start_ticks: int
    slot: str = ""

    def __str__(self) -> str:
        return f"{self.run}{self.slot}"

    @property
    def run(self) -> str:
        """What the owners of all slots of a run have in common; a prefix of their tags' values."""
        return f"{self.machine}:{self.pid}:{self.start_ticks}:"


def parse_owner(text: str | None) -> Owner | None:
    """The owner that a tag names, or null if it names none that can be understood."""
    parts = (text or "").split(":", 3)
    numbers = parts[1:3]
    if len(parts) < 4 or not parts[0] or not all(number.isascii() and number.isdigit() for number in numbers):
        return None
    return Owner(parts[0], int(parts[1]), int(parts[2]), parts[3])


def judge_owner(owner: Owner | None, machine: str, ticks_of: t.Callable[[int], int | None]) -> str:
    """V(alive), V(gone) or V(unknown), as seen from C(machine), where C(ticks_of) says when a process was started.

    C(ticks_of) raises C(PermissionError) for a process of which nothing can be seen but that it is there.
    """
    if owner is None or owner.machine != machine or machine == UNIDENTIFIED:
        return UNKNOWN
    try:
        return ALIVE if ticks_of(owner.pid) == owner.start_ticks else GONE
    except PermissionError:
        return UNKNOWN


def is_of_run(owner_text: str | None, prefix: str) -> bool:
    """Tell whether a tag's value is this owner or one of its slots: parts must match whole, C(1:2) is not C(1:23)."""
    if not owner_text or not prefix:
        return False
    return owner_text == prefix or owner_text.startswith(prefix if prefix.endswith(":") else f"{prefix}:")


def fields_of_stat(stat: str) -> tuple[str, int, int]:
    """State (field 3), parent (4) and start in clock ticks since boot (22) from C(/proc/PID/stat).

    Raises C(ValueError) or C(IndexError) for a text of another shape. Field 2, a name, may hold spaces and brackets.
    """
    fields = stat[stat.rindex(")") + 2 :].split()
    return fields[0], int(fields[1]), int(fields[19])


def _read_stat(pid: int) -> tuple[str, int, int] | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return fields_of_stat(stat.read())
    except (FileNotFoundError, ProcessLookupError):
        _refuse_hidden(pid)
        return None


def _refuse_hidden(pid: int) -> None:
    """Raise C(PermissionError) for a process that is there and not shown: proc(5) can hide those of other users."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return
    raise PermissionError(f"process {pid} is hidden")


def start_ticks(pid: int) -> int | None:
    """When a process was started, or null if there is none of this id or it has ended (a zombie).

    Raises C(PermissionError) if it is there and this user may not know.
    """
    found = _read_stat(pid)
    return None if found is None or found[0] in "ZX" else found[2]


def machine_name() -> str:
    """A name for this machine's processes: 32 hex digits, or V(unidentified) where processes cannot be told apart.

    Not the machine id itself, which systemd asks to keep from networks (machine-id(5)), and not that alone: a container
    or a cloned machine may have the same id, and the process ids of another name space prove nothing here.
    """
    try:
        with open("/etc/machine-id", encoding="ascii") as file:
            machine_id = file.read().strip()
        pid_namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return UNIDENTIFIED
    if not machine_id:
        return UNIDENTIFIED
    context = f"lowlatency.ec2 owner\n{os.uname().nodename}\n{pid_namespace}"
    return hmac.new(machine_id.encode(), context.encode(), hashlib.sha256).hexdigest()[:32]


def current_owner(pid: int, slot: str) -> str:
    """The tag's value for a living process and a slot of it. Raises C(ProcessLookupError) if it does not live."""
    machine = machine_name()
    if machine == UNIDENTIFIED:
        return str(Owner(machine, pid, 0, slot))
    ticks = start_ticks(pid)
    if ticks is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return str(Owner(machine, pid, ticks, slot))


def ancestor_runs() -> list[str]:
    """C(Owner.run) of this process and of each that it descends from: one of them is the run that it is part of."""
    machine, pid, runs = machine_name(), os.getpid(), []
    while machine != UNIDENTIFIED and pid > 0:
        try:
            found = _read_stat(pid)
        except PermissionError:
            # Another user's, such as a sudo: what is above it cannot be told, and nothing of it is claimed.
            break
        if found is None:
            break
        runs.append(Owner(machine, pid, found[2]).run)
        pid = found[1]
    return runs

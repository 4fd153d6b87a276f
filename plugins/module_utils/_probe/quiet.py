# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until a machine that was just launched has come to rest.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.

At rest means that cloud-init is through with the boot and that for some seconds in a row no CPU was busy for more than
a share of the time. That share bounds how many handshakes can meet other work, however many CPUs there are. A load
average would tell a minute late.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

CLOUD_INIT_DIRECTORY = "/run/cloud-init"
PROC_STAT = "/proc/stat"

#: Length of a window in seconds, and how many quiet ones in a row are rest: boots pause for a second now and then.
WINDOW_S = 1.0
QUIET_WINDOWS = 3

# Fields of a cpu line of /proc/stat, proc(5): user nice system idle iowait irq softirq steal. What guests took is part
# of user and nice already.
_FIELDS = 8
_IDLE, _IOWAIT = 3, 4


class Ticks(NamedTuple):
    """What a CPU did since the boot, in ticks. Time that the hypervisor gave to others (steal) is busy."""

    busy: int
    idle: int


class Machine:
    """The files by which a machine tells what it is busy with."""

    def __init__(self, cloud_init_directory: str = CLOUD_INIT_DIRECTORY, proc_stat: str = PROC_STAT) -> None:
        self._cloud_init_directory = cloud_init_directory
        self._proc_stat = proc_stat

    def cloud_init(self) -> str:
        """cloud_init_state() now. Raises OSError when the directory is there and can't be read."""
        try:
            return cloud_init_state(os.listdir(self._cloud_init_directory))
        except FileNotFoundError:
            return "absent"

    def ticks(self) -> dict[str, Ticks]:
        """cpu_ticks() now. Raises OSError when the file can't be read."""
        with open(self._proc_stat, encoding="ascii") as file:
            return cpu_ticks(file.read())


def cloud_init_state(names: Collection[str]) -> str:
    """C(done), C(running), C(disabled) or C(absent) from the names of the files in /run/cloud-init.

    The rule is C(cloud-init status)'s own (get_running_status in cloudinit/cmd/status.py): result.json is written when
    the last stage ends. That program's exit code does not tell a boot that is under way from one that is done, and it
    is a Python program that makes the machine busy.
    """
    if "disabled" in names:
        return "disabled"
    if "result.json" in names:
        return "done"
    return "running" if "status.json" in names or "enabled" in names else "absent"


def cpu_ticks(text: str) -> dict[str, Ticks]:
    """What each CPU did, from /proc/stat: ``{cpu0: Ticks}``."""
    found = {}
    for line in text.splitlines():
        name, *fields = line.split()
        if not name.startswith("cpu") or name == "cpu":
            continue
        ticks = [int(field) for field in fields[:_FIELDS]]
        idle = ticks[_IDLE] + ticks[_IOWAIT]
        found[name] = Ticks(sum(ticks) - idle, idle)
    return found


def busiest_share(before: Mapping[str, Ticks], after: Mapping[str, Ticks]) -> float:
    """Share of the time, 0 to 1, that the busiest CPU was busy between two looks; a CPU that came or went is left out.

    Idle time may run backwards by a tick (proc(5) of iowait), which counts as none.
    """
    shares = [0.0]
    for name in before.keys() & after.keys():
        busy = max(after[name].busy - before[name].busy, 0)
        idle = max(after[name].idle - before[name].idle, 0)
        if busy + idle:
            shares.append(busy / (busy + idle))
    return max(shares)


class Rest:
    """Tells from one window after the other whether the machine is at rest."""

    def __init__(self, busy_limit: float) -> None:
        self._busy_limit = busy_limit
        self._in_row = 0

    def note(self, busy_share: float, cloud_init: str) -> bool:
        """Whether it is at rest after a window: QUIET_WINDOWS in a row were quiet."""
        quiet = cloud_init != "running" and busy_share <= self._busy_limit
        self._in_row = self._in_row + 1 if quiet else 0
        return self._in_row >= QUIET_WINDOWS


def wait_for_quiet(
    timeout_s: float,
    busy_limit: float,
    *,
    machine: Machine | None = None,
    clock_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Wait until the machine is at rest, for at most timeout_s.

    Shape: ``{waited_s, quiet, busy_share, cloud_init}``: seconds waited, whether the machine came to rest, the busiest
    CPU's share in the last window, cloud_init_state() at the end. With less time than a window, as with 0, nothing is
    waited for and quiet and busy_share are None. Raises OSError when /proc can't be read.
    """
    machine = machine or Machine()
    rest = Rest(busy_limit)
    start_s = clock_s()
    quiet = busy_share = None
    cloud_init = machine.cloud_init()
    # By number: a window that takes a little longer must not cost the last one.
    for _window in range(int(timeout_s / WINDOW_S)):
        before = machine.ticks()
        sleep(WINDOW_S)
        busy_share = busiest_share(before, machine.ticks())
        cloud_init = machine.cloud_init()
        quiet = rest.note(busy_share, cloud_init)
        if quiet:
            break
    return {
        "waited_s": round(clock_s() - start_s, 3),
        "quiet": quiet,
        "busy_share": None if busy_share is None else round(busy_share, 3),
        "cloud_init": cloud_init,
    }

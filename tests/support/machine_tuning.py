# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests of tuning do to a machine that boots: read its state, break knobs by hand, kill a module half-way."""

from __future__ import annotations

import base64
import re
import threading
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager

from support.machine import TestMachine
from support.machine_state import State, command

REPORT = "/root/trading_system_tuning_report"
STORE = "/var/lib/lowlatency-ec2/os_tuning.json"
SYSCTLS = "/etc/sysctl.d/99-zz-lowlatency.conf"
GRUB = "/etc/default/grub.d/99-zz-lowlatency.cfg"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
PROBE = "/usr/local/bin/handshake-probe"

#: What only a boot brings and takes away, of all that a State holds: the command line and what the kernel made of it.
ONLY_A_BOOT_CHANGES = {
    "/proc/cmdline",
    "/proc/irq/default_smp_affinity",
    "/sys/devices/system/cpu/isolated",
    "/sys/devices/system/cpu/nohz_full",
    "/sys/devices/virtual/workqueue/writeback/pool_ids",
    "kernel.watchdog_cpumask",
}
#: How often the machine looks whether a module is to be killed, every twentieth of a second or more slowly.
_LOOKS = 6000


def state(vm: TestMachine) -> State:
    """What the machine is now, as far as tuning could touch it."""
    return State.read(vm.ssh(f"sudo sh -c '{command()}'"))


def recap(output: str) -> dict[str, int]:
    """The counts of the machine in a play's recap."""
    (line,) = [line for line in output.splitlines() if re.match(r"machine\s+: ok=", line)]
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}


def changes(output: str) -> list[str]:
    """What a play printed of the tasks that changed something."""
    tasks = re.split(r"(?m)^(?=TASK |RUNNING HANDLER |PLAY )", output)
    return [task for task in tasks if re.search(r"(?m)^changed: ", task)]


def ways_to_break() -> dict[str, str]:
    """Knobs of several groups, each with a command that breaks it by hand. A kernel may keep another value of one."""
    return {
        "thp": f"echo always > {THP}",
        "swappiness": "sysctl -qw vm.swappiness=60",
        "busy_poll": "sysctl -qw net.core.busy_poll=0",
        "workqueue_cpumask": "echo 3f > /sys/devices/virtual/workqueue/cpumask",
        "disk_add_random": "echo 1 > /sys/block/nvme0n1/queue/add_random",
        "man_db_timer_off": "systemctl -q enable man-db.timer",
        # What only persists: the running kernel is still as wished.
        "isolcpus": f"sed -i s/isolcpus=/isolcpus_was=/ {GRUB} /boot/grub/grub.cfg",
        "limit_rtprio": "sed -i /rtprio/d /etc/security/limits.d/99-zz-lowlatency.conf",
    }


@contextmanager
def killing_the_module(vm: TestMachine, condition: str) -> Iterator[None]:
    """Kill the module that runs on the machine as soon as a condition of its shell holds.

    A pipelined module is a python3 without a word on its command line. The module has to die: whoever waits in the
    machine gives up in the end, and that fails here.
    """
    script = f"""
        looks=0
        until {condition}; do sleep 0.05; looks=$((looks + 1)); [ $looks -lt {_LOOKS} ] || exit 9; done
        pkill -KILL -x python3
    """
    line = f"echo {base64.b64encode(script.encode()).decode()} | base64 -d | sudo sh"
    failures: list[BaseException] = []

    def wait_and_kill() -> None:
        try:
            vm.ssh(line)
        except (AssertionError, OSError) as error:
            failures.append(error)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failures:
        raise AssertionError(f"no module was killed when {condition}") from failures[0]


class Tuned(t.NamedTuple):
    """A machine on its way, and what it was before."""

    vm: TestMachine
    stock: State

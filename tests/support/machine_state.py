# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a Linux machine is at a moment, as far as tuning could touch it: taken twice, it shows what changed.

`command()` is what to run there, as root; its output is JSON for `State.read`. The program in it is this very file.
"""

from __future__ import annotations

import base64
import glob
import hashlib
import json
import os
import subprocess
import sys
import typing as t

#: Figures that move by themselves, or that each boot works out anew from what memory it finds.
VOLATILE = (
    "kernel.cad_pid",
    "kernel.ns_last_pid",
    "kernel.perf_event_max_sample_rate",
    "kernel.pty.nr",
    "kernel.random.",
    "kernel.tainted",
    "kernel.threads-max",
    "net.core.netdev_rss_key",
    "net.ipv4.tcp_fastopen_key",
    "net.ipv4.tcp_mem",
    "vm.nr_hugepages_mempolicy",
    "vm.user_reserve_kbytes",
)
SYSCTLS = ("kernel.", "net.core.", "net.ipv4.tcp_", "vm.")
KERNEL_FILES = (
    "/sys/kernel/mm/transparent_hugepage/*",
    "/sys/kernel/mm/ksm/run",
    "/sys/kernel/mm/hugepages/*/nr_hugepages",
    "/sys/devices/system/cpu/isolated",
    "/sys/devices/system/cpu/nohz_full",
    "/sys/devices/system/cpu/smt/active",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
    "/sys/devices/virtual/workqueue/cpumask",
    "/sys/devices/virtual/workqueue/writeback/*",
    "/sys/block/nvme*/queue/*",
    "/sys/class/net/*/queues/*/?ps_cpus",
    "/proc/cmdline",
    # Not those of single interrupts, which irqbalance moves as it likes.
    "/proc/irq/default_smp_affinity",
)
FOLDERS = ("/etc", "/boot", "/usr/local", "/usr/lib/lowlatency-ec2", "/var/lib/lowlatency-ec2", "/run/udev/rules.d")
UNITS = ("man-db.timer", "e2scrub_all.timer", "irqbalance.service", "chrony.service", "lowlatency-tuning.service")
COMMANDS = (("-c",), ("-k",), ("-g",))


class State(t.NamedTuple):
    """sysctls, kernel (files of /proc and /sys), units, nic: name to value. files: path to digest, times: to mtime."""

    sysctls: dict[str, str]
    kernel: dict[str, str]
    units: dict[str, str]
    nic: dict[str, str]
    files: dict[str, str]
    times: dict[str, float]

    @classmethod
    def read(cls, text: str) -> State:
        """The state in what the command printed."""
        return cls(**json.loads(text))

    def differences(self, other: State, *, times: bool = False) -> dict[str, tuple[str, str]]:
        """What differs, by name: (here, there). times: also which files were written anew with the same content."""
        found = {}
        for field in self._fields if times else self._fields[:-1]:
            mine, others = getattr(self, field), getattr(other, field)
            for name in {**mine, **others}:
                if mine.get(name) != others.get(name):
                    found[name] = (str(mine.get(name)), str(others.get(name)))
        return found


def command() -> str:
    """What prints the state of the machine that it runs on."""
    with open(__file__, "rb") as file:
        return f"echo {base64.b64encode(file.read()).decode()} | base64 -d | python3 -"


def _printed(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError as error:
        return f"errno {error.errno}"


def _sysctls() -> dict[str, str]:
    lines = [line.partition(" = ") for line in _printed("/sbin/sysctl", "-a").splitlines()]
    return {name: value for name, _is, value in lines if name.startswith(SYSCTLS) and not name.startswith(VOLATILE)}


def _files() -> t.Iterator[tuple[str, str, float]]:
    for top in FOLDERS:
        for folder, names, files in os.walk(top):
            for name in [*names, *files]:
                path = os.path.join(folder, name)
                if "__pycache__" in path:
                    continue
                if os.path.islink(path):
                    yield path, os.readlink(path), os.lstat(path).st_mtime
                elif os.path.isfile(path):
                    with open(path, "rb") as file:
                        yield path, hashlib.sha256(file.read()).hexdigest(), os.stat(path).st_mtime
                else:
                    yield path, "folder", 0


def taken() -> State:
    """The state of this machine."""
    found = list(_files())
    nics = [os.path.basename(os.path.dirname(path)) for path in glob.glob("/sys/class/net/*/device")]
    return State(
        sysctls=_sysctls(),
        kernel={
            path: _text(path) for pattern in KERNEL_FILES for path in sorted(glob.glob(pattern)) if os.path.isfile(path)
        },
        units={unit: _printed("systemctl", "is-enabled", unit) for unit in UNITS},
        nic={f"{nic} {words[0]}": _printed("/sbin/ethtool", *words, nic) for nic in nics for words in COMMANDS},
        files={path: digest for path, digest, _time in found},
        times={path: time for path, _digest, time in found},
    )


if __name__ == "__main__":
    json.dump(taken()._asdict(), sys.stdout)

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sysctls: read and written in /proc/sys, kept in a file of /etc/sysctl.d.

The order of the files is that of systemd-sysctl (sysctl.d(5)): by file name over all folders, a file of an earlier
folder masks those of the same name in later ones, and the last assignment of a name wins.
"""

from __future__ import annotations

import typing as t

from ..facts import Facts
from ..host import Host
from ..model import KnobFailed, Reading, Setting
from ..paths import SYSCTL

#: Folders of systemd-sysctl, the first that has a file name wins.
FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")

_HEADER = "# Written by lowlatency.ec2 (os_tuning). Changes are lost; set os_tuning_knobs instead.\n"
_MAIN_FILE = "/etc/sysctl.conf"

#: Names that guides still list and that newer kernels have no more, and what became of them.
_MOVED = "Linux 5.13 moved it to /sys/kernel/debug/sched"
_GONE = {
    "kernel.sched_min_granularity_ns": f"{_MOVED}, and EEVDF (6.6) took it away",
    "kernel.sched_wakeup_granularity_ns": f"{_MOVED}, and EEVDF (6.6) took it away",
    "kernel.sched_latency_ns": f"{_MOVED}, and EEVDF (6.6) took it away",
    "kernel.sched_migration_cost_ns": _MOVED,
    "net.ipv4.tcp_low_latency": "it did nothing since Linux 4.14, and later kernels dropped it",
    "net.ipv4.tcp_tw_recycle": "Linux 4.12 removed it",
}

#: Two names that hang together, so that what both were is needed on the way back. For vm.dirty_*: writing either sets
#: the other to 0, and the kernel refuses a 0 for the first of a pair (mm/page-writeback.c), so only a write to the
#: other brings it back.
_PAIRS = {
    "vm.dirty_bytes": "vm.dirty_ratio",
    "vm.dirty_ratio": "vm.dirty_bytes",
    "vm.dirty_background_bytes": "vm.dirty_background_ratio",
    "vm.dirty_background_ratio": "vm.dirty_background_bytes",
    # While no detector runs, reading either of these makes the kernel forget that it was wanted (kernel/watchdog.c
    # writes what runs into what is read), and one alone brings nothing back: both are written, with no look between.
    "kernel.watchdog": "kernel.soft_watchdog",
}
_FORGETFUL = frozenset({"kernel.watchdog", "kernel.soft_watchdog"})


def file_of(name: str) -> str:
    """The file of a sysctl. A name with slashes, as for a device eth0.100, is taken as it is."""
    return "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))


class Sysctl:
    """The means C(sysctl). target: the name, such as vm.swappiness; its one item has the same name."""

    def read(self, host: Host, facts: Facts, setting: Setting) -> Reading:
        name, wanted = setting.knob.target, _plain(setting.value)
        running = host.read(file_of(name))
        if running is None:
            gone = _GONE.get(name)
            reason = f"this kernel ({facts.kernel}) has no sysctl {name}" + (f": {gone}" if gone else "")
            if host.exists(file_of(name)):
                reason = f"the sysctl {name} can only be written"
            return Reading(unsupported=reason)
        values = {name: _plain(running)}
        other = _PAIRS.get(name)
        if other and host.exists(file_of(other)):
            values[other] = _plain(host.read(file_of(other)) or "")
        persisted, note = _persisted(host, name, wanted)
        return Reading(running=values, wanted={name: wanted}, persisted=persisted, note=note)

    def apply(self, host: Host, facts: Facts, setting: Setting) -> None:
        name, wanted = setting.knob.target, _plain(setting.value)
        if _plain(host.read(file_of(name)) or "") == wanted:
            return
        host.poke(file_of(name), wanted + "\n")
        now = _plain(host.read(file_of(name)) or "")
        if now != wanted:
            raise KnobFailed(_short(name, wanted, now))

    def persist(self, host: Host, facts: Facts, settings: t.Sequence[Setting]) -> None:
        if not settings:
            host.remove(SYSCTL)
            return
        lines = [f"{setting.knob.target} = {_plain(setting.value)}\n" for setting in settings]
        host.write(SYSCTL, _HEADER + "".join(lines))

    def restore(self, host: Host, facts: Facts, setting: Setting, original: t.Mapping[str, str]) -> None:
        for name, value in original.items():
            if name in _FORGETFUL:
                host.poke(file_of(name), value + "\n")
                continue
            now = host.read(file_of(name))
            if now is None or _plain(now) == value:
                continue
            if name in _PAIRS and value == "0":
                continue  # the kernel takes no 0 here: the other of the pair, which is not 0, brings it
            host.poke(file_of(name), value + "\n")


def _plain(text: str) -> str:
    """A value without the tabs and line ends that differ between kernel and files."""
    return " ".join(text.split())


def _short(name: str, wanted: str, now: str) -> str:
    if name == "vm.nr_hugepages":
        return (
            f"the kernel gave {now} of {wanted} huge pages: memory is taken or in pieces. The next boot asks for them "
            "before it is; if they are missing then too, ask for fewer"
        )
    return f"{name}: the kernel keeps {now} instead of {wanted}"


def _persisted(host: Host, name: str, wanted: str) -> tuple[bool, str]:
    """Whether the next boot sets this value, and what a person should know about it."""
    if _assignments(host.read(SYSCTL) or "").get(name) != wanted:
        return False, ""
    for path in _files_after_ours(host):
        value = _assignments(host.read(path) or "").get(name)
        if value is not None and value != wanted:
            return False, f"{path} comes later and sets {name} to {value}"
    value = _assignments(host.read(_MAIN_FILE) or "").get(name)
    if value is not None and value != wanted:
        return True, f"{_MAIN_FILE} sets {name} to {value}: a `sysctl --system` by hand reads that file last"
    return True, ""


def _files_after_ours(host: Host) -> list[str]:
    """The files that systemd-sysctl reads after ours, in its order."""
    found: dict[str, str] = {}
    for folder in FOLDERS:
        for path in host.glob(f"{folder}/*.conf"):
            found.setdefault(path.rsplit("/", 1)[1], path)
    ours = SYSCTL.rsplit("/", 1)[1]
    return [found[file] for file in sorted(found) if file > ours]


def _assignments(text: str) -> dict[str, str]:
    """Name to value of a sysctl.d file. Patterns are left out: they never override a name that is given in full."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        name = name.strip().lstrip("-").strip()
        if not equals or not name or name[0] in "#;" or "*" in name:
            continue
        found[_dotted(name)] = _plain(value)
    return found


def _dotted(name: str) -> str:
    """A name with dots. Which separator comes first says what the others are (sysctl.d(5))."""
    slash, dot = name.find("/"), name.find(".")
    if slash < 0 or 0 <= dot < slash:
        return name.replace("/", ".") if slash < 0 else name
    return name if "." in name else name.replace("/", ".")

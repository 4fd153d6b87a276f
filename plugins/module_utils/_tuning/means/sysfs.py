# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of /sys (and /proc) that hold one value. The boot unit writes them again at each boot, before the network."""

from __future__ import annotations

import re
import typing as t

from .. import cpu_plan
from ..facts import Facts
from ..host import Host
from ..model import InvalidInput, KnobFailed, Reading, Setting

#: Files whose values are listed in another one beside them.
_CHOICES = {
    "scaling_governor": "scaling_available_governors",
    "energy_performance_preference": "energy_performance_available_preferences",
    "current_clocksource": "available_clocksource",
}

#: Why a machine has no such files.
_MISSING = {
    "/sys/devices/system/cpu/cpufreq/": "the hypervisor or the processor keeps frequencies to itself",
    "/sys/devices/system/cpu/intel_pstate/": "no intel_pstate driver: the hypervisor keeps frequencies to itself",
    "/sys/devices/system/cpu/amd_pstate/": "no amd_pstate driver: the hypervisor keeps frequencies to itself",
    "/sys/devices/system/cpu/cpu[0-9]*/cpuidle/": "no such idle state is left to the kernel here",
    "/sys/devices/system/cpu/cpu[0-9]*/power/energy_perf_bias": "the hypervisor keeps this register to itself",
    "/sys/devices/system/cpu/smt/": "no control of SMT",
    "/sys/kernel/mm/ksm/": "the kernel was built without KSM",
    "/sys/kernel/mm/transparent_hugepage/": "the kernel was built without transparent huge pages",
    "/sys/devices/virtual/workqueue/": "the kernel shows no mask of this workqueue",
    "/sys/devices/system/machinecheck/": "no machine checks are shown to this machine",
    "/sys/devices/system/clocksource/": "the kernel shows no clock sources",
}

_BRACKETED = re.compile(r"\[([^\[\]\s]+)\]")
_MASK = re.compile(r"[0-9a-fA-F]{1,8}(,[0-9a-fA-F]{8})*")
_MASK_FILES = re.compile(r"(cpumask|_cpus|affinity|_mask)$")
_LIST_FILES = re.compile(r"(_list|cpulist|^isolated|^nohz_full)$")


def chosen(text: str) -> str:
    """What a file says: its bracketed word where it lists choices, else its text."""
    plain = " ".join(text.split())
    found = _BRACKETED.search(plain)
    return found[1] if found else plain


def same(path: str, one: str, other: str) -> bool:
    """Whether two texts mean the same in this file: masks and lists of vCPUs count as sets, Y and N as 1 and 0."""
    if one == other:
        return True
    name = path.rsplit("/", 1)[-1]
    if _MASK_FILES.search(name) and _MASK.fullmatch(one) and _MASK.fullmatch(other):
        return cpu_plan.unmask(one) == cpu_plan.unmask(other)
    if _LIST_FILES.search(name):
        try:
            return cpu_plan.expand(one) == cpu_plan.expand(other)
        except InvalidInput:
            return False
    booleans = {"Y": "1", "N": "0"}
    return path.startswith("/sys/module/") and booleans.get(one, one) == booleans.get(other, other)


class Sysfs:
    """The means C(sysfs). target: a path, patterns allowed; its items are the files that it matches."""

    def read(self, host: Host, facts: Facts, setting: Setting) -> Reading:
        target = setting.knob.target
        running: dict[str, str] = {}
        wanted: dict[str, str] = {}
        closed: list[str] = []
        for path in host.glob(target):
            text = host.read(path)
            if text is None:
                closed.append(path)
                continue
            running[path] = chosen(text)
            wanted[path] = running[path] if same(path, running[path], setting.value) else setting.value
        unsupported = "" if running else _why_missing(target, closed)
        if running:
            unsupported = _not_offered(host, running, setting.value)
        # Nothing of this means' own keeps it over a boot: the boot unit sets it again, and the engine sees to that.
        note = f"cannot be read: {', '.join(closed)}" if closed and running else ""
        return Reading(
            running=running if not unsupported else {},
            wanted=wanted if not unsupported else {},
            persisted=True,
            unsupported=unsupported,
            note=note,
        )

    def apply(self, host: Host, facts: Facts, setting: Setting) -> None:
        self._turn(host, {path: setting.value for path in host.glob(setting.knob.target)})

    def persist(self, host: Host, facts: Facts, settings: t.Sequence[Setting]) -> None:
        """Nothing to write: the boot unit applies these settings from the store."""

    def restore(self, host: Host, facts: Facts, setting: Setting, original: t.Mapping[str, str]) -> None:
        self._turn(host, {path: value for path, value in original.items() if host.exists(path)})

    def _turn(self, host: Host, values: t.Mapping[str, str]) -> None:
        """Write each value where the file says something else. Goes on after a failure, and names all failures."""
        failures: list[str] = []
        for path, value in values.items():
            try:
                _turn_one(host, path, value)
            except KnobFailed as error:
                failures.append(str(error))
        if failures:
            more = f" (and {len(failures) - 3} more)" if len(failures) > 3 else ""
            raise KnobFailed("; ".join(failures[:3]) + more)


def _turn_one(host: Host, path: str, value: str) -> None:
    before = host.read(path)
    if before is None or same(path, chosen(before), value):
        return
    host.poke(path, value + "\n")
    after = chosen(host.read(path) or "")
    if not same(path, after, value):
        raise KnobFailed(f"{path}: the kernel keeps {after!r} instead of {value!r}")


def _not_offered(host: Host, running: t.Mapping[str, str], value: str) -> str:
    """Why no file takes this value: the kernel lists what it takes, and this is not there. Empty when it is."""
    for path in running:
        folder, _slash, name = path.rpartition("/")
        text = host.read(path) or ""
        offered = " ".join(text.split()).replace("[", "").replace("]", "") if _BRACKETED.search(text) else ""
        if name in _CHOICES:
            offered = host.read(f"{folder}/{_CHOICES[name]}") or ""
        if offered and value not in offered.split():
            return f"{path} takes {', '.join(offered.split())} here, not {value}"
    return ""


def _why_missing(target: str, closed: t.Sequence[str]) -> str:
    if closed:
        return f"{closed[0]} cannot be read"
    reason = next((why for start, why in _MISSING.items() if target.startswith(start)), "")
    return f"this machine has no {target}" + (f": {reason}" if reason else "")

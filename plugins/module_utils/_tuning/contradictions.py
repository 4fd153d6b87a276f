# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that contradict each other, as data. Pure: settings and facts in, sentences out."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from .cpu_plan import compact, expand
from .facts import Facts
from .model import InvalidInput, Setting

#: Huge pages may take this part of the memory at most, and with vm.min_free_kbytes this part. What is left is for the
#: kernel's own tables, the page cache and every process that does not ask for huge pages.
MOST_HUGEPAGES = 0.75
MOST_SET_ASIDE = 0.85
_HUGEPAGE_KIB = 2048
_UNITS_KIB = {"K": 1, "M": 1024, "G": 1024 * 1024}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A pattern of a setting: its means, and what its target and its value match in full."""

    means: str
    target: str
    value: str = r".*"

    def fits(self, setting: Setting) -> bool:
        return (
            setting.knob.means == self.means
            and re.fullmatch(self.target, setting.knob.target) is not None
            and re.fullmatch(self.value, setting.value) is not None
        )


@dataclasses.dataclass(frozen=True)
class Rule:
    """Settings that must not be wanted together, and why not."""

    first: Wanted
    second: Wanted
    why: str


_NOT_ZERO = r"(?!0+$).+"
_POLLING = Wanted("cmdline", "idle", "poll")
_NO_CPUIDLE = Wanted("cmdline", r"cpuidle\.off", "1")
_MAX_CSTATE = Wanted("cmdline", r"(intel_idle|processor)\.max_cstate")

RULES: tuple[Rule, ...] = (
    Rule(
        Wanted("sysctl", r"net\.ipv4\.tcp_tw_reuse", "1"),
        Wanted("sysctl", r"net\.ipv4\.tcp_timestamps", "0"),
        "a port in TIME_WAIT is only taken again with timestamps; without them, connections fail with EADDRNOTAVAIL",
    ),
    Rule(
        Wanted("sysctl", r"vm\.dirty_ratio", _NOT_ZERO),
        Wanted("sysctl", r"vm\.dirty_bytes", _NOT_ZERO),
        "the kernel sets one to 0 when the other is written, so the last one wins",
    ),
    Rule(
        Wanted("sysctl", r"vm\.dirty_background_ratio", _NOT_ZERO),
        Wanted("sysctl", r"vm\.dirty_background_bytes", _NOT_ZERO),
        "the kernel sets one to 0 when the other is written, so the last one wins",
    ),
    Rule(
        Wanted("service", r"irqbalance(\.service)?", "disabled|masked"),
        Wanted("irqbalance", r".*"),
        "an irqbalance that does not run bans no CPU",
    ),
    Rule(
        Wanted("service", r"chronyd?(\.service)?", "disabled|masked"),
        Wanted("chrony", r".*"),
        "a chrony that does not run sets no clock",
    ),
    Rule(_POLLING, _NO_CPUIDLE, "a CPU that polls when idle enters no C-state, so the other does nothing"),
    Rule(_POLLING, _MAX_CSTATE, "a CPU that polls when idle enters no C-state, so the other does nothing"),
    Rule(_NO_CPUIDLE, _MAX_CSTATE, "without cpuidle there is no C-state to limit"),
    Rule(
        Wanted("cmdline", "intel_pstate", "disable"),
        Wanted("sysfs", r"/sys/devices/system/cpu/intel_pstate/.*"),
        "a driver that is disabled has no such file",
    ),
    Rule(
        Wanted("cmdline", "amd_pstate", "disable"),
        Wanted("sysfs", r"/sys/devices/system/cpu/amd_pstate/.*"),
        "a driver that is disabled has no such file",
    ),
    Rule(
        Wanted("cmdline", "audit", "0"),
        Wanted("service", r"auditd(\.service)?", "enabled"),
        "an auditd without the kernel's audit records nothing",
    ),
    Rule(
        Wanted("sysctl", r"net\.ipv4\.tcp_sack", "0"),
        Wanted("sysctl", r"net\.ipv4\.tcp_dsack", "1"),
        "a duplicate SACK is a SACK",
    ),
    Rule(
        Wanted("nic", r"coalesce\.adaptive-rx", "on"),
        Wanted("nic", r"coalesce\.rx-usecs"),
        "a device that adapts its delay takes no fixed one",
    ),
    Rule(
        Wanted("nic", r"coalesce\.adaptive-tx", "on"),
        Wanted("nic", r"coalesce\.tx-usecs"),
        "a device that adapts its delay takes no fixed one",
    ),
    Rule(
        Wanted("sysctl", r"kernel\.watchdog", "0"),
        Wanted("sysctl", r"kernel\.(nmi_watchdog|soft_watchdog)", "1"),
        "the first switches all watchdogs off",
    ),
)

#: Settings that do nothing, or harm, without another one.
NEEDS: tuple[Rule, ...] = (
    Rule(
        Wanted("nic", "napi_defer_hard_irqs", _NOT_ZERO),
        Wanted("nic", "gro_flush_timeout", _NOT_ZERO),
        "without that timeout nothing polls in place of the interrupts that are put off",
    ),
    Rule(Wanted("cmdline", "rcu_nocb_poll"), Wanted("cmdline", "rcu_nocbs"), "without it there is nothing to poll for"),
)

#: Two ways of setting the same thing. The values must be equal.
TWINS: tuple[tuple[Wanted, Wanted], ...] = (
    (Wanted("cmdline", "nmi_watchdog"), Wanted("sysctl", r"kernel\.nmi_watchdog")),
    (Wanted("cmdline", "transparent_hugepage"), Wanted("sysfs", "/sys/kernel/mm/transparent_hugepage/enabled")),
    (Wanted("cmdline", "hugepages"), Wanted("sysctl", r"vm\.nr_hugepages")),
)

#: Sysctls of which the first must be below (or equal to, with or_equal) the second: (lower, upper, or_equal).
ORDERED: tuple[tuple[str, str, bool], ...] = (
    ("vm.dirty_background_bytes", "vm.dirty_bytes", False),
    ("vm.dirty_background_ratio", "vm.dirty_ratio", False),
    ("net.core.rmem_default", "net.core.rmem_max", True),
    ("net.core.wmem_default", "net.core.wmem_max", True),
)

#: Values that the kernel takes and that break the machine or the network all the same: (setting, why).
HARMFUL: tuple[tuple[Wanted, str], ...] = (
    (
        Wanted("sysctl", r"net\.core\.default_qdisc", "noqueue"),
        "a device without a queue drops every packet that comes while its ring is full",
    ),
    (
        Wanted("sysctl", r"net\.ipv4\.tcp_rmem|net\.ipv4\.tcp_wmem", r"(?!\s*\d+\s+\d+\s+\d+\s*$).*"),
        "it takes three figures: lowest, default and highest",
    ),
    (Wanted("sysctl", r"vm\.mlockall"), "Linux has no such setting; a process calls mlockall() itself"),
)


def contradictions(settings: t.Sequence[Setting], facts: Facts) -> list[str]:
    """What is wrong with these settings on this machine, one sentence each, in a steady order."""
    return [
        *_broken_rules(settings),
        *_lonely(settings),
        *_polling_siblings(settings, facts),
        *_disputed(settings),
        *_twins_apart(settings),
        *_out_of_order(settings),
        *_harmful(settings),
        *_cpu_lists(settings, facts),
        *_tickless_outside(settings),
        *_memory(settings, facts),
    ]


def _named(setting: Setting) -> str:
    """A setting as a person knows it: the knob's id, what it turns, and the value."""
    return f"{setting.id} ({setting.knob.target} = {setting.value or 'set'})"


def _broken_rules(settings: t.Sequence[Setting]) -> t.Iterator[str]:
    for rule in RULES:
        for one in filter(rule.first.fits, settings):
            for other in filter(rule.second.fits, settings):
                yield f"{_named(one)} contradicts {_named(other)}: {rule.why}"


def _lonely(settings: t.Sequence[Setting]) -> t.Iterator[str]:
    for rule in NEEDS:
        if not any(map(rule.second.fits, settings)):
            for one in filter(rule.first.fits, settings):
                yield f"{_named(one)} needs {rule.second.target} as well: {rule.why}"


def _polling_siblings(settings: t.Sequence[Setting], facts: Facts) -> t.Iterator[str]:
    shared = any(len(numbers) > 1 for numbers in facts.topology.cores.values())
    off = any(
        setting.knob.target in ("nosmt", "/sys/devices/system/cpu/smt/control")
        and setting.value in ("", "off", "force")
        for setting in settings
    )
    for setting in filter(_POLLING.fits, settings):
        if shared and not off:
            yield f"{_named(setting)} contradicts SMT: an idle vCPU that polls takes half of the core from its sibling"


def _disputed(settings: t.Sequence[Setting]) -> t.Iterator[str]:
    """The same thing wanted by two knobs with different values."""
    seen: dict[tuple[str, str], Setting] = {}
    for setting in settings:
        first = seen.setdefault((setting.knob.means, setting.knob.target), setting)
        if first.value.split() != setting.value.split():
            yield f"{_named(first)} contradicts {_named(setting)}: both turn the same thing"


def _twins_apart(settings: t.Sequence[Setting]) -> t.Iterator[str]:
    for one, other in TWINS:
        for first in filter(one.fits, settings):
            for second in filter(other.fits, settings):
                if _bare(first.value) != _bare(second.value):
                    yield f"{_named(first)} contradicts {_named(second)}: they must be the same"


def _bare(value: str) -> str:
    """A value without the flags that isolcpus has in front of its list."""
    return re.sub(r"^((domain|nohz|managed_irq|nowatchdog),)+", "", value.strip())


def _sysctl(settings: t.Sequence[Setting], name: str) -> Setting | None:
    return next((each for each in settings if (each.knob.means, each.knob.target) == ("sysctl", name)), None)


def _whole(setting: Setting | None) -> int | None:
    return int(setting.value) if setting is not None and re.fullmatch(r"\d{1,19}", setting.value) else None


def _out_of_order(settings: t.Sequence[Setting]) -> t.Iterator[str]:
    for lower, upper, or_equal in ORDERED:
        low, high = _sysctl(settings, lower), _sysctl(settings, upper)
        below, above = _whole(low), _whole(high)
        if low is None or high is None or not below or not above:
            continue
        if below > above or (below == above and not or_equal):
            yield f"{_named(low)} contradicts {_named(high)}: it must be {'at most that' if or_equal else 'below that'}"


def _harmful(settings: t.Sequence[Setting]) -> t.Iterator[str]:
    for wanted, why in HARMFUL:
        for setting in filter(wanted.fits, settings):
            yield f"{_named(setting)}: {why}"


_CPU_LISTS = (
    Wanted("cmdline", "isolcpus|nohz_full|rcu_nocbs|irqaffinity|kthread_cpus"),
    Wanted("irq", r".*"),
    Wanted("irqbalance", r".*"),
)
_LEAVES_NONE = Wanted("cmdline", "isolcpus|nohz_full")


def _cpu_lists(settings: t.Sequence[Setting], facts: Facts) -> t.Iterator[str]:
    """Lists of vCPUs that this machine does not have, or that leave none for the system."""
    there = {cpu.number for cpu in facts.topology.cpus}
    for setting in settings:
        if not any(wanted.fits(setting) for wanted in _CPU_LISTS):
            continue
        try:
            named = set(expand(_bare(setting.value)))
        except InvalidInput as error:
            yield f"{_named(setting)}: {error}"
            continue
        missing = sorted(named - there)
        if missing:
            listed = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
            yield f"{_named(setting)}: this machine has no vCPU {listed}"
        elif _LEAVES_NONE.fits(setting) and named == there:
            yield f"{_named(setting)}: that leaves none of the {len(there)} vCPUs for the system"


def _tickless_outside(settings: t.Sequence[Setting]) -> t.Iterator[str]:
    """A vCPU with nohz_full that is not isolated gets tasks from the scheduler, and with two of them its tick back."""
    for isolated in filter(Wanted("cmdline", "isolcpus").fits, settings):
        for tickless in filter(Wanted("cmdline", "nohz_full").fits, settings):
            try:
                outside = set(expand(_bare(tickless.value))) - set(expand(_bare(isolated.value)))
            except InvalidInput:  # _cpu_lists tells
                continue
            if outside:
                listed = compact(outside)
                yield f"{_named(tickless)} contradicts {_named(isolated)}: vCPU {listed} would lose its tick unisolated"


def hugepages_kib(settings: t.Sequence[Setting], facts: Facts) -> int:
    """The memory, in KiB, that these settings put into huge pages."""
    by_size: dict[int, int] = {}
    for setting in settings:
        size, count = _hugepages(setting, settings, facts)
        # The command line and sysctl set the same pool: its largest figure counts.
        by_size[size] = max(by_size.get(size, 0), count * size)
    return sum(by_size.values())


def _hugepages(setting: Setting, settings: t.Sequence[Setting], facts: Facts) -> tuple[int, int]:
    """The size of a page, in KiB, and the pages of a setting; 0 pages for a setting that is not about them."""
    count = _whole(setting) or 0
    knob = setting.knob
    if (knob.means, knob.target) == ("sysctl", "vm.nr_hugepages"):
        return _HUGEPAGE_KIB, count
    if (knob.means, knob.target) == ("cmdline", "hugepages"):
        size = next((each.value for each in settings if Wanted("cmdline", "hugepagesz").fits(each)), "2M")
        return _size_kib(size), count
    found = re.search(r"hugepages-(\d+)kB/nr_hugepages$", knob.target) if knob.means == "sysfs" else None
    if found is None:
        return _HUGEPAGE_KIB, 0
    nodes = len({cpu.node for cpu in facts.topology.cpus}) if "node*" in knob.target else 1
    return int(found[1]), count * nodes


def _size_kib(text: str) -> int:
    found = re.fullmatch(r"(\d+)([KMG])", text.strip(), re.IGNORECASE)
    return int(found[1]) * _UNITS_KIB[found[2].upper()] if found else _HUGEPAGE_KIB


def _memory(settings: t.Sequence[Setting], facts: Facts) -> t.Iterator[str]:
    pages = hugepages_kib(settings, facts)
    kept = _whole(_sysctl(settings, "vm.min_free_kbytes")) or 0
    has = f"this machine has {_mib(facts.memory_kib)} of memory"
    if pages > MOST_HUGEPAGES * facts.memory_kib:
        yield f"huge pages of {_mib(pages)} are wanted, {has}, and they may take {MOST_HUGEPAGES:.0%} of it"
    elif pages + kept > MOST_SET_ASIDE * facts.memory_kib:
        yield (
            f"huge pages of {_mib(pages)} and vm.min_free_kbytes of {_mib(kept)} are wanted, {has}, "
            f"and together they may take {MOST_SET_ASIDE:.0%} of it"
        )


def _mib(kib: int) -> str:
    return f"{kib / 1024:,.0f} MiB"

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which vCPUs serve interrupts. Numbers and files are the running kernel's, so the boot unit sets them at each boot."""

from __future__ import annotations

import errno
import re
import typing as t

from .. import cpu_plan
from ..facts import Facts
from ..host import Host
from ..model import KnobFailed, Reading, Setting

DEFAULT = "/proc/irq/default_smp_affinity"

#: Interrupts whose affinity this boot's kernel refused to change. Only a write tells, and reading must not write.
REFUSED = "/run/lowlatency-ec2/unmovable-irqs"

_DEFAULT_ITEM = "default"
_ITEM = re.compile(r"irq (\d+)(?: \((.*)\))?")

#: What a write answers for interrupts that the kernel spreads itself (managed ones: NVMe and virtio-blk queues) or that
#: belong to a vCPU: EIO before Linux 6.11, EPERM since (kernel/irq/proc.c).
_UNMOVABLE = (errno.EIO, errno.EPERM)

#: Ends a line's fields in front of the names of handlers: 2-edge, or on arm64 81920 Edge.
_HWIRQ = re.compile(r"\d+(-\w+)?")
_TRIGGERS = ("Edge", "Level", "None")


class Irq(t.NamedTuple):
    """An interrupt and its handlers' names, as /proc/interrupts has them."""

    number: int
    name: str

    @property
    def item(self) -> str:
        return f"irq {self.number} ({self.name})" if self.name else f"irq {self.number}"

    @property
    def affinity(self) -> str:
        return f"/proc/irq/{self.number}/smp_affinity_list"

    @property
    def effective(self) -> str:
        return f"/proc/irq/{self.number}/effective_affinity_list"


class IrqAffinity:
    """The means C(irq). target: nic (of the default route's interface), default (of interrupts to come) or all (that
    are there, but the NIC's: who wants those elsewhere turns C(nic) off or to another list).

    value: a list of vCPUs. An interrupt that is allowed fewer of them (irqbalance gives each just one) is as wanted.
    """

    def read(self, host: Host, facts: Facts, setting: Setting) -> Reading:
        if setting.knob.target == "default":
            return _read_default(host, setting.value)
        if setting.knob.target == "nic" and not facts.interface:
            return Reading(unsupported="no network interface of a real device was found")
        allowed = set(cpu_plan.expand(setting.value))
        irqs = _irqs_of(host, facts, setting.knob.target)
        refused = _refused(host)
        movable = [irq for irq in irqs if irq.number not in refused]
        if not movable:
            return Reading(unsupported=_why_none(facts, setting.knob.target, irqs))
        running = {irq.item: host.read(irq.affinity) or "" for irq in movable}
        wanted = {item: now if _inside(now, allowed) else setting.value for item, now in running.items()}
        notes = []
        if len(movable) < len(irqs):
            left = ", ".join(irq.item for irq in irqs if irq.number in refused)
            notes.append(f"the kernel keeps these to itself: {left}")
        late = [irq.item for irq in movable if _inside(running[irq.item], allowed) and not _serves(host, irq, allowed)]
        if late:
            notes.append(f"served elsewhere until their next interrupt: {', '.join(late)}")
        # Nothing of this means' own keeps it over a boot: the boot unit sets it again, and the engine sees to that.
        # irqbalance, where it runs, deals the interrupts out anew every ten seconds.
        return Reading(running=running, wanted=wanted, persisted=True, note="; ".join(notes), restless=True)

    def apply(self, host: Host, facts: Facts, setting: Setting) -> None:
        if setting.knob.target == "default":
            _turn_default(host, setting.value)
            return
        allowed = set(cpu_plan.expand(setting.value))
        refused = _refused(host)
        irqs = _irqs_of(host, facts, setting.knob.target)
        outside = [irq for irq in irqs if not _inside(host.read(irq.affinity) or "", allowed)]
        _turn(host, {irq: setting.value for irq in outside if irq.number not in refused})

    def persist(self, host: Host, facts: Facts, settings: t.Sequence[Setting]) -> None:
        """Nothing to write: the boot unit applies these settings from the store."""

    def restore(self, host: Host, facts: Facts, setting: Setting, original: t.Mapping[str, str]) -> None:
        if setting.knob.target == "default":
            if original.get(_DEFAULT_ITEM):
                _turn_default(host, original[_DEFAULT_ITEM])
            return
        now = {irq.item: irq for irq in interrupts(host)}
        wanted: dict[Irq, str] = {}
        for item, value in original.items():
            irq = now.get(item) or _renumbered(item, now.values())
            if irq and value and not _same(host.read(irq.affinity) or "", value):
                wanted[irq] = value
        _turn(host, wanted)


def interrupts(host: Host) -> list[Irq]:
    """The interrupts that have a number and whose affinity can be read, by number, with their handlers' names."""
    found: list[Irq] = []
    lines = (host.read("/proc/interrupts") or "").splitlines()
    cpus = len(lines[0].split()) if lines else 0
    for line in lines[1:]:
        number, _colon, rest = line.strip().partition(":")
        if number.isdecimal() and host.exists(f"/proc/irq/{number}/smp_affinity_list"):
            found.append(Irq(int(number), _handlers(rest.split()[cpus:])))
    return sorted(found)


def _handlers(words: t.Sequence[str]) -> str:
    """The names of handlers out of what follows the counts: chip, hardware number, trigger on some, names."""
    for at, word in enumerate(words):
        if _HWIRQ.fullmatch(word):
            rest = words[at + 1 :]
            return " ".join(rest[1:] if rest and rest[0] in _TRIGGERS else rest)
    return ""


def _irqs_of(host: Host, facts: Facts, target: str) -> list[Irq]:
    nic = nic_interrupts(host, facts.interface) if facts.interface else []
    return nic if target == "nic" else [irq for irq in interrupts(host) if irq not in nic]


def nic_interrupts(host: Host, interface: str) -> list[Irq]:
    """The interrupts of an interface's device.

    By the PCI device's MSI vectors; a virtio device is one level below its PCI device. Without any (virtio over MMIO)
    by name: the interface's own, such as eth0-Tx-Rx-0, or the virtio device's, such as virtio2-input.0.
    """
    device = f"/sys/class/net/{interface}/device"
    link = (host.link(device) or "").rstrip("/").rsplit("/", 1)[-1]
    folders = [device, f"{device}/.."] if link.startswith("virtio") else [device]
    vectors = {path.rsplit("/", 1)[1] for folder in folders for path in host.glob(f"{folder}/msi_irqs/*")}
    every = interrupts(host)
    if vectors:
        return [irq for irq in every if str(irq.number) in vectors]
    names = [re.escape(name) for name in (interface, link) if name]
    named = re.compile(rf"(?:^|[\s,@:])(?:{'|'.join(names)})(?:$|[-.@\s,])")
    return [irq for irq in every if named.search(irq.name)]


def _inside(now: str, allowed: t.AbstractSet[int]) -> bool:
    """Whether an interrupt may be served only by these vCPUs."""
    return bool(now) and set(cpu_plan.expand(now)) <= allowed


def _same(one: str, other: str) -> bool:
    return cpu_plan.expand(one) == cpu_plan.expand(other)


def _serves(host: Host, irq: Irq, allowed: t.AbstractSet[int]) -> bool:
    """Whether one of these vCPUs serves it now. x86 moves some interrupts only when the next one comes."""
    now = host.read(irq.effective)
    return not now or _inside(now, allowed)


def _read_default(host: Host, value: str) -> Reading:
    text = host.read(DEFAULT)
    if text is None:
        return Reading(unsupported=f"this kernel has no {DEFAULT}")
    now = cpu_plan.compact(cpu_plan.unmask(text))
    return Reading(
        running={_DEFAULT_ITEM: now}, wanted={_DEFAULT_ITEM: now if _same(now, value) else value}, persisted=True
    )


def _turn_default(host: Host, value: str) -> None:
    numbers = cpu_plan.expand(value)
    if cpu_plan.unmask(host.read(DEFAULT) or "0") == numbers:
        return
    host.poke(DEFAULT, cpu_plan.mask(numbers) + "\n")
    after = cpu_plan.unmask(host.read(DEFAULT) or "0")
    if after != numbers:
        raise KnobFailed(f"{DEFAULT}: the kernel keeps {cpu_plan.compact(after)} instead of {value}")


def _turn(host: Host, wanted: t.Mapping[Irq, str]) -> None:
    """Write each affinity. What the kernel keeps to itself is remembered; other failures are all named in one."""
    failures: list[str] = []
    refused: list[int] = []
    for irq, value in wanted.items():
        try:
            host.poke(irq.affinity, value + "\n")
        except KnobFailed as error:
            code = error.__cause__.errno if isinstance(error.__cause__, OSError) else None
            if code in _UNMOVABLE:
                refused.append(irq.number)
            elif code != errno.ENOENT:
                failures.append(f"{irq.item}: {error}")
            continue
        after = host.read(irq.affinity)
        if after is not None and not _inside(after, set(cpu_plan.expand(value))):
            failures.append(f"{irq.item}: the kernel keeps {after} instead of {value}")
    if refused:
        numbers = sorted({*_refused(host), *refused})
        host.write(REFUSED, "".join(f"{number}\n" for number in numbers))
    if failures:
        raise KnobFailed("; ".join(failures))


def _refused(host: Host) -> set[int]:
    return {int(number) for number in (host.read(REFUSED) or "").split()}


def _renumbered(item: str, irqs: t.Iterable[Irq]) -> Irq | None:
    """The interrupt that has this item's name now, if exactly one has: numbers change from boot to boot."""
    found = _ITEM.fullmatch(item)
    if not found or not found[2]:
        return None
    same = [irq for irq in irqs if irq.name == found[2]]
    return same[0] if len(same) == 1 else None


def _why_none(facts: Facts, target: str, irqs: t.Sequence[Irq]) -> str:
    if irqs:
        return f"the kernel keeps all of them to itself: {', '.join(irq.item for irq in irqs)}"
    if target == "all":
        return "this machine shows no interrupts"
    return f"no interrupt of {facts.interface} was found (driver {facts.driver or 'unknown'})"

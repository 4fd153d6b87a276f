# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which vCPUs the system keeps and which are isolated: pure functions of a topology, and lists and masks of vCPUs."""

from __future__ import annotations

import hashlib
import math
import typing as t

from .facts import Cpu, CpuPlan, Topology
from .model import InvalidInput

#: (vCPUs of the machine up to, vCPUs kept for housekeeping). Seed: aws-samples' tune_os.yaml, as its README has it.
HOUSEKEEPING_TABLE: tuple[tuple[float, int], ...] = ((4, 1), (8, 2), (32, 4), (96, 8), (math.inf, 16))

#: With fewer physical cores nothing is isolated: two cores would leave one for the kernel, its interrupts, sshd and
#: everything else, and one for the isolated load; a single one cannot be split at all.
FEWEST_CORES = 3

#: The largest CONFIG_NR_CPUS that Linux knows (arch/x86/Kconfig, MAXSMP); bounds what a list may name.
_MOST_CPUS = 8192
_WORD_BITS = 32


def housekeeping_count(vcpus: int) -> int:
    """How many vCPUs a machine of this size keeps, before they are rounded up to whole cores."""
    return next(kept for limit, kept in HOUSEKEEPING_TABLE if vcpus <= limit)


def plan_cpus(topology: Topology, housekeeping: int | None = None) -> CpuPlan:
    """Split the vCPUs of a machine into those that the system keeps and those that are isolated.

    Only whole physical cores are given, so that SMT siblings stay together. The core of the lowest vCPU comes first
    (vCPU 0 takes the boot, most timers and what nobody steers), then the others of its NUMA node in the order of their
    numbers, then the next nodes': the system crowds on one node, so the others stay whole for the isolated load.

    housekeeping: vCPUs to keep, rounded up to whole cores; none: by the table. Raises InvalidInput for a number that
    leaves nothing for the system or nothing to isolate, where isolating is possible at all.
    """
    numbers = tuple(sorted(cpu.number for cpu in topology.cpus))
    if not numbers:
        raise InvalidInput("this machine shows no online vCPU")
    if housekeeping is not None and not 1 <= housekeeping <= len(numbers):
        raise InvalidInput(f"housekeeping_cpus is {housekeeping}: a machine of {len(numbers)} vCPUs keeps 1 or more")
    cores = topology.cores
    if len(cores) < FEWEST_CORES:
        there = _counted(len(cores), "physical core")
        return CpuPlan(numbers, (), f"{there}, and isolating takes {FEWEST_CORES} or more")
    wanted = housekeeping_count(len(numbers)) if housekeeping is None else housekeeping
    kept: list[int] = []
    for core in _by_preference(topology):
        if len(kept) >= wanted:
            break
        kept += cores[core]
    isolated = set(numbers) - set(kept)
    if not isolated:
        raise InvalidInput(f"housekeeping_cpus is {housekeeping}: in whole cores that is all {len(numbers)} vCPUs")
    return CpuPlan(tuple(sorted(kept)), tuple(sorted(isolated)))


def replan(topology: Topology, housekeeping: int | None) -> tuple[CpuPlan, str]:
    """The plan at a boot, where nobody can be asked: (plan, note).

    A number of housekeeping vCPUs that was wished for another size and does not fit this one gives way to the table's,
    and the note says so. Raises InvalidInput only for a machine without vCPUs.
    """
    try:
        return plan_cpus(topology, housekeeping), ""
    except InvalidInput as error:
        if housekeeping is None:
            raise
        return plan_cpus(topology), f"{error}; the usual number is kept instead"


def signature(topology: Topology) -> str:
    """What a plan was made for, as text to compare: machines with the same one have the same plan."""
    shape = ";".join(f"{cpu.number},{cpu.core},{cpu.node}" for cpu in sorted(topology.cpus, key=lambda cpu: cpu.number))
    nodes = len({cpu.node for cpu in topology.cpus})
    counts = (
        _counted(len(topology.cpus), "vCPU"),
        _counted(len(topology.cores), "core"),
        _counted(nodes, "node"),
    )
    return f"{', '.join(counts)}, {hashlib.sha256(shape.encode()).hexdigest()[:12]}"


def _by_preference(topology: Topology) -> list[int]:
    """The cores in the order in which housekeeping takes them."""
    by_number: dict[int, Cpu] = {cpu.number: cpu for cpu in topology.cpus}
    first = by_number[min(by_number)]

    def rank(core: int) -> tuple[bool, bool, int, int]:
        node = by_number[core].node
        return core != first.core, node != first.node, node, core

    return sorted(topology.cores, key=rank)


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def compact(numbers: t.Iterable[int]) -> str:
    """A list of vCPUs as the kernel writes it, such as 0-1,4. No vCPU: an empty text."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def expand(text: str) -> tuple[int, ...]:
    """The vCPUs of a list such as 0-1,4, sorted, each once. Raises InvalidInput for what is no such list."""
    numbers: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InvalidInput(f"{text!r} is no list of vCPUs, such as 0-1,4")
        low, high = int(first), int(last or first)
        if low > high or high >= _MOST_CPUS:
            raise InvalidInput(f"{part!r} in {text!r} is no range of vCPUs")
        numbers.update(range(low, high + 1))
    return tuple(sorted(numbers))


def mask(numbers: t.Iterable[int]) -> str:
    """A set of vCPUs as the masks of /proc and /sys have it: hexadecimal, a comma before every 32 bits (ff,ffffff00).

    Without the zeros that a kernel puts in front to fill its own width: compare masks by C(unmask), not as text.
    """
    bits = sum(1 << number for number in set(numbers))
    words: list[str] = []
    while bits >> _WORD_BITS:
        words.append(f"{bits & 0xFFFFFFFF:08x}")
        bits >>= _WORD_BITS
    return ",".join([f"{bits:x}", *reversed(words)])


def unmask(text: str) -> tuple[int, ...]:
    """The vCPUs of a mask. Raises InvalidInput for what is none."""
    try:
        bits = int(text.strip().replace(",", ""), 16)
    except ValueError:
        raise InvalidInput(f"{text!r} is no mask of vCPUs") from None
    return tuple(number for number in range(bits.bit_length()) if bits >> number & 1)

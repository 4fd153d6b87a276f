# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conditions: what a machine must be for a knob to make sense there. Pure functions on Facts and the CPU plan.

A condition answers with the reason why the machine does not meet it, one clear sentence, or with an empty text.
A knob names conditions in C(applies_if), plain (C(isolation)) or with an argument (C(config:CONFIG_NO_HZ_FULL)).
"""

from __future__ import annotations

import re
import typing as t

from .facts import CpuPlan, Facts
from .model import FAMILIES

Condition = t.Callable[[Facts, CpuPlan], str]
_Argued = t.Callable[[str, Facts, CpuPlan], str]


def _isolation(facts: Facts, plan: CpuPlan) -> str:
    return "" if plan.isolated else (plan.reason or "no vCPU is isolated here")


def _arch(wanted: str) -> Condition:
    def condition(facts: Facts, plan: CpuPlan) -> str:
        return "" if facts.arch == wanted else f"this is an {facts.arch} machine, and only {wanted} has it"

    return condition


def _family(wanted: str, facts: Facts, plan: CpuPlan) -> str:
    if facts.family in wanted.split("|"):
        return ""
    return f"the CPU family here is {facts.family}, and it is for {wanted.replace('|', ' or ')}"


def _not_family(unwanted: str, facts: Facts, plan: CpuPlan) -> str:
    return f"it does not help on {facts.family}" if facts.family in unwanted.split("|") else ""


def _numa(facts: Facts, plan: CpuPlan) -> str:
    nodes = {cpu.node for cpu in facts.topology.cpus}
    return "" if len(nodes) > 1 else "this machine has a single NUMA node"


def _smt(facts: Facts, plan: CpuPlan) -> str:
    siblings = any(len(numbers) > 1 for numbers in facts.topology.cores.values())
    return "" if siblings else "the vCPUs here are whole physical cores, without SMT siblings"


def _several_cpus(facts: Facts, plan: CpuPlan) -> str:
    return "" if len(facts.topology.cpus) > 1 else "this machine has a single vCPU"


def _systemd(facts: Facts, plan: CpuPlan) -> str:
    return "" if facts.systemd else "this machine does not run systemd"


def _interface(facts: Facts, plan: CpuPlan) -> str:
    return "" if facts.interface else "no network interface of a real device was found"


def _disks(facts: Facts, plan: CpuPlan) -> str:
    return "" if facts.disks else "no disk of a real device was found"


def _bootloader(facts: Facts, plan: CpuPlan) -> str:
    return "" if facts.bootloader else "no boot loader that can be set was found (GRUB with drop-ins, or grubby)"


def _driver(wanted: str, facts: Facts, plan: CpuPlan) -> str:
    if facts.driver in wanted.split("|"):
        return ""
    has = f"{facts.interface} has the driver {facts.driver}" if facts.driver else "the interface's driver is not known"
    return f"{has}, and it is for {wanted.replace('|', ' or ')}"


def _config(option: str, facts: Facts, plan: CpuPlan) -> str:
    # An unreadable configuration proves nothing: what the kernel did not take shows in its own files afterwards.
    if not facts.kernel_config or facts.kernel_config.get(option, "n") not in ("", "n"):
        return ""
    return f"the kernel {facts.kernel} was built without {option}"


def _no_config(option: str, facts: Facts, plan: CpuPlan) -> str:
    built = facts.kernel_config.get(option, "n") not in ("", "n")
    return f"the kernel {facts.kernel} was built with {option}" if built else ""


def _release(text: str) -> tuple[int, ...]:
    """The first two numbers of a kernel's release, 6.1 of 6.1.0-38-cloud-amd64; (0, 0) when it has none."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _kernel(wanted: str, facts: Facts, plan: CpuPlan) -> str:
    if _release(facts.kernel) >= _release(wanted):
        return ""
    return f"it needs Linux {wanted} or later, and this is {facts.kernel}"


def _kernel_before(limit: str, facts: Facts, plan: CpuPlan) -> str:
    if _release(facts.kernel) < _release(limit):
        return ""
    return f"Linux has it no more since {limit}, and this is {facts.kernel}"


def _distribution(wanted: str, facts: Facts, plan: CpuPlan) -> str:
    if facts.distribution in wanted.split("|"):
        return ""
    return f"the distribution here is {facts.distribution}, and it is for {wanted.replace('|', ' or ')}"


def _not_distribution(unwanted: str, facts: Facts, plan: CpuPlan) -> str:
    return f"it is not for {facts.distribution}" if facts.distribution in unwanted.split("|") else ""


def _memory_gib(wanted: str, facts: Facts, plan: CpuPlan) -> str:
    if facts.memory_kib >= float(wanted) * 1024 * 1024:
        return ""
    return f"it needs {wanted} GiB of memory, and this machine has {facts.memory_kib / 1024 / 1024:.1f} GiB"


#: Conditions by name.
CONDITIONS: dict[str, Condition] = {
    "isolation": _isolation,
    "x86": _arch("x86_64"),
    "arm64": _arch("aarch64"),
    "numa": _numa,
    "smt": _smt,
    "several_cpus": _several_cpus,
    "systemd": _systemd,
    "interface": _interface,
    "disks": _disks,
    "bootloader": _bootloader,
}

#: Conditions with an argument behind a colon. Several words are joined by |.
ARGUED: dict[str, _Argued] = {
    "config": _config,
    "no_config": _no_config,
    "family": _family,
    "not_family": _not_family,
    "driver": _driver,
    "kernel": _kernel,
    "kernel_before": _kernel_before,
    "distribution": _distribution,
    "not_distribution": _not_distribution,
    "memory_gib": _memory_gib,
}


def find(name: str) -> Condition:
    """The condition of this name. Raises KeyError for one that there is none of."""
    word, colon, argument = name.partition(":")
    if not colon:
        return CONDITIONS[name]
    argued = ARGUED[word]
    if not _argument_fits(word, argument):
        raise KeyError(name)
    return lambda facts, plan: argued(argument, facts, plan)


def _argument_fits(word: str, argument: str) -> bool:
    if word in ("family", "not_family"):
        return set(argument.split("|")) <= set(FAMILIES)
    if word in ("config", "no_config"):
        return re.fullmatch(r"CONFIG_[A-Z0-9_]+", argument) is not None
    if word in ("kernel", "kernel_before"):
        return re.fullmatch(r"\d+\.\d+", argument) is not None
    if word == "memory_gib":
        return re.fullmatch(r"\d+(\.\d+)?", argument) is not None
    return argument != ""


def why_not(names: t.Iterable[str], facts: Facts, plan: CpuPlan) -> str:
    """The first reason why this machine does not meet all of these conditions; empty when it does. Raises KeyError."""
    for name in names:
        reason = find(name)(facts, plan)
        if reason:
            return reason
    return ""

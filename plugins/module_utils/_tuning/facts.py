# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a machine before it is tuned. Plain values; machine.py gathers them."""

from __future__ import annotations

import dataclasses
import typing as t


@dataclasses.dataclass(frozen=True)
class Cpu:
    """One online vCPU. core: the lowest vCPU of its siblings; node: its NUMA node."""

    number: int
    core: int
    node: int


@dataclasses.dataclass(frozen=True)
class Topology:
    """The vCPUs of a machine, in order of their numbers."""

    cpus: tuple[Cpu, ...]

    @property
    def cores(self) -> dict[int, tuple[int, ...]]:
        """The vCPUs of each physical core, by its lowest vCPU."""
        found: dict[int, list[int]] = {}
        for cpu in self.cpus:
            found.setdefault(cpu.core, []).append(cpu.number)
        return {core: tuple(numbers) for core, numbers in sorted(found.items())}


@dataclasses.dataclass(frozen=True)
class CpuPlan:
    """Which vCPUs the system keeps (housekeeping) and which are isolated; reason: why none is, else empty."""

    housekeeping: tuple[int, ...]
    isolated: tuple[int, ...]
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Facts:
    """A machine.

    family: intel, amd, graviton or other. arch: x86_64 or aarch64. distribution: ID of os-release, version: VERSION_ID.
    kernel_config: option to value (y, m, a number ...), such as CONFIG_NO_HZ_FULL: y; empty where it is not readable.
    interface, driver: of the default route (before there is one: the first device that is no virtual one).
    bootloader: grub_dropin (Debian, Ubuntu), grubby (Amazon Linux, RHEL), or empty.
    """

    family: str
    arch: str
    distribution: str
    version: str
    kernel: str
    kernel_config: t.Mapping[str, str]
    topology: Topology
    memory_kib: int
    interface: str = ""
    driver: str = ""
    disks: tuple[str, ...] = ()
    bootloader: str = ""
    container: str = ""
    systemd: bool = True
    sys_writable: bool = True

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knobs of the group kernel_bypass: ready a machine for DPDK or XDP. Asked for by name only, and it binds no NIC.

What cannot be said as a value to hold is not here: taking a NIC from its driver is three writes in an order, and one
that is undone only by a restart of the network (docs/os-tuning.md says how it is done by hand). Huge pages of 2 MiB are
a knob of the group memory.
"""

from __future__ import annotations

from ..model import BOOT, Knob

_DPDK = "https://doc.dpdk.org/guides/linux_gsg/linux_drivers.html"
_ENA = "https://doc.dpdk.org/guides/nics/ena.html"
#: Drivers of NICs for which DPDK has a poll mode driver: of EC2 (ena, older ixgbevf), and of QEMU for tests.
_NICS = "driver:ena|ixgbevf|virtio_net|virtio-pci"

KNOBS: tuple[Knob, ...] = (
    Knob(
        id="vfio_pci",
        group="kernel_bypass",
        means="cmdline",
        target="modules_load",
        value="vfio-pci",
        summary="Load vfio-pci at boot (systemd-modules-load reads this parameter), so that DPDK can take a NIC",
        source=_DPDK,
        effect=BOOT,
        applies_if=("bootloader", "systemd", "config:CONFIG_VFIO_PCI", _NICS),
        verify=(("/sys/module/vfio_pci/initstate", "live"),),
    ),
    Knob(
        id="vfio_noiommu",
        group="kernel_bypass",
        means="cmdline",
        target="vfio.enable_unsafe_noiommu_mode",
        value="1",
        summary="Let vfio-pci work without an IOMMU, as virtual EC2 instances are; the NIC can then write anywhere",
        source=_ENA,
        risk="high",
        enabled=False,
        effect=BOOT,
        applies_if=("bootloader", "config:CONFIG_VFIO_NOIOMMU", _NICS),
        verify=(("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y"),),
    ),
    Knob(
        id="iommu_passthrough",
        group="kernel_bypass",
        means="cmdline",
        target="iommu",
        value="pt",
        summary="On metal with an IOMMU: the kernel's own devices go around it, vfio's through it",
        source=_DPDK,
        risk="medium",
        enabled=False,
        effect=BOOT,
        applies_if=("bootloader", "x86", _NICS),
    ),
    Knob(
        id="hugepages_1g",
        group="kernel_bypass",
        means="sysfs",
        target="/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
        value="1",
        summary="Huge pages of 1 GiB, for DPDK's memory pools; give the number as the knob's value",
        source="https://doc.dpdk.org/guides/linux_gsg/sys_reqs.html",
        risk="medium",
        enabled=False,
        applies_if=("memory_gib:8",),
    ),
    Knob(
        id="bpf_jit",
        group="kernel_bypass",
        means="sysctl",
        target="net.core.bpf_jit_enable",
        value="1",
        summary="XDP programs run as machine code and are not interpreted",
        source="https://docs.kernel.org/admin-guide/sysctl/net.html#bpf-jit-enable",
    ),
)

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Over /proc/interrupts of EC2 with ENA and NVMe (Gregg, BPF Performance Tools, and a public PCP recording), of a
Graviton machine (a public test with an ENA), and of virtio devices as this project's build machine has them."""

from __future__ import annotations

import errno
import os
import pathlib
import re
from collections.abc import Mapping

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means.irq import (
    DEFAULT,
    REFUSED,
    IrqAffinity,
    interrupts,
    nic_interrupts,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import KnobFailed
from support.recorded import Link, RecordedHost, recorded_facts, recorded_host, recorded_setting

FACTS = recorded_facts(interface="ens5")
NIC = recorded_setting("irq", "nic", "0-1")
ALL = recorded_setting("irq", "all", "0-1")
DEFAULT_SETTING = recorded_setting("irq", "default", "0-1")

ENA = """\
           CPU0       CPU1       CPU2       CPU3
  4:        337          0          0          0   IO-APIC   4-edge      ttyS0
 27:          5          0          0          0   PCI-MSI 65536-edge      nvme0q0
 28:    1775400         80          0          0   PCI-MSI 81920-edge      ena-mgmnt@pci:0000:00:05.0
 29:        533    5501189          0          0   PCI-MSI 81921-edge      eth0-Tx-Rx-0
 30:    4526113        278          0          0   PCI-MSI 81922-edge      eth0-Tx-Rx-1
 31:          0         10          0          0   PCI-MSI 65537-edge      nvme0q1
NMI:          0          0          0          0   Non-maskable interrupts
LOC:    7828752    6437728          0          0   Local timer interrupts
ERR:          0
"""
GRAVITON = """\
       CPU0 CPU1
 11:  10 20  GICv3  27 Level     arch_timer
 37:  1 2 ITS-MSI 1 Edge      ena-mgmnt@pci:0000:00:05.0
 38:  1 2 ITS-MSI 2 Edge      ens5-Tx-Rx-0
IPI0:  1 2 Rescheduling interrupts
"""
VIRTIO = """\
           CPU0       CPU1
 26:          0         14  IO-APIC   4-edge      ttyS0
 36:          0    1003833 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
 37:          0          0 PCI-MSIX-0000:00:03.0   0-edge      virtio2-config
 38:          0      23170 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0
 39:      18947          0 PCI-MSIX-0000:00:03.0   2-edge      virtio2-output.0
"""


def files(table: str, affinity: Mapping[int, str] | None = None) -> dict[str, str]:
    """A machine with these interrupts, each on all four vCPUs where no other affinity is given."""
    found = {"/proc/interrupts": table, DEFAULT: "f\n"}
    for number in re.findall(r"^ *(\d+):", table, re.MULTILINE):
        found[f"/proc/irq/{number}/smp_affinity_list"] = (affinity or {}).get(int(number), "0-3") + "\n"
        found[f"/proc/irq/{number}/effective_affinity_list"] = "1\n"
    return found


@pytest.fixture
def ena(tmp_path: pathlib.Path) -> RecordedHost:
    host = recorded_host(tmp_path, files(ENA, {29: "2", 30: "1", 31: "3"}))
    host.add(
        {
            "/sys/devices/pci0000:00/0000:00:05.0/net/ens5/device": Link("../../../0000:00:05.0"),
            **{f"/sys/devices/pci0000:00/0000:00:05.0/msi_irqs/{number}": "msix\n" for number in (28, 29, 30)},
            "/sys/class/net/ens5": Link("../../devices/pci0000:00/0000:00:05.0/net/ens5"),
        }
    )
    return host


def test_names_of_all_kinds_of_tables(tmp_path: pathlib.Path) -> None:
    host = recorded_host(tmp_path, files(ENA))
    assert [irq.item for irq in interrupts(host)] == [
        "irq 4 (ttyS0)",
        "irq 27 (nvme0q0)",
        "irq 28 (ena-mgmnt@pci:0000:00:05.0)",
        "irq 29 (eth0-Tx-Rx-0)",
        "irq 30 (eth0-Tx-Rx-1)",
        "irq 31 (nvme0q1)",
    ]
    host.add(files(GRAVITON))
    assert [irq.name for irq in interrupts(host)] == ["arch_timer", "ena-mgmnt@pci:0000:00:05.0", "ens5-Tx-Rx-0"]
    host.add(files(VIRTIO))
    assert [irq.name for irq in interrupts(host)][:2] == ["ttyS0", "virtio1-req.0"]


def test_the_nic_is_found_by_its_vectors_whatever_their_names(ena: RecordedHost) -> None:
    """The interface was renamed after its driver had named the interrupts."""
    assert [irq.number for irq in nic_interrupts(ena, "ens5")] == [28, 29, 30]


def test_a_virtio_nic_is_found_by_the_vectors_of_the_device_above(tmp_path: pathlib.Path) -> None:
    host = recorded_host(tmp_path, files(VIRTIO))
    pci = "/sys/devices/pci0000:00/0000:00:03.0"
    host.add(
        {
            f"{pci}/virtio2/net/eth0/device": Link("../../../virtio2"),
            **{f"{pci}/msi_irqs/{number}": "msix\n" for number in (37, 38, 39)},
            "/sys/class/net/eth0": Link("../../devices/pci0000:00/0000:00:03.0/virtio2/net/eth0"),
        }
    )
    assert [irq.number for irq in nic_interrupts(host, "eth0")] == [37, 38, 39]


def test_without_vectors_the_names_count(tmp_path: pathlib.Path) -> None:
    host = recorded_host(tmp_path, files(VIRTIO))
    host.add({"/sys/class/net/eth0/device": Link("../../../virtio2")})
    assert [irq.number for irq in nic_interrupts(host, "eth0")] == [37, 38, 39]
    host.add(files(GRAVITON))
    assert [irq.number for irq in nic_interrupts(host, "ens5")] == [38]
    assert nic_interrupts(host, "ens50") == []


def test_apply_moves_only_what_may_run_elsewhere(ena: RecordedHost) -> None:
    means = IrqAffinity()
    before = means.read(ena, FACTS, NIC)
    assert not before.runs
    means.apply(ena, FACTS, NIC)
    assert [path for path, _text in ena.writes] == [
        "/proc/irq/28/smp_affinity_list",
        "/proc/irq/29/smp_affinity_list",
    ]
    after = means.read(ena, FACTS, NIC)
    assert after.runs
    # irqbalance had given this one a single housekeeping vCPU: that is as wanted.
    assert after.running["irq 30 (eth0-Tx-Rx-1)"] == "1"
    ena.forget()
    means.apply(ena, FACTS, NIC)
    means.persist(ena, FACTS, [NIC])
    assert ena.writes == []


def test_all_leaves_the_nic_to_its_own_knob_and_notes_what_cannot_move(ena: RecordedHost) -> None:
    means = IrqAffinity()
    ena.refuse("/proc/irq/31/smp_affinity_list", errno.EIO)
    assert "irq 31 (nvme0q1)" in means.read(ena, FACTS, ALL).wanted
    means.apply(ena, FACTS, ALL)
    assert [path for path, _text in ena.writes if path.startswith("/proc")] == [
        "/proc/irq/4/smp_affinity_list",
        "/proc/irq/27/smp_affinity_list",
    ]
    after = means.read(ena, FACTS, ALL)
    assert after.runs
    assert after.note == "the kernel keeps these to itself: irq 31 (nvme0q1)"
    assert ena.read(REFUSED) == "31"
    ena.forget()
    means.apply(ena, FACTS, ALL)
    assert ena.writes == []


@pytest.mark.parametrize("code", [errno.EIO, errno.EPERM])
def test_a_nic_whose_interrupts_the_kernel_keeps_is_unsupported(ena: RecordedHost, code: int) -> None:
    means = IrqAffinity()
    for number in (28, 29, 30):
        ena.refuse(f"/proc/irq/{number}/smp_affinity_list", code)
    means.apply(ena, FACTS, recorded_setting("irq", "nic", "3"))
    assert "keeps all of them to itself" in means.read(ena, FACTS, NIC).unsupported


def test_no_room_for_the_interrupt_fails_with_the_reason_and_the_others_move(ena: RecordedHost) -> None:
    ena.refuse("/proc/irq/28/smp_affinity_list", errno.ENOSPC)
    with pytest.raises(KnobFailed, match=re.escape(os.strerror(errno.ENOSPC))):
        IrqAffinity().apply(ena, FACTS, NIC)
    assert ena.read("/proc/irq/29/smp_affinity_list") == "0-1"


def test_an_affinity_that_the_kernel_does_not_keep_fails(ena: RecordedHost) -> None:
    ena.kernel["/proc/irq/28/smp_affinity_list"] = lambda text: "0-3\n"
    with pytest.raises(KnobFailed, match="keeps 0-3 instead of 0-1"):
        IrqAffinity().apply(ena, FACTS, NIC)


def test_one_that_is_served_elsewhere_until_its_next_interrupt_is_noted(ena: RecordedHost) -> None:
    ena.kernel["/proc/irq/29/smp_affinity_list"] = lambda text: text
    (pathlib.Path(ena.path("/proc/irq/29/effective_affinity_list"))).write_text("2\n")
    means = IrqAffinity()
    means.apply(ena, FACTS, NIC)
    reading = means.read(ena, FACTS, NIC)
    assert reading.runs
    assert reading.note == "served elsewhere until their next interrupt: irq 29 (eth0-Tx-Rx-0)"


def test_restore_finds_interrupts_that_have_other_numbers_now_and_leaves_out_those_that_are_gone(
    ena: RecordedHost,
) -> None:
    means = IrqAffinity()
    means.apply(ena, FACTS, NIC)
    ena.forget()
    original = {
        "irq 28 (ena-mgmnt@pci:0000:00:05.0)": "0-3",
        "irq 77 (eth0-Tx-Rx-0)": "2",
        "irq 78 (eth0-Tx-Rx-9)": "2",
        "irq 29": "2",
    }
    means.restore(ena, FACTS, NIC, original)
    assert ena.writes == [("/proc/irq/28/smp_affinity_list", "0-3\n"), ("/proc/irq/29/smp_affinity_list", "2\n")]
    ena.forget()
    means.restore(ena, FACTS, NIC, original)
    assert ena.writes == []


def test_the_default_is_a_mask_and_shown_as_a_list(ena: RecordedHost) -> None:
    means = IrqAffinity()
    original = dict(means.read(ena, FACTS, DEFAULT_SETTING).running)
    assert original == {"default": "0-3"}
    means.apply(ena, FACTS, DEFAULT_SETTING)
    assert ena.writes == [(DEFAULT, "3\n")]
    assert means.read(ena, FACTS, DEFAULT_SETTING).runs
    means.apply(ena, FACTS, DEFAULT_SETTING)
    assert len(ena.writes) == 1
    means.restore(ena, FACTS, DEFAULT_SETTING, original)
    assert ena.read(DEFAULT) == "f"


def test_a_default_that_the_kernel_does_not_keep_fails(ena: RecordedHost) -> None:
    ena.kernel[DEFAULT] = lambda text: "f\n"
    with pytest.raises(KnobFailed, match="keeps 0-3 instead of 0-1"):
        IrqAffinity().apply(ena, FACTS, DEFAULT_SETTING)


def test_without_an_interface_or_interrupts_it_is_unsupported(ena: RecordedHost, tmp_path: pathlib.Path) -> None:
    means = IrqAffinity()
    assert "no network interface" in means.read(ena, recorded_facts(interface=""), NIC).unsupported
    assert "no interrupt of eth7" in means.read(ena, recorded_facts(interface="eth7"), NIC).unsupported
    empty = recorded_host(tmp_path / "empty", {})
    assert "no interrupts" in means.read(empty, FACTS, ALL).unsupported
    assert DEFAULT in means.read(empty, FACTS, DEFAULT_SETTING).unsupported

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Conditions: each can hold and can fail, and says in one sentence why it does not hold."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.catalogue import ALL
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.conditions import ARGUED, CONDITIONS, find, why_not
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.cpu_plan import plan_cpus
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, CpuPlan, Facts, Topology

PLAN = CpuPlan((0, 1), (2, 3, 4, 5))
MACHINE = Facts(
    family="intel",
    arch="x86_64",
    distribution="debian",
    version="12",
    kernel="6.1.0-38-cloud-amd64",
    kernel_config={"CONFIG_NO_HZ_FULL": "y", "CONFIG_VFIO_PCI": "m", "CONFIG_VFIO_NOIOMMU": "n", "CONFIG_HZ": "250"},
    topology=Topology(tuple(Cpu(number, number // 2 * 2, number // 4) for number in range(8))),
    memory_kib=4 * 1024 * 1024,
    interface="ens5",
    driver="ena",
    disks=("nvme0n1",),
    bootloader="grub_dropin",
)
SMALL = Topology((Cpu(0, 0, 0),))

#: Condition, what changes so that it fails, the reason then.
CASES: tuple[tuple[str, dict[str, t.Any], str], ...] = (
    ("x86", {"arch": "aarch64"}, "this is an aarch64 machine, and only x86_64 has it"),
    ("numa", {"topology": SMALL}, "this machine has a single NUMA node"),
    ("smt", {"topology": SMALL}, "the vCPUs here are whole physical cores, without SMT siblings"),
    ("several_cpus", {"topology": SMALL}, "this machine has a single vCPU"),
    ("systemd", {"systemd": False}, "this machine does not run systemd"),
    ("interface", {"interface": ""}, "no network interface of a real device was found"),
    ("disks", {"disks": ()}, "no disk of a real device was found"),
    ("bootloader", {"bootloader": ""}, "no boot loader that can be set was found (GRUB with drop-ins, or grubby)"),
    ("config:CONFIG_NO_HZ_FULL", {"kernel_config": {"CONFIG_SMP": "y"}}, "was built without CONFIG_NO_HZ_FULL"),
    ("config:CONFIG_VFIO_PCI", {"kernel_config": {"CONFIG_VFIO_PCI": "n"}}, "was built without CONFIG_VFIO_PCI"),
    (
        "no_config:CONFIG_VFIO_NOIOMMU",
        {"kernel_config": {"CONFIG_VFIO_NOIOMMU": "y"}},
        "built with CONFIG_VFIO_NOIOMMU",
    ),
    ("family:intel|amd", {"family": "graviton"}, "the CPU family here is graviton, and it is for intel or amd"),
    ("not_family:graviton", {"family": "graviton"}, "it does not help on graviton"),
    ("driver:ena", {"driver": "virtio_net"}, "ens5 has the driver virtio_net, and it is for ena"),
    ("driver:ena", {"driver": "", "interface": ""}, "the interface's driver is not known"),
    ("kernel:5.13", {"kernel": "5.10.0-1-amd64"}, "it needs Linux 5.13 or later, and this is 5.10.0-1-amd64"),
    ("kernel_before:6.6", {"kernel": "6.12.1"}, "Linux has it no more since 6.6, and this is 6.12.1"),
    ("distribution:debian|ubuntu", {"distribution": "amzn"}, "the distribution here is amzn"),
    ("not_distribution:rhel", {"distribution": "rhel"}, "it is not for rhel"),
    ("memory_gib:4", {"memory_kib": 1024 * 1024}, "it needs 4 GiB of memory, and this machine has 1.0 GiB"),
)


@pytest.mark.parametrize(("name", "changes", "told"), CASES)
def test_a_condition_holds_or_tells_why_not(name: str, changes: dict[str, t.Any], told: str) -> None:
    assert why_not([name], MACHINE, PLAN) == ""
    reason = why_not([name], dataclasses.replace(MACHINE, **changes), PLAN)
    assert told in reason
    assert "\n" not in reason and not reason.endswith(".")


def test_arm64_is_the_other_way_round() -> None:
    assert "only aarch64" in why_not(["arm64"], MACHINE, PLAN)
    assert why_not(["arm64"], dataclasses.replace(MACHINE, arch="aarch64"), PLAN) == ""


def test_isolation_passes_the_plans_reason_on() -> None:
    assert why_not(["isolation"], MACHINE, PLAN) == ""
    two_cores = Topology(tuple(Cpu(number, number // 2 * 2, 0) for number in range(4)))
    plan = plan_cpus(two_cores)
    assert why_not(["isolation"], MACHINE, plan) == plan.reason != ""
    assert why_not(["isolation"], MACHINE, CpuPlan((0,), ())) == "no vCPU is isolated here"


def test_a_kernels_configuration_that_cannot_be_read_proves_nothing() -> None:
    unknown = dataclasses.replace(MACHINE, kernel_config={})
    assert why_not(["config:CONFIG_NO_HZ_FULL", "no_config:CONFIG_NO_HZ_FULL"], unknown, PLAN) == ""


def test_releases_compare_as_numbers() -> None:
    assert why_not(["kernel:6.9"], dataclasses.replace(MACHINE, kernel="6.18.30-68.122.amzn2023"), PLAN) == ""
    assert why_not(["kernel:6.9"], dataclasses.replace(MACHINE, kernel="garbage"), PLAN) != ""


def test_the_first_reason_counts() -> None:
    assert "aarch64" in why_not(["isolation", "arm64", "driver:gve"], MACHINE, PLAN)
    assert why_not([], MACHINE, PLAN) == ""


def test_every_condition_is_tried_both_ways_here() -> None:
    tried = {name.partition(":")[0] for name, _changes, _told in CASES} | {"arm64", "isolation"}
    assert tried == {*CONDITIONS, *ARGUED}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "isolated",
        "config",
        "config:",
        "config:no_hz",
        "family:",
        "family:intel|arm",
        "kernel:6",
        "memory_gib:many",
        ":",
    ],
)
def test_an_unknown_condition_is_no_condition(name: str) -> None:
    with pytest.raises(KeyError):
        find(name)


def test_the_catalogue_names_known_conditions_only() -> None:
    for knob in ALL.values():
        for name in knob.applies_if:
            find(name)

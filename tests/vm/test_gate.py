# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The evidence gate on a machine that boots: a group that harms is turned back, one that does nothing is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.machine import TestMachine

pytestmark = pytest.mark.full

# The CPU that pings stay on.
CPU = 1

#: Some ten round trips of an emulated machine, and as much as the driver allows.
HELD_BACK_US = "10000"

KNOBS = [
    {
        "id": "test_does_nothing",
        "group": "test_neutral",
        "means": "sysctl",
        "target": "kernel.core_uses_pid",
        "value": "1",
        "summary": "Names core dumps by their process, which no packet ever notices.",
        "source": "test",
    },
    {
        "id": "test_moderation",
        "group": "test_harm",
        "means": "nic",
        "target": "coalesce.rx-usecs",
        "value": HELD_BACK_US,
        "summary": "Holds received packets back for longer than a whole round trip takes.",
        "source": "test",
    },
]

# The same harm, and none, by what only a boot brings: the driver's least rate of interrupts, 100 a second.
BOOT_HARM = ("e1000e.InterruptThrottleRate", "100")
BOOT_KNOBS = [
    {
        "id": "test_boot_does_nothing",
        "group": "test_boot_neutral",
        "means": "cmdline",
        "target": "lowlatency_test.nothing",
        "value": "1",
        "effect": "boot",
        "summary": "A parameter that nothing in the kernel reads.",
        "source": "test",
    },
    {
        "id": "test_boot_moderation",
        "group": "test_boot_harm",
        "means": "cmdline",
        "target": BOOT_HARM[0],
        "value": BOOT_HARM[1],
        "effect": "boot",
        "summary": "Holds received packets back for longer than a whole round trip takes.",
        "source": "test",
    },
]

# As fast as answers come: a packet that follows another within the moderation's time is held back for the rest of it,
# one after a pause is not.
RATE = 1_000

GATE: dict[str, Any] = {
    "os_tuning_gate": True,
    "os_tuning_gate_peer": "peer",
    "os_tuning_gate_runs": 3,
    "os_tuning_gate_ping": {"samples": 400, "blocks": 16, "warmup": 3, "max_rate": RATE, "cpu": CPU},
    "os_tuning_gate_handshake": {"samples": 400, "warmup": 10, "max_rate_per_address": RATE, "timeout_ms": 1_000},
    # The test is of harm by a multiple. What else runs on the machine that emulates this one is not the test's.
    "os_tuning_gate_judge": {"tolerance_percent": 100},
    "os_tuning_gate_jitter": {"duration_s": 4, "blocks": 4},
    "os_tuning_packages": [],
    "os_tuning_probe_endpoints": [],
}
REPORT = "/root/trading_system_tuning_report.json"


def held_back_us(vm: TestMachine) -> str:
    """How long the interface holds back what it received, in microseconds (below 10: a mode of the driver)."""
    shown = vm.ssh("sudo ethtool -c enp0s2")
    (line,) = [line for line in shown.splitlines() if line.startswith("rx-usecs:")]
    return line.split()[1]


def test_what_harms_is_turned_back_and_what_does_nothing_is_kept(fresh_vm: TestMachine) -> None:
    vm = fresh_vm
    assert vm.read("/proc/sys/kernel/core_uses_pid") == "0"
    stock_us = held_back_us(vm)
    assert stock_us != HELD_BACK_US
    done = vm.play(
        "tune_os",
        "--tags",
        "os_tuning",
        os_tuning_groups=["test_neutral", "test_harm"],
        os_tuning_extra_knobs=KNOBS,
        os_tuning_gate_peer_address=vm.peer.address,
        **GATE,
    )
    print(done.stdout[-4_000:])
    assert vm.read("/proc/sys/kernel/core_uses_pid") == "1", "the group that does nothing is kept"
    assert held_back_us(vm) == stock_us, "the group that harms is turned back"

    record = json.loads(vm.read(REPORT))
    verdicts = {one["group"]: one for one in found(record, "decision")}
    print(json.dumps(verdicts, indent=1, ensure_ascii=False))
    assert verdicts["test_neutral"]["decision"] == "keep"
    assert verdicts["test_harm"]["decision"] == "roll_back"
    for verdict in verdicts.values():
        measures = {one["name"]: one for one in verdict["measures"]}
        assert measures["ping"]["samples_before"] == 3 * 400
        assert measures["ping"]["verdict"] != "not_evaluated"
        assert measures["handshake_wire"]["verdict"] != "not_evaluated"
        assert measures["jitter"]["verdict"] != "not_evaluated", "the image has cyclictest"
    ping = verdicts["test_harm"]["measures"][0]
    assert "worse" in (ping["p50_verdict"], ping["p99_verdict"])


def test_a_group_of_the_boot_is_compared_across_the_reboot(fresh_vm: TestMachine) -> None:
    vm = fresh_vm
    stock_us, first_boot = held_back_us(vm), vm.boot_id()
    done = vm.play(
        "tune_os",
        "--tags",
        "os_tuning",
        os_tuning_groups=["test_boot_neutral", "test_boot_harm"],
        os_tuning_extra_knobs=BOOT_KNOBS,
        os_tuning_gate_peer_address=vm.peer.address,
        os_tuning_reboot_ok=True,
        **GATE,
    )
    print(done.stdout[-4_000:])
    record = json.loads(vm.read(REPORT))
    verdicts = {one["group"]: one for one in found(record, "decision")}
    print(json.dumps(verdicts, indent=1, ensure_ascii=False))
    assert verdicts["test_boot_neutral"]["decision"] == "keep"
    assert verdicts["test_boot_harm"]["decision"] == "roll_back"
    for verdict in verdicts.values():
        measures = {one["name"]: one for one in verdict["measures"]}
        assert measures["ping"]["samples_after"] == 3 * 400
        assert measures["ping"]["verdict"] != "not_evaluated"
    parameters = vm.read("/proc/cmdline").split()
    assert "lowlatency_test.nothing=1" in parameters
    assert "=".join(BOOT_HARM) not in parameters, "turned back, and booted without it"
    assert "=".join(BOOT_HARM) not in vm.ssh("sudo cat /boot/grub/grub.cfg")
    assert held_back_us(vm) == stock_us
    assert vm.boot_id() != first_boot


def found(document: Any, key: str) -> Iterator[dict[str, Any]]:
    """Every dictionary with a key, however deep."""
    if isinstance(document, dict):
        if key in document:
            yield document
        for value in document.values():
            yield from found(value, key)
    elif isinstance(document, list):
        for value in document:
            yield from found(value, key)

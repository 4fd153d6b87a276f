# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs that are killed half-way: the machine boots, and the next run completes. One machine goes through all of it."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator

import pytest
from support.machine import TestMachine, machine
from support.machine_tuning import GRUB, STORE, SYSCTLS, killing_the_module

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestMachine]:
    """A machine that boots from the stock image."""
    with machine(tmp_path_factory.mktemp("interrupted"), vcpus=6) as made:
        yield made


def interrupted(vm: TestMachine, condition: str, **variables: t.Any) -> None:
    """Run tune_os.yml and kill its module in the machine when the condition holds."""
    with killing_the_module(vm, condition):
        output = vm.play("tune_os", "--tags", "os_tuning", fails=True, **variables).stdout
    assert re.search(r"machine\s+: .*failed=1", output), output[-3000:]


@pytest.mark.parametrize(
    "condition", [f"[ -e {STORE} ]", f"[ -e {GRUB} ]", f"[ -e {SYSCTLS} ]"], ids=["store", "grub", "sysctls"]
)
def test_a_run_is_killed(vm: TestMachine, condition: str) -> None:
    interrupted(vm, condition)


def test_the_machine_boots_all_the_same(vm: TestMachine) -> None:
    vm.reboot()
    assert vm.ssh("systemctl is-system-running --wait", check=False) in ("running", "degraded")


def test_what_is_unfinished_is_drift(vm: TestMachine) -> None:
    assert "has drifted" in vm.play("verify_os", fails=True).stdout


def test_the_next_run_completes(vm: TestMachine) -> None:
    vm.play("tune_os", os_tuning_reboot_ok=True)
    assert "none has drifted" in vm.play("verify_os").stdout


def test_a_power_cut_right_after_a_change_leaves_a_machine_that_boots(vm: TestMachine) -> None:
    vm.ssh("sudo sysctl -qw vm.swappiness=60")
    vm.kill()
    vm.start()
    assert "none has drifted" in vm.play("verify_os").stdout


def test_turning_back_that_is_killed_is_completed_by_the_next_run(vm: TestMachine) -> None:
    interrupted(vm, f"[ ! -e {SYSCTLS} ]", os_tuning_state="absent")
    vm.play("tune_os", "--tags", "os_tuning", os_tuning_state="absent", os_tuning_reboot_ok=True)
    left = vm.ssh("sudo find /etc /boot /var/lib /usr/local -name '*lowlatency*' -not -path '*/.ansible/*'")
    assert left == ""
    assert "isolcpus" not in vm.read("/proc/cmdline")
    assert vm.ssh("sudo sysctl -n net.core.busy_poll") == "0"

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The machine that the other tests tune boots, ends and goes as asked; test_one_machine.py has what it shows of itself.

The tests of the first machine build on each other, in their order.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_region.network.layout import LabNetwork
from support.lab import ROOT
from support.machine import TestMachine, machine


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestMachine]:
    with machine(tmp_path_factory.mktemp("machine"), vcpus=6) as booted:
        yield booted


@pytest.mark.full
def test_a_grub_drop_in_is_on_the_command_line_after_a_reboot(vm: TestMachine) -> None:
    line = 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT isolcpus=4-5"'
    vm.ssh(f"echo '{line}' | sudo tee /etc/default/grub.d/99-test.cfg; sudo update-grub")
    vm.reboot()
    command_line = vm.read("/proc/cmdline").split()
    assert "isolcpus=4-5" in command_line and "nvme_core.io_timeout=4294967295" in command_line
    assert vm.read("/sys/devices/system/cpu/isolated") == "4-5"


@pytest.mark.full
def test_the_power_button_and_another_size(vm: TestMachine) -> None:
    vm.stop()
    assert vm.exits[-1] == "guest-shutdown" and not vm.computer.running
    vm.start(vcpus=8)
    assert vm.ssh("nproc --all") == "8"
    assert vm.read("/sys/devices/system/cpu/isolated") == "4-5", "the disk is the same"


@pytest.mark.full
def test_a_power_cut(vm: TestMachine) -> None:
    vm.ssh("sudo touch /root/written; sync")
    vm.kill()
    assert vm.exits[-1] == "lost"
    vm.start(vcpus=2)
    assert vm.ssh("sudo ls /root/written; nproc --all").split() == ["/root/written", "2"]


def test_a_killed_owner_takes_the_machine_with_it(tmp_path: Path) -> None:
    """Nobody is left to clean up after kill -9, so QEMU has to end by itself."""
    script = (
        "import sys; from pathlib import Path; from support.machine import machine\n"
        f"with machine(Path({str(tmp_path)!r}), vcpus=2, boot=False) as vm:\n"
        "    vm.computer.start(); print(vm.computer.spec.name, vm.computer.pid, flush=True); sys.stdin.read()\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/roles/lab/files:{ROOT}/tests"}
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    name = ""
    try:
        assert owner.stdout is not None
        name, pid = owner.stdout.readline().split()
        watched = os.pidfd_open(int(pid))
        owner.send_signal(signal.SIGKILL)
        owner.wait(10)
        assert select.select([watched], [], [], 20)[0], "QEMU outlives its owner"
        os.close(watched)
    finally:
        owner.kill()
        owner.communicate(timeout=10)
        # As the next machine on this index would.
        if name:
            LabNetwork(int(name.removeprefix("ll").removesuffix("-machine"))).down()

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The machine that the other tests tune: what it shows of itself, and that it boots, ends and goes as asked.

The tests of the first machine build on each other, in their order.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_region.hosts.processes import with_argument
from local_region.network.layout import LabNetwork
from support.lab import ROOT
from support.machine import TestMachine, machine

USER_DATA = "#!/bin/sh\necho ran >>/root/user-data\nid -u >>/root/user-data\n"


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestMachine]:
    with machine(tmp_path_factory.mktemp("machine"), vcpus=6, user_data=USER_DATA) as booted:
        yield booted
        index = int(booted.computer.spec.name.removeprefix("ll").removesuffix("-machine"))
        name = booted.computer.spec.name
    assert not LabNetwork(index).leftovers()
    assert not with_argument(name)
    assert not booted.computer.spec.folder.exists()


def nic(vm: TestMachine) -> str:
    return vm.ssh('ip -json route show default | sed \'s/.*"dev":"\\([^"]*\\)".*/\\1/\'')


def test_it_has_siblings_nodes_and_an_nvme_root(vm: TestMachine) -> None:
    assert vm.ssh("nproc --all") == "6"
    pairs = vm.ssh("cat /sys/devices/system/cpu/cpu?/topology/thread_siblings_list").split()
    assert pairs == ["0-1", "0-1", "2-3", "2-3", "4-5", "4-5"]
    assert vm.ssh("cat /sys/devices/system/node/node?/cpulist").split() == ["0-3", "4-5"]
    assert "GenuineIntel" in vm.ssh("lscpu")
    assert vm.ssh("findmnt --noheadings --output SOURCE /").startswith("/dev/nvme0n1")
    assert vm.read("/sys/class/dmi/id/sys_vendor") == "Amazon EC2"


def test_its_nic_has_rings_coalescing_and_interrupts(vm: TestMachine) -> None:
    device = nic(vm)
    before = vm.ssh(f"sudo ethtool -g {device}")
    vm.ssh(f"sudo ethtool -G {device} rx 4096; sudo ethtool -C {device} rx-usecs 0")
    after = vm.ssh(f"sudo ethtool -g {device}")
    assert before != after and "4096" in after.split("Current")[1]
    assert "rx-usecs: 0" in " ".join(vm.ssh(f"sudo ethtool -c {device}").split())
    assert vm.ssh(f"grep -c {device} /proc/interrupts") == "3"
    assert "ID_NET_LINK_FILE=" in vm.ssh(f"udevadm info /sys/class/net/{device}")


def test_a_link_that_is_down_for_a_moment_takes_no_address_and_no_route_along(vm: TestMachine) -> None:
    """Another ring takes the link down for a second or two, as it may when a machine is tuned."""
    device = nic(vm)
    changes = f"/sys/class/net/{device}/carrier_changes"
    gone = vm.ssh(
        f"set -e; before=$(cat {changes}); ip -4 monitor address route >/tmp/monitored & monitor=$!; sleep 1\n"
        f"sudo ethtool -G {device} rx 512\n"
        f"for _ in $(seq 100); do sleep 0.2; [ $(($(cat {changes}) - before)) -lt 2 ] || break; done\n"
        f"sleep 2; kill $monitor; [ $(($(cat {changes}) - before)) -ge 2 ]; grep Deleted /tmp/monitored || true"
    )
    assert gone == ""


def test_the_seed_was_taken_once(vm: TestMachine) -> None:
    assert vm.ssh("hostname") == vm.computer.spec.seed.hostname
    assert vm.read("/root/user-data").split() == ["ran", "0"]
    assert json.loads(vm.read("/run/cloud-init/result.json"))["v1"]["errors"] == []


def test_a_login_goes_through_pam(vm: TestMachine) -> None:
    vm.ssh("echo 'admin hard nofile 12345' | sudo tee /etc/security/limits.d/50-test.conf")
    vm._forget_connections()
    assert vm.ssh("ulimit -Hn") == "12345"
    vm.ssh("sudo rm /etc/security/limits.d/50-test.conf")


def test_ansible_reaches_it_and_the_peer_and_they_reach_each_other(vm: TestMachine) -> None:
    assert vm.module("ansible.builtin.ping")["ping"] == "pong"
    assert vm.module("ansible.builtin.ping", host="peer")["ping"] == "pong"
    assert vm.module("ansible.builtin.stat", {"path": "/no/such"}, check=True)["stat"] == {"exists": False}
    assert "/no/such" in vm.module("ansible.builtin.slurp", {"src": "/no/such"}, fails=True)["msg"]
    vm.ssh(f"timeout 20 python3 -c 'import socket; socket.create_connection((\"{vm.peer.address}\", 22), 10)'")
    vm.peer.run("timeout", "20", "python3", "-c", f"import socket; socket.create_connection(('{vm.address}', 22), 10)")


def test_a_grub_drop_in_is_on_the_command_line_after_a_reboot(vm: TestMachine) -> None:
    line = 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT isolcpus=4-5"'
    vm.ssh(f"echo '{line}' | sudo tee /etc/default/grub.d/99-test.cfg; sudo update-grub")
    pid = vm.computer.pid
    vm.reboot()
    command_line = vm.read("/proc/cmdline").split()
    assert "isolcpus=4-5" in command_line and "nvme_core.io_timeout=4294967295" in command_line
    assert vm.read("/sys/devices/system/cpu/isolated") == "4-5"
    assert vm.computer.pid == pid and vm.exits == []
    assert vm.read("/root/user-data").split() == ["ran", "0"], "user data runs once"


def test_a_guest_that_switches_itself_off_is_noticed(vm: TestMachine) -> None:
    vm.ssh("sudo systemctl --no-block poweroff", check=False)
    assert vm.computer.wait(120)
    assert vm.exits == ["guest-shutdown"]


def test_the_same_disk_boots_in_another_size(vm: TestMachine) -> None:
    vm.start(vcpus=8)
    assert vm.ssh("nproc --all") == "8"
    assert vm.read("/sys/devices/system/cpu/isolated") == "4-5", "the disk is the same"


def test_the_power_button_and_a_power_cut(vm: TestMachine) -> None:
    vm.ssh("sudo touch /root/written; sync")
    vm.kill()
    assert vm.exits[-1] == "lost"
    vm.start(vcpus=2)
    assert vm.ssh("sudo ls /root/written; nproc --all").split() == ["/root/written", "2"]
    vm.stop()
    assert vm.exits[-1] == "guest-shutdown" and not vm.computer.running


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

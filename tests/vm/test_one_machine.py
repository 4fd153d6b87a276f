# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One machine from its first boot on: what it shows of itself, tune_os.yml and verify_os.yml on it, and its end.

It boots once from the stock image and once more as it is tuned. It is verified, broken by hand, tuned again, and turned
back; the first run that turns it back is killed half-way. Each test depends on those before it. Everything is asserted
from the running kernel. The tests marked `full` go on where the others end: with the boot after it was turned back.
"""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Iterator

import pytest
from local_region.hosts.processes import with_argument
from local_region.network.layout import LabNetwork
from support.machine import BOOT_TIMEOUT_S, TestMachine, machine
from support.machine_tuning import (
    ONLY_A_BOOT_CHANGES,
    PROBE,
    REPORT,
    SYSCTLS,
    THP,
    Tuned,
    changes,
    killing_the_module,
    recap,
    state,
    ways_to_break,
)

USER_DATA = "#!/bin/sh\necho ran >>/root/user-data\nid -u >>/root/user-data\n"
#: Huge pages are an option, off by default; 16 of 2 MiB fit into a small machine.
WISH: dict[str, t.Any] = {"knobs": {"hugepages": True}, "parameters": {"hugepages": "16"}}
ROLES_WISH = {f"os_tuning_{name}": value for name, value in WISH.items()}
ISOLATED = "2-5"


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestMachine]:
    with machine(tmp_path_factory.mktemp("machine"), vcpus=6, user_data=USER_DATA) as booted:
        yield booted
        name = booted.computer.spec.name
    assert not LabNetwork(int(name.removeprefix("ll").removesuffix("-machine"))).leftovers()
    assert not with_argument(name)
    assert not booted.computer.spec.folder.exists()


@pytest.fixture(scope="module")
def tuned(vm: TestMachine) -> Tuned:
    """The machine with what it was before it was tuned."""
    # The image's own was made in a folder; what the machine makes of the same settings is what can be compared.
    vm.ssh("sudo update-grub 2>&1")
    return Tuned(vm, state(vm))


def nic(vm: TestMachine) -> str:
    return vm.ssh('ip -json route show default | sed \'s/.*"dev":"\\([^"]*\\)".*/\\1/\'')


def current_ring(vm: TestMachine) -> str:
    """How many received packets the interface keeps at most."""
    shown = vm.ssh(f"sudo ethtool -g {nic(vm)}").partition("Current")[2]
    (ring,) = re.findall(r"RX:\s+(\d+)", shown)
    return ring


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
    ring = current_ring(vm)
    (moderation,) = re.findall(r"rx-usecs: (\d+)", vm.ssh(f"sudo ethtool -c {device}"))
    vm.ssh(f"sudo ethtool -G {device} rx 4096; sudo ethtool -C {device} rx-usecs 0")
    assert ring != current_ring(vm) == "4096"
    assert "rx-usecs: 0" in " ".join(vm.ssh(f"sudo ethtool -c {device}").split())
    assert vm.ssh(f"grep -c {device} /proc/interrupts") == "3"
    assert "ID_NET_LINK_FILE=" in vm.ssh(f"udevadm info /sys/class/net/{device}")
    vm.ssh(f"sudo ethtool -G {device} rx {ring}; sudo ethtool -C {device} rx-usecs {moderation}")


def test_a_link_that_is_down_for_a_moment_takes_no_address_and_no_route_along(vm: TestMachine) -> None:
    """Another ring takes the link down for a second or two, as it may when a machine is tuned."""
    device, ring = nic(vm), current_ring(vm)
    assert ring != "512"
    changes = f"/sys/class/net/{device}/carrier_changes"
    gone = vm.ssh(
        f"set -e; ip -4 monitor address route >/tmp/monitored & monitor=$!; sleep 1\n"
        f"for size in 512 {ring}; do before=$(cat {changes}); sudo ethtool -G {device} rx $size\n"
        f"while [ $(($(cat {changes}) - before)) -lt 2 ]; do sleep 0.2; done; done\n"
        f"sleep 2; kill $monitor; grep Deleted /tmp/monitored || true"
    )
    assert gone == ""
    assert current_ring(vm) == ring


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
    assert vm.module("ansible.builtin.stat", {"path": "/no/such"}, check=True)["stat"] == {"exists": False}
    assert "/no/such" in vm.module("ansible.builtin.slurp", {"src": "/no/such"}, host="peer", fails=True)["msg"]
    vm.ssh(f"timeout 20 python3 -c 'import socket; socket.create_connection((\"{vm.peer.address}\", 22), 10)'")
    vm.peer.run("timeout", "20", "python3", "-c", f"import socket; socket.create_connection(('{vm.address}', 22), 10)")


def test_check_mode_on_a_stock_machine_would_change_and_writes_nothing(tuned: Tuned) -> None:
    told = tuned.vm.module("lowlatency.ec2.os_knobs", WISH, check=True)
    assert told["changed"] and told["reboot_required"]
    assert "applied" in {one["status"] for one in told["results"] if one["id"] == "busy_poll"}
    assert tuned.stock.differences(state(tuned.vm), times=True) == {}


def test_it_is_tuned_and_rebooted(tuned: Tuned) -> None:
    vm = tuned.vm
    before, pid = vm.boot_id(), vm.computer.pid
    # To find that there is no address discoverer takes an emulated machine long; a test below does it.
    output = vm.play("tune_os", "--skip-tags", "probe_discover", os_tuning_reboot_ok=True, **ROLES_WISH).stdout
    assert recap(output)["failed"] == 0
    assert vm.boot_id() != before
    assert vm.computer.pid == pid and vm.exits == [], "a reboot stays within the machine"
    assert vm.read("/root/user-data").split() == ["ran", "0"], "user data runs once"
    assert vm.ssh("handshake-probe --endpoint localhost:22 --samples 5").endswith("1 endpoint.")


def test_the_kernel_took_its_command_line(tuned: Tuned) -> None:
    words = tuned.vm.read("/proc/cmdline").split()
    assert f"isolcpus=managed_irq,domain,{ISOLATED}" in words
    assert f"nohz_full={ISOLATED}" in words
    assert f"rcu_nocbs={ISOLATED}" in words
    # What the image had there stays.
    assert set(tuned.stock.kernel["/proc/cmdline"].split()) <= set(words)
    assert tuned.vm.read("/sys/devices/system/cpu/isolated") == ISOLATED
    assert tuned.vm.read("/sys/devices/system/cpu/nohz_full") == ISOLATED


def test_the_kernel_has_what_is_set_while_it_runs(tuned: Tuned) -> None:
    vm = tuned.vm
    assert re.search(r"\[(\w+)\]", vm.read(THP)).group(1) == "never"  # type: ignore[union-attr]
    assert re.search(r"HugePages_Total:\s+16\b", vm.read("/proc/meminfo"))
    assert int(vm.read("/sys/devices/virtual/workqueue/cpumask").replace(",", ""), 16) == 0b11
    for name, value in {
        "net.core.busy_poll": "50",
        "net.core.busy_read": "50",
        "vm.swappiness": "1",
        "kernel.numa_balancing": "0",
        "net.ipv4.tcp_rmem": "4096 1048576 16777216",
        "net.ipv4.tcp_timestamps": "1",
    }.items():
        assert vm.ssh(f"sudo sysctl -n {name}").split() == value.split(), name
    (scheduler,) = re.findall(r"\[([\w-]+)\]", vm.read("/sys/block/nvme0n1/queue/scheduler"))
    assert scheduler == "none"
    assert vm.ssh("systemctl is-enabled man-db.timer", check=False) != "enabled"


def test_interrupts_that_can_be_moved_are_on_housekeeping_cpus(tuned: Tuned) -> None:
    assert int(tuned.vm.read("/proc/irq/default_smp_affinity").replace(",", ""), 16) == 0b11
    nic = tuned.vm.ssh("ls /sys/class/net/*/device/msi_irqs").split()
    assert nic
    for number in nic:
        assert set(tuned.vm.read(f"/proc/irq/{number}/effective_affinity_list")) <= set("01-,"), number


def test_a_new_login_has_the_limits(tuned: Tuned) -> None:
    # A connection of its own: an open one keeps the limits that it began with.
    assert tuned.vm.ssh("sudo -n true; ulimit -n; ulimit -l; ulimit -r").split() == ["1048576", "unlimited", "99"]


def test_the_report_is_there_and_tells_all(tuned: Tuned) -> None:
    text = tuned.vm.read(f"{REPORT}.txt")
    document = json.loads(tuned.vm.read(f"{REPORT}.json"))
    assert document["cpu_plan"] == {"housekeeping": [0, 1], "isolated": [2, 3, 4, 5], "reason": ""}
    assert document["reboot"] == {"required": False, "allowed": True, "done": True}
    assert document["failure"] == ""
    assert {knob["status"] for knob in document["knobs"]} <= {"applied", "already", "unsupported"}
    for knob in document["knobs"]:
        assert knob["id"] in text
        assert knob["source"]
        assert knob["reason"] or knob["status"] != "unsupported"
    (thp,) = [knob for knob in document["knobs"] if knob["id"] == "thp"]
    assert thp["status"] == "applied"


def test_verifying_names_exactly_what_was_broken_by_hand(tuned: Tuned) -> None:
    statuses = {knob["id"]: knob["status"] for knob in json.loads(tuned.vm.read(f"{REPORT}.json"))["knobs"]}
    breaks = {name: how for name, how in ways_to_break().items() if statuses.get(name) in ("applied", "already")}
    assert {"thp", "swappiness", "isolcpus"} <= set(breaks)
    tuned.vm.ssh("sudo sh -ec '" + "; ".join(breaks.values()) + "'")
    # Where huge pages are transparent again, the kernel wants more memory free, and raises this by itself.
    breaks["min_free_kbytes"] = f"follows {THP}"
    output = tuned.vm.play("verify_os", fails=True).stdout
    (named,) = set(re.findall(r"machine has drifted: ([\w, ]+)", output))
    assert set(named.split(", ")) == set(breaks)


def test_tuning_again_mends_what_was_broken(tuned: Tuned) -> None:
    assert tuned.vm.module("lowlatency.ec2.os_knobs", WISH)["changed"]
    output = tuned.vm.play("verify_os").stdout
    assert "none has drifted" in output
    assert recap(output)["changed"] == 0


def test_another_run_changes_nothing(tuned: Tuned) -> None:
    before = state(tuned.vm)
    output = tuned.vm.play("tune_os", "--tags", "os_tuning", "--diff", os_tuning_reboot_ok=True, **ROLES_WISH).stdout
    assert changes(output) == []
    assert recap(output)["changed"] == 0
    assert before.differences(state(tuned.vm), times=True) == {}


def test_turning_back_that_is_killed_is_completed_by_the_next_run(tuned: Tuned) -> None:
    vm = tuned.vm
    with killing_the_module(vm, f"[ ! -e {SYSCTLS} ]"):
        vm.module("lowlatency.ec2.os_knobs", {"state": "absent"}, fails=True)
    assert tuned.stock.differences(state(vm)).keys() - ONLY_A_BOOT_CHANGES - {PROBE}, "it was killed half-way"
    output = vm.play("tune_os", "--tags", "os_tuning", os_tuning_state="absent").stdout
    assert recap(output)["failed"] == 0
    # Until the next boot the kernel runs with the old command line; what it will boot with is among the files.
    assert tuned.stock.differences(state(vm)).keys() - ONLY_A_BOOT_CHANGES == {PROBE}


@pytest.mark.full
def test_turning_back_again_changes_nothing(tuned: Tuned) -> None:
    assert not tuned.vm.module("lowlatency.ec2.os_knobs", {"state": "absent"})["changed"]


@pytest.mark.full
def test_the_boot_after_it_was_turned_back_leaves_it_as_it_was(tuned: Tuned) -> None:
    tuned.vm.play("tune_os", "--tags", "probe", probe_state="absent")
    tuned.vm.reboot()
    assert tuned.stock.differences(state(tuned.vm)) == {}


@pytest.mark.full
def test_a_whole_check_mode_run_would_change_and_writes_nothing(tuned: Tuned) -> None:
    before = state(tuned.vm)
    output = tuned.vm.play("tune_os", "--check", "--diff", **ROLES_WISH).stdout
    assert recap(output)["changed"] >= 2
    assert "busy_poll" in output
    assert before.differences(state(tuned.vm), times=True) == {}


@pytest.mark.full
def test_verifying_what_is_not_tuned_fails(tuned: Tuned) -> None:
    assert "was never tuned" in tuned.vm.play("verify_os", fails=True).stdout


@pytest.mark.full
def test_whole_runs_tune_it_change_nothing_and_turn_it_back_with_a_reboot(tuned: Tuned) -> None:
    """All of tune_os.yml, the role probe too, where the tests above run one of its roles or modules."""
    vm, before = tuned.vm, tuned.vm.boot_id()
    assert recap(vm.play("tune_os", os_tuning_reboot_ok=True, **ROLES_WISH).stdout)["changed"] > 0
    assert vm.boot_id() != before
    assert "none has drifted" in vm.play("verify_os").stdout
    output = vm.play("tune_os", "--diff", os_tuning_reboot_ok=True, **ROLES_WISH).stdout
    assert changes(output) == [] and recap(output)["changed"] == 0
    before = vm.boot_id()
    vm.play("tune_os", os_tuning_state="absent", probe_state="absent", os_tuning_reboot_ok=True)
    assert vm.boot_id() != before
    assert tuned.stock.differences(state(vm)) == {}
    output = vm.play("tune_os", "--tags", "os_tuning", os_tuning_state="absent").stdout
    assert recap(output)["changed"] == 0


def test_a_guest_that_switches_itself_off_is_noticed(vm: TestMachine) -> None:
    vm.ssh("sudo systemctl --no-block poweroff", check=False)
    assert vm.computer.wait(BOOT_TIMEOUT_S)
    assert vm.exits == ["guest-shutdown"]

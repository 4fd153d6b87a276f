# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tune_os.yml and verify_os.yml on a Linux that boots: from stock to tuned, to drifted, to tuned, and back to stock.

One machine goes through all of it, so that the tests depend on those before them. Everything is asserted from the
running kernel.
"""

from __future__ import annotations

import json
import re
import time
import typing as t
from collections.abc import Iterator

import pytest
from support.machine import TestMachine, machine
from support.machine_state import State, command

REPORT = "/root/trading_system_tuning_report"
#: Huge pages are an option, off by default; 16 of 2 MiB fit into a small machine.
WISH: dict[str, t.Any] = {"os_tuning_knobs": {"hugepages": True}, "os_tuning_parameters": {"hugepages": "16"}}
ISOLATED = "2-5"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"


class Tuned(t.NamedTuple):
    """A machine on its way; stock: what it was before."""

    vm: TestMachine
    stock: State
    seconds: dict[str, float]

    def play(self, name: str, playbook: str, *options: str, **variables: t.Any) -> str:
        """Run a playbook, note how long it took under a name, and give what it printed."""
        began_s = time.monotonic()
        done = self.vm.play(playbook, *options, **variables)
        self.seconds[name] = time.monotonic() - began_s
        return done.stdout


def state(vm: TestMachine) -> State:
    return State.read(vm.ssh(f"sudo sh -c '{command()}'"))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuned]:
    """A machine that boots from the stock image; what took how long is printed at the end."""
    with machine(tmp_path_factory.mktemp("tune"), vcpus=6) as vm:
        seconds: dict[str, float] = {}
        # The image's own was made in a folder; what the machine makes of the same settings is what can be compared.
        vm.ssh("sudo update-grub 2>&1")
        yield Tuned(vm, state(vm), seconds)
        print("\n" + "\n".join(f"{name}: {took:.1f} s" for name, took in seconds.items()))


def recap(output: str) -> dict[str, int]:
    """The counts of the machine in a play's recap."""
    (line,) = [line for line in output.splitlines() if re.match(r"machine\s+: ok=", line)]
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}


def changes(output: str) -> list[str]:
    """What a play printed of the tasks that changed something."""
    tasks = re.split(r"(?m)^(?=TASK |RUNNING HANDLER |PLAY )", output)
    return [task for task in tasks if re.search(r"(?m)^changed: ", task)]


def test_check_mode_on_a_fresh_machine_would_change_and_writes_nothing(tuned: Tuned) -> None:
    output = tuned.play("check mode", "tune_os", "--check", "--diff", **WISH)
    assert recap(output)["changed"] >= 2
    assert "busy_poll" in output
    assert tuned.stock.differences(state(tuned.vm), times=True) == {}


def test_it_is_tuned_and_rebooted(tuned: Tuned) -> None:
    before = tuned.vm.boot_id()
    output = tuned.play("first run, with a reboot", "tune_os", os_tuning_reboot_ok=True, **WISH)
    assert tuned.vm.boot_id() != before
    assert recap(output)["failed"] == 0
    assert tuned.vm.ssh("handshake-probe --endpoint localhost:22 --samples 5").endswith("1 endpoint.")


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


def test_a_second_run_changes_nothing(tuned: Tuned) -> None:
    before = state(tuned.vm)
    output = tuned.play("second run", "tune_os", "--diff", os_tuning_reboot_ok=True, **WISH)
    assert changes(output) == []
    assert recap(output)["changed"] == 0
    assert before.differences(state(tuned.vm), times=True) == {}


def test_verifying_passes_and_changes_nothing(tuned: Tuned) -> None:
    output = tuned.play("verify", "verify_os")
    assert "none has drifted" in output
    assert recap(output)["changed"] == 0


def broken(vm: TestMachine) -> dict[str, str]:
    """Knobs of several groups, each with a command that breaks it by hand. A kernel may keep another value of one."""
    return {
        "thp": f"echo always > {THP}",
        "swappiness": "sysctl -qw vm.swappiness=60",
        "busy_poll": "sysctl -qw net.core.busy_poll=0",
        "workqueue_cpumask": "echo 3f > /sys/devices/virtual/workqueue/cpumask",
        "disk_add_random": "echo 1 > /sys/block/nvme0n1/queue/add_random",
        "man_db_timer_off": "systemctl -q enable man-db.timer",
        # What only persists: the running kernel is still as wanted.
        "isolcpus": "sed -i s/isolcpus=/isolcpus_was=/ /etc/default/grub.d/99-zz-lowlatency.cfg /boot/grub/grub.cfg",
        "limit_rtprio": "sed -i /rtprio/d /etc/security/limits.d/99-zz-lowlatency.conf",
    }


def test_verifying_names_exactly_what_was_broken_by_hand(tuned: Tuned) -> None:
    found = {knob["id"]: knob["status"] for knob in json.loads(tuned.vm.read(f"{REPORT}.json"))["knobs"]}
    breaks = {name: how for name, how in broken(tuned.vm).items() if found.get(name) in ("applied", "already")}
    assert {"thp", "swappiness", "isolcpus"} <= set(breaks)
    tuned.vm.ssh("sudo sh -ec '" + "; ".join(breaks.values()) + "'")
    # Where huge pages are transparent again, the kernel wants more memory free, and raises this by itself.
    breaks["min_free_kbytes"] = f"follows {THP}"
    output = tuned.vm.play("verify_os", fails=True).stdout
    (named,) = set(re.findall(r"machine has drifted: ([\w, ]+)", output))
    assert set(named.split(", ")) == set(breaks)


def test_tuning_again_mends_what_was_broken(tuned: Tuned) -> None:
    output = tuned.play("mending", "tune_os", **WISH)
    assert recap(output)["changed"] > 0
    assert "none has drifted" in tuned.vm.play("verify_os").stdout


def test_turning_back_leaves_the_machine_as_it_was(tuned: Tuned) -> None:
    output = tuned.play("turning back, with a reboot", "tune_os", os_tuning_state="absent", os_tuning_reboot_ok=True)
    assert recap(output)["failed"] == 0
    tuned.vm.play("tune_os", "--tags", "probe", probe_state="absent")
    left = tuned.stock.differences(state(tuned.vm))
    assert left == {}


def test_turning_back_again_changes_nothing(tuned: Tuned) -> None:
    assert recap(tuned.vm.play("tune_os", "--tags", "os_tuning", os_tuning_state="absent").stdout)["changed"] == 0
    assert "was never tuned" in tuned.vm.play("verify_os", fails=True).stdout

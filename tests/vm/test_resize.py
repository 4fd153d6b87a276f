# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A tuned machine that comes up on another size: its plan follows, with one boot more and never a loop.

One machine goes through all of it, so that the tests depend on those before them. Boots are counted by a unit of the
test's own, which appends a line before anything else can ask for a reboot.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterator

import pytest
from support.machine import BOOT_TIMEOUT_S, TestMachine, machine

pytestmark = pytest.mark.full

KNOBS = ("isolcpus", "nohz_full", "irqaffinity")
CPUS = "/sys/devices/system/cpu"
RECORD = "/var/lib/lowlatency-ec2/boot.json"
BOOTS = "/var/lib/test-boots"

COUNTER = f"""\
[Unit]
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target lowlatency-tuning.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cat /proc/sys/kernel/random/boot_id >> {BOOTS}; sync'
[Install]
WantedBy=sysinit.target
"""

#: A boot loader that shows a right configuration and boots another one: the one that it had when this was put there.
STUCK = """\
sudo cp /boot/grub/grub.cfg /boot/grub/stuck.cfg
printf '#!/bin/sh\\necho configfile /boot/grub/stuck.cfg\\n' | sudo tee /etc/grub.d/06_stuck > /dev/null
sudo chmod 755 /etc/grub.d/06_stuck
sudo update-grub 2>&1
"""


class Seen(t.NamedTuple):
    """What a running machine shows of its plan. boots: all until now."""

    boots: int
    isolated: str
    nohz_full: str
    line: dict[str, str]


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestMachine]:
    """A machine of three cores, tuned, not yet rebooted."""
    with machine(tmp_path_factory.mktemp("resize"), vcpus=6) as made:
        put = f"sudo tee /etc/systemd/system/count-boots.service > /dev/null <<'END'\n{COUNTER}END"
        made.ssh(f"{put}\nsudo systemctl enable count-boots.service 2>&1; sudo touch {BOOTS}")
        yield made


def see(vm: TestMachine) -> Seen:
    output = vm.ssh(f"cat {BOOTS} | wc -l; cat {CPUS}/isolated; cat {CPUS}/nohz_full; cat /proc/cmdline")
    boots, isolated, nohz_full, line = output.split("\n")
    parameters = (word.partition("=") for word in line.split())
    return Seen(
        int(boots),
        isolated.strip(),
        nohz_full.strip().replace("(null)", ""),
        {name: value for name, _equals, value in parameters if name in KNOBS},
    )


def resize(vm: TestMachine, vcpus: int) -> Seen:
    vm.stop()
    vm.start(vcpus=vcpus, wait=False)
    vm.wait_for_ssh(timeout_s=2 * BOOT_TIMEOUT_S)
    return see(vm)


def journal(vm: TestMachine) -> str:
    """What the early unit said in this boot."""
    return vm.ssh("sudo journalctl -b -o cat -u lowlatency-tuning.service")


def record(vm: TestMachine) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads(vm.read(RECORD)))


def wanted(isolated: str, housekeeping: str) -> dict[str, str]:
    return {"isolcpus": f"managed_irq,domain,{isolated}", "nohz_full": isolated, "irqaffinity": housekeeping}


def test_the_size_that_it_is_tuned_on(vm: TestMachine) -> None:
    told = vm.module("lowlatency.ec2.os_knobs", {"groups": ["boot"]})
    assert told["changed"] and told["reboot_required"]
    assert told["cpu_plan"]["isolated"] in ("2-5", [2, 3, 4, 5])
    before = see(vm)
    assert (before.isolated, before.line) == ("", {})
    vm.reboot()
    after = see(vm)
    assert after.boots == before.boots + 1, "the reboot that was asked for, and none more"
    assert (after.isolated, after.nohz_full, after.line) == ("2-5", "2-5", wanted("2-5", "0-1"))


def test_the_units_run_without_a_cycle(vm: TestMachine) -> None:
    failed = vm.ssh("systemctl --failed --no-legend --plain")
    assert "lowlatency" not in failed, failed + journal(vm)
    assert vm.ssh("systemctl show -P ActiveState lowlatency-tuning.service") == "active"
    assert "ordering cycle" not in vm.ssh("sudo journalctl -b -o cat _PID=1")
    order = vm.ssh(
        "systemctl show -P ActiveEnterTimestampMonotonic lowlatency-tuning.service sysinit.target ssh.service"
    ).split()
    assert [int(each) for each in order] == sorted(int(each) for each in order), "before every service"


def test_another_size_takes_one_boot_more(vm: TestMachine) -> None:
    before = see(vm)
    after = resize(vm, 8)
    assert after.boots == before.boots + 2
    assert (after.isolated, after.nohz_full, after.line) == ("2-7", "2-7", wanted("2-7", "0-1"))
    assert (record(vm)["rebooted"], record(vm)["tried"]) == (False, [])
    shown = vm.module("lowlatency.ec2.os_knobs_info")
    assert shown["drifted"] == []


def test_the_same_size_again_takes_none_more(vm: TestMachine) -> None:
    before = see(vm)
    after = resize(vm, 8)
    assert after == before._replace(boots=before.boots + 1)


def test_under_three_cores_nothing_is_isolated(vm: TestMachine) -> None:
    before = see(vm)
    after = resize(vm, 4)
    assert after.boots == before.boots + 2
    assert (after.isolated, after.nohz_full, after.line) == ("", "", {})


def test_a_boot_loader_that_never_takes_the_line(vm: TestMachine) -> None:
    """It costs one reboot, once, and the machine comes up each time and says what is wrong."""
    vm.ssh(STUCK)
    before = see(vm)
    after = resize(vm, 6)
    assert after.boots == before.boots + 2
    assert (after.isolated, after.line) == ("", {})
    assert "rebooted for it just now" in journal(vm)
    tried = record(vm)["tried"]
    assert [each["line"].split()[-1] for each in tried] and "2-5" in json.dumps(tried)
    again = resize(vm, 6)
    assert again.boots == after.boots + 1
    assert record(vm)["tried"] == tried


def test_when_it_takes_the_line_at_last_all_is_as_planned(vm: TestMachine) -> None:
    vm.ssh("sudo rm /etc/grub.d/06_stuck /boot/grub/stuck.cfg; sudo update-grub 2>&1")
    before = see(vm)
    vm.reboot()
    after = see(vm)
    assert after.boots == before.boots + 1
    assert (after.isolated, after.nohz_full, after.line) == ("2-5", "2-5", wanted("2-5", "0-1"))
    assert record(vm)["tried"] == []


def test_the_way_out_on_the_kernels_command_line(vm: TestMachine) -> None:
    """Somebody who mends a machine keeps the units from running, from the boot loader's prompt."""
    vm.ssh("sudo sed -i 's/quiet/quiet lowlatency.tuning=off/' /boot/grub/grub.cfg")
    before = see(vm)
    after = resize(vm, 8)
    assert after.boots == before.boots + 1
    assert (
        vm.ssh("systemctl show -P ConditionResult lowlatency-tuning.service lowlatency-tuning-late.service")
        == "no\n\nno"
    )

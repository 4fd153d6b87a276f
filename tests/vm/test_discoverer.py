# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The address discoverer under a systemd that runs: its timer, its user, its sandbox, and its end without a trace.

One machine goes through all of it, so that the tests depend on those before them.
"""

from __future__ import annotations

import json
import re
import time
import typing as t

import pytest
from support.machine import BOOT_TIMEOUT_S, TestMachine

pytestmark = pytest.mark.full

PLAY = """
- hosts: machine
  become: true
  gather_facts: false
  roles: [lowlatency.ec2.probe]
"""
UNIT = "lowlatency-addresses"
OWNER = "lowlatency-addresses"
FOLDER = "/var/lib/lowlatency-addresses"
DOCUMENT = f"{FOLDER}/addresses.json"
LEFT_WITHOUT_A_TRACE = (
    FOLDER,
    f"/etc/systemd/system/{UNIT}.service",
    f"/etc/systemd/system/{UNIT}.timer",
    f"/etc/systemd/system/timers.target.wants/{UNIT}.timer",
    "/etc/address-discoverer.json",
    "/usr/local/bin/address-discoverer",
    "/usr/local/bin/handshake-probe",
)
#: What a very busy machine on an emulated CPU may take for a few passes.
PATIENCE_S = BOOT_TIMEOUT_S


def role(vm: TestMachine, *options: str, **variables: t.Any) -> str:
    """Apply the role; sshd of the machine is what answers, and nothing listens at the other address."""
    path = vm.folder / "discover.yml"
    path.write_text(PLAY, encoding="utf-8")
    given = {
        "probe_discover": True,
        "probe_discover_interval_s": 10,
        "probe_discover_endpoints": [
            {"name": "mine", "host": "localhost", "port": 22, "addresses": [vm.address]},
            {"name": "closed", "host": "127.0.0.1", "port": 9},
        ],
        **variables,
    }
    return vm.play(path, *options, **given).stdout


def changed(output: str) -> int:
    (count,) = re.findall(r"machine\s+: ok=\d+\s+changed=(\d+)", output)
    return int(count)


def endpoints(vm: TestMachine) -> dict[str, t.Any]:
    """What the document holds, read as a login user without rights."""
    return t.cast("dict[str, t.Any]", json.loads(vm.ssh(f"cat {DOCUMENT}"))["endpoints"])


@pytest.fixture(scope="module")
def vm(fresh_vm_of_module: TestMachine) -> TestMachine:
    return fresh_vm_of_module


def test_check_mode_on_a_fresh_machine_would_change_and_writes_nothing(vm: TestMachine) -> None:
    assert changed(role(vm, "--check", "--diff")) >= 4
    assert vm.ssh(f"ls -d {' '.join(LEFT_WITHOUT_A_TRACE)} 2>/dev/null", check=False) == ""
    assert vm.ssh(f"id {OWNER}", check=False) == ""


def test_its_timer_runs_it_again_and_again(vm: TestMachine) -> None:
    assert changed(role(vm)) >= 4
    assert vm.ssh(f"systemctl is-enabled {UNIT}.timer") == "enabled"
    assert vm.ssh(f"systemctl is-active {UNIT}.timer") == "active"
    deadline_s = time.monotonic() + PATIENCE_S
    checks = 0
    while checks < 3 and time.monotonic() < deadline_s:
        if vm.ssh(f"test -e {DOCUMENT} && echo there", check=False):
            checks = endpoints(vm)["mine"]["addresses"]["127.0.0.1"]["checks"]
    assert checks >= 3, vm.ssh(f"sudo journalctl --no-pager -u {UNIT}.service | tail -50")


def test_it_knows_who_answers(vm: TestMachine) -> None:
    known = endpoints(vm)
    assert set(known["mine"]["addresses"]) == {"127.0.0.1", vm.address}
    assert {entry["failures"] for entry in known["mine"]["addresses"].values()} == {0}
    assert known["closed"]["addresses"]["127.0.0.1"]["last_alive"] is None
    assert known["closed"]["refusals_in_row"] >= 1


def test_it_is_nobody_of_importance(vm: TestMachine) -> None:
    assert vm.ssh(f"stat -c '%U %a' {DOCUMENT}") == f"{OWNER} 644"
    assert vm.ssh(f"stat -c '%U %a' {FOLDER}") == f"{OWNER} 755"
    assert vm.ssh(f"id -nG {OWNER}") == OWNER
    assert "nologin" in vm.ssh(f"getent passwd {OWNER}")
    # Exposure of at most 2.0, of 10, by systemd's own reckoning.
    vm.ssh(f"sudo systemd-analyze security --no-pager --threshold=20 {UNIT}.service")


def test_a_second_run_changes_nothing(vm: TestMachine) -> None:
    assert changed(role(vm)) == 0
    assert changed(role(vm, "--check")) == 0


def test_another_interval_is_taken_at_once(vm: TestMachine) -> None:
    assert changed(role(vm, probe_discover_interval_s=3600)) >= 2
    assert "1h" in vm.ssh(f"systemctl show -p TimersMonotonic {UNIT}.timer | grep OnUnitInactive")


def test_a_broken_document_is_put_aside(vm: TestMachine) -> None:
    vm.ssh(f"sudo systemctl stop {UNIT}.timer {UNIT}.service; echo '{{' | sudo tee {DOCUMENT}")
    vm.ssh(f"sudo systemctl start {UNIT}.service")
    assert endpoints(vm)["mine"]["addresses"]["127.0.0.1"]["checks"] == 1
    assert vm.read(f"{DOCUMENT}.unreadable") == "{"


def test_it_goes_on_after_a_reboot(vm: TestMachine) -> None:
    role(vm)  # the short interval again
    before = endpoints(vm)["mine"]["addresses"]["127.0.0.1"]
    vm.reboot()
    deadline_s = time.monotonic() + PATIENCE_S
    after = before
    while after["checks"] == before["checks"] and time.monotonic() < deadline_s:
        after = endpoints(vm)["mine"]["addresses"]["127.0.0.1"]
    assert after["checks"] > before["checks"], vm.ssh(f"sudo journalctl --no-pager -b -u {UNIT}.service | tail -50")
    assert after["first_seen"] == before["first_seen"]


def test_it_goes_without_a_trace(vm: TestMachine) -> None:
    assert changed(role(vm, "--check", probe_state="absent")) >= 3
    assert changed(role(vm, probe_state="absent")) >= 3
    assert vm.ssh(f"ls -d {' '.join(LEFT_WITHOUT_A_TRACE)} 2>/dev/null", check=False) == ""
    assert vm.ssh(f"id {OWNER}", check=False) == ""
    assert vm.ssh(f"systemctl list-units --all --no-legend '{UNIT}*'") == ""
    assert changed(role(vm, probe_state="absent")) == 0

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nightly timer of the role cleanup under a systemd that runs: its sandbox, a run of it, its end without a trace.

The machine has no Ansible: a program in its place says what it was given and what it can reach. One machine goes
through all of it, so that the tests depend on those before them.
"""

from __future__ import annotations

import json
import re
import typing as t

import pytest
from support.machine import TestMachine

pytestmark = pytest.mark.full

PLAY = """
- hosts: machine
  become: true
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: lowlatency.ec2.cleanup
        tasks_from: timer
"""
UNIT = "lowlatency-cleanup"
SETTINGS = "/etc/lowlatency-cleanup.json"
FOLDER = "/var/lib/lowlatency-cleanup"
COMMAND = "/usr/local/bin/ansible-playbook-of-a-test"
#: Tells its arguments and its user, whether it can write where it may and may not, and whether it sees process 1.
PROGRAM = """#!/bin/sh
echo "as $(id -un): $*"
touch "$ANSIBLE_HOME/mine" && echo "its own folder: yes"
touch "$HOME/mine" 2>/dev/null && echo "home: yes" || echo "home: no"
touch /etc/mine 2>/dev/null && echo "etc: yes" || echo "etc: no"
cat /proc/1/stat >/dev/null && echo "process 1: seen"
"""
LEFT_WITHOUT_A_TRACE = (
    FOLDER,
    SETTINGS,
    f"/etc/systemd/system/{UNIT}.service",
    f"/etc/systemd/system/{UNIT}.timer",
    f"/etc/systemd/system/timers.target.wants/{UNIT}.timer",
)


def role(vm: TestMachine, *options: str, **variables: t.Any) -> str:
    path = vm.folder / "cleanup_timer.yml"
    path.write_text(PLAY, encoding="utf-8")
    given = {
        "cleanup_timer_command": COMMAND,
        "cleanup_timer_directory": "/",
        "cleanup_timer_inventories": ["localhost,"],
        "cleanup_timer_user": vm.ssh("id -un"),
        **variables,
    }
    return vm.play(path, *options, **given).stdout


def changed(output: str) -> int:
    (count,) = re.findall(r"machine\s+: ok=\d+\s+changed=(\d+)", output)
    return int(count)


@pytest.fixture(scope="module")
def vm(fresh_vm_of_module: TestMachine) -> TestMachine:
    fresh_vm_of_module.ssh(f"echo '{PROGRAM}' | sudo tee {COMMAND} >/dev/null && sudo chmod 755 {COMMAND}")
    return fresh_vm_of_module


def test_check_mode_writes_nothing(vm: TestMachine) -> None:
    assert changed(role(vm, "--check", "--diff")) >= 2
    assert vm.ssh(f"ls -d {' '.join(LEFT_WITHOUT_A_TRACE)} 2>/dev/null", check=False) == ""


def test_its_timer_waits_for_the_night(vm: TestMachine) -> None:
    assert changed(role(vm)) >= 3
    assert vm.ssh(f"systemctl is-enabled {UNIT}.timer") == "enabled"
    assert vm.ssh(f"systemctl is-active {UNIT}.timer") == "active"
    assert "03:30:00" in vm.ssh(f"systemctl show -p TimersCalendar {UNIT}.timer")
    assert changed(role(vm)) == changed(role(vm, "--check")) == 0


def test_a_run_reaches_what_it_needs_and_no_more(vm: TestMachine) -> None:
    vm.ssh(f"sudo systemctl start {UNIT}.service")
    user = vm.ssh("id -un")
    told = vm.ssh(f"sudo journalctl --no-pager -o cat -u {UNIT}.service").splitlines()
    assert f"as {user}: -i localhost, -e @{SETTINGS} lowlatency.ec2.cleanup" in told
    assert {"its own folder: yes", "home: no", "etc: no", "process 1: seen"} <= set(told)
    assert vm.ssh(f"stat -c '%U %a' {SETTINGS}") == f"{user} 600"
    assert json.loads(vm.read(SETTINGS))["cleanup_all_searches"] is False
    # Exposure of at most 3.5, of 10, by systemd's own reckoning.
    vm.ssh(f"sudo systemd-analyze security --no-pager --threshold=35 {UNIT}.service")


def test_it_goes_without_a_trace(vm: TestMachine) -> None:
    assert changed(role(vm, "--check", cleanup_timer_state="absent")) >= 1
    assert changed(role(vm, cleanup_timer_state="absent")) >= 2
    assert vm.ssh(f"ls -d {' '.join(LEFT_WITHOUT_A_TRACE)} 2>/dev/null", check=False) == ""
    assert vm.ssh(f"systemctl list-units --all --no-legend '{UNIT}*'") == ""
    assert changed(role(vm, cleanup_timer_state="absent")) == 0

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tuning takes on an emulated machine, as Markdown tables. Needs root and QEMU; takes about ten minutes.

    .venv/bin/python tests/bench/tuning.py

A group is one call of os_knobs on a fresh machine, then the same again; the play is tune_os.yml over all groups, on a
fresh machine without a reboot. Seconds of CPU are those that the machine's logins used (its user.slice). Exits 1 when a
limit is missed.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".venv" / "collections"), str(ROOT / "roles" / "lab" / "files"), str(ROOT / "tests")]

from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.catalogue import DEFAULT_GROUPS
from support.machine import TestMachine, machine

APPLY_LIMIT_S, AGAIN_LIMIT_S = 360, 120
VERIFY_LIMIT_S = 5
TURNS = 3


def cpu_s(vm: TestMachine) -> float:
    """Seconds of CPU that all logins have used so far."""
    (line,) = [line for line in vm.read("/sys/fs/cgroup/user.slice/cpu.stat").splitlines() if "usage_usec" in line]
    return int(line.split()[1]) / 1e6


def timed(vm: TestMachine, act: t.Callable[[], t.Any]) -> tuple[t.Any, float, float]:
    """Return what an act returns, its wall time and its CPU time on the machine, in seconds."""
    before_s, began_s = cpu_s(vm), time.monotonic()
    result = act()
    took_s = time.monotonic() - began_s
    return result, took_s, cpu_s(vm) - before_s


def groups(vm: TestMachine) -> bool:
    """Print what each group takes: first, and again. There is no limit to keep."""
    print("| group | knobs | changed | first, s | CPU, s | again, s | CPU, s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for group in DEFAULT_GROUPS:

        def apply(group: str = group) -> dict[str, t.Any]:
            return vm.module("lowlatency.ec2.os_knobs", {"groups": [group]})

        first, first_s, first_cpu_s = timed(vm, apply)
        _again, again_s, again_cpu_s = timed(vm, apply)
        counts = first["counts"]
        changed = counts.get("applied", 0) + counts.get("pending_reboot", 0)
        print(
            f"| {group} | {sum(counts.values())} | {changed} | {first_s:.1f} | {first_cpu_s:.1f} "
            f"| {again_s:.1f} | {again_cpu_s:.1f} |",
            flush=True,
        )
    return True


def plays(vm: TestMachine) -> bool:
    """Print what the playbooks take and how many tasks they are; return whether all limits are kept."""
    print("\n| play | tasks | s | limit, s | CPU, s |\n| --- | --- | --- | --- | --- |")
    kept = True
    for name, playbook, limit_s in (
        ("first run, no reboot", "tune_os", APPLY_LIMIT_S),
        ("second run", "tune_os", AGAIN_LIMIT_S),
        ("verify", "verify_os", AGAIN_LIMIT_S),
    ):
        done, took_s, used_s = timed(vm, lambda playbook=playbook: vm.play(playbook))
        tasks = len(re.findall(r"^TASK", done.stdout, re.M))
        print(f"| {name} | {tasks} | {took_s:.1f} | {limit_s} | {used_s:.1f} |", flush=True)
        kept = kept and took_s < limit_s
    return verify_cpu(vm) and kept


def verify_cpu(vm: TestMachine) -> bool:
    """Print the CPU time of os_knobs_info beyond what any module takes (login, sudo, Ansible's own part)."""
    any_s, info_s = (
        statistics.median(timed(vm, lambda name=name: vm.module(name))[2] for _turn in range(TURNS))
        for name in ("ansible.builtin.ping", "lowlatency.ec2.os_knobs_info")
    )
    print("\n| CPU, s | median of 3 | limit |\n| --- | --- | --- |")
    print(f"| any module (ansible.builtin.ping) | {any_s:.1f} | |\n| os_knobs_info | {info_s:.1f} | |")
    print(f"| os_knobs_info's own | {info_s - any_s:.1f} | {VERIFY_LIMIT_S} |", flush=True)
    return info_s - any_s < VERIFY_LIMIT_S


def main() -> int:
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        for number, measure in enumerate((plays, groups)):
            place = Path(folder) / str(number)
            place.mkdir()
            with machine(place) as vm:
                kept = measure(vm) and kept
                print(flush=True)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab comes up once, refuses what it can't be, and goes without a trace whatever became of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from local_region.daemon import Record
from local_region.hosts.processes import ProcessId, in_network_namespaces, pids
from local_region.network.layout import LabNetwork
from support.calm import calm
from support.lab_under_test import Instance, LabUnderTest, wait_for

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


def state_dir(index: int) -> Path:
    return Path(f"/run/lowlatency-lab/{index}")


def lab_processes(index: int) -> list[ProcessId]:
    """Every process that is of this lab: by what it runs, by its root, or by the namespace that it is in."""
    found = in_network_namespaces(str(path) for path in Path("/run/netns").glob(f"ll{index}-*"))
    for pid in pids():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            mounts = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has just ended
            continue
        ours = f"{state_dir(index)}/settings.json" in command or f"lowerdir={state_dir(index)}/" in mounts
        process = ProcessId.of(pid) if ours else None
        if process is not None:
            found.append(process)
    return found


def everything(index: int) -> dict[str, object]:
    """What a lab could leave behind, seen from outside of its own code."""

    def shown(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    prefix, state = f"ll{index}-", f"{state_dir(index)}/"
    return {
        "namespaces": [line for line in shown("ip", "netns", "list") if line.startswith(prefix)],
        "devices": [line for line in shown("ip", "-o", "link") if prefix in line],
        "routes": [line for line in shown("ip", "route", "show", "table", "all") if prefix in line],
        "mounts": [line for line in shown("cat", "/proc/self/mounts") if state in line.replace(" ", "/")],
        "state": state_dir(index).exists(),
        "processes": lab_processes(index),
    }


NOTHING = {"namespaces": [], "devices": [], "routes": [], "mounts": [], "state": False, "processes": []}


def test_up_and_down_each_change_something_once(new_lab: LabUnderTest) -> None:
    first = new_lab.up()
    assert first["changed"] is True
    assert first["endpoint_url"] == f"http://127.0.0.1:{4566 + new_lab.index}"
    assert [endpoint["name"] for endpoint in first["endpoints"]] == ["fapi-mm", "ws-fapi-mm", "fstream-mm"]
    record = Record.load(str(state_dir(new_lab.index)))
    assert new_lab.up() == {**first, "changed": False}
    assert Record.load(str(state_dir(new_lab.index))) == record
    assert new_lab.command("down") == {"changed": True, "leftovers": []}
    assert new_lab.command("down") == {"changed": False, "leftovers": []}
    assert everything(new_lab.index) == NOTHING


def test_check_changes_nothing(new_lab: LabUnderTest, slow_lab: LabUnderTest) -> None:
    assert new_lab.command("up", "--check")["changed"] is True
    assert everything(new_lab.index) == NOTHING
    assert slow_lab.command("up", "--check")["changed"] is False
    assert slow_lab.command("down", "--check")["changed"] is True
    assert slow_lab.command("status")["up"] is True


def test_an_instance_goes_with_its_lab(new_lab: LabUnderTest) -> None:
    new_lab.up()
    launched = new_lab.launch()
    launched.says("nohup sleep 300 >/dev/null 2>&1 & echo started")
    before = lab_processes(new_lab.index)
    assert len(before) > 6  # daemon, exchange, DNS, delay line, the instance's init and sshd, the sleep
    assert new_lab.command("down")["leftovers"] == []
    assert everything(new_lab.index) == NOTHING
    assert [process for process in before if process.runs()] == []
    assert new_lab.truth_path.exists()


def test_status_shows_instances_and_racks_only_when_asked(new_lab: LabUnderTest, slow_lab: LabUnderTest) -> None:
    assert new_lab.command("status")["table"] == [f"lab {new_lab.index} is down"]
    before = {one["instance_id"] for one in slow_lab.command("status")["instances"]}
    launched = slow_lab.launch(boots=False)
    shown = slow_lab.command("status")
    assert {one["instance_id"] for one in shown["instances"]} == {*before, launched.instance_id}
    assert "rack" not in shown["instances"][0] and "rack-" not in "".join(shown["table"])
    assert slow_lab.command("status", "--racks")["instances"][0]["rack"].startswith("rack-")


def test_instances_end_when_the_daemon_is_killed_and_down_removes_the_rest(new_lab: LabUnderTest) -> None:
    new_lab.up()
    launched = new_lab.launch()
    launched.says("nohup sleep 300 >/dev/null 2>&1 & echo started")
    record = Record.load(str(state_dir(new_lab.index)))
    assert record is not None
    os.kill(record.process.pid, signal.SIGKILL)
    wait_for("the end of all its processes", lambda: not lab_processes(new_lab.index))
    assert new_lab.command("status")["up"] is False
    assert new_lab.command("down") == {"changed": True, "leftovers": []}
    assert everything(new_lab.index) == NOTHING


def test_two_starts_at_once_make_one_lab_and_a_start_after_a_kill_another_one(new_lab: LabUnderTest) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = [each.result() for each in [pool.submit(new_lab.command, "up") for again in range(2)]]
    assert sorted(answer["changed"] for answer in answers) == [False, True]
    record = Record.load(str(state_dir(new_lab.index)))
    assert record is not None
    os.kill(record.process.pid, signal.SIGKILL)
    wait_for("the end", lambda: not record.process.runs())
    assert new_lab.up()["changed"] is True
    again = Record.load(str(state_dir(new_lab.index)))
    assert again is not None and again.process != record.process


def test_a_lab_without_its_record_is_found_and_removed(new_lab: LabUnderTest) -> None:
    new_lab.up()
    before = lab_processes(new_lab.index)
    (state_dir(new_lab.index) / "daemon.json").unlink()
    assert "runs without its state" in new_lab.command("up", fails=True)["error"]
    assert new_lab.command("down") == {"changed": True, "leftovers": []}
    assert everything(new_lab.index) == NOTHING
    assert [process for process in before if process.runs()] == []


def test_other_settings_are_refused_while_it_is_up(slow_lab: LabUnderTest) -> None:
    answer = slow_lab.command("up", fails=True, seed=9, scenario="throttled")
    assert answer["error"] == (
        f"lab {slow_lab.index} is up with other settings (lab_seed is 1, not 9; lab_scenario is none, not throttled):"
        " take it down first (lab_state=absent)"
    )
    assert slow_lab.command("up", owner_uid=1)["changed"] is False


def test_a_port_in_use_is_refused_before_anything_is_changed(new_lab: LabUnderTest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer = new_lab.command("up", fails=True, api_port=port)
    assert answer["error"] == f"lab_api_port: 127.0.0.1:{port} is in use, give another port"
    assert everything(new_lab.index) == NOTHING


def test_addresses_in_use_are_refused_before_anything_is_changed(new_lab: LabUnderTest) -> None:
    address = f"{LabNetwork(new_lab.index).addressing.router}/24"
    # Its name is the machine's: by the index, which nobody else has.
    device = f"lltest{new_lab.index}"
    subprocess.run(["ip", "link", "add", device, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", address, "dev", device], check=True)
        answer = new_lab.command("up", fails=True)
    finally:
        subprocess.run(["ip", "link", "del", device], check=True)
    assert answer["error"].startswith(f"lab_index: addresses of lab {new_lab.index} are in use already")
    assert f"address {address} on device {device}" in answer["error"]
    assert everything(new_lab.index) == NOTHING


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("scenario", "no_capcity", "lab_scenario: unknown scenario 'no_capcity'"),
        ("seed", "abc", "lab_seed: must be an integer, not 'abc'"),
        ("boot_s", -1, "lab_boot_s: must be a number of seconds"),
    ],
)
def test_a_bad_value_is_refused_before_anything_is_changed(
    new_lab: LabUnderTest, option: str, value: str | int, error: str
) -> None:
    assert new_lab.command("up", fails=True, **{option: value})["error"].startswith(error)
    assert everything(new_lab.index) == NOTHING


def test_a_slow_boot_is_slow_and_says_so(slow_lab: LabUnderTest) -> None:
    boot_s = slow_lab.options["boot_s"]

    def launch_and_call() -> tuple[Instance, int, float, float]:
        began_s = time.monotonic()
        launched = slow_lab.launch(boots=False)
        return launched, launched.ssh("true").returncode, began_s, time.monotonic() - began_s

    launched, code, began_s, _took_s = calm(
        launch_and_call, lambda tried: None if tried[3] < boot_s else f"a launch and a login took {tried[3]:.1f} s"
    )
    assert code == 255
    wait_for("a login", lambda: launched.ssh("true").returncode == 0)
    assert time.monotonic() - began_s >= boot_s

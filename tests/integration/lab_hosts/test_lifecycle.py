# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab comes up once, refuses what it can't be, and goes without a trace whatever became of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from local_region.daemon import Record
from local_region.hosts.processes import ProcessId, in_network_namespaces, pids
from local_region.network.layout import LabNetwork
from support.lab_under_test import INDEX, LabUnderTest, wait_for

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

STATE_DIR = Path(f"/run/lowlatency-lab/{INDEX}")


def lab_processes() -> list[ProcessId]:
    """Every process that is of this lab: by what it runs, by its root, or by the namespace that it is in."""
    found = in_network_namespaces(str(path) for path in Path("/run/netns").glob(f"ll{INDEX}-*"))
    for pid in pids():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            mounts = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has just ended
            continue
        ours = f"{STATE_DIR}/settings.json" in command or f"lowerdir={STATE_DIR}/" in mounts
        process = ProcessId.of(pid) if ours else None
        if process is not None:
            found.append(process)
    return found


def everything() -> dict[str, object]:
    """What a lab could leave behind, seen from outside of its own code."""

    def shown(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    prefix = f"ll{INDEX}-"
    return {
        "namespaces": [line for line in shown("ip", "netns", "list") if line.startswith(prefix)],
        "devices": [line for line in shown("ip", "-o", "link") if prefix in line],
        "routes": [line for line in shown("ip", "route", "show", "table", "all") if prefix in line],
        "mounts": [line for line in shown("cat", "/proc/self/mounts") if str(STATE_DIR) in line],
        "state": STATE_DIR.exists(),
        "processes": lab_processes(),
    }


NOTHING = {"namespaces": [], "devices": [], "routes": [], "mounts": [], "state": False, "processes": []}


def test_up_and_down_each_change_something_once(new_lab: LabUnderTest) -> None:
    first = new_lab.up()
    assert first["changed"] is True
    assert first["endpoint_url"] == f"http://127.0.0.1:{4566 + INDEX}"
    assert [endpoint["name"] for endpoint in first["endpoints"]] == ["fapi-mm", "ws-fapi-mm", "fstream-mm"]
    record = Record.load(str(STATE_DIR))
    assert new_lab.up() == {**first, "changed": False}
    assert Record.load(str(STATE_DIR)) == record
    assert new_lab.command("down") == {"changed": True, "leftovers": []}
    assert new_lab.command("down") == {"changed": False, "leftovers": []}
    assert everything() == NOTHING


def test_check_changes_nothing(new_lab: LabUnderTest) -> None:
    assert new_lab.command("up", "--check")["changed"] is True
    assert everything() == NOTHING
    new_lab.up()
    assert new_lab.command("up", "--check")["changed"] is False
    assert new_lab.command("down", "--check")["changed"] is True
    assert new_lab.command("status")["up"] is True


def test_an_instance_goes_with_its_lab(new_lab: LabUnderTest) -> None:
    new_lab.up()
    launched = new_lab.launch()
    launched.says("nohup sleep 300 >/dev/null 2>&1 & echo started")
    before = lab_processes()
    assert len(before) > 6  # daemon, exchange, DNS, delay line, the instance's init and sshd, the sleep
    assert new_lab.command("down")["leftovers"] == []
    assert everything() == NOTHING
    assert [process for process in before if process.runs()] == []
    assert new_lab.truth_path.exists()


def test_status_shows_instances_and_racks_only_when_asked(new_lab: LabUnderTest) -> None:
    assert new_lab.command("status")["table"] == [f"lab {INDEX} is down"]
    new_lab.up()
    launched = new_lab.launch(boots=False)
    shown = new_lab.command("status")
    assert [one["instance_id"] for one in shown["instances"]] == [launched.instance_id]
    assert "rack" not in shown["instances"][0] and "rack-" not in "".join(shown["table"])
    assert new_lab.command("status", "--racks")["instances"][0]["rack"].startswith("rack-")


def test_instances_end_when_the_daemon_is_killed_and_down_removes_the_rest(new_lab: LabUnderTest) -> None:
    new_lab.up()
    launched = new_lab.launch()
    launched.says("nohup sleep 300 >/dev/null 2>&1 & echo started")
    record = Record.load(str(STATE_DIR))
    assert record is not None
    os.kill(record.process.pid, signal.SIGKILL)
    wait_for("the end of all its processes", lambda: not lab_processes())
    assert new_lab.command("status")["up"] is False
    assert new_lab.command("down") == {"changed": True, "leftovers": []}
    assert everything() == NOTHING


def test_up_after_a_kill_starts_anew(new_lab: LabUnderTest) -> None:
    new_lab.up()
    record = Record.load(str(STATE_DIR))
    assert record is not None
    os.kill(record.process.pid, signal.SIGKILL)
    wait_for("the end", lambda: not record.process.runs())
    assert new_lab.up()["changed"] is True
    again = Record.load(str(STATE_DIR))
    assert again is not None and again.process != record.process


def test_a_lab_without_its_record_is_found_and_removed(new_lab: LabUnderTest) -> None:
    new_lab.up()
    before = lab_processes()
    (STATE_DIR / "daemon.json").unlink()
    assert "runs without its state" in new_lab.command("up", fails=True)["error"]
    assert new_lab.command("down") == {"changed": True, "leftovers": []}
    assert everything() == NOTHING
    assert [process for process in before if process.runs()] == []


def test_other_settings_are_refused_while_it_is_up(new_lab: LabUnderTest) -> None:
    new_lab.up()
    answer = new_lab.command("up", fails=True, seed=9, scenario="throttled")
    assert answer["error"] == (
        f"lab {INDEX} is up with other settings (lab_seed is 1, not 9; lab_scenario is none, not throttled):"
        " take it down first (lab_state=absent)"
    )
    assert new_lab.command("up", owner_uid=1)["changed"] is False


def test_a_port_in_use_is_refused_before_anything_is_changed(new_lab: LabUnderTest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer = new_lab.command("up", fails=True, api_port=port)
    assert answer["error"] == f"lab_api_port: 127.0.0.1:{port} is in use, give another port"
    assert everything() == NOTHING


def test_addresses_in_use_are_refused_before_anything_is_changed(new_lab: LabUnderTest) -> None:
    address = f"{LabNetwork(INDEX).addressing.router}/24"
    subprocess.run(["ip", "link", "add", "lltest5", "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", address, "dev", "lltest5"], check=True)
        answer = new_lab.command("up", fails=True)
    finally:
        subprocess.run(["ip", "link", "del", "lltest5"], check=True)
    assert answer["error"].startswith(f"lab_index: addresses of lab {INDEX} are in use already")
    assert f"address {address} on device lltest5" in answer["error"]
    assert everything() == NOTHING


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
    assert everything() == NOTHING


def test_a_slow_boot_is_slow_and_says_so(new_lab: LabUnderTest) -> None:
    new_lab.up(boot_s=2.0)
    launched = new_lab.launch(boots=False)
    assert launched.ssh("true").returncode == 255
    wait_for("a login", lambda: launched.ssh("true").returncode == 0)


def test_two_starts_at_once_make_one_lab(new_lab: LabUnderTest) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = [each.result() for each in [pool.submit(new_lab.command, "up") for again in range(2)]]
    assert sorted(answer["changed"] for answer in answers) == [False, True]

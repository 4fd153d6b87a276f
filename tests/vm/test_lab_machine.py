# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The life of a lab's instance that is a machine: it boots, stops, changes its size, moves its address and ends.

Each test depends on those before it, but for the ones marked `full`, which may be left out.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lab_index import free_index
from support.lab_under_test import Instance, LabUnderTest, wait_for
from support.machine import BOOT_TIMEOUT_S

IMAGE = "resolve:ssm:/aws/service/debian/release/12/latest/amd64"

HANDSHAKE = """
import socket, sys, time
best_s = 1.0
for _ in range(50):
    begin_s = time.perf_counter()
    socket.create_connection((sys.argv[1], 443), timeout=2).close()
    best_s = min(best_s, time.perf_counter() - begin_s)
print(best_s * 1e6)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with free_index() as index:
        lab = LabUnderTest(tmp_path_factory.mktemp("lab"), index, BOOT_TIMEOUT_S, {"machines": True})
        try:
            lab.up()
            yield lab
        finally:
            lab.command("down")


@pytest.fixture(scope="module")
def instance(lab: LabUnderTest) -> Instance:
    script = "#!/bin/sh\necho told by user data > /root/from-user-data\n"
    return lab.launch(user="admin", ImageId=IMAGE, InstanceType="c7i.2xlarge", UserData=script)


def processes_of(instance: Instance) -> list[Path]:
    """Every process whose command line names the instance."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if instance.instance_id in command:
            found.append(process)
    return found


def taps(lab: LabUnderTest) -> list[str]:
    shown = subprocess.run(
        ["ip", "-json", "-n", f"ll{lab.index}-vpc", "link", "show", "type", "tun"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [link["ifname"] for link in json.loads(shown.stdout or "[]") if link]


def test_it_boots_a_kernel_of_its_own(instance: Instance) -> None:
    assert instance.says("uname -r") != platform.release()
    assert instance.says("systemd-detect-virt") == "amazon", "its firmware says what an instance says"
    assert instance.says("systemd-detect-virt --container || true") == "none"
    assert instance.says("hostname") == "ip-" + instance.private_address.replace(".", "-")
    assert instance.says("sudo cat /root/from-user-data") == "told by user data"
    # Eight vCPUs in AWS; what is emulated is bounded by the lab's settings, and keeps its siblings.
    assert instance.says("nproc") == "6"
    assert instance.says("cat /sys/devices/system/cpu/cpu0/topology/thread_siblings_list") in ("0-1", "0,1")


def test_its_racks_distance_lies_between_it_and_the_exchange(lab: LabUnderTest, instance: Instance) -> None:
    truth = json.loads(lab.truth_path.read_text(encoding="utf-8"))
    racks = truth["racks"][truth["instances"][instance.instance_id]["rack"]]
    address, truth_us = next(iter(racks["fstream-mm"].items()))
    resolved = instance.says("getent ahostsv4 fstream-mm.binance.com").split()
    assert set(resolved) & set(racks["fstream-mm"]), "the lab's DNS answers the machine too"
    assert float(instance.says(f"python3 -c '{HANDSHAKE}' {address}")) > 0.8 * truth_us


@pytest.mark.full
def test_a_reboot_from_inside_keeps_instance_and_address(instance: Instance) -> None:
    before = instance.says("cat /proc/sys/kernel/random/boot_id")
    instance.says("touch ~/kept; sync")
    instance.ssh("sudo systemctl reboot")
    wait_for(
        "another boot",
        lambda: instance.ssh("cat /proc/sys/kernel/random/boot_id").stdout.strip() not in ("", before),
        BOOT_TIMEOUT_S,
    )
    assert instance.state == "running"
    assert instance.says("ls ~/kept")


@pytest.mark.full
def test_it_stops_and_starts_as_another_size(lab: LabUnderTest, instance: Instance) -> None:
    only_it = {"InstanceIds": [instance.instance_id]}
    lab.ec2.stop_instances(**only_it)
    wait_for("the stop", lambda: instance.state == "stopped", BOOT_TIMEOUT_S)
    assert not processes_of(instance)
    assert not taps(lab)
    lab.ec2.modify_instance_attribute(InstanceId=instance.instance_id, InstanceType={"Value": "c7i.xlarge"})
    lab.ec2.start_instances(**only_it)
    seen = lab.ec2.describe_instances(**only_it)["Reservations"][0]["Instances"][0]
    instance.address = seen["PublicIpAddress"]  # a public address that is not elastic changes over a stop
    instance.wait_until_it_answers()
    assert instance.says("nproc") == "4"
    assert instance.says("ls ~/kept")


@pytest.mark.full
def test_an_elastic_address_leads_to_it(lab: LabUnderTest, instance: Instance) -> None:
    elastic = lab.ec2.allocate_address(Domain="vpc")
    lab.ec2.associate_address(AllocationId=elastic["AllocationId"], InstanceId=instance.instance_id)
    instance.address = elastic["PublicIp"]
    wait_for("the address", lambda: instance.ssh("true").returncode == 0, BOOT_TIMEOUT_S)
    assert instance.says("hostname") == "ip-" + instance.private_address.replace(".", "-")


def test_a_shutdown_from_inside_can_end_it_without_a_trace(lab: LabUnderTest, instance: Instance) -> None:
    disk = Path(f"/run/lowlatency-lab/{lab.index}/machines/{instance.instance_id}")
    assert disk.is_dir() and processes_of(instance) and taps(lab)
    lab.ec2.modify_instance_attribute(
        InstanceId=instance.instance_id, InstanceInitiatedShutdownBehavior={"Value": "terminate"}
    )
    instance.ssh("sudo systemctl poweroff")
    wait_for("the end", lambda: instance.state == "terminated", BOOT_TIMEOUT_S)
    wait_for("no trace", lambda: not (disk.exists() or processes_of(instance) or taps(lab)), BOOT_TIMEOUT_S)

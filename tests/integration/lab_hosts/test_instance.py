# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance of the lab is a host of its own: it can be used as one, and the machine it is on stays as it is."""

from __future__ import annotations

import json
import os
import secrets
import time
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.console import host_keys_in
from support.lab_under_test import Instance, LabUnderTest, wait_for

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

STREAM = "fstream-mm.binance.com"
HANDSHAKES = """
import socket, statistics, struct, sys
wires_us = []
for _ in range(50):
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        attempt.settimeout(2)
        attempt.connect((sys.argv[1], 443))
        wires_us.append(struct.unpack_from("I", attempt.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 68)[0])
print(statistics.median(wires_us))
"""


def test_login_and_sudo(instance: Instance) -> None:
    assert instance.says("id -un; sudo -n id -un").split() == ["ec2-user", "root"]
    assert instance.says("hostname") == "ip-" + instance.private_address.replace(".", "-")
    assert instance.says("/usr/bin/python3 -c 'print(6 * 7)'") == "42"


def test_only_the_launch_key_opens_it(instance: Instance) -> None:
    assert instance.ssh("true", user="root").returncode == 255
    assert "Permission denied" in instance.ssh("true", user="root").stderr


def test_its_console_shows_its_host_key(lab: LabUnderTest, instance: Instance) -> None:
    text = lab.ec2.get_console_output(InstanceId=instance.instance_id, Latest=True)["Output"]
    key = instance.says("cat /etc/ssh/ssh_host_ed25519_key.pub").rsplit(" ", 1)[0]
    assert host_keys_in(text) == [key]


def test_what_is_written_inside_is_not_seen_outside(instance: Instance) -> None:
    name = f"lab-test-{secrets.token_hex(8)}"
    folders = ("/etc", "/usr", "/var/lib", "/tmp", "/run")
    paths = [f"{folder}/{name}" for folder in folders]
    instance.says(f"echo inside | sudo tee {' '.join(paths)}")
    assert instance.says(f"cat {' '.join(paths)}").split() == ["inside"] * len(folders)
    assert [path for path in paths if Path(path).exists()] == []


def test_the_machine_is_not_seen_inside(instance: Instance, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the controller's")
    assert instance.ssh(f"sudo cat {secret}").returncode != 0
    assert instance.says("sudo ls -A /root") == "from-user-data"
    assert instance.says("ls /home") == "ec2-user"
    assert instance.says("sudo ls -A /run/lowlatency-lab 2>/dev/null || echo hidden") == "hidden"
    shadow = Path("/etc/shadow").read_text(encoding="utf-8").split()
    assert set(instance.says("sudo cat /etc/shadow").split()).isdisjoint(line for line in shadow if "$" in line)


def test_the_machine_cannot_be_tuned_from_inside(instance: Instance) -> None:
    before = Path("/proc/sys/vm/swappiness").read_text(encoding="ascii")
    assert instance.ssh("sudo sysctl -w vm.swappiness=1").returncode != 0
    assert instance.ssh("sudo mount -o remount,rw /proc/sys").returncode != 0
    assert instance.ssh("sudo sh -c 'echo x > /proc/sysrq-trigger'").returncode != 0
    assert instance.ssh("sudo mount -t tmpfs none /mnt").returncode != 0
    assert instance.ssh("sudo mknod /dev/disk b 8 0").returncode != 0
    assert Path("/proc/sys/vm/swappiness").read_text(encoding="ascii") == before
    assert instance.says("test -e /etc/lowlatency-lab && echo marked") == "marked"
    assert not Path("/etc/lowlatency-lab").exists()


def test_it_sees_its_own_processes_only(instance: Instance) -> None:
    commands = instance.says("ps -eo pid,args").splitlines()
    assert len(commands) < 15
    assert not any("pytest" in line for line in commands)


def test_user_data_ran_once_as_root(instance: Instance) -> None:
    result = json.loads(wait_for("cloud-init", lambda: instance.ssh("cat /run/cloud-init/result.json").stdout))
    assert result["v1"]["errors"] == []
    assert instance.says("sudo cat /root/from-user-data") == "0"
    hostname = instance.says("hostname")
    assert instance.says("sudo cat /var/log/cloud-init-output.log").splitlines() == ["told by user data", hostname]


def test_the_exchange_is_resolved_and_answers(instance: Instance, lab: LabUnderTest) -> None:
    found = {line.split()[0] for line in instance.says(f"getent ahostsv4 {STREAM}").splitlines()}
    assert found == {f"198.19.{16 * lab.index + 3}.{number}" for number in range(1, 9)}
    address = sorted(found)[0]
    assert "dev eth0" in instance.says(f"ip route get {address}")
    truth = json.loads(lab.truth_path.read_text(encoding="utf-8"))
    rack = truth["instances"][instance.instance_id]["rack"]
    truth_us = truth["racks"][rack]["fstream-mm"][address]
    # A bound that holds on a machine as busy as it likes: the delay line can't be early by more than its jitter.
    assert float(instance.says(f"python3 -c '{HANDSHAKES}' {address}")) > 0.8 * truth_us


def test_nothing_else_is_reached(instance: Instance) -> None:
    for address in ("192.0.2.1", "198.18.255.250"):
        reached = f'socket.create_connection(("{address}", 22), 1)'
        assert instance.ssh(f"python3 -c 'import socket; {reached}'").returncode != 0


def test_a_scheduled_shutdown_is_seen_and_cancelled(instance: Instance) -> None:
    before_s = time.time()
    instance.says("sudo shutdown -h +120")
    seen = dict(line.split("=") for line in instance.says("cat /run/systemd/shutdown/scheduled").splitlines())
    assert seen["MODE"] == "poweroff"
    assert before_s + 7100 < int(seen["USEC"]) / 1e6 < time.time() + 7200
    assert instance.ssh("/usr/sbin/shutdown -c").returncode != 0
    instance.says("sudo shutdown -c")
    assert instance.ssh("cat /run/systemd/shutdown/scheduled").returncode != 0


def test_a_shutdown_from_inside_follows_the_instances_behaviour(lab: LabUnderTest) -> None:
    ending = lab.launch(InstanceInitiatedShutdownBehavior="terminate")
    stopping = lab.launch(InstanceInitiatedShutdownBehavior="stop")
    ending.ssh("sudo shutdown -h now")
    stopping.says("echo kept > ~/kept")
    stopping.ssh("sudo poweroff")
    wait_for("terminated", lambda: ending.state == "terminated")
    wait_for("stopped", lambda: stopping.state == "stopped")
    lab.ec2.start_instances(InstanceIds=[stopping.instance_id])
    wait_for("the second boot", lambda: stopping.state == "running")
    seen = lab.ec2.describe_instances(InstanceIds=[stopping.instance_id])["Reservations"][0]["Instances"][0]
    stopping.address = seen["PublicIpAddress"]  # a public address that is not elastic changes over a stop
    wait_for("a login", lambda: stopping.ssh("true").returncode == 0)
    assert stopping.says("cat ~/kept") == "kept"
    lab.ec2.terminate_instances(InstanceIds=[stopping.instance_id])


def test_a_reboot_keeps_the_disk_and_runs_no_user_data(lab: LabUnderTest) -> None:
    rebooted = lab.launch(UserData="#!/bin/sh\ndate +%s%N >> /root/boots\n")
    wait_for("cloud-init", lambda: rebooted.ssh("sudo cat /root/boots").stdout)
    rebooted.ssh("touch /tmp/gone-with-the-boot; sudo shutdown -r now")
    wait_for("the second boot", lambda: rebooted.ssh("test ! -e /tmp/gone-with-the-boot").returncode == 0)
    wait_for("cloud-init", lambda: rebooted.ssh("cat /run/cloud-init/result.json").stdout)
    assert len(rebooted.says("sudo cat /root/boots").split()) == 1
    assert rebooted.state == "running"
    lab.ec2.terminate_instances(InstanceIds=[rebooted.instance_id])


def test_an_elastic_address_moves(lab: LabUnderTest, instance: Instance) -> None:
    other = lab.launch()
    elastic = lab.ec2.allocate_address(Domain="vpc")
    for holder in (instance, other):
        lab.ec2.associate_address(
            AllocationId=elastic["AllocationId"], InstanceId=holder.instance_id, AllowReassociation=True
        )
        name = "ip-" + holder.private_address.replace(".", "-")
        reached = Instance(lab, holder.instance_id, elastic["PublicIp"], holder.private_address)
        wait_for("the address", lambda: reached.ssh("hostname").stdout.strip() == name)  # noqa: B023
    lab.ec2.terminate_instances(InstanceIds=[other.instance_id])


def test_terminate_removes_everything_of_it(lab: LabUnderTest) -> None:
    short_lived = lab.launch()
    short_lived.says("nohup sleep 300 >/dev/null 2>&1 & echo started")
    namespace = Path(f"/run/netns/ll{lab.index}-{short_lived.instance_id[-8:]}")
    disk = Path(f"/run/lowlatency-lab/{lab.index}/hosts/{short_lived.instance_id}")
    assert namespace.exists() and disk.is_dir()
    lab.ec2.terminate_instances(InstanceIds=[short_lived.instance_id])
    wait_for("the end", lambda: not namespace.exists() and not disk.exists())
    assert not [pid for pid in Path("/proc").glob("[0-9]*") if short_lived.instance_id in _mounts_of(pid)]


def _mounts_of(process: Path) -> str:
    try:
        return (process / "mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has just ended
        return ""

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drives a lab by its command and its API, as the role and a search do."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from support.lab_index import lab_command
from support.times import spent_on

IMAGE = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
# What is waited for ends the wait; a machine that is busy may take its time.
PATIENCE_S = 120.0


def wait_for(what: str, there: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Ask until the answer is true, and return it; fail with what was waited for when it takes far too long."""
    deadline_s = time.monotonic() + patience_s
    with spent_on("wait", what):
        while not (answer := there()):
            assert time.monotonic() < deadline_s, f"waited in vain for: {what}"
            time.sleep(0.05)
    return answer


@dataclass
class Instance:
    """One instance and how to log in."""

    lab: LabUnderTest
    instance_id: str
    address: str
    private_address: str
    user: str = "ec2-user"

    def ssh(self, command: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        # A lab whose machines boot has much patience: their logins are slow too.
        patience_s = max(60.0, self.lab.patience_s)
        connect_s = min(30, round(patience_s / 12))
        options = ["BatchMode=yes", f"ConnectTimeout={connect_s}", "StrictHostKeyChecking=no", "LogLevel=ERROR",
                   f"UserKnownHostsFile={self.lab.folder}/known_hosts-{self.instance_id}"]  # fmt: skip
        given = [part for option in options for part in ("-o", option)]
        login = f"{user or self.user}@{self.address}"
        target = ["-F", "/dev/null", "-i", str(self.lab.key_path), *given, login, command]
        full = ["ssh", *target]
        return subprocess.run(full, capture_output=True, text=True, timeout=patience_s, check=False)

    def says(self, command: str) -> str:
        """Run a command in the instance that must succeed; return what it printed."""
        done = self.ssh(command)
        assert done.returncode == 0, f"{command}: {done.returncode} {done.stderr}"
        return done.stdout.strip()

    def wait_until_it_answers(self) -> None:
        """Wait until EC2 says that it runs and a login succeeds."""
        wait_for("running", lambda: self.state == "running", self.lab.patience_s)
        wait_for("a login", lambda: self.ssh("true").returncode == 0, self.lab.patience_s)

    @property
    def state(self) -> str:
        answer = self.lab.ec2.describe_instances(InstanceIds=[self.instance_id])
        return str(answer["Reservations"][0]["Instances"][0]["State"]["Name"])


@dataclass
class LabUnderTest:
    """A lab of an index that its test took; what its instances need to boot is waited for this long."""

    folder: Path
    index: int
    patience_s: float = PATIENCE_S
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def truth_path(self) -> Path:
        return self.folder / "reports" / "lab_truth.json"

    @property
    def key_path(self) -> Path:
        return self.folder / "key.pem"

    def command(self, name: str, *arguments: str, fails: bool = False, **options: Any) -> dict[str, Any]:
        """Run the lab's command and return its answer."""
        given = {"index": self.index, "truth_path": str(self.truth_path), **self.options, **options}
        return lab_command(name, *arguments, fails=fails, **given)

    def up(self, **options: Any) -> dict[str, Any]:
        self.options.update(options)
        return self.command("up")

    @cached_property
    def ec2(self) -> Any:
        url = f"http://127.0.0.1:{4566 + self.index}"
        return boto3.client("ec2", endpoint_url=url, region_name="ap-northeast-1", aws_access_key_id="lab",
                            aws_secret_access_key="lab")  # fmt: skip

    @cached_property
    def subnet_id(self) -> str:
        """A public subnet where the lab's router is."""
        vpc_id = self.ec2.create_vpc(CidrBlock=f"198.18.{16 * self.index}.0/20")["Vpc"]["VpcId"]
        gateway_id = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway_id, VpcId=vpc_id)
        subnet = self.ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"198.18.{16 * self.index}.0/22")["Subnet"]
        return str(subnet["SubnetId"])

    @cached_property
    def key_name(self) -> str:
        key = self.ec2.create_key_pair(KeyName="test", KeyType="ed25519")
        self.key_path.write_text(key["KeyMaterial"])
        self.key_path.chmod(0o600)
        return "test"

    def launch(self, boots: bool = True, user: str = "ec2-user", **parameters: Any) -> Instance:
        """Launch one instance and, unless told otherwise, wait until it has booted. Parameters are RunInstances'."""
        network = {"DeviceIndex": 0, "SubnetId": self.subnet_id, "AssociatePublicIpAddress": True}
        wanted = {"ImageId": IMAGE, "InstanceType": "c8g.24xlarge", **parameters}
        answer = self.ec2.run_instances(
            MinCount=1, MaxCount=1, KeyName=self.key_name, NetworkInterfaces=[network], **wanted
        )
        instance_id = answer["Instances"][0]["InstanceId"]
        seen = self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
        launched = Instance(self, instance_id, seen["PublicIpAddress"], seen["PrivateIpAddress"], user)
        # What can't leave this machine is all that these tests talk to.
        route = subprocess.run(["ip", "route", "get", launched.address], capture_output=True, text=True, check=True)
        assert f"dev ll{self.index}-ctl" in route.stdout
        if boots:
            launched.wait_until_it_answers()
        return launched

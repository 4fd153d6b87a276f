# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulated region's API as tests use it: in this process, without hosts."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from local_region.api.call_log import Call
from local_region.api.faults import NoFaults
from local_region.api.region_state import Quotas, Timings
from local_region.api.server import RegionApi
from local_region.hosts.backend import NullHosts
from support.modules import run_module

REGION = "ap-northeast-1"
ACCESS_KEY = "AKIALABLABLABLABLAB1"
SECRET_KEY = "lab-secret-key-that-no-result-contains"
PUBLIC_POOL = "198.18.4.0/22"
ELASTIC_POOL = "198.18.8.0/22"
AL2023 = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}"
AL2023_ARM64 = AL2023.format(architecture="arm64")
AL2023_X86_64 = AL2023.format(architecture="x86_64")
NO_WAITING = Timings(pending_s=0.0, shutting_down_s=0.0, stopping_s=0.0, image_s=0.0)


class Clock:
    """The region's clock: real time, which a test can put forward; while C(stopped) it stands between."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._stopped_at_s: float | None = None

    def __call__(self) -> float:
        now_s = time.monotonic() if self._stopped_at_s is None else self._stopped_at_s
        return now_s + self._ahead_s

    @property
    def stopped(self) -> bool:
        """Whether real time is left out."""
        return self._stopped_at_s is not None

    @stopped.setter
    def stopped(self, stop: bool) -> None:
        self._stopped_at_s = time.monotonic() if stop else None

    def advance(self, seconds: float) -> None:
        self._ahead_s += seconds


@dataclass(frozen=True)
class Vpc:
    """What an instance needs: all in ap-northeast-1a, with an internet gateway."""

    vpc_id: str
    subnet_id: str
    security_group_id: str
    key_name: str
    private_key: str
    availability_zone: str = f"{REGION}a"


class TestRegion:
    """A region that forgets everything between tests; states change without waiting unless a test asks."""

    __test__ = False

    def __init__(self) -> None:
        self.clock = Clock()
        self.hosts = NullHosts()
        self._clients: dict[tuple[str, bool, str], Any] = {}
        self.api = RegionApi(
            port=0,
            hosts=self.hosts,
            faults=NoFaults(),
            rack_for=rack_for,
            public_pool=PUBLIC_POOL,
            elastic_pool=ELASTIC_POOL,
            machines=True,
            clock=self.clock,
        )
        self.endpoint_url = self.api.start()
        self.reset()

    def reset(
        self,
        *,
        timings: Timings = NO_WAITING,
        quotas: Quotas | None = None,
        faults: Any = None,
        hosts: Any = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        """Forget everything; give a test its own timings, quotas, faults, hosts or listener."""
        self.hosts = hosts or NullHosts()
        self.api.reset(
            hosts=self.hosts,
            timings=timings,
            quotas=quotas or Quotas(),
            faults=faults or NoFaults(),
            on_change=on_change,
        )

    def client(self, service: str = "ec2", *, retries: bool = False, region: str = REGION) -> Any:
        """Return a boto3 client; by default it sends each call once, so that a test sees each answer.

        Clients are kept: to make one takes longer than a hundred calls, and they can be shared by threads.
        """
        key = (service, retries, region)
        if key not in self._clients:
            self._clients[key] = self._new_client(service, retries, region)
        return self._clients[key]

    def _new_client(self, service: str, retries: bool, region: str) -> Any:
        attempts = {} if retries else {"retries": {"total_max_attempts": 1, "mode": "standard"}}
        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            region_name=region,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(**attempts),
        )

    @property
    def calls(self) -> list[Call]:
        """Every call since the reset."""
        return self.api.calls

    def forget_calls(self) -> None:
        """Begin to count calls anew."""
        self.api.log.clear()

    def write_calls(self) -> list[str]:
        """Return the actions that change something, in order, refused ones too; dry runs are none."""
        return [call.action for call in self.calls if call.write]

    def get(self, path: str) -> Any:
        """Return the JSON that the API answers to a GET beside the AWS protocol."""
        with urllib.request.urlopen(self.endpoint_url + path, timeout=10) as answer:
            return json.loads(answer.read())

    def post(self, path: str) -> Any:
        """Return the JSON that the API answers to a POST beside the AWS protocol."""
        request = urllib.request.Request(self.endpoint_url + path, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    @property
    def connection(self) -> dict[str, str]:
        """The connection options of an AWS module."""
        return {
            "region": REGION,
            "endpoint_url": self.endpoint_url,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
        }

    def run_module(
        self,
        main: Callable[[], None],
        /,
        *,
        check: bool = False,
        diff: bool = False,
        fail_ok: bool = False,
        **args: Any,
    ) -> dict[str, Any]:
        """Run an AWS module's `main` against the region."""
        return run_module(main, {**self.connection, **args}, check=check, diff=diff, fail_ok=fail_ok)

    def make_vpc(self) -> Vpc:
        """Make a VPC with a subnet, an internet gateway, a security group and a key pair."""
        ec2 = self.client()
        vpc_id = ec2.create_vpc(CidrBlock="198.18.0.0/20")["Vpc"]["VpcId"]
        gateway_id = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway_id, VpcId=vpc_id)
        subnet = ec2.create_subnet(VpcId=vpc_id, CidrBlock="198.18.0.0/22", AvailabilityZone=f"{REGION}a")
        group = ec2.create_security_group(GroupName="search", Description="search", VpcId=vpc_id)
        key = ec2.create_key_pair(KeyName="search", KeyType="ed25519")
        self.forget_calls()
        return Vpc(vpc_id, subnet["Subnet"]["SubnetId"], group["GroupId"], "search", key["KeyMaterial"])

    def launch(self, vpc: Vpc, instance_type: str = "c8g.large", **parameters: Any) -> dict[str, Any]:
        """Run one instance and return it as RunInstances shows it; `parameters` go over the defaults."""
        return self.launch_many(vpc, 1, instance_type, **parameters)[0]

    def launch_many(
        self, vpc: Vpc, count: int, instance_type: str = "c8g.large", **parameters: Any
    ) -> list[dict[str, Any]]:
        """Run several instances in one request."""
        wanted = {
            "ImageId": AL2023_ARM64 if "g." in instance_type else AL2023_X86_64,
            "InstanceType": instance_type,
            "MinCount": count,
            "MaxCount": count,
            "KeyName": vpc.key_name,
            "SubnetId": vpc.subnet_id,
            "SecurityGroupIds": [vpc.security_group_id],
            **parameters,
        }
        wanted = {name: value for name, value in wanted.items() if value is not None}
        instances: list[dict[str, Any]] = self.client().run_instances(**wanted)["Instances"]
        return instances

    def describe(self, *instance_ids: str) -> list[dict[str, Any]]:
        """Return instances as DescribeInstances shows them."""
        reservations = self.client().describe_instances(InstanceIds=list(instance_ids))["Reservations"]
        found = {one["InstanceId"]: one for each in reservations for one in each["Instances"]}
        return [found[instance_id] for instance_id in instance_ids]

    def states(self, *instance_ids: str) -> list[str]:
        return [one["State"]["Name"] for one in self.describe(*instance_ids)]


def rack_for(ordinal: int) -> str:
    """Return racks in order, so that a test can tell who drew which."""
    return f"rack-{ordinal:02d}"


def tag_specifications(resource_type: str, tags: dict[str, str]) -> Sequence[dict[str, Any]]:
    """Return tags as create calls take them."""
    return [{"ResourceType": resource_type, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]

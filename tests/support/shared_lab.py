# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One lab for all files of tests of a worker. It is put back to its first state before each of them."""

from __future__ import annotations

import json
import subprocess
import typing as t
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_region.network.addressing import LabAddressing
from support.lab import Lab, free_index
from support.lab_index import lab_command

#: In this region the second rack that is drawn is nearer than the first, and the fourth than both.
SEED = 4
PROJECT = "dc-machine"
_TAGS = [
    {"Key": "Name", "Value": PROJECT},
    {"Key": "lowlatency:project", "Value": PROJECT},
    {"Key": "lowlatency:role", "Value": "network"},
]


@dataclass
class SharedLab:
    """A lab that is up, and a folder of its own."""

    index: int
    folder: Path

    def as_new(self, folder: Path, *, network: bool = True, **variables: t.Any) -> Lab:
        """Put the lab back to its first state and return it, with results in `folder`.

        With `network` it has what setup.yml makes. Raises AssertionError when anything of the test before is left.
        """
        folder.mkdir(exist_ok=True)
        lab = Lab(self.index, folder, variables, shared_truth=self.folder / "lab_truth.json")
        self._put_back()
        leftovers = self._leftovers(lab)
        assert not leftovers, f"left in lab {self.index} by the test before: {leftovers}"
        if network:
            make_network(lab.client("ec2"), self.index, self._public_key())
        return lab

    def _put_back(self) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{4566 + self.index}/lab/reset", method="POST")
        with urllib.request.urlopen(request, timeout=120) as answer:
            assert json.load(answer) == {"leftovers": []}

    def _leftovers(self, lab: Lab) -> list[str]:
        """What tests can leave in a lab, seen from outside: by its API, in the kernel and on the disk."""
        state = Path(f"/run/lowlatency-lab/{self.index}")
        own = {LabAddressing(self.index).vpc_namespace, LabAddressing(self.index).exchange_namespace}
        left = [path.name for path in Path("/run/netns").glob(f"ll{self.index}-*") if path.name not in own]
        left += [str(path) for folder in ("hosts", "machines") for path in (state / folder).glob("i-*")]
        left += [str(path) for path in (state / "log").glob("i-*")]
        left += [f"policy of {key}" for key in lab.ask("/lab/policies")]
        left += [str(each) for path in ("/lab/instances", "/lab/calls") for each in lab.ask(path)]
        left += list(lab.truth()["instances"])
        return left

    def _public_key(self) -> str:
        """The public half of the key at the place where lab and playbooks look for it, made the first time."""
        path = Path(f"/run/lowlatency-lab/{self.index}/dc-machine.pem")
        if not path.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", PROJECT, "-f", str(path)], check=True)
        return path.with_suffix(".pem.pub").read_text(encoding="utf-8")


def make_network(ec2: t.Any, index: int, public_key: str) -> None:
    """Make what setup.yml makes in a lab, in a tenth of its time: test_setup_in_lab.py holds the two together."""
    first = 16 * index
    vpc_id = ec2.create_vpc(CidrBlock=f"198.18.{first}.0/20", TagSpecifications=_tagged("vpc"))["Vpc"]["VpcId"]
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        ec2.modify_vpc_attribute(VpcId=vpc_id, **{attribute: {"Value": True}})
    gateway = ec2.create_internet_gateway(TagSpecifications=_tagged("internet-gateway"))
    gateway_id = gateway["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway_id, VpcId=vpc_id)
    subnet = ec2.create_subnet(
        VpcId=vpc_id,
        CidrBlock=f"198.18.{first}.0/22",
        AvailabilityZone="ap-northeast-1a",
        TagSpecifications=_tagged("subnet"),
    )
    subnet_id = subnet["Subnet"]["SubnetId"]
    ec2.modify_subnet_attribute(SubnetId=subnet_id, MapPublicIpOnLaunch={"Value": True})
    table = ec2.create_route_table(VpcId=vpc_id, TagSpecifications=_tagged("route-table"))
    table_id = table["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table_id, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway_id)
    ec2.associate_route_table(RouteTableId=table_id, SubnetId=subnet_id)
    _make_security_group(ec2, vpc_id, f"198.18.{first + 15}.2/32")
    ec2.import_key_pair(
        KeyName=PROJECT, PublicKeyMaterial=public_key.encode(), TagSpecifications=_tagged("key-pair")
    )


def _make_security_group(ec2: t.Any, vpc_id: str, controller: str) -> None:
    group_id = ec2.create_security_group(
        GroupName=PROJECT,
        Description="SSH from the controller in and HTTPS out, for lowlatency.ec2",
        VpcId=vpc_id,
        TagSpecifications=_tagged("security-group"),
    )["GroupId"]
    ec2.revoke_security_group_egress(
        GroupId=group_id, IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    )
    ec2.authorize_security_group_ingress(
        GroupId=group_id, IpPermissions=[_rule(22, controller, "SSH from the controller")]
    )
    ec2.authorize_security_group_egress(GroupId=group_id, IpPermissions=[_rule(443, "0.0.0.0/0", "to the exchange")])


def _rule(port: int, cidr: str, description: str) -> dict[str, t.Any]:
    return {
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
        "IpRanges": [{"CidrIp": cidr, "Description": description}],
    }


def _tagged(resource_type: str) -> list[dict[str, t.Any]]:
    return [{"ResourceType": resource_type, "Tags": _TAGS}]


@contextmanager
def shared_lab(folder: Path, **settings: t.Any) -> Iterator[SharedLab]:
    """Bring a lab up for all tests of a worker, and take it down in the end."""
    with free_index() as index:
        shared = SharedLab(index, folder)
        try:
            lab_command("up", index=index, seed=SEED, truth_path=str(folder / "lab_truth.json"), **settings)
            yield shared
        finally:
            lab_command("down", index=index)

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The network that setup.yml makes in a lab, made by the lab's API alone."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

PROJECT = "dc-machine"
_TAGS = [
    {"Key": "Name", "Value": PROJECT},
    {"Key": "lowlatency:project", "Value": PROJECT},
    {"Key": "lowlatency:role", "Value": "network"},
]


def key_files(index: int) -> tuple[Path, Path]:
    """Both halves of the key, where lab and playbooks look for the private one."""
    path = Path(f"/run/lowlatency-lab/{index}/dc-machine.pem")
    return path, path.with_suffix(".pem.pub")


def make_network(ec2: t.Any, index: int, key_path: Path | None = None) -> None:
    """Make what setup.yml makes in a lab, in a tenth of its time: test_setup_in_lab.py holds the two together.

    The private key is written to `key_path`, by default where the playbooks look for it.
    """
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
    public = _public_key(key_path or key_files(index)[0])
    ec2.import_key_pair(KeyName=PROJECT, PublicKeyMaterial=public, TagSpecifications=_tagged("key-pair"))


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


def _public_key(path: Path) -> bytes:
    """Make a key and return its public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", PROJECT, "-f", str(path)], check=True)
    return path.with_suffix(".pem.pub").read_bytes()

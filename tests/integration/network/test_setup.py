# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""setup.yml: what it makes, that it makes it once, and what it refuses."""

from __future__ import annotations

import stat
import typing as t
from collections.abc import Callable

import pytest
from network_controller import OURS, Controller, one

MADE = {
    "Make the VPC",
    "Make the internet gateway",
    "Make the subnet",
    "Make the route to the internet",
    "Make the security group",
    "Make the directory of the private key file",
    "Make the key pair",
    "Keep an Elastic IP",
}


def test_check_mode_says_all_and_does_nothing(standing: Controller) -> None:
    assert set(standing.planned.changed) == MADE
    assert standing.writes_of_plan == []


def test_the_network_is_what_a_search_needs(standing: Controller) -> None:
    assert set(standing.made.changed) == MADE
    ec2 = standing.ec2
    vpc = one(ec2.describe_vpcs(Filters=OURS)["Vpcs"])
    assert vpc["CidrBlock"] == "198.18.0.0/20"
    for attribute in ("enableDnsSupport", "enableDnsHostnames"):
        answer = ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute=attribute)
        assert answer[attribute[0].upper() + attribute[1:]] == {"Value": True}

    subnet = one(ec2.describe_subnets(Filters=OURS)["Subnets"])
    assert (subnet["CidrBlock"], subnet["AvailabilityZone"]) == ("198.18.0.0/22", "ap-northeast-1a")
    assert subnet["MapPublicIpOnLaunch"] is True

    gateway = one(ec2.describe_internet_gateways(Filters=OURS)["InternetGateways"])
    assert [each["VpcId"] for each in gateway["Attachments"]] == [vpc["VpcId"]]
    table = one(ec2.describe_route_tables(Filters=OURS)["RouteTables"])
    assert [each["SubnetId"] for each in table["Associations"]] == [subnet["SubnetId"]]
    routes = {each["DestinationCidrBlock"]: each["GatewayId"] for each in table["Routes"]}
    assert routes["0.0.0.0/0"] == gateway["InternetGatewayId"]


def rule_of(permission: dict[str, t.Any]) -> tuple[t.Any, ...]:
    """Protocol, ports and addresses of a rule that allows nothing else."""
    assert not any(permission.get(other) for other in ("UserIdGroupPairs", "Ipv6Ranges", "PrefixListIds"))
    ranges = [each["CidrIp"] for each in permission["IpRanges"]]
    return permission["IpProtocol"], permission["FromPort"], permission["ToPort"], ranges


def test_only_the_controller_comes_in_and_only_https_goes_out(standing: Controller) -> None:
    group = one(standing.ec2.describe_security_groups(Filters=OURS)["SecurityGroups"])
    assert [rule_of(each) for each in group["IpPermissions"]] == [("tcp", 22, 22, ["198.18.15.2/32"])]
    assert [rule_of(each) for each in group["IpPermissionsEgress"]] == [("tcp", 443, 443, ["0.0.0.0/0"])]


def test_the_private_key_is_written_and_never_shown(standing: Controller) -> None:
    assert "PRIVATE KEY" in standing.key_path.read_text(encoding="utf-8")
    assert stat.S_IMODE(standing.key_path.stat().st_mode) == 0o600
    assert "PRIVATE KEY" not in standing.made.text
    assert one(standing.ec2.describe_key_pairs(Filters=OURS)["KeyPairs"])["KeyName"] == "dc-machine"


def test_a_second_run_changes_nothing(standing: Controller) -> None:
    again = standing.play("setup", "--diff", network_allocate_elastic_ip=True)
    assert again.changed == []
    assert standing.writes() == []


def test_lookup_finds_it_by_its_tags(standing: Controller) -> None:
    standing.lookup(network_availability_zone="apne1-az4")
    assert standing.writes() == []
    ec2 = standing.ec2
    address = one(ec2.describe_addresses(Filters=OURS)["Addresses"])
    assert standing.found == {
        "vpc_id": one(ec2.describe_vpcs(Filters=OURS)["Vpcs"])["VpcId"],
        "subnet_id": one(ec2.describe_subnets(Filters=OURS)["Subnets"])["SubnetId"],
        "security_group_id": one(ec2.describe_security_groups(Filters=OURS)["SecurityGroups"])["GroupId"],
        "key_name": "dc-machine",
        "elastic_ip_allocation_id": address["AllocationId"],
        "elastic_ip": address["PublicIp"],
        "availability_zone": "ap-northeast-1a",
    }


def test_lookup_names_everything_that_is_missing(standing: Controller) -> None:
    outcome = standing.lookup(fails=True, network_project="another")
    for part in ("'another'", "subnet", "security group", "key pair", "setup.yml", "network_subnet_id"):
        assert part in outcome.error


def test_check_dns_mends_what_is_off_and_says_so(standing: Controller) -> None:
    vpc_id = one(standing.ec2.describe_vpcs(Filters=OURS)["Vpcs"])["VpcId"]
    standing.ec2.modify_vpc_attribute(VpcId=vpc_id, EnableDnsHostnames={"Value": False})
    only_said = standing.play("check_dns", "--check")
    assert only_said.messages[-1] == f"{vpc_id}: enableDnsHostnames was off, would be turned on"
    assert standing.writes() == []

    mended = standing.play("check_dns")
    assert mended.messages[-1] == f"{vpc_id}: enableDnsHostnames was off, now on"
    assert standing.writes() == ["ModifyVpcAttribute"]


def another_key(controller: Controller) -> dict[str, t.Any]:
    other = Controller(controller.region, controller.folder / "other")
    other.make_key()
    return {"network_key_path": str(other.key_path)}


def subnet_elsewhere(controller: Controller) -> dict[str, t.Any]:
    ec2 = controller.ec2
    vpc_id = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.9.0.0/24", AvailabilityZone="ap-northeast-1c")["Subnet"]
    return {"network_subnet_id": subnet["SubnetId"]}


def group_elsewhere(controller: Controller) -> dict[str, t.Any]:
    ec2 = controller.ec2
    vpc_id = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="theirs", Description="theirs", VpcId=vpc_id)
    return {"network_security_group_id": group["GroupId"]}


def vpc_without_gateway(controller: Controller) -> dict[str, t.Any]:
    ec2 = controller.ec2
    vpc_id = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc_id, EnableDnsHostnames={"Value": True})
    return {"network_vpc_id": vpc_id}


#: One refusal for each file of tasks that refuses: zone.yml, given.yml, controller.yml.
REFUSED = [
    (lambda _: {"network_availability_zone": "ap-northeast-1z"}, "network_availability_zone"),
    (group_elsewhere, "network_security_group_id"),
    (lambda _: {"network_controller_cidr": "0.0.0.0/0"}, "network_controller_cidr"),
]
#: The other assertions of these files, and of those after them.
REFUSED_TOO = [
    (lambda _: {"network_subnet_id": "subnet-0123456789abcdef0"}, "network_subnet_id"),
    (lambda _: {"network_vpc_cidr": "10.1.0.0/16"}, "network_vpc_cidr"),
    (subnet_elsewhere, "network_subnet_id"),
    (vpc_without_gateway, "network_vpc_id"),
    (another_key, "network_key_path"),
]


@pytest.mark.parametrize(
    ("given", "option"), [*REFUSED, *(pytest.param(*case, marks=pytest.mark.full) for case in REFUSED_TOO)]
)
def test_bad_input_is_named_in_one_line_before_anything_is_made(
    standing: Controller, given: Callable[[Controller], dict[str, t.Any]], option: str
) -> None:
    variables = given(standing)
    outcome = standing.play("setup", fails=True, **variables)
    assert option in outcome.error
    assert f"'{variables[option]}'" in outcome.error
    assert "\n" not in outcome.error
    assert standing.writes() == []


def test_half_a_key_is_refused_before_anything_is_made(controller: Controller) -> None:
    controller.ec2.create_key_pair(KeyName="dc-machine")
    outcome = controller.play("setup", fails=True)
    assert f"network_key_path '{controller.key_path}'" in outcome.error
    assert controller.writes() == []


def test_a_controller_that_is_not_told_is_looked_up(controller: Controller, checkip: str) -> None:
    planned = controller.play("setup", "--check", "--diff", network_controller_cidr="", network_checkip_url=checkip)
    assert "Make the security group" in planned.changed
    closed = "http://127.0.0.1:9/"
    outcome = controller.play("setup", fails=True, network_controller_cidr="", network_checkip_url=closed)
    assert "network_controller_cidr" in outcome.error and f"'{closed}'" in outcome.error
    assert controller.writes() == []


def test_what_is_given_is_used_as_it_is(controller: Controller) -> None:
    ec2 = controller.ec2
    vpc_id = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.9.0.0/24", AvailabilityZone="ap-northeast-1a")["Subnet"]
    group = ec2.create_security_group(GroupName="theirs", Description="theirs", VpcId=vpc_id)
    address = ec2.allocate_address(Domain="vpc")
    ec2.import_key_pair(KeyName="theirs", PublicKeyMaterial=controller.make_key())
    given = {
        "network_subnet_id": subnet["SubnetId"],
        "network_security_group_id": group["GroupId"],
        "network_key_name": "theirs",
        "network_elastic_ip_allocation_id": address["AllocationId"],
        "network_allocate_elastic_ip": True,
    }
    refused = controller.play("setup", fails=True, **given)
    assert "check_dns.yml" in refused.error
    mended = controller.play("check_dns", **given)
    assert mended.messages[-1] == f"{vpc_id}: enableDnsHostnames was off, now on"

    assert controller.play("setup", **given).changed == []
    assert controller.writes() == []
    assert controller.play("teardown", **given).changed == []
    assert controller.writes() == []
    controller.lookup(**given)
    assert controller.found == {
        "vpc_id": vpc_id,
        "subnet_id": subnet["SubnetId"],
        "security_group_id": group["GroupId"],
        "key_name": "theirs",
        "elastic_ip_allocation_id": address["AllocationId"],
        "elastic_ip": address["PublicIp"],
        "availability_zone": "ap-northeast-1a",
    }


def test_what_is_not_given_is_made_beside_it_and_a_key_file_is_imported(controller: Controller) -> None:
    ec2 = controller.ec2
    vpc_id = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc_id, EnableDnsHostnames={"Value": True})
    gateway_id = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway_id, VpcId=vpc_id)
    public = controller.make_key().decode()
    given = {"network_vpc_id": vpc_id, "network_subnet_cidr": "10.9.1.0/24"}

    controller.play("setup", **given)
    assert "CreateVpc" not in controller.writes() and "CreateInternetGateway" not in controller.writes()
    assert one(ec2.describe_subnets(Filters=OURS)["Subnets"])["VpcId"] == vpc_id
    key = one(ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"])
    assert key["PublicKey"].split()[:2] == public.split()[:2]
    assert controller.play("setup", **given).changed == []
    assert controller.writes() == []

    controller.play("teardown", **given)
    assert ec2.describe_subnets(Filters=OURS)["Subnets"] == []
    assert [each["VpcId"] for each in ec2.describe_vpcs(VpcIds=[vpc_id])["Vpcs"]] == [vpc_id]
    assert len(ec2.describe_internet_gateways(InternetGatewayIds=[gateway_id])["InternetGateways"]) == 1
    assert controller.key_path.exists()

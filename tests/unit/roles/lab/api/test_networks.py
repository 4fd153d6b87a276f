# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a teardown meets when something still lives."""

from __future__ import annotations

import pytest
from support.aws import refused


@pytest.fixture
def gateway_id(region_api, vpc):
    by_vpc = [{"Name": "attachment.vpc-id", "Values": [vpc.vpc_id]}]
    (gateway,) = region_api.client().describe_internet_gateways(Filters=by_vpc)["InternetGateways"]
    return gateway["InternetGatewayId"]


def test_a_network_goes_only_when_nothing_lives_in_it(region_api, vpc, gateway_id):
    ec2 = region_api.client()
    ec2.modify_subnet_attribute(SubnetId=vpc.subnet_id, MapPublicIpOnLaunch={"Value": True})
    instance_id = region_api.launch(vpc)["InstanceId"]
    removals = (
        lambda: ec2.delete_security_group(GroupId=vpc.security_group_id),
        lambda: ec2.delete_subnet(SubnetId=vpc.subnet_id),
        lambda: ec2.detach_internet_gateway(InternetGatewayId=gateway_id, VpcId=vpc.vpc_id),
        lambda: ec2.delete_vpc(VpcId=vpc.vpc_id),
    )
    for remove in removals:
        with refused("DependencyViolation"):
            remove()
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert region_api.states(instance_id) == ["terminated"]
    for remove in removals:
        remove()
    assert vpc.vpc_id not in [one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"]]


def test_an_attached_gateway_keeps_the_vpc(region_api, vpc):
    ec2 = region_api.client()
    ec2.delete_subnet(SubnetId=vpc.subnet_id)
    ec2.delete_security_group(GroupId=vpc.security_group_id)
    with refused("DependencyViolation"):
        ec2.delete_vpc(VpcId=vpc.vpc_id)


def test_a_group_of_its_own_keeps_the_vpc(region_api, vpc, gateway_id):
    ec2 = region_api.client()
    ec2.delete_subnet(SubnetId=vpc.subnet_id)
    ec2.detach_internet_gateway(InternetGatewayId=gateway_id, VpcId=vpc.vpc_id)
    with refused("DependencyViolation"):
        ec2.delete_vpc(VpcId=vpc.vpc_id)


def test_the_default_group_stays(region_api, vpc):
    ec2 = region_api.client()
    of_vpc = [{"Name": "vpc-id", "Values": [vpc.vpc_id]}, {"Name": "group-name", "Values": ["default"]}]
    (group,) = ec2.describe_security_groups(Filters=of_vpc)["SecurityGroups"]
    with refused("CannotDelete"):
        ec2.delete_security_group(GroupId=group["GroupId"])


@pytest.mark.parametrize("verb", ["delete_subnet", "delete_security_group", "delete_vpc"])
def test_a_dry_run_removes_nothing(region_api, vpc, verb):
    ids = {
        "delete_subnet": {"SubnetId": vpc.subnet_id},
        "delete_security_group": {"GroupId": vpc.security_group_id},
        "delete_vpc": {"VpcId": vpc.vpc_id},
    }
    ec2 = region_api.client()
    with refused("DryRunOperation", status=412):
        getattr(ec2, verb)(DryRun=True, **ids[verb])
    assert ec2.describe_subnets(SubnetIds=[vpc.subnet_id])["Subnets"]
    assert ec2.describe_security_groups(GroupIds=[vpc.security_group_id])["SecurityGroups"]


def test_launches_that_have_no_host_here_are_refused(region_api):
    with refused("UnsupportedOperation"):
        region_api.client().request_spot_instances(InstanceCount=1)

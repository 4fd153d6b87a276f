# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Elastic addresses and the addresses of the public pool."""

from __future__ import annotations

import pytest
from local_region.api.region_state import Quotas, Timings
from support.aws import refused


@pytest.fixture
def public(region_api, vpc):
    """The region, a client, and a function that launches an instance with an address of the public pool."""
    ec2 = region_api.client()
    ec2.modify_subnet_attribute(SubnetId=vpc.subnet_id, MapPublicIpOnLaunch={"Value": True})

    def launch():
        instance_id = region_api.launch(vpc)["InstanceId"]
        assert region_api.states(instance_id) == ["running"]
        return instance_id

    return region_api, ec2, launch


def shown_address(region, instance_id):
    return region.describe(instance_id)[0].get("PublicIpAddress")


def test_association_replaces_the_public_address_and_gives_one_back(public):
    region, ec2, launch = public
    instance_id = launch()
    first = shown_address(region, instance_id)
    elastic = ec2.allocate_address(Domain="vpc")
    association = ec2.associate_address(InstanceId=instance_id, AllocationId=elastic["AllocationId"])["AssociationId"]
    assert elastic["PublicIp"] == "198.18.8.1"
    assert shown_address(region, instance_id) == "198.18.8.1"
    assert region.hosts.addresses[instance_id] == ("198.18.8.1",)
    interface = region.describe(instance_id)[0]["NetworkInterfaces"][0]
    assert interface["Association"]["IpOwnerId"] == "123456789012"
    (address,) = ec2.describe_addresses(Filters=[{"Name": "instance-id", "Values": [instance_id]}])["Addresses"]
    assert address["AssociationId"] == association
    assert address["PrivateIpAddress"] == interface["PrivateIpAddress"]
    ec2.disassociate_address(AssociationId=association)
    second = shown_address(region, instance_id)
    assert second not in (None, first, "198.18.8.1")
    assert region.hosts.addresses[instance_id] == (second,)


def test_without_a_public_address_none_comes_back(region_api, vpc):
    ec2 = region_api.client()
    instance_id = region_api.launch(vpc)["InstanceId"]
    elastic = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(InstanceId=instance_id, AllocationId=elastic["AllocationId"])
    ec2.disassociate_address(PublicIp=elastic["PublicIp"])
    assert shown_address(region_api, instance_id) is None
    assert region_api.hosts.addresses[instance_id] == ()


def test_address_moves_between_instances(public):
    region, ec2, launch = public
    one, two = launch(), launch()
    elastic = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(InstanceId=one, AllocationId=elastic["AllocationId"])
    with refused("Resource.AlreadyAssociated"):
        ec2.associate_address(InstanceId=two, AllocationId=elastic["AllocationId"], AllowReassociation=False)
    assert region.hosts.addresses[one] == (elastic["PublicIp"],)
    ec2.associate_address(InstanceId=two, AllocationId=elastic["AllocationId"])
    assert region.hosts.addresses[two] == (elastic["PublicIp"],)
    assert elastic["PublicIp"] not in region.hosts.addresses[one]
    assert shown_address(region, two) == elastic["PublicIp"]


def test_second_address_displaces_the_first(public):
    region, ec2, launch = public
    instance_id = launch()
    first, second = (ec2.allocate_address(Domain="vpc") for _n in range(2))
    for elastic in (first, second):
        ec2.associate_address(InstanceId=instance_id, AllocationId=elastic["AllocationId"])
    assert region.hosts.addresses[instance_id] == (second["PublicIp"],)
    addresses = {one["PublicIp"]: one.get("InstanceId") for one in ec2.describe_addresses()["Addresses"]}
    assert addresses == {first["PublicIp"]: None, second["PublicIp"]: instance_id}


def test_associating_again_keeps_the_association(public):
    _region, ec2, launch = public
    instance_id = launch()
    elastic = ec2.allocate_address(Domain="vpc")["AllocationId"]
    ids = {ec2.associate_address(InstanceId=instance_id, AllocationId=elastic)["AssociationId"] for _n in range(2)}
    assert len(ids) == 1


def test_release(public):
    _region, ec2, launch = public
    elastic = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(InstanceId=launch(), AllocationId=elastic["AllocationId"])
    with refused("InvalidIPAddress.InUse"):
        ec2.release_address(AllocationId=elastic["AllocationId"])
    ec2.disassociate_address(PublicIp=elastic["PublicIp"])
    ec2.release_address(AllocationId=elastic["AllocationId"])
    assert ec2.describe_addresses()["Addresses"] == []
    with refused("InvalidAllocationID.NotFound"):
        ec2.release_address(AllocationId=elastic["AllocationId"])


def test_termination_lets_go_of_the_address(public):
    _region, ec2, launch = public
    instance_id = launch()
    elastic = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(InstanceId=instance_id, AllocationId=elastic["AllocationId"])
    ec2.terminate_instances(InstanceIds=[instance_id])
    ec2.release_address(AllocationId=elastic["AllocationId"])


def test_stop_keeps_an_elastic_address_and_gives_a_public_one_back(public):
    region, ec2, launch = public
    with_elastic, without = launch(), launch()
    before = shown_address(region, without)
    elastic = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(InstanceId=with_elastic, AllocationId=elastic["AllocationId"])
    ec2.stop_instances(InstanceIds=[with_elastic, without])
    assert region.states(with_elastic, without) == ["stopped", "stopped"]
    assert shown_address(region, with_elastic) == elastic["PublicIp"]
    assert shown_address(region, without) is None
    ec2.start_instances(InstanceIds=[with_elastic, without])
    assert shown_address(region, with_elastic) == elastic["PublicIp"]
    assert shown_address(region, without) not in (None, before)
    assert region.hosts.addresses[without] == (shown_address(region, without),)


def test_not_on_a_pending_instance(region_api):
    region_api.reset(timings=Timings(pending_s=3600.0))
    instance_id = region_api.launch(region_api.make_vpc())["InstanceId"]
    ec2 = region_api.client()
    elastic = ec2.allocate_address(Domain="vpc")
    with refused("InvalidInstanceID"):
        ec2.associate_address(InstanceId=instance_id, AllocationId=elastic["AllocationId"])


def test_not_without_an_internet_gateway(region_api, vpc):
    ec2 = region_api.client()
    (gateway,) = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc.vpc_id]}])[
        "InternetGateways"
    ]
    instance_id = region_api.launch(vpc)["InstanceId"]
    ec2.detach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"], VpcId=vpc.vpc_id)
    elastic = ec2.allocate_address(Domain="vpc")
    with refused("Gateway.NotAttached"):
        ec2.associate_address(InstanceId=instance_id, AllocationId=elastic["AllocationId"])


def test_quota(region_api):
    region_api.reset(quotas=Quotas(elastic_addresses=2))
    ec2 = region_api.client()
    first = ec2.allocate_address(Domain="vpc")
    ec2.allocate_address(Domain="vpc")
    with refused("AddressLimitExceeded"):
        ec2.allocate_address(Domain="vpc")
    ec2.release_address(AllocationId=first["AllocationId"])
    assert ec2.allocate_address(Domain="vpc")["PublicIp"] == "198.18.8.3"


def test_five_by_default(region_api):
    ec2 = region_api.client()
    for _n in range(5):
        ec2.allocate_address(Domain="vpc")
    with refused("AddressLimitExceeded"):
        ec2.allocate_address(Domain="vpc")


def test_tags_of_an_address(region_api):
    ec2 = region_api.client()
    allocation_id = ec2.allocate_address(Domain="vpc")["AllocationId"]
    ec2.create_tags(Resources=[allocation_id], Tags=[{"Key": "Name", "Value": "search"}])
    found = ec2.describe_addresses(Filters=[{"Name": "tag:Name", "Values": ["search"]}])["Addresses"]
    assert [one["AllocationId"] for one in found] == [allocation_id]
    tags = ec2.describe_tags(Filters=[{"Name": "resource-type", "Values": ["elastic-ip"]}])["Tags"]
    assert [one["ResourceId"] for one in tags] == [allocation_id]

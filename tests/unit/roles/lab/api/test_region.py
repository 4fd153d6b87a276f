# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Quotas, scenarios' faults, images, and reads that must be right in ap-northeast-1."""

from __future__ import annotations

import pytest
from local_region.api.faults import NoFaults
from local_region.api.region_state import Quotas, Timings
from support.aws import refused
from support.region import AL2023, tag_specifications


class Capacity(NoFaults):
    """No capacity for one type."""

    def launch_error(self, n, instance_type):
        return "InsufficientInstanceCapacity" if instance_type == "c8g.24xlarge" else None


class Throttled(NoFaults):
    """Every second call is one too many."""

    def throttle(self, n, action):
        return n % 2 == 0


class Counting(NoFaults):
    """Notes what it is asked."""

    def __init__(self):
        self.launches = []
        self.calls = []

    def launch_error(self, n, instance_type):
        self.launches.append((n, instance_type))
        return None

    def throttle(self, n, action):
        self.calls.append((n, action))
        return False


def test_on_demand_vcpus(region_api):
    region_api.reset(quotas=Quotas(on_demand_vcpus=4, spot_vcpus=2))
    vpc = region_api.make_vpc()
    ec2 = region_api.client()
    first = region_api.launch(vpc)["InstanceId"]
    with refused("VcpuLimitExceeded"):
        region_api.launch(vpc, "c8g.xlarge")
    second = region_api.launch_many(vpc, 1, MaxCount=5)
    assert len(second) == 1
    with refused("VcpuLimitExceeded"):
        region_api.launch(vpc)
    ec2.stop_instances(InstanceIds=[first])
    region_api.launch(vpc)
    with refused("VcpuLimitExceeded"):
        ec2.start_instances(InstanceIds=[first])


def test_spot_vcpus_are_counted_apart(region_api):
    region_api.reset(quotas=Quotas(on_demand_vcpus=2, spot_vcpus=2))
    vpc = region_api.make_vpc()
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
    region_api.launch(vpc)
    first = region_api.launch(vpc, **spot)["InstanceId"]
    with refused("MaxSpotInstanceCountExceeded"):
        region_api.launch(vpc, **spot)
    region_api.client().terminate_instances(InstanceIds=[first])
    region_api.launch(vpc, **spot)


def test_no_capacity_is_a_server_error(region_api):
    region_api.reset(faults=Capacity())
    vpc = region_api.make_vpc()
    with refused("InsufficientInstanceCapacity", status=500):
        region_api.launch(vpc, "c8g.24xlarge")
    region_api.launch(vpc)
    assert [call.code for call in region_api.calls] == ["InsufficientInstanceCapacity", None]


def test_throttled_calls_are_mended_by_the_clients_own_retries(region_api):
    region_api.reset(faults=Throttled())
    with refused("RequestLimitExceeded", status=503):
        region_api.client().describe_instances()
    region_api.reset(faults=Throttled())
    region_api.client(retries=True).create_placement_group(GroupName="one", Strategy="cluster")
    assert [call.code for call in region_api.calls] == ["RequestLimitExceeded", None]


def test_what_scenarios_are_asked(region_api):
    faults = Counting()
    region_api.reset(faults=faults)
    vpc = region_api.make_vpc()
    before = len(faults.calls)
    region_api.launch(vpc, ClientToken="one")
    region_api.launch(vpc, ClientToken="one")
    with refused("InvalidPlacementGroup.Unknown"):
        region_api.launch(vpc, Placement={"GroupName": "none"})
    region_api.launch(vpc, "c7i.large")
    assert faults.launches == [(0, "c8g.large"), (1, "c7i.large")]
    assert [n for n, _action in faults.calls] == list(range(before + 4))


def test_image_with_snapshot_tags(region_api, vpc):
    ec2 = region_api.client()
    instance_id = region_api.launch(
        vpc, BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 12, "Encrypted": True}}]
    )["InstanceId"]
    assert region_api.states(instance_id) == ["running"]
    image_id = ec2.create_image(
        InstanceId=instance_id,
        Name="tuned",
        TagSpecifications=[*tag_specifications("image", {"a": "1"}), *tag_specifications("snapshot", {"a": "2"})],
    )["ImageId"]
    (image,) = ec2.describe_images(Owners=["self"])["Images"]
    assert (image["ImageId"], image["Name"], image["State"]) == (image_id, "tuned", "available")
    assert image["Architecture"] == "arm64"
    assert image["Tags"] == [{"Key": "a", "Value": "1"}]
    (mapping,) = image["BlockDeviceMappings"]
    assert (mapping["Ebs"]["VolumeSize"], mapping["Ebs"]["Encrypted"]) == (12, True)
    snapshot = ec2.describe_snapshots(SnapshotIds=[mapping["Ebs"]["SnapshotId"]])["Snapshots"][0]
    assert snapshot["Tags"] == [{"Key": "a", "Value": "2"}]
    assert snapshot["VolumeSize"] == 12
    assert ("reboot", instance_id) in region_api.hosts.events
    region_api.launch(vpc, ImageId=image_id)


def test_image_is_pending_for_a_while_and_its_name_is_unique(region_api):
    region_api.reset(timings=Timings(pending_s=0.0, image_s=100.0))
    vpc = region_api.make_vpc()
    ec2 = region_api.client()
    instance_id = region_api.launch(vpc)["InstanceId"]
    with refused("DryRunOperation", status=412):
        ec2.create_image(InstanceId=instance_id, Name="tuned", DryRun=True)
    image_id = ec2.create_image(InstanceId=instance_id, Name="tuned", NoReboot=True)["ImageId"]
    assert ec2.describe_images(ImageIds=[image_id])["Images"][0]["State"] == "pending"
    assert ("reboot", instance_id) not in region_api.hosts.events
    with refused("InvalidAMIID.Unavailable"):
        region_api.launch(vpc, ImageId=image_id)
    with refused("InvalidAMIName.Duplicate"):
        ec2.create_image(InstanceId=instance_id, Name="tuned")
    region_api.clock.advance(100.0)
    assert ec2.describe_images(ImageIds=[image_id])["Images"][0]["State"] == "available"
    ec2.deregister_image(ImageId=image_id)
    with refused("InvalidAMIID.Unavailable"):
        region_api.launch(vpc, ImageId=image_id)
    ec2.create_image(InstanceId=instance_id, Name="tuned")


@pytest.mark.parametrize(
    ("instance_type", "architecture", "vcpus"),
    [
        ("c8g.large", "arm64", 2),
        ("c8g.24xlarge", "arm64", 96),
        ("c8g.metal-24xl", "arm64", 96),
        ("c7i.large", "x86_64", 2),
    ],
)
def test_types(region_api, instance_type, architecture, vcpus):
    (info,) = region_api.client().describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"]
    assert architecture in info["ProcessorInfo"]["SupportedArchitectures"]
    assert info["VCpuInfo"]["DefaultVCpus"] == vcpus
    assert "cluster" in info["PlacementGroupInfo"]["SupportedStrategies"]


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_amazon_linux(region_api, architecture):
    name = AL2023.format(architecture=architecture).removeprefix("resolve:ssm:")
    image_id = region_api.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
    (image,) = region_api.client().describe_images(ImageIds=[image_id])["Images"]
    assert image["Architecture"] == architecture
    assert image["State"] == "available"
    assert image["Name"].startswith("al2023-ami-2023.")
    assert image["RootDeviceName"] == "/dev/xvda"


def test_zones_and_identity(region_api):
    zones = region_api.client().describe_availability_zones()["AvailabilityZones"]
    assert {one["ZoneName"]: one["ZoneId"] for one in zones} == {
        "ap-northeast-1a": "apne1-az4",
        "ap-northeast-1c": "apne1-az1",
        "ap-northeast-1d": "apne1-az2",
    }
    assert region_api.client("sts").get_caller_identity()["Account"] == "123456789012"


def test_dns_attributes(region_api, vpc):
    ec2 = region_api.client()
    for name, attribute in (("EnableDnsSupport", "enableDnsSupport"), ("EnableDnsHostnames", "enableDnsHostnames")):
        for value in (False, True):
            ec2.modify_vpc_attribute(VpcId=vpc.vpc_id, **{name: {"Value": value}})
            answer = ec2.describe_vpc_attribute(VpcId=vpc.vpc_id, Attribute=attribute)
            assert answer[name]["Value"] is value


def test_tag_filters_everywhere(region_api, vpc):
    ec2 = region_api.client()
    ids = [vpc.vpc_id, vpc.subnet_id, vpc.security_group_id]
    ids.append(ec2.describe_key_pairs()["KeyPairs"][0]["KeyPairId"])
    ids.append(ec2.describe_internet_gateways()["InternetGateways"][0]["InternetGatewayId"])
    ec2.create_tags(Resources=ids, Tags=[{"Key": "lowlatency:search-id", "Value": "s1"}])
    by_tag = {"Filters": [{"Name": "tag:lowlatency:search-id", "Values": ["s1"]}]}
    assert [one["VpcId"] for one in ec2.describe_vpcs(**by_tag)["Vpcs"]] == [vpc.vpc_id]
    assert [one["SubnetId"] for one in ec2.describe_subnets(**by_tag)["Subnets"]] == [vpc.subnet_id]
    assert [one["GroupId"] for one in ec2.describe_security_groups(**by_tag)["SecurityGroups"]] == [ids[2]]
    assert [one["KeyPairId"] for one in ec2.describe_key_pairs(**by_tag)["KeyPairs"]] == [ids[3]]
    gateways = ec2.describe_internet_gateways(**by_tag)["InternetGateways"]
    assert [one["InternetGatewayId"] for one in gateways] == [ids[4]]

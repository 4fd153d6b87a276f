# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""RunInstances: what it checks, what it makes, what it asks of the hosts."""

from __future__ import annotations

import subprocess

import pytest
from botocore.exceptions import ParamValidationError
from local_region.api.region_state import Timings
from local_region.hosts.backend import NullHosts
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES
from support.aws import refused
from support.region import AL2023_ARM64, AL2023_X86_64, tag_specifications

SSM_ARM64 = AL2023_ARM64.removeprefix("resolve:ssm:")


def test_placement_is_honoured_and_shown(region_api, vpc):
    ec2 = region_api.client()
    group_id = ec2.create_placement_group(GroupName="one", Strategy="cluster")["PlacementGroup"]["GroupId"]
    by_name = region_api.launch(vpc, Placement={"GroupName": "one"})
    by_id = region_api.launch(vpc, Placement={"GroupId": group_id})
    for instance in [by_name, by_id, *region_api.describe(by_name["InstanceId"], by_id["InstanceId"])]:
        assert instance["Placement"]["GroupName"] == "one"
        assert instance["Placement"]["GroupId"] == group_id
        assert instance["Placement"]["AvailabilityZone"] == "ap-northeast-1a"


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"Placement": {"GroupName": "none"}}, "InvalidPlacementGroup.Unknown"),
        ({"Placement": {"GroupId": "pg-0123456789abcdef0"}}, "InvalidPlacementGroup.Unknown"),
        ({"Placement": {"GroupName": "none", "GroupId": "pg-0"}}, "InvalidParameterCombination"),
        ({"Placement": {"AvailabilityZone": "ap-northeast-1c"}}, "InvalidParameterValue"),
        ({"Placement": {"AvailabilityZone": "ap-northeast-1z"}}, "InvalidParameterValue"),
        ({"Placement": {"PartitionNumber": 1}}, "InvalidParameterCombination"),
        ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound"),
        ({"ImageId": "arch"}, "InvalidAMIID.Malformed"),
        ({"ImageId": "resolve:ssm:/no/such"}, "InvalidParameterValue"),
        ({"ImageId": AL2023_X86_64}, "InvalidParameterValue"),
        ({"InstanceType": "c8g.huge"}, "InvalidParameterValue"),
        ({"InstanceType": "mac2.metal"}, "InvalidParameterValue"),
        ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
        ({"KeyName": "none"}, "InvalidKeyPair.NotFound"),
        ({"MinCount": 2, "MaxCount": 1}, "InvalidParameterValue"),
        ({"CpuOptions": {"CoreCount": 3, "ThreadsPerCore": 1}}, "InvalidParameterValue"),
        ({"CpuOptions": {"CoreCount": 2, "ThreadsPerCore": 2}}, "InvalidParameterValue"),
        ({"NetworkInterfaces": [{"DeviceIndex": 0}]}, "InvalidParameterCombination"),
        ({"PrivateIpAddress": "10.0.0.1"}, "InvalidParameterValue"),
        (
            {"InstanceMarketOptions": {"MarketType": "spot"}, "DisableApiTermination": True},
            "UnsupportedOperation",
        ),
    ],
)
def test_a_bad_request_makes_nothing(region_api, vpc, parameters, code):
    with refused(code):
        region_api.launch(vpc, **parameters)
    assert region_api.client().describe_instances()["Reservations"] == []
    assert region_api.hosts.events == []


def test_another_zone_by_its_id_makes_nothing(region_api, vpc):
    ec2 = region_api.client()
    # The oldest botocore allowed doesn't know this parameter, and sends no request with it.
    known = "AvailabilityZoneId" in ec2.meta.service_model.shape_for("Placement").members
    with refused("InvalidParameterValue") if known else pytest.raises(ParamValidationError):
        region_api.launch(vpc, Placement={"AvailabilityZoneId": "apne1-az1"})
    assert ec2.describe_instances()["Reservations"] == []
    assert region_api.hosts.events == []


@pytest.mark.parametrize("instance_type", ["t4g.micro", "t3.micro", "m7i-flex.large"])
def test_types_without_cluster_support(region_api, vpc, instance_type):
    ec2 = region_api.client()
    ec2.create_placement_group(GroupName="near", Strategy="cluster")
    ec2.create_placement_group(GroupName="apart", Strategy="spread")
    with refused("InvalidParameterCombination"):
        region_api.launch(vpc, instance_type, Placement={"GroupName": "near"})
    region_api.launch(vpc, instance_type, Placement={"GroupName": "apart"})


def test_a_type_that_the_zone_does_not_offer(region_api, vpc):
    offered = {
        one["InstanceType"]
        for one in INSTANCE_TYPE_OFFERINGS["availability-zone"]["ap-northeast-1"]
        if one["Location"] == vpc.availability_zone
    }
    missing = next(
        name
        for name, info in INSTANCE_TYPES.items()
        if name not in offered and info["ProcessorInfo"]["SupportedArchitectures"] == ["arm64"]
    )
    with refused("Unsupported"):
        region_api.launch(vpc, missing, ImageId=AL2023_ARM64)


def test_security_group_of_another_vpc(region_api, vpc):
    ec2 = region_api.client()
    other = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    group_id = ec2.create_security_group(GroupName="other", Description="other", VpcId=other)["GroupId"]
    with refused("InvalidParameter"):
        region_api.launch(vpc, SecurityGroupIds=[group_id])


def test_spread_group_takes_seven_in_a_zone(region_api, vpc):
    region_api.client().create_placement_group(GroupName="apart", Strategy="spread")
    region_api.launch_many(vpc, 7, Placement={"GroupName": "apart"})
    with refused("InsufficientInstanceCapacity", status=500):
        region_api.launch(vpc, Placement={"GroupName": "apart"})


def test_partitions_are_filled_in_turn(region_api, vpc):
    region_api.client().create_placement_group(GroupName="parts", Strategy="partition", PartitionCount=2)
    numbers = [
        region_api.launch(vpc, Placement={"GroupName": "parts", **more})["Placement"]["PartitionNumber"]
        for more in ({}, {}, {}, {"PartitionNumber": 2})
    ]
    assert numbers == [1, 2, 1, 2]
    with refused("InvalidParameterValue"):
        region_api.launch(vpc, Placement={"GroupName": "parts", "PartitionNumber": 3})


def test_ssm_image_is_resolved(region_api, vpc):
    parameter = region_api.client("ssm").get_parameter(Name=SSM_ARM64)["Parameter"]["Value"]
    instance = region_api.launch(vpc, ImageId=AL2023_ARM64)
    assert instance["ImageId"] == parameter
    assert instance["Architecture"] == "arm64"
    assert region_api.hosts.specs[instance["InstanceId"]].image_id == parameter


def test_host_is_asked_for_as_requested(region_api, vpc):
    region_api.client().create_placement_group(GroupName="one", Strategy="cluster")
    instance = region_api.launch(
        vpc,
        "c7i.large",
        Placement={"GroupName": "one"},
        UserData="#!/bin/sh\necho grüezi\n",
        SubnetId=None,
        SecurityGroupIds=None,
        NetworkInterfaces=[
            {
                "DeviceIndex": 0,
                "SubnetId": vpc.subnet_id,
                "Groups": [vpc.security_group_id],
                "AssociatePublicIpAddress": True,
            }
        ],
    )
    shown = region_api.describe(instance["InstanceId"])[0]
    spec = region_api.hosts.specs[instance["InstanceId"]]
    assert spec.instance_type == "c7i.large"
    assert spec.architecture == "x86_64"
    assert spec.private_ip == shown["PrivateIpAddress"] == "198.18.0.4"
    assert spec.public_ip == shown["PublicIpAddress"] == "198.18.4.1"
    assert spec.hostname == "ip-198-18-0-4"
    assert spec.placement_group == "one"
    assert spec.user_name == "ec2-user"
    assert spec.user_data == "#!/bin/sh\necho grüezi\n"
    assert [one["GroupId"] for one in shown["SecurityGroups"]] == [vpc.security_group_id]
    assert shown["NetworkInterfaces"][0]["Association"]["IpOwnerId"] == "amazon"


def test_subnet_decides_about_public_addresses(region_api, vpc):
    private = region_api.launch(vpc)["InstanceId"]
    region_api.client().modify_subnet_attribute(SubnetId=vpc.subnet_id, MapPublicIpOnLaunch={"Value": True})
    public = region_api.launch(vpc)["InstanceId"]
    assert region_api.hosts.specs[private].public_ip is None
    assert region_api.hosts.specs[public].public_ip == "198.18.4.1"


def test_addresses_are_not_reused_at_once(region_api, vpc):
    first = region_api.launch(vpc)
    region_api.client().terminate_instances(InstanceIds=[first["InstanceId"]])
    assert region_api.states(first["InstanceId"]) == ["terminated"]
    second = region_api.launch(vpc)
    assert (first["PrivateIpAddress"], second["PrivateIpAddress"]) == ("198.18.0.4", "198.18.0.5")


def test_counts(region_api, vpc):
    many = region_api.launch_many(vpc, 3)
    assert len({one["PrivateIpAddress"] for one in many}) == 3
    assert [one["AmiLaunchIndex"] for one in many] == [0, 1, 2]
    assert len(region_api.launch_many(vpc, 1, MaxCount=4)) == 4


def test_options_are_kept(region_api, vpc):
    instance = region_api.launch(
        vpc,
        "c7i.2xlarge",
        CpuOptions={"CoreCount": 4, "ThreadsPerCore": 1},
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        EbsOptimized=True,
        InstanceInitiatedShutdownBehavior="terminate",
        DisableApiTermination=True,
        DisableApiStop=True,
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 10, "Encrypted": True}}],
        TagSpecifications=[
            *tag_specifications("instance", {"Name": "one"}),
            *tag_specifications("volume", {"Name": "root"}),
        ],
    )
    instance_id = instance["InstanceId"]
    shown = region_api.describe(instance_id)[0]
    ec2 = region_api.client()
    assert shown["CpuOptions"] == {"CoreCount": 4, "ThreadsPerCore": 1}
    assert shown["MetadataOptions"]["HttpTokens"] == "required"
    assert shown["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert shown["EbsOptimized"] is True
    assert shown["Tags"] == [{"Key": "Name", "Value": "one"}]
    attributes = {
        name: ec2.describe_instance_attribute(InstanceId=instance_id, Attribute=name)[name[0].upper() + name[1:]]
        for name in ("disableApiTermination", "disableApiStop", "instanceInitiatedShutdownBehavior")
    }
    assert attributes == {
        "disableApiTermination": {"Value": True},
        "disableApiStop": {"Value": True},
        "instanceInitiatedShutdownBehavior": {"Value": "terminate"},
    }
    (mapping,) = shown["BlockDeviceMappings"]
    assert mapping["DeviceName"] == shown["RootDeviceName"] == "/dev/xvda"
    assert mapping["Ebs"]["DeleteOnTermination"] is True
    volume = ec2.describe_volumes(VolumeIds=[mapping["Ebs"]["VolumeId"]])["Volumes"][0]
    assert volume["Encrypted"] is True
    assert (volume["Size"], volume["VolumeType"]) == (10, "gp3")
    assert volume["Tags"] == [{"Key": "Name", "Value": "root"}]


def test_default_options(region_api, vpc):
    shown = region_api.describe(region_api.launch(vpc, "c7i.large")["InstanceId"])[0]
    assert shown["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 2}
    assert [one["DeviceName"] for one in shown["BlockDeviceMappings"]] == ["/dev/xvda"]
    assert "InstanceLifecycle" not in shown


def test_client_token_makes_one_instance(region_api, vpc):
    first = region_api.launch(vpc, ClientToken="round-1")
    again = region_api.launch(vpc, ClientToken="round-1")
    other = region_api.launch(vpc, ClientToken="round-2")
    assert again["InstanceId"] == first["InstanceId"]
    assert other["InstanceId"] != first["InstanceId"]
    assert [verb for verb, _instance in region_api.hosts.events] == ["launch", "launch"]
    with refused("IdempotentParameterMismatch"):
        region_api.launch(vpc, "c8g.xlarge", ClientToken="round-1")


def test_client_token_of_a_refused_launch_is_free(region_api, vpc):
    with refused("InvalidPlacementGroup.Unknown"):
        region_api.launch(vpc, ClientToken="round-1", Placement={"GroupName": "one"})
    region_api.launch(vpc, ClientToken="round-1")


def test_client_token_of_a_terminated_instance(region_api, vpc):
    instance = region_api.launch(vpc, ClientToken="round-1")
    region_api.client().terminate_instances(InstanceIds=[instance["InstanceId"]])
    with refused("IdempotentInstanceTerminated"):
        region_api.launch(vpc, ClientToken="round-1")


def test_dry_run_makes_nothing(region_api, vpc):
    with refused("DryRunOperation", status=412):
        region_api.launch(vpc, DryRun=True)
    assert region_api.hosts.events == []
    assert region_api.write_calls() == []


def test_spot(region_api, vpc):
    spot = region_api.launch(vpc, InstanceMarketOptions={"MarketType": "spot"})["InstanceId"]
    on_demand = region_api.launch(vpc)["InstanceId"]
    ec2 = region_api.client()
    shown = region_api.describe(spot)[0]
    assert shown["InstanceLifecycle"] == "spot"
    assert shown["SpotInstanceRequestId"].startswith("sir-")
    found = ec2.describe_instances(Filters=[{"Name": "instance-lifecycle", "Values": ["spot"]}])["Reservations"]
    assert [one["InstanceId"] for each in found for one in each["Instances"]] == [spot]
    with refused("UnsupportedOperation"):
        ec2.stop_instances(InstanceIds=[spot])
    for name in ("DisableApiTermination", "DisableApiStop"):
        with refused("UnsupportedOperation"):
            ec2.modify_instance_attribute(InstanceId=spot, **{name: {"Value": True}})
    ec2.stop_instances(InstanceIds=[on_demand])


def test_imported_key_reaches_the_host(region_api, vpc):
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPSfrnBT8u3JxhKU1I58S+xqP9+qqxMQW18pofc7gHp6 me"
    region_api.client().import_key_pair(KeyName="mine", PublicKeyMaterial=f"{line}\n".encode())
    instance_id = region_api.launch(vpc, KeyName="mine")["InstanceId"]
    assert region_api.hosts.specs[instance_id].authorized_key == line


@pytest.mark.parametrize("key_type", ["rsa", "ed25519"])
def test_created_key_reaches_the_host(region_api, vpc, key_type, tmp_path):
    key = region_api.client().create_key_pair(KeyName="made", KeyType=key_type)
    instance_id = region_api.launch(vpc, KeyName="made")["InstanceId"]
    file = tmp_path / "key"
    file.write_text(key["KeyMaterial"])
    file.chmod(0o600)
    public = subprocess.run(["ssh-keygen", "-y", "-f", file], check=True, capture_output=True, text=True).stdout
    assert public.split()[:2] == region_api.hosts.specs[instance_id].authorized_key.split()[:2]


def test_no_key_is_no_key(region_api, vpc):
    instance_id = region_api.launch(vpc, KeyName=None)["InstanceId"]
    assert region_api.hosts.specs[instance_id].authorized_key is None


def test_a_host_that_can_not_be_launched(region_api):
    class Broken(NullHosts):
        def launch(self, spec):
            raise OSError("no space left")

    region_api.reset(hosts=Broken(), timings=Timings(pending_s=3600.0, shutting_down_s=0.0))
    instance_id = region_api.launch(region_api.make_vpc())["InstanceId"]
    shown = region_api.describe(instance_id)[0]
    assert shown["State"]["Name"] == "terminated"
    assert shown["StateReason"]["Code"] == "Server.InternalError"
    assert region_api.hosts.events == [("terminate", instance_id)]


def test_tags_are_put_on_each_part_that_they_are_asked_for(region_api, vpc):
    kinds = {"instance": "i", "volume": "v", "network-interface": "n"}
    asked = [{"ResourceType": kind, "Tags": [{"Key": "part", "Value": value}]} for kind, value in kinds.items()]
    region_api.launch(vpc, TagSpecifications=asked)
    found = region_api.client().describe_tags(Filters=[{"Name": "key", "Values": ["part"]}])["Tags"]
    assert {one["ResourceType"]: one["Value"] for one in found} == kinds

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a launch decides: codes, tokens, requests and refusals."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import launch_plan as plan
from hypothesis import given
from hypothesis import strategies as st

CODES = {
    "InsufficientInstanceCapacity": "no_capacity",
    "InsufficientHostCapacity": "no_capacity",
    "InsufficientFreeAddressesInSubnet": "no_capacity",
    "UnfulfillableCapacity": "no_capacity",
    "ReservationCapacityExceeded": "no_capacity",
    "SpotMaxPriceTooLow": "no_capacity",
    "MaxSpotInstanceCountExceeded": "quota",
    "VcpuLimitExceeded": "quota",
    "InstanceLimitExceeded": "quota",
    "Unsupported": "unsupported",
    "InvalidPlacementGroup.Unknown": "placement",
    "RequestLimitExceeded": "throttled",
    "InternalError": "unavailable",
    "UnauthorizedOperation": "fatal",
    "AuthFailure": "fatal",
    "InvalidParameterValue": "fatal",
    "InvalidSubnetID.NotFound": "fatal",
    "InvalidKeyPair.NotFound": "fatal",
    "SomethingThatAwsInventsTomorrow": "fatal",
}
passing_codes = st.sampled_from([code for code, kind in CODES.items() if kind != "fatal"])
next_type_codes = st.sampled_from([code for code, kind in CODES.items() if kind in plan.NEXT_TYPE_KINDS])

OPTIONS: dict[str, t.Any] = {
    "round_id": "tokyo-1",
    "name": "1753142400-DC-Search",
    "placement_group": "group-1",
    "subnet_id": "subnet-1",
    "security_group_ids": ["sg-1"],
    "key_name": "key",
    "associate_public_ip": True,
    "instance_profile": None,
    "market": "on-demand",
    "volume_size_gib": None,
    "user_data": "#!/bin/sh\n",
    "tags": {"lowlatency:search-id": "tokyo"},
    "shutdown_behavior": None,
    "termination_protection": None,
    "auto_recovery": None,
    "stop_protection": None,
}


def attempts(codes: t.Iterable[str]) -> list[plan.Attempt]:
    return [{"instance_type": "c8g.medium", "code": code, "message": ""} for code in codes]


def request(**options: t.Any) -> dict[str, t.Any]:
    return plan.launch_request({**OPTIONS, **options}, "c8g.medium", "ami-1", "/dev/xvda", "token")


@pytest.mark.parametrize(("code", "kind"), CODES.items())
def test_a_code_has_its_kind(code: str, kind: str) -> None:
    assert plan.kind_of(code) == kind


def test_no_code_at_all_is_fatal() -> None:
    assert plan.kind_of(None) == "fatal"


@given(st.lists(next_type_codes, min_size=1))
def test_the_outcome_is_the_kind_of_an_attempt_and_the_most_hopeful_one(codes: list[str]) -> None:
    outcome = plan.outcome_of(attempts(codes))
    kinds = {plan.kind_of(code) for code in codes}
    assert outcome in kinds
    if "no_capacity" in kinds:
        assert outcome == "no_capacity"
    elif "quota" in kinds:
        assert outcome == "quota"


@given(st.lists(next_type_codes), passing_codes)
def test_what_stopped_the_attempts_is_the_outcome(before: list[str], last: str) -> None:
    kind = plan.kind_of(last)
    outcome = plan.outcome_of(attempts([*before, last]))
    assert outcome == kind or kind in plan.NEXT_TYPE_KINDS


keys = st.tuples(st.text(), st.text(), st.sampled_from(["on-demand", "spot"]), st.integers(0, 99))


@given(keys, keys)
def test_a_token_is_one_for_one_attempt_and_fits_ec2(one: tuple[t.Any, ...], other: tuple[t.Any, ...]) -> None:
    token = plan.client_token(*one)
    assert len(token) == 64
    assert token.isascii()
    assert (token == plan.client_token(*other)) == (one == other)


@pytest.mark.parametrize(
    ("supported", "architecture"),
    [(["arm64"], "arm64"), (["x86_64"], "x86_64"), (["i386", "x86_64"], "x86_64")],
)
def test_architecture(supported: list[str], architecture: str) -> None:
    assert plan.architecture_of({"ProcessorInfo": {"SupportedArchitectures": supported}}) == architecture


@pytest.mark.parametrize(
    ("image_id", "device"),
    [
        ("resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64", "/dev/xvda"),
        ("resolve:ssm:/aws/service/canonical/ubuntu/server/noble/stable/current/arm64/hvm/ebs-gp3/ami-id", "/dev/sda1"),
        ("resolve:ssm:/my/own", None),
        ("ami-1", None),
    ],
)
def test_root_devices_of_published_images_need_no_call(image_id: str, device: str | None) -> None:
    assert plan.familiar_root_device(image_id) == device


CLUSTER: dict[str, t.Any] = {"PlacementGroupInfo": {"SupportedStrategies": ["cluster", "partition", "spread"]}}
BURSTABLE: dict[str, t.Any] = {
    "PlacementGroupInfo": {"SupportedStrategies": ["partition", "spread"]},
    "SupportedUsageClasses": ["spot"],
}
MAC: dict[str, t.Any] = {"PlacementGroupInfo": {"SupportedStrategies": []}, "SupportedUsageClasses": ["on-demand"]}
INFOS = {"c8g.medium": CLUSTER, "t3.micro": BURSTABLE, "mac1.metal": MAC}


@pytest.mark.parametrize(
    ("wanted", "strategy", "market", "problem"),
    [
        (["c8g.medium"], "cluster", "spot", None),
        (["t3.micro"], None, "on-demand", None),
        (["t3.micro"], "spread", "spot", None),
        (["c8g.medium", "t3.micro"], "cluster", "on-demand", "instance_types: 't3.micro' cannot join a cluster"),
        (["c9z.huge"], "cluster", "on-demand", "instance_types: there is no instance type 'c9z.huge'"),
        (["mac1.metal"], None, "spot", "instance_types: 'mac1.metal' is not offered on the spot market"),
    ],
)
def test_types_that_cannot_do(wanted: list[str], strategy: str | None, market: str, problem: str | None) -> None:
    found = plan.type_problem(wanted, INFOS, strategy, market)
    assert found is None if problem is None else (found or "").startswith(problem)


@pytest.mark.parametrize(
    ("zone", "fits"), [(None, True), ("ap-northeast-1a", True), ("apne1-az4", True), ("ap-northeast-1c", False)]
)
def test_zone_by_name_or_id(zone: str | None, fits: bool) -> None:
    subnet = {"SubnetId": "subnet-1", "AvailabilityZone": "ap-northeast-1a", "AvailabilityZoneId": "apne1-az4"}
    problem = plan.subnet_problem(subnet, zone)
    assert (problem is None) == fits
    assert fits or (str(zone) in str(problem) and "subnet-1" in str(problem))


def test_an_image_for_another_architecture() -> None:
    image = {"ImageId": "ami-1", "Architecture": "x86_64"}
    assert plan.image_problem("c7i.large", "x86_64", image) is None
    assert plan.image_problem("c7i.large", "x86_64", None) is None
    assert plan.image_problem("c8g.medium", "arm64", image) == (
        "image_id: 'ami-1' is an image for x86_64, but 'c8g.medium' of instance_types is arm64"
    )


def test_every_launch_is_safe_by_default() -> None:
    made = request()
    assert made["MinCount"] == made["MaxCount"] == 1
    assert made["MetadataOptions"]["HttpTokens"] == "required"
    assert made["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert made["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert made["BlockDeviceMappings"] == [
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}}
    ]
    assert made["Placement"] == {"GroupName": "group-1"}
    assert made["NetworkInterfaces"] == [
        {
            "DeviceIndex": 0,
            "DeleteOnTermination": True,
            "SubnetId": "subnet-1",
            "Groups": ["sg-1"],
            "AssociatePublicIpAddress": True,
        }
    ]
    assert "SubnetId" not in made
    assert "SecurityGroupIds" not in made
    assert "InstanceMarketOptions" not in made


def test_what_is_not_given_is_not_sent() -> None:
    made = request(
        placement_group=None,
        subnet_id=None,
        security_group_ids=None,
        key_name=None,
        associate_public_ip=None,
        user_data=None,
    )
    assert made["NetworkInterfaces"] == [{"DeviceIndex": 0, "DeleteOnTermination": True}]
    assert not {"Placement", "KeyName", "UserData", "DisableApiTermination", "DisableApiStop"} & set(made)


def test_options_reach_the_request() -> None:
    made = request(
        volume_size_gib=20,
        shutdown_behavior="stop",
        termination_protection=True,
        stop_protection=True,
        instance_profile="p",
    )
    assert made["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 20
    assert made["InstanceInitiatedShutdownBehavior"] == "stop"
    assert made["DisableApiTermination"] is True
    assert made["DisableApiStop"] is True
    assert made["IamInstanceProfile"] == {"Name": "p"}
    arn = "arn:aws:iam::1:instance-profile/p"
    assert request(instance_profile=arn)["IamInstanceProfile"] == {"Arn": arn}


def test_everything_that_a_launch_makes_is_tagged() -> None:
    wanted = [
        {"Key": "Name", "Value": "1753142400-DC-Search"},
        {"Key": "lowlatency:round", "Value": "tokyo-1"},
        {"Key": "lowlatency:search-id", "Value": "tokyo"},
    ]
    for market, kinds in (
        ("on-demand", {"instance", "volume", "network-interface"}),
        ("spot", {"instance", "volume", "network-interface", "spot-instances-request"}),
    ):
        specifications = request(market=market)["TagSpecifications"]
        assert {one["ResourceType"] for one in specifications} == kinds
        assert all(one["Tags"] == wanted for one in specifications)


def test_a_spot_candidate_is_asked_for_once_and_ends_when_taken_back() -> None:
    assert request(market="spot")["InstanceMarketOptions"] == {
        "MarketType": "spot",
        "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
    }

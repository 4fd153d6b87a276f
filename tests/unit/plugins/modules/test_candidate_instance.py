# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""candidate_instance launches against the simulated region: outcomes, and which calls it makes."""

from __future__ import annotations

import pytest
from ansible_collections.amazon.aws.plugins.module_utils import cloud
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import candidate as ec2_candidate
from local_region.api.region_state import Quotas, Timings
from support.candidates import TAGS, Result, Rounds, Shortage
from support.region import TestRegion


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Retries without their pauses; returns what they would have paused, in seconds."""
    pauses: list[float] = []

    class Time:
        @staticmethod
        def sleep(pause_s: float) -> None:
            pauses.append(pause_s)

    monkeypatch.setattr(cloud, "time", Time)
    return pauses


def test_launch_and_again(rounds: Rounds) -> None:
    planned = rounds.launch(check=True, diff=True)
    assert (planned["changed"], planned["outcome"], planned["launched"]) == (True, "would_launch", False)
    assert planned["candidate"] is None
    assert rounds.region.write_calls() == []

    launched = rounds.launch(diff=True)
    assert (launched["changed"], launched["outcome"], launched["launched"]) == (True, "launched", True)
    assert launched["attempts"] == []
    assert launched["diff"] == planned["diff"]
    assert rounds.actions == ["DescribeInstances", "DescribeInstanceTypes", "RunInstances", "DescribeInstances"]
    candidate = launched["candidate"]
    expected = {"instance_type": "c8g.medium", "architecture": "arm64", "placement_group": "g-1", "state": "running"}
    assert candidate.items() >= expected.items()
    assert candidate["public_ip_address"]
    assert candidate["security_group_ids"] == [rounds.vpc.security_group_id]
    assert candidate["tags"] == {**TAGS, "lowlatency:round": "tokyo-1", "Name": "1753142400-DC-Search"}

    for check in (True, False):
        again = rounds.launch(check=check, diff=True)
        assert (again["changed"], again["outcome"], again["launched"]) == (False, "existing", False)
        assert again["candidate"] == candidate
        assert again["diff"] == {"before": {}, "after": {}}
        assert rounds.actions == ["DescribeInstances"]


def test_the_instance_is_made_as_promised(rounds: Rounds) -> None:
    instance_id = rounds.launch(user_data="#!/bin/sh\ntrue\n", volume_size_gib=12)["candidate"]["instance_id"]
    shown = rounds.describe(instance_id)
    assert shown["MetadataOptions"]["HttpTokens"] == "required"
    assert shown["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert rounds.attribute(instance_id, "instanceInitiatedShutdownBehavior") == "terminate"
    assert rounds.region.hosts.specs[instance_id].user_data == "#!/bin/sh\ntrue\n"
    (mapping,) = shown["BlockDeviceMappings"]
    ec2 = rounds.region.client()
    (volume,) = ec2.describe_volumes(VolumeIds=[mapping["Ebs"]["VolumeId"]])["Volumes"]
    assert (volume["Encrypted"], volume["VolumeType"], volume["Size"]) == (True, "gp3", 12)
    assert mapping["Ebs"]["DeleteOnTermination"]
    assert {tag["Key"]: tag["Value"] for tag in volume["Tags"]}["lowlatency:round"] == "tokyo-1"


def test_each_architecture_gets_its_image(rounds: Rounds) -> None:
    arm = rounds.launch(instance_types=["c8g.medium"])["candidate"]
    x86 = rounds.launch(instance_types=["c7i.large"], round_id="tokyo-2")["candidate"]
    assert (arm["architecture"], x86["architecture"]) == ("arm64", "x86_64")
    assert arm["image_id"] != x86["image_id"]


@pytest.mark.parametrize("by_parameter", [False, True])
def test_an_own_image_is_looked_up_for_its_root_device(rounds: Rounds, by_parameter: bool) -> None:
    ec2 = rounds.region.client()
    source = ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["arm64"]}])["Images"][0]
    image_id = source["ImageId"]
    if by_parameter:
        rounds.region.client("ssm").put_parameter(Name="/my/image", Value=image_id, Type="String")
    given_id = "resolve:ssm:/my/image" if by_parameter else image_id
    launched = rounds.launch(instance_types=["c8g.medium"], image_id=given_id)
    assert launched["outcome"] == "launched"
    assert rounds.describe(launched["candidate"]["instance_id"])["RootDeviceName"] == source["RootDeviceName"]
    looked_up = (["GetParameter"] if by_parameter else []) + ["DescribeImages"]
    assert rounds.actions[2 : 2 + len(looked_up)] == looked_up

    rounds.launch(round_id="tokyo-2", instance_types=["c8g.medium"], image_id=given_id, root_device_name="/dev/xvda")
    assert not {"GetParameter", "DescribeImages"} & set(rounds.actions)

    failed = rounds.launch(round_id="tokyo-3", instance_types=["c7i.large"], image_id=given_id, fail_ok=True)
    assert failed["msg"].startswith(f"image_id: '{image_id}' is an image for arm64")
    assert rounds.region.write_calls() == []


def test_spot(rounds: Rounds) -> None:
    candidate = rounds.launch(market="spot")["candidate"]
    assert candidate["market"] == "spot"
    assert candidate["spot_instance_request_id"].startswith("sir-")


BAD_OPTIONS: list[tuple[Result, str]] = [
    ({"instance_types": []}, "instance_types: must name at least one type"),
    ({"round_id": " "}, "round_id: must not be empty"),
    ({"image_id": None}, "image_id: is needed to launch an instance"),
    ({"market": "spot", "termination_protection": True}, "termination_protection: a spot instance cannot have it"),
    ({"market": "spot", "shutdown_behavior": "stop"}, "shutdown_behavior: a spot instance cannot have it"),
    ({"instance_types": ["c9z.huge"]}, "instance_types: there is no instance type 'c9z.huge' in this region"),
    (
        {"instance_types": ["c8g.medium", "t3.micro"]},
        "instance_types: 't3.micro' cannot join a cluster placement group",
    ),
    ({"availability_zone": "apne1-az1"}, "availability_zone: 'subnet-"),
    ({"image_id": "ami-00000000"}, "Failed to describe images"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
@pytest.mark.parametrize("check", [True, False])
def test_bad_input_is_refused_before_anything_is_launched(
    rounds: Rounds, options: Result, message: str, check: bool
) -> None:
    failed = rounds.launch(**options, check=check, fail_ok=True)
    assert failed["msg"].startswith(message)
    assert rounds.region.write_calls() == []


def test_the_zone_may_be_named_by_its_id(rounds: Rounds) -> None:
    subnet = rounds.region.client().describe_subnets(SubnetIds=[rounds.vpc.subnet_id])["Subnets"][0]
    for number, zone in enumerate((subnet["AvailabilityZone"], subnet["AvailabilityZoneId"])):
        assert rounds.launch(round_id=f"tokyo-{number}", availability_zone=zone)["outcome"] == "launched"


def test_one_request_a_type_and_then_the_next(rounds: Rounds) -> None:
    rounds.region.api.state.faults = Shortage({"c8g.medium": "InsufficientInstanceCapacity"})
    launched = rounds.launch()
    assert launched["outcome"] == "launched"
    assert launched["candidate"]["instance_type"] == "c7i.large"
    (attempt,) = launched["attempts"]
    assert (attempt["instance_type"], attempt["code"]) == ("c8g.medium", "InsufficientInstanceCapacity")
    assert rounds.actions.count("RunInstances") == 2


@pytest.mark.parametrize(
    ("codes", "outcome"),
    [
        (("InsufficientInstanceCapacity", "InsufficientInstanceCapacity"), "no_capacity"),
        (("VcpuLimitExceeded", "InsufficientInstanceCapacity"), "no_capacity"),
        (("VcpuLimitExceeded", "MaxSpotInstanceCountExceeded"), "quota"),
        (("Unsupported", "Unsupported"), "unsupported"),
    ],
)
def test_no_type_left_is_an_outcome_and_no_failure(rounds: Rounds, codes: tuple[str, str], outcome: str) -> None:
    rounds.region.api.state.faults = Shortage(dict(zip(("c8g.medium", "c7i.large"), codes)))
    result = rounds.launch()
    assert (result["changed"], result["launched"], result["candidate"]) == (False, False, None)
    assert result["outcome"] == outcome
    assert tuple(attempt["code"] for attempt in result["attempts"]) == codes
    assert rounds.actions.count("RunInstances") == 2


def test_a_quota_of_the_region(rounds: Rounds) -> None:
    rounds.region.api.state.quotas = Quotas(on_demand_vcpus=1)
    assert rounds.launch(instance_types=["c7i.large"])["attempts"][0]["code"] == "VcpuLimitExceeded"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"key_name": "gone"}, "InvalidKeyPair.NotFound"),
        ({"security_group_ids": ["sg-00000000000000000"]}, "InvalidGroup.NotFound"),
    ],
)
def test_what_no_type_mends_fails_with_its_code_at_once(rounds: Rounds, options: Result, code: str) -> None:
    failed = rounds.launch(**options, fail_ok=True)
    assert failed["error"]["code"] == code
    assert failed["attempts"] == []
    assert rounds.actions.count("RunInstances") == 1


def test_a_failure_at_the_second_type_still_shows_the_first(rounds: Rounds) -> None:
    codes = {"c8g.medium": "InsufficientInstanceCapacity", "c7i.large": "UnauthorizedOperation"}
    rounds.region.api.state.faults = Shortage(codes)
    failed = rounds.launch(fail_ok=True)
    assert failed["error"]["code"] == "UnauthorizedOperation"
    assert [attempt["code"] for attempt in failed["attempts"]] == ["InsufficientInstanceCapacity"]


def test_a_throttled_launch_is_repeated_and_launches_once(rounds: Rounds, no_pauses: list[float]) -> None:
    rounds.region.api.state.faults = Shortage(throttled={"RunInstances": 3})
    assert rounds.launch()["outcome"] == "launched"
    assert rounds.actions.count("RunInstances") == 4
    assert sum(no_pauses) <= 7
    assert len(rounds.region.api.instances()) == 1


def test_throttled_for_too_long_is_an_outcome_and_ends_the_attempts(rounds: Rounds, no_pauses: list[float]) -> None:
    rounds.region.api.state.faults = Shortage(throttled={"RunInstances": 99})
    result = rounds.launch()
    assert result["outcome"] == "throttled"
    assert [attempt["code"] for attempt in result["attempts"]] == ["RequestLimitExceeded"]
    assert rounds.actions.count("RunInstances") == 4
    assert rounds.region.api.instances() == []


def test_throttled_reading_is_repeated(rounds: Rounds, no_pauses: list[float]) -> None:
    rounds.region.api.state.faults = Shortage(throttled={"DescribeInstances": 2, "DescribeInstanceTypes": 1})
    assert rounds.launch()["outcome"] == "launched"
    assert len(no_pauses) == 3


def test_a_group_that_is_gone_is_an_outcome(rounds: Rounds, no_pauses: list[float]) -> None:
    result = rounds.launch(placement_group="gone")
    assert result["outcome"] == "placement"
    assert [attempt["code"] for attempt in result["attempts"]] == ["InvalidPlacementGroup.Unknown"]


def test_a_round_launches_again_after_its_instance_ended(rounds: Rounds) -> None:
    first = rounds.launch()["candidate"]["instance_id"]
    assert rounds.run(round_id="tokyo-1", state="absent")["outcome"] == "terminated"
    second = rounds.launch()
    assert second["outcome"] == "launched"
    assert second["candidate"]["instance_id"] != first
    assert rounds.actions.count("RunInstances") == 1


def test_an_ended_instance_that_ec2_shows_no_more_does_not_stand_in_the_way(rounds: Rounds) -> None:
    rounds.launch()
    rounds.run(round_id="tokyo-1", state="absent")
    rounds.region.clock.advance(2 * Timings().terminated_visible_s)
    again = rounds.launch()
    assert again["outcome"] == "launched"


def test_a_launch_whose_answer_was_lost_is_found_by_its_token(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    """EC2 does not show the tags of a new instance at once: the search by tag finds nothing, the token does."""
    first = rounds.launch()["candidate"]["instance_id"]
    monkeypatch.setattr(ec2_candidate, "find", lambda _client, _options: [])
    repeated = rounds.launch()
    assert repeated["candidate"]["instance_id"] == first
    changed = rounds.launch(user_data="#!/bin/sh\n: another expiry\n")
    assert (changed["outcome"], changed["launched"], changed["changed"]) == ("existing", False, False)
    assert changed["candidate"]["instance_id"] == first
    assert len(rounds.region.api.instances()) == 1


def test_two_live_instances_of_a_round_are_named(rounds: Rounds) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "lowlatency:round", "Value": "tokyo-1"}]}]
    ids = [rounds.region.launch(rounds.vpc, TagSpecifications=tags)["InstanceId"] for _again in range(2)]
    failed = rounds.launch(fail_ok=True)
    assert all(instance_id in failed["msg"] for instance_id in ids)
    assert rounds.region.write_calls() == []


def test_a_wait_that_comes_to_nothing_returns_the_candidate(region_api: TestRegion) -> None:
    region_api.reset(timings=Timings(pending_s=600))
    rounds = Rounds(region_api, region_api.make_vpc())
    failed = rounds.launch(wait_timeout=1, fail_ok=True)
    assert failed["error"]["code"] == "WaitTimeout"
    assert failed["outcome"] == "timed_out"
    assert failed["changed"]
    assert failed["candidate"]["state"] == "pending"
    assert failed["candidate"]["instance_id"] in failed["msg"]
    assert "'pending'" in failed["msg"]

    taken_up = rounds.launch(wait=False)
    assert (taken_up["outcome"], taken_up["candidate"]["state"]) == ("existing", "pending")
    region_api.clock.advance(600)
    assert rounds.launch()["candidate"]["state"] == "running"


def test_a_candidate_that_ends_before_it_runs_is_an_outcome(region_api: TestRegion) -> None:
    region_api.reset(timings=Timings(pending_s=600, shutting_down_s=0))
    rounds = Rounds(region_api, region_api.make_vpc())
    pending = rounds.launch(wait=False)["candidate"]
    region_api.client().terminate_instances(InstanceIds=[pending["instance_id"]])

    result = ec2_candidate._await_start(
        region_api.client(),
        {"candidate": pending, "attempts": [], "outcome": "launched", "launched": True},
        {"wait": True, "wait_timeout": 30},
    )
    assert (result["outcome"], result["launched"]) == ("failed_to_start", False)
    assert result["candidate"]["state"] == "terminated"
    assert [attempt["code"] for attempt in result["attempts"]] == ["Client.UserInitiatedShutdown"]

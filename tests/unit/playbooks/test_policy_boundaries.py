# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the policies of the playbooks keep from being done, whatever a playbook is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.modules import champion
from support.aws import refused
from support.region import ACCESS_KEY, AL2023_ARM64, REGION

if TYPE_CHECKING:
    from support.region import TestRegion, Vpc

FOLDER = Path(__file__).resolve().parents[3] / "playbooks" / "policies"
KINDS = ("instance", "network-interface", "volume")


def hold(region: TestRegion, name: str) -> None:
    """Hold the tests' own key to a playbook's policy."""
    region.api.policies.put(ACCESS_KEY, json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def tags(role: str | None) -> list[dict[str, Any]]:
    """The tags of what a search launches, for each part; none for no role."""
    if role is None:
        return []
    pairs = {"lowlatency:search-id": "dc-machine", "lowlatency:role": role}
    listed = [{"Key": key, "Value": value} for key, value in pairs.items()]
    return [{"ResourceType": kind, "Tags": listed} for kind in KINDS]


def launched(region: TestRegion, vpc: Vpc, role: str | None) -> str:
    return str(region.launch(vpc, TagSpecifications=tags(role) or None)["InstanceId"])


def may_end(region: TestRegion, instance_id: str) -> bool:
    """Whether the key may end an instance; a dry run tells without doing it."""
    code = "DryRunOperation"
    try:
        with refused(code, 412):
            region.client().terminate_instances(InstanceIds=[instance_id], DryRun=True)
    except AssertionError:
        with refused("UnauthorizedOperation", 403):
            region.client().terminate_instances(InstanceIds=[instance_id], DryRun=True)
        return False
    return True


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("cleanup", {"candidate"}),
        ("search", {"candidate", "champion", "production"}),
        ("teardown", {"candidate", "champion", "production"}),
        ("setup", set()),
        ("champion", set()),
        ("check_dns", set()),
        ("inventory", set()),
    ],
)
def test_who_may_be_ended(region_api: TestRegion, vpc: Vpc, name: str, ends: set[str]) -> None:
    roles = ("candidate", "champion", "production", None)
    ids = {role: launched(region_api, vpc, role) for role in roles}
    hold(region_api, name)
    assert {role for role in roles if may_end(region_api, ids[role])} == ends


def test_a_search_takes_nobody_elses_instance_by_a_tag(region_api: TestRegion, vpc: Vpc) -> None:
    theirs, ours = launched(region_api, vpc, None), launched(region_api, vpc, "candidate")
    hold(region_api, "search")
    ec2 = region_api.client()
    listed = [{"Key": "lowlatency:search-id", "Value": "dc-machine"}]
    with refused("UnauthorizedOperation", 403):
        ec2.create_tags(Resources=[theirs], Tags=listed)
    with refused("UnauthorizedOperation", 403):
        ec2.create_tags(Resources=[ours], Tags=[{"Key": "aws-backup", "Value": "no"}])
    ec2.create_tags(Resources=[ours], Tags=[{"Key": "lowlatency:role", "Value": "champion"}])
    with refused("UnauthorizedOperation", 403):
        ec2.modify_instance_attribute(InstanceId=theirs, DisableApiTermination={"Value": False})
    with refused("UnauthorizedOperation", 403):
        ec2.modify_instance_attribute(InstanceId=ours, UserData={"Value": b"#!/bin/sh"})
    with refused("UnauthorizedOperation", 403):
        ec2.modify_instance_maintenance_options(InstanceId=theirs, AutoRecovery="disabled")
    ec2.modify_instance_maintenance_options(InstanceId=ours, AutoRecovery="disabled")
    ec2.modify_instance_attribute(InstanceId=ours, DisableApiTermination={"Value": True})


def test_a_champion_is_kept_by_its_playbook_and_nobody_elses_instance_is(region_api: TestRegion, vpc: Vpc) -> None:
    theirs, ours = launched(region_api, vpc, None), launched(region_api, vpc, "candidate")
    hold(region_api, "champion")
    ec2 = region_api.client()
    crown = [{"Key": "lowlatency:champion", "Value": "true"}]
    for change in (
        lambda instance_id: ec2.create_tags(Resources=[instance_id], Tags=crown),
        lambda instance_id: ec2.delete_tags(Resources=[instance_id], Tags=[{"Key": "lowlatency:champion"}]),
        lambda instance_id: ec2.modify_instance_attribute(
            InstanceId=instance_id, DisableApiTermination={"Value": True}
        ),
        lambda instance_id: ec2.modify_instance_maintenance_options(InstanceId=instance_id, AutoRecovery="disabled"),
    ):
        with refused("UnauthorizedOperation", 403):
            change(theirs)
        change(ours)
    with refused("UnauthorizedOperation", 403):
        ec2.delete_tags(Resources=[ours], Tags=[{"Key": "Name"}])
    with refused("UnauthorizedOperation", 403):
        ec2.modify_instance_attribute(InstanceId=ours, UserData={"Value": b"#!/bin/sh"})


def test_the_document_in_s3_may_be_replaced_and_put_aside_and_nothing_else(region_api: TestRegion) -> None:
    s3 = region_api.client("s3")
    s3.create_bucket(Bucket="champions", CreateBucketConfiguration={"LocationConstraint": REGION})
    text = (FOLDER / "champion_s3.json").read_text(encoding="utf-8")
    document = text.replace("BUCKET", "champions").replace("KEY", "tokyo/state.json")
    region_api.api.policies.put(ACCESS_KEY, json.loads(document))
    s3.put_object(Bucket="champions", Key="tokyo/state.json", Body=b"{}")
    aside = "tokyo/state.json.unreadable-20261122T140501Z"
    s3.copy_object(Bucket="champions", Key=aside, CopySource="champions/tokyo/state.json")
    assert s3.get_object(Bucket="champions", Key="tokyo/state.json")["Body"].read() == b"{}"
    for change in (
        lambda: s3.put_object(Bucket="champions", Key="osaka/state.json", Body=b"{}"),
        lambda: s3.get_object(Bucket="champions", Key="osaka/state.json"),
        lambda: s3.delete_object(Bucket="champions", Key="tokyo/state.json"),
        lambda: s3.delete_bucket(Bucket="champions"),
    ):
        with refused("AccessDenied", 403):
            change()


def test_the_module_champion_needs_its_policies_and_no_more(region_api: TestRegion, vpc: Vpc) -> None:
    ec2, s3 = region_api.client(), region_api.client("s3")
    s3.create_bucket(Bucket="champions", CreateBucketConfiguration={"LocationConstraint": REGION})
    ec2.create_placement_group(GroupName="g-1", Strategy="cluster")
    one = region_api.launch(vpc, Placement={"GroupName": "g-1"}, TagSpecifications=tags("candidate"))["InstanceId"]
    # More of it than an entry without addresses takes, as if it had been adopted with more of them before.
    ec2.create_tags(Resources=[one], Tags=[{"Key": "lowlatency:addresses.2", "Value": "more"}])
    statements = [
        statement
        for name in ("champion", "champion_s3")
        for statement in json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["Statement"]
    ]
    text = json.dumps({"Version": "2012-10-17", "Statement": statements})
    held = json.loads(text.replace("BUCKET", "champions").replace("KEY", "tokyo.json"))
    region_api.api.policies.put(ACCESS_KEY, held)

    def run(state: str, **options: Any) -> dict[str, Any]:
        where = {"search_id": "dc-machine", "store": "s3://champions/tokyo.json"}
        return region_api.run_module(champion.main, state=state, **where, **options)

    figures = {"best_us": 101.5, "address": "198.19.3.1", "endpoint": "mm", "metric": "wall", "samples": 500}
    assert run("adopted", instance_id=one, figures=figures)["survivors"] == [one]
    s3.put_object(Bucket="champions", Key="tokyo.json", Body=b"{")
    assert run("rebuilt")["survivors"] == [one]
    assert run("demoted", instance_id=one)["survivors"] == []
    seen = region_api.api.policies.as_json()[ACCESS_KEY]
    assert seen["refused"] == []
    allowed = {
        (statement["Sid"], action)
        for statement in held["Statement"]
        if statement["Effect"] == "Allow"
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    used = {(sid, action) for action, sids in seen["used"].items() for sid in sids}
    # S3 asks for it without a call of its own, when an object is missing.
    assert allowed - used == {("SeeThatItIsMissing", "s3:ListBucket")}


@pytest.mark.parametrize(
    "left_out", [None, "MetadataOptions", "TagSpecifications", "BlockDeviceMappings", "the network's tag"]
)
def test_a_search_launches_candidates_and_nothing_else(region_api: TestRegion, vpc: Vpc, left_out: str | None) -> None:
    ec2 = region_api.client()
    if left_out != "the network's tag":
        key_id = ec2.describe_key_pairs()["KeyPairs"][0]["KeyPairId"]
        network = [vpc.subnet_id, vpc.security_group_id, key_id]
        ec2.create_tags(Resources=network, Tags=[{"Key": "lowlatency:role", "Value": "network"}])
    hold(region_api, "search")
    whole = {
        "ImageId": AL2023_ARM64,
        "InstanceType": "c8g.large",
        "MinCount": 1,
        "MaxCount": 1,
        "KeyName": vpc.key_name,
        "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": vpc.subnet_id, "Groups": [vpc.security_group_id]}],
        "MetadataOptions": {"HttpTokens": "required"},
        "TagSpecifications": tags("candidate"),
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True}}],
    }
    request = {name: value for name, value in whole.items() if name != left_out}
    if left_out is None:
        ec2.run_instances(**request)
        return
    with refused("UnauthorizedOperation", 403):
        ec2.run_instances(**request)


def test_a_teardown_removes_what_setup_made_and_nothing_else(region_api: TestRegion, vpc: Vpc) -> None:
    ec2 = region_api.client()
    ours = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[ours], Tags=[{"Key": "lowlatency:role", "Value": "network"}])
    hold(region_api, "teardown")
    for delete in (
        lambda: ec2.delete_vpc(VpcId=vpc.vpc_id),
        lambda: ec2.delete_subnet(SubnetId=vpc.subnet_id),
        lambda: ec2.delete_security_group(GroupId=vpc.security_group_id),
        lambda: ec2.delete_key_pair(KeyName=vpc.key_name),
    ):
        with refused("UnauthorizedOperation", 403):
            delete()
    ec2.delete_vpc(VpcId=ours)

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Placement groups as clients see them."""

from __future__ import annotations

import pytest
from local_region.api.region_state import Quotas, Timings
from support.aws import refused
from support.region import tag_specifications


def test_create_shows_what_was_made(region_api):
    ec2 = region_api.client()
    made = ec2.create_placement_group(
        GroupName="one", Strategy="cluster", TagSpecifications=tag_specifications("placement-group", {"a": "b"})
    )["PlacementGroup"]
    assert made["GroupName"] == "one"
    assert made["State"] == "available"
    assert made["Strategy"] == "cluster"
    assert made["GroupId"].startswith("pg-")
    assert made["GroupArn"] == "arn:aws:ec2:ap-northeast-1:123456789012:placement-group/one"
    assert made["Tags"] == [{"Key": "a", "Value": "b"}]
    assert ec2.describe_placement_groups()["PlacementGroups"] == [made]


def test_other_strategies_have_their_own_fields(region_api):
    ec2 = region_api.client()
    ec2.create_placement_group(GroupName="spread", Strategy="spread")
    ec2.create_placement_group(GroupName="partition", Strategy="partition", PartitionCount=3)
    groups = {one["GroupName"]: one for one in ec2.describe_placement_groups()["PlacementGroups"]}
    assert groups["spread"]["SpreadLevel"] == "rack"
    assert groups["partition"]["PartitionCount"] == 3
    assert "SpreadLevel" not in groups["partition"]


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"GroupName": "x", "Strategy": "near"}, "InvalidParameterValue"),
        ({"GroupName": "x" * 256, "Strategy": "cluster"}, "InvalidParameterValue"),
        ({"GroupName": "ö", "Strategy": "cluster"}, "InvalidParameterValue"),
        ({"GroupName": "x", "Strategy": "cluster", "PartitionCount": 2}, "InvalidParameterCombination"),
        ({"GroupName": "x", "Strategy": "partition", "PartitionCount": 8}, "InvalidParameterValue"),
        ({"GroupName": "x", "Strategy": "cluster", "SpreadLevel": "rack"}, "InvalidParameterCombination"),
        ({"Strategy": "cluster"}, "MissingParameter"),
    ],
)
def test_create_refuses(region_api, parameters, code):
    ec2 = region_api.client()
    with refused(code):
        ec2.create_placement_group(**parameters)
    assert ec2.describe_placement_groups()["PlacementGroups"] == []


def test_name_is_unique(region_api):
    ec2 = region_api.client()
    ec2.create_placement_group(GroupName="one", Strategy="cluster")
    with refused("InvalidPlacementGroup.Duplicate"):
        ec2.create_placement_group(GroupName="one", Strategy="spread")


def test_dry_run_makes_nothing(region_api):
    ec2 = region_api.client()
    with refused("DryRunOperation", status=412):
        ec2.create_placement_group(GroupName="one", Strategy="cluster", DryRun=True)
    assert ec2.describe_placement_groups()["PlacementGroups"] == []


def test_quota_counts_what_exists(region_api):
    region_api.reset(quotas=Quotas(placement_groups=2))
    ec2 = region_api.client()
    for name in ("one", "two"):
        ec2.create_placement_group(GroupName=name, Strategy="cluster")
    with refused("PlacementGroupLimitExceeded"):
        ec2.create_placement_group(GroupName="three", Strategy="cluster")
    ec2.delete_placement_group(GroupName="one")
    ec2.create_placement_group(GroupName="three", Strategy="cluster")


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"group-name": ["a*"]}, {"a1", "a2"}),
        ({"strategy": ["spread"]}, {"b1"}),
        ({"spread-level": ["rack"]}, {"b1"}),
        ({"state": ["available"]}, {"a1", "a2", "b1"}),
        ({"state": ["deleting"]}, set()),
        ({"tag:owner": ["me"]}, {"a1"}),
        ({"tag:owner": ["me", "you"]}, {"a1", "a2"}),
        ({"tag-key": ["owner"], "group-name": ["a1"]}, {"a1"}),
        ({"group-arn": ["*placement-group/b1"]}, {"b1"}),
    ],
)
def test_filters(region_api, filters, found):
    ec2 = region_api.client()
    for name, strategy, owner in (("a1", "cluster", "me"), ("a2", "cluster", "you"), ("b1", "spread", None)):
        tags = {"TagSpecifications": tag_specifications("placement-group", {"owner": owner})} if owner else {}
        ec2.create_placement_group(GroupName=name, Strategy=strategy, **tags)
    answer = ec2.describe_placement_groups(Filters=[{"Name": name, "Values": v} for name, v in filters.items()])
    assert {one["GroupName"] for one in answer["PlacementGroups"]} == found


def test_describe_by_name_and_id(region_api):
    ec2 = region_api.client()
    ids = {
        name: ec2.create_placement_group(GroupName=name, Strategy="cluster")["PlacementGroup"]["GroupId"]
        for name in ("one", "two")
    }
    by_name = ec2.describe_placement_groups(GroupNames=["two"])["PlacementGroups"]
    by_id = ec2.describe_placement_groups(GroupIds=[ids["one"]])["PlacementGroups"]
    assert [one["GroupName"] for one in by_name + by_id] == ["two", "one"]
    with refused("InvalidPlacementGroup.Unknown"):
        ec2.describe_placement_groups(GroupNames=["three"])
    with refused("InvalidPlacementGroup.Unknown"):
        ec2.describe_placement_groups(GroupIds=["pg-0123456789abcdef0"])
    with refused("InvalidParameterValue"):
        ec2.describe_placement_groups(Filters=[{"Name": "colour", "Values": ["red"]}])


def test_tags_come_and_go(region_api):
    ec2 = region_api.client()
    group_id = ec2.create_placement_group(GroupName="one", Strategy="cluster")["PlacementGroup"]["GroupId"]
    ec2.create_tags(Resources=[group_id], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    ec2.delete_tags(Resources=[group_id], Tags=[{"Key": "a"}])
    shown = ec2.describe_tags(Filters=[{"Name": "resource-type", "Values": ["placement-group"]}])["Tags"]
    assert shown == [{"Key": "b", "Value": "2", "ResourceId": group_id, "ResourceType": "placement-group"}]
    assert ec2.describe_placement_groups()["PlacementGroups"][0]["Tags"] == [{"Key": "b", "Value": "2"}]
    with refused("InvalidPlacementGroup.Unknown"):
        ec2.create_tags(Resources=["pg-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "1"}])


def test_in_use_until_its_last_instance_is_terminated(region_api):
    region_api.reset(timings=Timings(pending_s=0.0, shutting_down_s=3600.0))
    vpc = region_api.make_vpc()
    ec2 = region_api.client()
    ec2.create_placement_group(GroupName="one", Strategy="cluster")
    instance_id = region_api.launch(vpc, Placement={"GroupName": "one"})["InstanceId"]
    with refused("InvalidPlacementGroup.InUse"):
        ec2.delete_placement_group(GroupName="one")
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert region_api.states(instance_id) == ["shutting-down"]
    with refused("InvalidPlacementGroup.InUse"):
        ec2.delete_placement_group(GroupName="one")
    region_api.clock.advance(3600.0)
    ec2.delete_placement_group(GroupName="one")
    with refused("InvalidPlacementGroup.Unknown"):
        ec2.delete_placement_group(GroupName="one")


def test_each_group_has_a_rack_of_its_own(region_api, vpc):
    ec2 = region_api.client()
    for name in ("one", "two"):
        ec2.create_placement_group(GroupName=name, Strategy="cluster")
    placements = [{"GroupName": "two"}, {}, {"GroupName": "one"}, {"GroupName": "two"}]
    ids = [region_api.launch(vpc, Placement=placement)["InstanceId"] for placement in placements]
    racks = {one["instance_id"]: one["rack"] for one in region_api.get("/lab/instances")}
    assert [racks[instance_id] for instance_id in ids] == ["rack-01", "rack-02", "rack-00", "rack-01"]
    assert [region_api.hosts.specs[instance_id].rack for instance_id in ids] == [racks[one] for one in ids]


def test_another_region_has_none(region_api):
    region_api.client().create_placement_group(GroupName="one", Strategy="cluster")
    elsewhere = region_api.client(region="eu-west-1")
    assert elsewhere.describe_instances()["Reservations"] == []
    with refused("OptInRequired", status=401):
        elsewhere.create_placement_group(GroupName="two", Strategy="cluster")

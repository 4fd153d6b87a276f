# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversions, tags, filters and diffs."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import transformations
from hypothesis import given
from hypothesis import strategies as st

tag_dicts = st.dictionaries(st.sampled_from(["a", "b", "c", "aws:x"]), st.sampled_from(["1", "2"]))


@given(tag_dicts, tag_dicts, st.booleans())
def test_tag_changes_lead_to_the_tags_afterwards(current: dict[str, str], wanted: dict[str, str], purge: bool) -> None:
    to_set, to_remove, after = transformations.tag_changes(current, wanted, purge)
    assert {key: value for key, value in {**current, **to_set}.items() if key not in to_remove} == after
    assert wanted.items() <= after.items()
    assert not set(to_set) & set(to_remove)
    assert all(current.get(key) != value for key, value in to_set.items())
    assert not any(key.startswith("aws:") for key in to_remove)
    assert purge or not to_remove
    assert transformations.tag_changes(after, wanted, purge) == ({}, [], after)


@given(tag_dicts, st.booleans())
def test_tags_that_are_not_given_are_left_alone(current: dict[str, str], purge: bool) -> None:
    assert transformations.tag_changes(current, None, purge) == ({}, [], current)


def test_a_tag_value_is_compared_as_text() -> None:
    assert transformations.tag_changes({"a": "1"}, {"a": 1}, False) == ({}, [], {"a": "1"})


@given(st.dictionaries(st.text(), st.integers()), st.dictionaries(st.text(), st.integers()))
def test_a_diff_holds_what_differs_and_nothing_else(before: dict[str, int], after: dict[str, int]) -> None:
    diff = transformations.changed_parts(before, after)
    assert {**{key: value for key, value in before.items() if key in after}, **diff["after"]} == after
    assert {**{key: value for key, value in after.items() if key in before}, **diff["before"]} == before
    assert transformations.changed_parts(after, after) == {"before": {}, "after": {}}


@pytest.mark.parametrize(("value", "escaped"), [("tokyo", "tokyo"), ("to*", r"to\*"), ("a?b", r"a\?b"), ("\\", r"\\")])
def test_filter_values_mean_themselves(value: str, escaped: str) -> None:
    assert transformations.escape_filter_value(value) == escaped


def test_filters_from_options() -> None:
    assert transformations.filters_of({"instance-id": ["i-1", "i-2"], "ebs-optimized": True, "n": 3}, {"a": "1*"}) == [
        {"Name": "ebs-optimized", "Values": ["true"]},
        {"Name": "instance-id", "Values": ["i-1", "i-2"]},
        {"Name": "n", "Values": ["3"]},
        {"Name": "tag:a", "Values": [r"1\*"]},
    ]
    assert transformations.filters_of(None, None) == []


def test_candidate_of_an_instance_in_full() -> None:
    candidate = transformations.candidate_of(
        {
            "InstanceId": "i-1",
            "InstanceType": "c8g.medium",
            "Architecture": "arm64",
            "Placement": {"GroupName": "g", "AvailabilityZone": "ap-northeast-1a"},
            "State": {"Name": "terminated", "Code": 48},
            "StateReason": {
                "Code": "Server.InternalError",
                "Message": "Server.InternalError: Internal error on launch",
            },
            "PrivateIpAddress": "10.0.0.17",
            "PublicIpAddress": "203.0.113.17",
            "ImageId": "ami-1",
            "InstanceLifecycle": "spot",
            "SpotInstanceRequestId": "sir-1",
            "SecurityGroups": [{"GroupId": "sg-1", "GroupName": "x"}],
            "NetworkInterfaces": [{"NetworkInterfaceId": "eni-1"}],
            "LaunchTime": datetime.datetime(2026, 7, 22, tzinfo=datetime.timezone.utc),
            "Tags": [{"Key": "Name", "Value": "n"}],
        }
    )
    expected: dict[str, t.Any] = {
        "instance_id": "i-1",
        "placement_group": "g",
        "state": "terminated",
        "market": "spot",
        "launch_time": "2026-07-22T00:00:00+00:00",
        "security_group_ids": ["sg-1"],
        "tags": {"Name": "n"},
    }
    assert candidate.items() >= expected.items()
    assert candidate["state_reason"]["code"] == "Server.InternalError"


def test_candidate_of_an_instance_that_ec2_hardly_knows_yet() -> None:
    candidate = transformations.candidate_of(
        {"InstanceId": "i-1", "Placement": {"GroupName": ""}, "PublicIpAddress": ""}
    )
    assert candidate["state"] == "pending"
    assert candidate["placement_group"] is None
    assert candidate["public_ip_address"] is None
    assert candidate["market"] == "on-demand"
    assert candidate["tags"] == {}


def test_placement_group_of() -> None:
    assert transformations.placement_group_of(
        {"GroupName": "g", "GroupId": "pg-1", "Strategy": "cluster", "State": "available", "PartitionCount": 0}
    ) == {
        "name": "g",
        "group_id": "pg-1",
        "group_arn": None,
        "strategy": "cluster",
        "partition_count": None,
        "spread_level": None,
        "state": "available",
        "tags": {},
    }

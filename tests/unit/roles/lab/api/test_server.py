# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The server itself: its fixtures, its call log and its own paths."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError


def test_a_write_is_counted_and_a_read_is_not(region_api):
    ec2 = region_api.client()
    ec2.create_placement_group(GroupName="one", Strategy="cluster")
    ec2.describe_placement_groups()
    with pytest.raises(ClientError):
        ec2.create_placement_group(GroupName="two", Strategy="cluster", DryRun=True)
    assert region_api.write_calls() == ["CreatePlacementGroup"]
    assert [call.action for call in region_api.calls] == [
        "CreatePlacementGroup",
        "DescribePlacementGroups",
        "CreatePlacementGroup",
    ]
    assert [call.code for call in region_api.calls] == [None, None, "DryRunOperation"]


def test_vpc_fixture_launches(region_api, vpc):
    instance = region_api.launch(vpc)
    assert instance["State"]["Name"] == "pending"
    assert region_api.states(instance["InstanceId"]) == ["running"]
    assert region_api.hosts.specs[instance["InstanceId"]].authorized_key.startswith("ssh-ed25519 ")

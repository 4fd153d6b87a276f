# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The network that tests make in a lab by themselves is the one that setup.yml makes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from network_controller import OURS
from support.lab import Lab
from support.lab_network import PROJECT
from support.region import AL2023_ARM64
from support.shared_lab import SharedLab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


def test_setup_has_nothing_to_add_to_the_network_of_the_tests(lab_of_worker: SharedLab, tmp_path: Path) -> None:
    lab = lab_of_worker.as_new(tmp_path)
    calls_before = len(lab.calls())
    output = lab.play("setup", "--diff").stdout
    assert re.search(r"localhost\s+: .*changed=0", output), output
    assert [call["action"] for call in lab.calls()[calls_before:] if call["write"]] == []


def rack_of_a_launch(lab: Lab) -> str:
    """Launch an instance, wait until it has booted, and return its rack."""
    ec2 = lab.client("ec2")
    subnet = ec2.describe_subnets(Filters=OURS)["Subnets"][0]["SubnetId"]
    launched = ec2.run_instances(
        ImageId=AL2023_ARM64, InstanceType="c8g.large", SubnetId=subnet, KeyName=PROJECT, MinCount=1, MaxCount=1
    )
    instance_id = launched["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_status_ok").wait(
        InstanceIds=[instance_id], WaiterConfig={"Delay": 1, "MaxAttempts": 300}
    )
    return str(lab.truth()["instances"][instance_id]["rack"])


def test_a_lab_that_is_put_back_has_nothing_of_the_test_before(lab_of_worker: SharedLab, tmp_path: Path) -> None:
    lab = lab_of_worker.as_new(tmp_path)
    first_rack = rack_of_a_launch(lab)
    lab.client("ec2").create_placement_group(GroupName="left", Strategy="cluster")
    lab.make_bucket("left")
    assert len(lab.instances()) == 1
    again = lab_of_worker.as_new(tmp_path, network=False)
    ec2 = again.client("ec2")
    assert again.instances() == [] and again.groups() == set()
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert ec2.describe_vpcs(Filters=OURS)["Vpcs"] == []
    assert again.client("s3").list_buckets()["Buckets"] == []
    # The first instance of a region stands in the first rack that its seed draws.
    assert rack_of_a_launch(lab_of_worker.as_new(tmp_path)) == first_rack

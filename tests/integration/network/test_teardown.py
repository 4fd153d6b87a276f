# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""teardown.yml: removes what setup.yml made, and refuses while somebody lives there."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

from network_controller import OURS, ROOT, Controller, one
from support.lab_network import make_network
from support.region import AL2023_ARM64


def launch(controller: Controller, tags: dict[str, str], group: str | None = None) -> str:
    """Run an instance in the network that setup made; returns its id."""
    ec2 = controller.ec2
    placement = {"Placement": {"GroupName": group}} if group else {}
    answer = ec2.run_instances(
        ImageId=AL2023_ARM64,
        InstanceType="c8g.24xlarge",
        MinCount=1,
        MaxCount=1,
        SubnetId=one(ec2.describe_subnets(Filters=OURS)["Subnets"])["SubnetId"],
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
        **placement,
    )
    return t.cast("str", one(answer["Instances"])["InstanceId"])


def make_group(controller: Controller, name: str) -> str:
    tags = [{"Key": "lowlatency:search-id", "Value": "dc-machine"}]
    specification = [{"ResourceType": "placement-group", "Tags": tags}]
    controller.ec2.create_placement_group(GroupName=name, Strategy="cluster", TagSpecifications=specification)
    return name


def nothing_is_left(controller: Controller) -> None:
    ec2 = controller.ec2
    assert ec2.describe_vpcs(Filters=OURS)["Vpcs"] == []
    assert ec2.describe_subnets(Filters=OURS)["Subnets"] == []
    assert ec2.describe_route_tables(Filters=OURS)["RouteTables"] == []
    assert ec2.describe_internet_gateways(Filters=OURS)["InternetGateways"] == []
    assert ec2.describe_security_groups(Filters=OURS)["SecurityGroups"] == []
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert ec2.describe_addresses()["Addresses"] == []


def groups_of_aws_inventory(controller: Controller) -> dict[str, list[str]]:
    """What inventory/aws makes of the region, through the real plugin."""
    source = (ROOT / "inventory" / "aws" / "region.aws_ec2.yml").read_text(encoding="utf-8")
    path = controller.folder / "region.aws_ec2.yml"
    path.write_text(
        f"{source}\nendpoint_url: {controller.region.endpoint_url}\naccess_key: lab\nsecret_key: lab\n",
        encoding="utf-8",
    )
    return groups_of(path, controller.folder)


def groups_of(path: Path, folder: Path, **environment: str) -> dict[str, list[str]]:
    program = str(Path(sys.executable).parent / "ansible-inventory")
    done = subprocess.run(
        [program, "-i", str(path), "--list"], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    groups = json.loads(done.stdout)
    return {name: sorted(group["hosts"]) for name, group in groups.items() if name != "_meta" and group.get("hosts")}


def test_teardown_asks_before_it_ends_a_survivor(controller: Controller) -> None:
    ec2 = controller.ec2
    controller.key_path.parent.mkdir()
    make_network(ec2, 0, controller.key_path)
    tags = [{"Key": "lowlatency:project", "Value": "dc-machine"}, {"Key": "lowlatency:role", "Value": "network"}]
    ec2.allocate_address(Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags}])
    subnet_id = one(ec2.describe_subnets(Filters=OURS)["Subnets"])["SubnetId"]
    refused = controller.play("teardown", fails=True, network_subnet_id=subnet_id)
    assert f"network_subnet_id '{subnet_id}'" in refused.error
    assert controller.writes() == []

    group, unused = make_group(controller, "dc-machine-cpg-1"), make_group(controller, "dc-machine-cpg-2")
    search = {"lowlatency:search-id": "dc-machine"}
    champion = launch(controller, {"lowlatency:role": "champion", **search}, group)
    for attribute in ({"DisableApiTermination": {"Value": True}}, {"DisableApiStop": {"Value": True}}):
        ec2.modify_instance_attribute(InstanceId=champion, **attribute)
    candidate = launch(controller, {"lowlatency:role": "candidate", **search})
    stranger = launch(controller, {"Name": "somebody"})

    both = {
        "aws_ec2": sorted([champion, candidate]),
        "champion": [champion],
        "survivors": [champion],
        "search_dc_machine": sorted([champion, candidate]),
    }
    assert groups_of_aws_inventory(controller) == both
    url = controller.region.endpoint_url
    lab = groups_of(
        ROOT / "inventory" / "lab" / "region.sh", controller.folder, LAB_ENDPOINT_URL=url, PATH="/usr/bin:/bin"
    )
    assert lab == both

    refused = controller.play("teardown", fails=True, teardown_survivors=True)
    assert candidate in refused.error and "cleanup.yml" in refused.error
    ec2.terminate_instances(InstanceIds=[candidate])
    refused = controller.play("teardown", fails=True, teardown_survivors=True)
    assert stranger in refused.error and champion not in refused.error
    ec2.terminate_instances(InstanceIds=[stranger])
    refused = controller.play("teardown", fails=True)
    assert f"champion {champion}" in refused.error and "teardown_survivors=true" in refused.error
    assert controller.writes() == []

    planned = controller.play("teardown", "--check", teardown_survivors=True)
    assert "Remove the VPC" in planned.changed
    assert controller.writes() == []
    controller.play("teardown", teardown_survivors=True, network_remove_key_file=True)
    assert controller.region.states(champion) == ["terminated"]
    # The group of the survivor went with it; another search's is cleanup.yml's.
    assert [each["GroupName"] for each in ec2.describe_placement_groups()["PlacementGroups"]] == [unused]
    nothing_is_left(controller)
    assert not controller.key_path.exists()

    assert controller.play("teardown", network_remove_key_file=True).changed == []
    assert controller.writes() == []

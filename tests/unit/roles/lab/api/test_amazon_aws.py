# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules and the inventory of amazon.aws against the simulated region, as the roles use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.amazon.aws.plugins.modules import (
    ec2_ami,
    ec2_eip,
    ec2_instance,
    ec2_instance_info,
    ec2_key,
    ec2_placement_group,
    ec2_security_group,
    ec2_vpc_igw,
    ec2_vpc_net,
    ec2_vpc_route_table,
    ec2_vpc_subnet,
)
from support.region import AL2023_ARM64, tag_specifications

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPSfrnBT8u3JxhKU1I58S+xqP9+qqxMQW18pofc7gHp6 me"
TAGS = {"Name": "search"}


@pytest.fixture(autouse=True)
def sleeping_takes_no_time(region_api, monkeypatch):
    """The modules of amazon.aws sleep after changes, whether or not there is anything to wait for."""
    monkeypatch.setattr(time, "sleep", region_api.clock.advance)
    for module in (ec2_security_group, ec2_vpc_net, ec2_vpc_route_table):
        monkeypatch.setattr(module, "sleep", region_api.clock.advance)


def twice(region, main, *, second_writes=(), **args):
    """Run a module twice; the second run must change nothing and write nothing but what is known of it."""
    first = region.run_module(main, **args)
    region.forget_calls()
    second = region.run_module(main, **args)
    assert (first["changed"], second["changed"]) == (True, False)
    assert region.write_calls() == list(second_writes)
    return first


def test_network_is_made_and_removed(region_api):
    region = region_api
    net = {"name": "search", "cidr_block": "198.18.0.0/20", "dns_support": True, "dns_hostnames": True}
    vpc_id = twice(region, ec2_vpc_net.main, **net, tags=TAGS)["vpc"]["id"]
    subnet = {"vpc_id": vpc_id, "cidr": "198.18.0.0/22"}
    made = twice(region, ec2_vpc_subnet.main, **subnet, az="ap-northeast-1a", map_public=True, tags=TAGS)["subnet"]
    assert (made["availability_zone_id"], made["map_public_ip_on_launch"]) == ("apne1-az4", True)
    gateway_id = twice(region, ec2_vpc_igw.main, vpc_id=vpc_id, tags=TAGS)["gateway_id"]
    table = twice(
        region,
        ec2_vpc_route_table.main,
        vpc_id=vpc_id,
        tags=TAGS,
        subnets=[made["id"]],
        routes=[{"dest": "0.0.0.0/0", "gateway_id": gateway_id}],
    )["route_table"]
    group = twice(
        region,
        ec2_security_group.main,
        name="search",
        description="search",
        vpc_id=vpc_id,
        rules=[{"proto": "tcp", "ports": [22], "cidr_ip": "198.18.15.2/32"}],
        rules_egress=[{"proto": "tcp", "ports": [443], "cidr_ip": "0.0.0.0/0"}],
        tags=TAGS,
    )
    # ec2_key compares fingerprints by importing the key under another name.
    scratch = ["ImportKeyPair", "DeleteKeyPair"]
    twice(region, ec2_key.main, name="search", key_material=PUBLIC_KEY, tags=TAGS, second_writes=scratch)

    region.run_module(ec2_key.main, name="search", state="absent")
    region.run_module(ec2_security_group.main, group_id=group["group_id"], state="absent")
    region.run_module(ec2_vpc_subnet.main, **subnet, state="absent")
    region.run_module(ec2_vpc_route_table.main, vpc_id=vpc_id, route_table_id=table["id"], lookup="id", state="absent")
    region.run_module(ec2_vpc_igw.main, vpc_id=vpc_id, state="absent")
    assert region.run_module(ec2_vpc_net.main, vpc_id=vpc_id, state="absent")["changed"]
    assert vpc_id not in [one["VpcId"] for one in region.client().describe_vpcs()["Vpcs"]]


def test_elastic_address(region_api, vpc):
    instance_id = region_api.launch(vpc)["InstanceId"]
    made = twice(region_api, ec2_eip.main, device_id=instance_id, in_vpc=True, tags=TAGS)
    assert region_api.hosts.addresses[instance_id] == (made["public_ip"],)
    gone = region_api.run_module(
        ec2_eip.main, device_id=instance_id, in_vpc=True, state="absent", release_on_disassociation=True
    )
    assert gone["changed"]
    assert region_api.hosts.addresses[instance_id] == ()
    assert region_api.client().describe_addresses()["Addresses"] == []


def test_instance_and_image(region_api, vpc):
    region = region_api
    twice(region, ec2_placement_group.main, name="one", strategy="cluster")
    image_id = region.client("ssm").get_parameter(Name=AL2023_ARM64.removeprefix("resolve:ssm:"))["Parameter"]["Value"]
    made = twice(
        region,
        ec2_instance.main,
        name="production",
        image_id=image_id,
        instance_type="c8g.large",
        vpc_subnet_id=vpc.subnet_id,
        security_group=vpc.security_group_id,
        key_name=vpc.key_name,
        placement={"group_name": "one"},
        metadata_options={"http_tokens": "required"},
        state="running",
    )
    (instance_id,) = made["instance_ids"]
    info = region.run_module(
        ec2_instance_info.main, filters={"placement-group-name": "one", "instance-state-name": "running"}
    )["instances"]
    assert [one["instance_id"] for one in info] == [instance_id]
    assert info[0]["placement"]["group_name"] == "one"
    image = region.run_module(
        ec2_ami.main, name="tuned", instance_id=instance_id, wait=True, wait_timeout=30, tags=TAGS
    )
    assert image["state"] == "available"
    gone = region.run_module(ec2_ami.main, image_id=image["image_id"], state="absent", delete_snapshot=True)
    assert gone["changed"]
    assert region.client().describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    region.run_module(ec2_instance.main, instance_ids=[instance_id], state="absent", wait=True)
    assert region.run_module(ec2_placement_group.main, name="one", state="absent")["changed"]


@pytest.mark.parametrize("regions", [["ap-northeast-1"], ["ap-northeast-1", "eu-west-1"]])
def test_inventory(region_api, vpc, tmp_path, regions):
    roles = ("champion", "candidate")
    ids = {
        role: region_api.launch(vpc, TagSpecifications=tag_specifications("instance", {"lowlatency:role": role}))[
            "InstanceId"
        ]
        for role in roles
    }
    region_api.states(*ids.values())
    source = tmp_path / "lab.aws_ec2.yml"
    source.write_text(
        json.dumps(
            {
                "plugin": "amazon.aws.aws_ec2",
                "regions": regions,
                "endpoint_url": region_api.endpoint_url,
                "access_key": region_api.connection["access_key"],
                "secret_key": region_api.connection["secret_key"],
                "filters": {"instance-state-name": ["running"], "tag:lowlatency:role": ["champion", "candidate"]},
                "hostnames": ["instance-id"],
                "keyed_groups": [{"key": "tags['lowlatency:role']", "prefix": "", "separator": ""}],
            }
        )
    )
    run = subprocess.run(
        [Path(sys.executable).parent / "ansible-inventory", "-i", source, "--list"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_INVENTORY_ENABLED": "amazon.aws.aws_ec2", "HOME": str(tmp_path)},
    )
    shown = json.loads(run.stdout)
    assert {role: shown[role]["hosts"] for role in roles} == {role: [ids[role]] for role in roles}

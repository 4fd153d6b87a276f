# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each playbook does its job with its own policy and no other right, and says which right it lacks when one is gone.

The tests are one story, told in order: set up, search, clean up, tear down.
"""

from __future__ import annotations

import re

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_tags import TAG_ADDRESSES
from held_keys import BUCKET, KEY, UNUSED, HeldKeys

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

#: Criteria that no rack meets, so that a search goes on to its last round.
NOTHING_MEETS = {"median_us": 1, "best_us": 1}
#: By Elastic IP, so that a search moves one, too.
BY_ADDRESS = {"network_allocate_elastic_ip": True, "search_connect": "eip", "search_slot_count": 1}


def lacks(output: str, action: str) -> str:
    """The line in which a playbook says that it may not do this."""
    lines = [line for line in output.splitlines() if f"not authorized to perform: {action} " in line]
    errors = [line for line in lines if re.search(r"fatal: |\[ERROR\]|FAILED", line)]
    assert errors, output[-3000:]
    return errors[0]


def no_action_is_idle(keys: HeldKeys, name: str) -> None:
    """Nothing was refused, and the policy allows nothing that was not used, but for what is listed with its reason."""
    assert keys.seen(name)["refused"] == []
    assert keys.unused(name) == set(UNUSED[name])


@pytest.mark.parametrize("action", [pytest.param("ec2:CreateVpc", marks=pytest.mark.full), "ec2:CreateTags"])
def test_setup_names_the_right_that_it_lacks(keys: HeldKeys, action: str) -> None:
    told = keys.play("setup", without=action, fails=True).stdout
    assert lacks(told, action)


def test_setup_needs_its_policy_and_no_more(keys: HeldKeys) -> None:
    keys.play("setup", **BY_ADDRESS)
    no_action_is_idle(keys, "setup")
    assert "changed=0" in keys.play("setup", **BY_ADDRESS).stdout


def test_check_dns_needs_its_policy_and_no_more(keys: HeldKeys) -> None:
    ec2 = keys.lab.client("ec2")
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "tag:lowlatency:role", "Values": ["network"]}])["Vpcs"]
    ec2.modify_vpc_attribute(VpcId=vpc["VpcId"], EnableDnsHostnames={"Value": False})
    told = keys.play("check_dns", without="ec2:ModifyVpcAttribute", fails=True).stdout
    assert lacks(told, "ec2:ModifyVpcAttribute")
    keys.play("check_dns")
    no_action_is_idle(keys, "check_dns")


def test_search_needs_its_policy_and_no_more(keys: HeldKeys) -> None:
    # Of the first three racks the second is nearer than the first, and the third is not nearer.
    keys.play("search", search_max_rounds=3, search_criteria=NOTHING_MEETS, **BY_ADDRESS)
    kinds = {round_["verdict"]["kind"] for round_ in keys.lab.rounds() if round_["search_id"] == "dc-machine"}
    assert kinds == {"champion", "rejected"}
    assert [each["instance_id"] for each in keys.lab.instances()] == [keys.lab.state()["champion"]["instance_id"]]
    no_action_is_idle(keys, "search")


def test_candidates_take_metadata_by_version_2_alone(keys: HeldKeys) -> None:
    document = keys.seen("search")["policy"]
    (launch,) = [one for one in document["Statement"] if one["Sid"] == "LaunchCandidates"]
    assert launch["Condition"]["StringEquals"]["ec2:MetadataHttpTokens"] == "required"
    assert "LaunchCandidates" in keys.seen("search")["used"]["ec2:RunInstances"]


@pytest.mark.parametrize(
    "action",
    [
        "ec2:RunInstances",
        *(pytest.param(one, marks=pytest.mark.full) for one in ("ec2:CreateTags", "ssm:GetParameters")),
        "ec2:ModifyInstanceAttribute",
    ],
)
def test_search_names_the_right_that_it_lacks(keys: HeldKeys, action: str) -> None:
    made = {"search_max_rounds": 1, "search_id": "lacking", "search_criteria": {"median_us": 5000}}
    before = keys.lab.instances()
    told = keys.play("search", without=action, fails=True, **BY_ADDRESS, **made).stdout
    assert lacks(told, action)
    # It put away what it had made.
    assert keys.lab.instances() == before


def test_champion_needs_its_policy_and_no_more(keys: HeldKeys) -> None:
    champion = keys.lab.state()["champion"]
    told = keys.play(
        "champion",
        without="ec2:CreateTags",
        fails=True,
        champion_state="demoted",
        champion_instance_id=champion["instance_id"],
    ).stdout
    assert lacks(told, "ec2:CreateTags")
    named = {"aws_access_key": keys.hold("champion"), "champion_instance_id": champion["instance_id"]}
    keys.lab.play("champion", champion_state="demoted", **named)
    # What somebody took off by hand is put on again, and what no figure of its own stands behind is taken off.
    ec2 = keys.lab.client("ec2")
    ec2.modify_instance_attribute(InstanceId=champion["instance_id"], DisableApiTermination={"Value": False})
    ec2.modify_instance_maintenance_options(InstanceId=champion["instance_id"], AutoRecovery="default")
    stale = {"Key": f"{TAG_ADDRESSES}old", "Value": "203.0.113.7"}
    ec2.create_tags(Resources=[champion["instance_id"]], Tags=[stale])
    keys.lab.play("champion", champion_state="adopted", **named)
    assert keys.lab.state()["champion"]["instance_id"] == champion["instance_id"]
    no_action_is_idle(keys, "champion")


def test_a_document_in_s3_needs_the_policy_beside_and_no_more(keys: HeldKeys) -> None:
    keys.lab.make_bucket(BUCKET)
    in_s3 = {"search_champion_store": f"s3://{BUCKET}/{KEY}", "search_id": "in-s3", "search_slot_count": 1}
    told = keys.play("search", fails=True, search_max_rounds=1, **in_s3).stdout
    assert "it takes s3:GetObject and s3:ListBucket" in told
    keys.play("search", beside="champion_s3", search_max_rounds=1, search_criteria=NOTHING_MEETS, **in_s3)
    keys.lab.client("s3").put_object(Bucket=BUCKET, Key=KEY, Body=b"{")
    # A document that cannot be read is put aside.
    keys.play("search", beside="champion_s3", search_max_rounds=1, search_criteria=NOTHING_MEETS, **in_s3)
    assert keys.seen("search")["refused"] == []
    assert keys.unused("search", "champion_s3") == {("SeeThatItIsMissing", "s3:ListBucket")}


def test_cleanup_needs_its_policy_and_no_more(keys: HeldKeys) -> None:
    # A search without the right to end instances leaves one behind.
    left = {"search_id": "left", "search_max_rounds": 1, "search_criteria": NOTHING_MEETS, "search_slot_count": 1}
    told = keys.play("search", without="ec2:TerminateInstances", fails=True, **left).stdout
    assert lacks(told, "ec2:TerminateInstances")
    survivors = {each["instance_id"] for each in keys.lab.instances() if each["tags"]["lowlatency:role"] == "champion"}
    assert len(keys.lab.instances()) == len(survivors) + 1
    told = keys.play("cleanup", without="ec2:TerminateInstances", fails=True, cleanup_search_id="left").stdout
    assert lacks(told, "ec2:TerminateInstances")
    keys.play("cleanup", cleanup_search_id="left")
    assert {each["instance_id"] for each in keys.lab.instances()} == survivors
    no_action_is_idle(keys, "cleanup")


@pytest.mark.full
@pytest.mark.parametrize("action", ["ec2:ModifyInstanceAttribute"])
def test_teardown_names_the_right_that_it_lacks(keys: HeldKeys, action: str) -> None:
    told = keys.play("teardown", without=action, fails=True, teardown_survivors=True).stdout
    assert lacks(told, action)


def test_teardown_needs_its_policy_and_no_more(keys: HeldKeys) -> None:
    # The champions of the searches above are still there.
    assert keys.lab.instances() != []
    keys.play("teardown", teardown_survivors=True)
    assert keys.lab.instances() == []
    no_action_is_idle(keys, "teardown")

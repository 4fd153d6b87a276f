# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances through their lives."""

from __future__ import annotations

import pytest
from local_region.api.region_state import Timings
from local_region.hosts.backend import NullHosts
from support.aws import refused
from support.region import tag_specifications

SLOW = Timings(pending_s=100.0, shutting_down_s=200.0, stopping_s=300.0)


@pytest.fixture
def slow(region_api):
    """A region where states take long, and a VPC in it."""
    region_api.reset(timings=SLOW)
    return region_api, region_api.make_vpc()


def test_an_instance_is_stopped_once_its_host_is(slow):
    region, vpc = slow
    instance_id = region.launch(vpc)["InstanceId"]
    region.clock.advance(100.0)
    region.hosts.slow_to_stop.add(instance_id)
    region.client().stop_instances(InstanceIds=[instance_id])
    region.clock.advance(1_000.0)
    assert region.states(instance_id) == ["stopping"]
    region.hosts.slow_to_stop.clear()
    region.clock.advance(1.0)
    assert region.states(instance_id) == ["stopped"]


def test_states_follow_the_clock(slow):
    region, vpc = slow
    ec2 = region.client()
    instance_id = region.launch(vpc)["InstanceId"]
    assert region.states(instance_id) == ["pending"]
    region.clock.advance(100.0)
    assert region.states(instance_id) == ["running"]
    answer = ec2.stop_instances(InstanceIds=[instance_id])["StoppingInstances"][0]
    assert (answer["PreviousState"]["Name"], answer["CurrentState"]["Name"]) == ("running", "stopping")
    region.clock.advance(299.0)
    assert region.states(instance_id) == ["stopping"]
    region.clock.advance(1.0)
    assert region.states(instance_id) == ["stopped"]
    answer = ec2.start_instances(InstanceIds=[instance_id])["StartingInstances"][0]
    assert (answer["PreviousState"]["Name"], answer["CurrentState"]["Name"]) == ("stopped", "pending")
    region.clock.advance(100.0)
    answer = ec2.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"][0]
    assert (answer["PreviousState"]["Name"], answer["CurrentState"]["Name"]) == ("running", "shutting-down")
    region.clock.advance(200.0)
    assert region.states(instance_id) == ["terminated"]
    assert [verb for verb, _id in region.hosts.events if verb != "addresses"] == [
        "launch",
        "stop",
        "start",
        "terminate",
    ]


def test_a_pending_instance_can_be_terminated(slow):
    region, vpc = slow
    instance_id = region.launch(vpc)["InstanceId"]
    region.client().terminate_instances(InstanceIds=[instance_id])
    region.clock.advance(150.0)
    assert region.states(instance_id) == ["shutting-down"]


def test_terminated_stays_visible_for_an_hour_without_what_it_lost(region_api, vpc):
    instance_id = region_api.launch(vpc, TagSpecifications=tag_specifications("instance", {"a": "b"}))["InstanceId"]
    region_api.client().terminate_instances(InstanceIds=[instance_id])
    shown = region_api.describe(instance_id)[0]
    assert shown["State"] == {"Code": 48, "Name": "terminated"}
    assert shown["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert shown["Tags"] == [{"Key": "a", "Value": "b"}]
    assert not {"PrivateIpAddress", "PublicIpAddress", "SubnetId", "VpcId"} & shown.keys()
    assert shown["NetworkInterfaces"] == shown["SecurityGroups"] == shown["BlockDeviceMappings"] == []
    region_api.clock.advance(3601.0)
    with refused("InvalidInstanceID.NotFound"):
        region_api.describe(instance_id)


def test_what_an_instance_held_is_free_after_its_end(region_api, vpc):
    ec2 = region_api.client()
    instance_id = region_api.launch(vpc)["InstanceId"]
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert region_api.states(instance_id) == ["terminated"]
    interfaces = ec2.describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": [vpc.vpc_id]}])
    assert interfaces["NetworkInterfaces"] == []
    assert ec2.describe_volumes()["Volumes"] == []
    ec2.delete_security_group(GroupId=vpc.security_group_id)
    ec2.delete_subnet(SubnetId=vpc.subnet_id)


def test_terminate_again_is_harmless(region_api, vpc):
    instance_id = region_api.launch(vpc)["InstanceId"]
    ec2 = region_api.client()
    for _attempt in range(3):
        ec2.terminate_instances(InstanceIds=[instance_id])
    assert region_api.hosts.events.count(("terminate", instance_id)) == 1


@pytest.mark.parametrize(
    ("verb", "state"),
    [("start", "pending"), ("start", "stopping"), ("stop", "pending"), ("stop", "terminated"), ("reboot", "stopped")],
)
def test_actions_out_of_place(slow, verb, state):
    region, vpc = slow
    ec2 = region.client()
    instance_id = region.launch(vpc)["InstanceId"]
    if state in ("stopping", "stopped"):
        region.clock.advance(100.0)
        ec2.stop_instances(InstanceIds=[instance_id])
    if state == "stopped":
        region.clock.advance(300.0)
    if state == "terminated":
        ec2.terminate_instances(InstanceIds=[instance_id])
        region.clock.advance(200.0)
    assert region.states(instance_id) == [state]
    if (verb, state) == ("start", "pending"):
        ec2.start_instances(InstanceIds=[instance_id])
        return
    with refused("IncorrectInstanceState"):
        getattr(ec2, f"{verb}_instances")(InstanceIds=[instance_id])
    assert region.states(instance_id) == [state]


def test_protections(region_api, vpc):
    ec2 = region_api.client()
    instance_id = region_api.launch(vpc, DisableApiTermination=True, DisableApiStop=True)["InstanceId"]
    with refused("OperationNotPermitted"):
        ec2.terminate_instances(InstanceIds=[instance_id])
    with refused("OperationNotPermitted"):
        ec2.stop_instances(InstanceIds=[instance_id])
    assert region_api.states(instance_id) == ["running"]
    for name in ("DisableApiTermination", "DisableApiStop"):
        ec2.modify_instance_attribute(InstanceId=instance_id, **{name: {"Value": False}})
    ec2.stop_instances(InstanceIds=[instance_id])
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert region_api.states(instance_id) == ["terminated"]


def test_one_protected_instance_keeps_the_others_too(region_api, vpc):
    protected = region_api.launch(vpc, DisableApiTermination=True)["InstanceId"]
    other = region_api.launch(vpc)["InstanceId"]
    with refused("OperationNotPermitted"):
        region_api.client().terminate_instances(InstanceIds=[other, protected])
    assert region_api.states(other, protected) == ["running", "running"]


@pytest.mark.parametrize(("behavior", "state"), [("terminate", "terminated"), ("stop", "stopped")])
def test_shutdown_from_inside(region_api, vpc, behavior, state):
    """API protections do not hold against a shutdown from inside; only the shutdown behaviour does."""
    instance_id = region_api.launch(
        vpc, InstanceInitiatedShutdownBehavior=behavior, DisableApiTermination=True, DisableApiStop=True
    )["InstanceId"]
    assert region_api.states(instance_id) == ["running"]
    region_api.hosts.shut_down_from_inside(instance_id)
    region_api.api.state.settle()
    shown = region_api.describe(instance_id)[0]
    assert shown["State"]["Name"] == state
    assert shown["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert (behavior, instance_id) in region_api.hosts.events


def test_shutdown_behaviour_can_be_changed_and_read_back(region_api, vpc):
    ec2 = region_api.client()
    instance_id = region_api.launch(vpc, InstanceInitiatedShutdownBehavior="terminate")["InstanceId"]
    ec2.modify_instance_attribute(InstanceId=instance_id, InstanceInitiatedShutdownBehavior={"Value": "stop"})
    answer = ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="instanceInitiatedShutdownBehavior")
    assert answer["InstanceInitiatedShutdownBehavior"] == {"Value": "stop"}
    ec2.modify_instance_attribute(
        InstanceId=instance_id, Attribute="instanceInitiatedShutdownBehavior", Value="terminate"
    )
    with refused("InvalidParameterValue"):
        ec2.modify_instance_attribute(InstanceId=instance_id, InstanceInitiatedShutdownBehavior={"Value": "sleep"})
    with refused("DryRunOperation", status=412):
        ec2.modify_instance_attribute(
            InstanceId=instance_id, InstanceInitiatedShutdownBehavior={"Value": "stop"}, DryRun=True
        )
    region_api.hosts.shut_down_from_inside(instance_id)
    region_api.api.state.settle()
    assert region_api.states(instance_id) == ["terminated"]


def test_type_changes_when_stopped_only(region_api, vpc):
    ec2 = region_api.client()
    instance_id = region_api.launch(vpc)["InstanceId"]
    with refused("IncorrectInstanceState"):
        ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "c8g.xlarge"})
    ec2.stop_instances(InstanceIds=[instance_id])
    with refused("InvalidParameterValue"):
        ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "c8g.huge"})
    ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "c8g.xlarge"})
    assert region_api.describe(instance_id)[0]["InstanceType"] == "c8g.xlarge"


def test_status_is_initializing_until_the_host_has_booted(region_api):
    class Slow(NullHosts):
        ready = False

        def booted(self, instance_id):
            return self.ready

    hosts = Slow()
    region_api.reset(hosts=hosts)
    ec2 = region_api.client()
    instance_id = region_api.launch(region_api.make_vpc())["InstanceId"]

    def status():
        (answer,) = ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
        assert answer["InstanceState"]["Name"] == "running"
        return answer["InstanceStatus"]["Status"], answer["SystemStatus"]["Status"]

    assert status() == ("initializing", "initializing")
    hosts.ready = True
    assert status() == ("ok", "ok")
    ec2.reboot_instances(InstanceIds=[instance_id])
    hosts.ready = False
    assert status() == ("initializing", "initializing")


def test_status_of_what_does_not_run(slow):
    region, vpc = slow
    ec2 = region.client()
    instance_id = region.launch(vpc)["InstanceId"]
    assert ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"] == []
    everything = ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"]
    assert [(one["InstanceId"], one["InstanceStatus"]["Status"]) for one in everything] == [
        (instance_id, "not-applicable")
    ]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"placement-group-name": ["one"]}, {0}),
        ({"tag:lowlatency:role": ["champion", "anchor"]}, {1, 2}),
        ({"tag:lowlatency:role": ["c*"], "instance-type": ["c7i.*"]}, {2}),
        ({"tag-key": ["lowlatency:role"]}, {1, 2}),
        ({"instance-state-name": ["running", "pending"]}, {0, 1, 2}),
        ({"instance-state-name": ["terminated"]}, set()),
        ({"instance-lifecycle": ["spot"]}, set()),
        ({"architecture": ["x86_64"]}, {2}),
        ({"client-token": ["token-1"]}, {1}),
        ({"availability-zone": ["ap-northeast-1a"], "private-ip-address": ["198.18.0.5"]}, {1}),
        ({"instance.group-name": ["search"]}, {0, 1, 2}),
        ({"key-name": ["other"]}, set()),
    ],
)
def test_filters(region_api, vpc, filters, found):
    ec2 = region_api.client()
    ec2.create_placement_group(GroupName="one", Strategy="cluster")

    def role(value):
        return {"TagSpecifications": tag_specifications("instance", {"lowlatency:role": value})}

    ids = [
        region_api.launch(vpc, Placement={"GroupName": "one"})["InstanceId"],
        region_api.launch(vpc, ClientToken="token-1", **role("anchor"))["InstanceId"],
        region_api.launch(vpc, "c7i.large", **role("champion"))["InstanceId"],
    ]
    answer = ec2.describe_instances(Filters=[{"Name": name, "Values": v} for name, v in filters.items()])
    shown = {one["InstanceId"] for each in answer["Reservations"] for one in each["Instances"]}
    assert {ids.index(one) for one in shown} == found


def test_unknown_filter_is_refused(region_api):
    with refused("InvalidParameterValue"):
        region_api.client().describe_instances(Filters=[{"Name": "colour", "Values": ["red"]}])


def test_pages(region_api, vpc):
    ec2 = region_api.client()
    ids = [region_api.launch(vpc)["InstanceId"] for _n in range(5)]
    pages = list(ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["Reservations"]) for page in pages] == [2, 2, 1]
    shown = [one["InstanceId"] for page in pages for each in page["Reservations"] for one in each["Instances"]]
    assert shown == ids
    statuses = list(ec2.get_paginator("describe_instance_status").paginate(PaginationConfig={"PageSize": 5}))
    assert [one["InstanceId"] for page in statuses for one in page["InstanceStatuses"]] == ids
    with refused("InvalidParameterCombination"):
        ec2.describe_instances(InstanceIds=ids, MaxResults=5)
    with refused("InvalidNextToken"):
        ec2.describe_instances(NextToken="nonsense")


def test_unknown_ids(region_api, vpc):
    ec2 = region_api.client()
    region_api.launch(vpc)
    for call in (ec2.describe_instances, ec2.terminate_instances, ec2.stop_instances, ec2.reboot_instances):
        with refused("InvalidInstanceID.NotFound"):
            call(InstanceIds=["i-0123456789abcdef0"])
    with refused("InvalidInstanceID.NotFound"):
        ec2.create_tags(Resources=["i-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "b"}])
    with refused("InvalidInstanceID.Malformed"):
        ec2.describe_instances(InstanceIds=["none"])


def test_console_output_is_text(region_api, vpc):
    instance_id = region_api.launch(vpc)["InstanceId"]
    assert region_api.client().get_console_output(InstanceId=instance_id).get("Output", "") == ""
    region_api.hosts.consoles[instance_id] = "booting\n"
    assert region_api.client().get_console_output(InstanceId=instance_id)["Output"] == "booting\n"

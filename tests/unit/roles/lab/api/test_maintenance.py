# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What AWS does of its own accord, what keeps it from that, and what EC2 shows late."""

from __future__ import annotations

import pytest
from local_region.api.faults import NoFaults
from support.aws import refused
from support.region import TestRegion, Vpc


class Trouble(NoFaults):
    """A reboot for every instance, and views that lag by five seconds."""

    def __init__(self, code: str | None = None, late_s: float = 0.0) -> None:
        self.code, self.late_s = code, late_s

    def event_code(self, instance_id: str) -> str | None:
        return self.code

    def hidden_s(self, resource_id: str) -> float:
        return self.late_s


def test_options_are_taken_and_shown(region_api: TestRegion, vpc: Vpc) -> None:
    ec2 = region_api.client()
    instance = region_api.launch(vpc, MaintenanceOptions={"AutoRecovery": "disabled"})
    assert instance["MaintenanceOptions"] == {"AutoRecovery": "disabled", "RebootMigration": "default"}
    instance_id = instance["InstanceId"]
    answer = ec2.modify_instance_maintenance_options(InstanceId=instance_id, RebootMigration="disabled")
    assert answer["InstanceId"] == instance_id
    assert (answer["AutoRecovery"], answer["RebootMigration"]) == ("disabled", "disabled")
    (shown,) = region_api.describe(instance_id)
    assert shown["MaintenanceOptions"] == {"AutoRecovery": "disabled", "RebootMigration": "disabled"}
    (other,) = region_api.describe(region_api.launch(vpc)["InstanceId"])
    assert other["MaintenanceOptions"] == {"AutoRecovery": "default", "RebootMigration": "default"}


def test_options_that_cannot_be(region_api: TestRegion, vpc: Vpc) -> None:
    ec2 = region_api.client()
    instance_id = region_api.launch(vpc)["InstanceId"]
    with refused("InvalidParameterValue"):
        ec2.modify_instance_maintenance_options(InstanceId=instance_id, AutoRecovery="off")
    with refused("MissingParameter"):
        ec2.modify_instance_maintenance_options(InstanceId=instance_id)
    with refused("InvalidInstanceID.NotFound"):
        ec2.modify_instance_maintenance_options(InstanceId="i-00000000000000000", AutoRecovery="default")
    with refused("DryRunOperation", 412):
        ec2.modify_instance_maintenance_options(InstanceId=instance_id, AutoRecovery="disabled", DryRun=True)
    ec2.terminate_instances(InstanceIds=[instance_id])
    with refused("IncorrectInstanceState"):
        ec2.modify_instance_maintenance_options(InstanceId=instance_id, AutoRecovery="disabled")


def test_scheduled_events(region_api: TestRegion, vpc: Vpc) -> None:
    ec2 = region_api.client()
    instance_id = region_api.launch(vpc)["InstanceId"]

    def events() -> list[dict[str, object]]:
        (status,) = ec2.describe_instance_status(InstanceIds=[instance_id], IncludeAllInstances=True)[
            "InstanceStatuses"
        ]
        found: list[dict[str, object]] = status.get("Events", [])
        return found

    assert events() == []
    region_api.api.state.faults = Trouble("instance-retirement")
    (event,) = events()
    assert (event["Code"], event["Description"]) == (
        "instance-retirement",
        "The instance is running on degraded hardware",
    )
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert events() == []


@pytest.mark.parametrize("attribute", ["DisableApiStop", "DisableApiTermination"])
def test_either_protection_keeps_from_termination(region_api: TestRegion, vpc: Vpc, attribute: str) -> None:
    """The guide: stop protection "also protects your instance from accidental termination"."""
    ec2 = region_api.client()
    instance_id = region_api.launch(vpc, **{attribute: True})["InstanceId"]
    with refused("OperationNotPermitted"):
        ec2.terminate_instances(InstanceIds=[instance_id])
    ec2.modify_instance_attribute(InstanceId=instance_id, **{attribute: {"Value": False}})
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert region_api.states(instance_id) == ["terminated"]


def test_views_that_lag(region_api: TestRegion, vpc: Vpc) -> None:
    region_api.api.state.faults = Trouble(late_s=5.0)
    ec2 = region_api.client()
    ec2.create_placement_group(GroupName="g-1", Strategy="cluster")
    instance_id = region_api.launch(vpc, Placement={"GroupName": "g-1"})["InstanceId"]
    assert ec2.describe_instances()["Reservations"] == []
    assert ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"] == []
    assert ec2.describe_placement_groups()["PlacementGroups"] == []
    with refused("InvalidInstanceID.NotFound"):
        ec2.describe_instances(InstanceIds=[instance_id])
    with refused("InvalidInstanceID.NotFound"):
        ec2.terminate_instances(InstanceIds=[instance_id])
    with refused("InvalidPlacementGroup.Unknown"):
        ec2.describe_placement_groups(GroupNames=["g-1"])
    # What is done knows what was done.
    with refused("InvalidPlacementGroup.Duplicate"):
        ec2.create_placement_group(GroupName="g-1", Strategy="cluster")
    with refused("InvalidPlacementGroup.InUse"):
        ec2.delete_placement_group(GroupName="g-1")
    region_api.clock.advance(5)
    assert region_api.states(instance_id) == ["running"]
    assert len(ec2.describe_placement_groups(GroupNames=["g-1"])["PlacementGroups"]) == 1


def test_more_values_of_filters_than_ec2_takes(region_api: TestRegion) -> None:
    ec2 = region_api.client()
    many = [f"i-{number:017x}" for number in range(150)]
    ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": many}])
    both = [{"Name": "instance-id", "Values": many}, {"Name": "tag:a", "Values": many[:51]}]
    with refused("FilterLimitExceeded"):
        ec2.describe_instances(Filters=both)
    with refused("FilterLimitExceeded"):
        ec2.describe_placement_groups(Filters=[{"Name": "group-name", "Values": many + many}])

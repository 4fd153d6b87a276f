# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""EC2 in a few dictionaries, for tests that run hundreds of rounds: the calls that rounds and guardians make.

It answers in botocore's structures and refuses with EC2's codes. C(reach) is called before and after each call, by
name, and may raise: before it nothing has happened, after it the answer is lost.
"""

from __future__ import annotations

import copy
import typing as t
from collections.abc import Callable, Mapping

from botocore.exceptions import ClientError

Boto = dict[str, t.Any]

LIVE = ("pending", "running", "stopping", "stopped")


def refused(code: str, action: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, action)


class TinyEc2:
    """A client of EC2 and the region behind it."""

    def __init__(self, reach: Callable[[str], None] = lambda _point: None) -> None:
        self.reach = reach
        self.instances: dict[str, Boto] = {}
        self.groups: dict[str, Boto] = {}
        self._hidden: dict[str, int] = {}

    def saved(self) -> dict[str, t.Any]:
        """A copy of the region, for L(restore)."""
        return copy.deepcopy({"instances": self.instances, "groups": self.groups, "_hidden": self._hidden})

    def restore(self, saved: Mapping[str, t.Any]) -> None:
        """Put the region back to what it was."""
        self.__dict__.update(copy.deepcopy(dict(saved)))

    # -- what there is to see --------------------------------------------------------------------------

    def live(self) -> set[str]:
        return {name for name, one in self.instances.items() if one["State"]["Name"] in LIVE}

    def hide_newest(self, calls: int) -> None:
        """Let the newest instance not show for so many calls, as one does that was launched a moment ago."""
        if self.instances:
            self._hidden[max(self.instances)] = calls

    def tags(self, instance_id: str) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self.instances[instance_id]["Tags"]}

    # -- the calls -------------------------------------------------------------------------------------

    def __getattr__(self, action: str) -> Callable[..., Boto]:
        act = getattr(type(self), f"_{action}", None)
        if act is None:
            raise AttributeError(action)

        def call(**given: t.Any) -> Boto:
            self.reach(f"before {action}")
            answer: Boto = act(self, **given)
            self.reach(f"after {action}")
            return answer

        return call

    def get_paginator(self, action: str) -> Pages:
        return Pages(getattr(self, action))

    def _describe_instances(self, Filters: t.Any = (), InstanceIds: t.Any = None, **_paging: t.Any) -> Boto:
        if InstanceIds is not None:
            missing = [each for each in InstanceIds if each not in self.instances]
            if missing:
                raise refused("InvalidInstanceID.NotFound", "DescribeInstances")
        found = [
            {**one, "State": dict(one["State"]), "Tags": list(one["Tags"])}
            for name, one in self.instances.items()
            if self._shows(name)
            and (InstanceIds is None or name in InstanceIds)
            and all(_passes(one, each) for each in Filters)
        ]
        for one in self.instances.values():
            if one["State"]["Name"] == "shutting-down":
                one["State"] = {"Name": "terminated"}
        return {"Reservations": [{"Instances": found}]}

    def _shows(self, instance_id: str) -> bool:
        left = self._hidden.get(instance_id, 0)
        self._hidden[instance_id] = max(0, left - 1)
        return left == 0

    def _describe_instance_types(self, Filters: t.Any) -> Boto:
        told = {"PlacementGroupInfo": {"SupportedStrategies": ["cluster"]}}
        return {"InstanceTypes": [{"InstanceType": name, **told} for name in Filters[0]["Values"]]}

    def _describe_images(self, ImageIds: list[str]) -> Boto:
        return {"Images": [{"ImageId": each, "RootDeviceName": "/dev/xvda"} for each in ImageIds]}

    def _describe_subnets(self, SubnetIds: list[str]) -> Boto:
        return {"Subnets": [{"SubnetId": each, "AvailabilityZone": "ap-northeast-1a"} for each in SubnetIds]}

    def _describe_addresses(self, Filters: t.Any) -> Boto:
        return {"Addresses": []}

    def _run_instances(self, **given: t.Any) -> Boto:
        known = [one for one in self.instances.values() if one["ClientToken"] == given["ClientToken"]]
        if known:
            return {"Instances": [known[0]]}
        group = given["Placement"]["GroupName"]
        if group not in self.groups:
            raise refused("InvalidPlacementGroup.Unknown", "RunInstances")
        name = f"i-{len(self.instances):04d}"
        one: Boto = {
            "InstanceId": name,
            "InstanceType": given["InstanceType"],
            "ClientToken": given["ClientToken"],
            "Placement": {"GroupName": group},
            "State": {"Name": "running"},
            "PublicIpAddress": "198.18.4.1",
            "PrivateIpAddress": "198.18.0.9",
            "Tags": list(given["TagSpecifications"][0]["Tags"]),
            "attributes": {
                "disableApiTermination": False,
                "disableApiStop": False,
                "instanceInitiatedShutdownBehavior": given["InstanceInitiatedShutdownBehavior"],
            },
        }
        self.instances[name] = one
        return {"Instances": [one]}

    def _get_console_output(self, InstanceId: str, **_more: t.Any) -> Boto:
        return {"InstanceId": InstanceId, "Output": ""}

    def _describe_instance_attribute(self, InstanceId: str, Attribute: str) -> Boto:
        value = self.instances[InstanceId]["attributes"][Attribute]
        return {Attribute[0].upper() + Attribute[1:]: {"Value": value}}

    def _modify_instance_attribute(self, InstanceId: str, **given: t.Any) -> Boto:
        one = self.instances[InstanceId]
        if one["State"]["Name"] not in LIVE:
            raise refused("IncorrectInstanceState", "ModifyInstanceAttribute")
        for name, wanted in given.items():
            one["attributes"][name[0].lower() + name[1:]] = wanted["Value"]
        return {}

    def _modify_instance_maintenance_options(self, InstanceId: str, **given: str) -> Boto:
        one = self.instances[InstanceId]
        if one["State"]["Name"] not in LIVE:
            raise refused("IncorrectInstanceState", "ModifyInstanceMaintenanceOptions")
        one["MaintenanceOptions"] = {**one.get("MaintenanceOptions", {}), **given}
        return {}

    def _describe_instance_status(self, InstanceIds: list[str], IncludeAllInstances: bool) -> Boto:
        return {"InstanceStatuses": [{"InstanceId": each} for each in InstanceIds]}

    def _terminate_instances(self, InstanceIds: list[str]) -> Boto:
        answer = []
        for name in InstanceIds:
            if name not in self.instances:
                raise refused("InvalidInstanceID.NotFound", "TerminateInstances")
            one = self.instances[name]
            if one["State"]["Name"] in LIVE:
                if one["attributes"]["disableApiTermination"]:
                    raise refused("OperationNotPermitted", "TerminateInstances")
                one["State"] = {"Name": "shutting-down"}
            answer.append({"InstanceId": name, "CurrentState": dict(one["State"])})
        return {"TerminatingInstances": answer}

    def _create_tags(self, Resources: list[str], Tags: list[dict[str, str]]) -> Boto:
        for name in Resources:
            held = self.instances.get(name) or next(one for one in self.groups.values() if one["GroupId"] == name)
            new = {tag["Key"] for tag in Tags}
            held["Tags"] = [tag for tag in held["Tags"] if tag["Key"] not in new] + list(Tags)
        return {}

    def _describe_placement_groups(self, GroupNames: t.Any = None, Filters: t.Any = ()) -> Boto:
        if GroupNames is not None and any(name not in self.groups for name in GroupNames):
            raise refused("InvalidPlacementGroup.Unknown", "DescribePlacementGroups")
        found = [one for name, one in self.groups.items() if GroupNames is None or name in GroupNames]
        return {"PlacementGroups": [dict(one) for one in found if all(_passes(one, each) for each in Filters)]}

    def _create_placement_group(self, GroupName: str, **given: t.Any) -> Boto:
        if GroupName in self.groups:
            raise refused("InvalidPlacementGroup.Duplicate", "CreatePlacementGroup")
        tags = [tag for each in given.get("TagSpecifications", []) for tag in each["Tags"]]
        group = {
            "GroupName": GroupName,
            "GroupId": f"pg-{GroupName}",
            "State": "available",
            "Strategy": given["Strategy"],
            "Tags": tags,
        }
        self.groups[GroupName] = group
        return {"PlacementGroup": dict(group)}

    def _delete_placement_group(self, GroupName: str) -> Boto:
        if GroupName not in self.groups:
            raise refused("InvalidPlacementGroup.Unknown", "DeletePlacementGroup")
        inside = [one for one in self.instances.values() if one["Placement"]["GroupName"] == GroupName]
        if any(one["State"]["Name"] != "terminated" for one in inside):
            raise refused("InvalidPlacementGroup.InUse", "DeletePlacementGroup")
        del self.groups[GroupName]
        return {}


class Pages:
    """A paginator with one page."""

    def __init__(self, call: Callable[..., Boto]) -> None:
        self._call = call

    def paginate(self, PaginationConfig: t.Any = None, **given: t.Any) -> Pages:
        self._given = given
        return self

    def build_full_result(self) -> Boto:
        return self._call(**self._given)


def _passes(one: Boto, wanted: t.Mapping[str, t.Any]) -> bool:
    name, values = wanted["Name"], wanted["Values"]
    tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
    if name.startswith("tag:"):
        return tags.get(name[4:]) in values
    shown = {
        "tag-key": next((key for key in tags if key in values), None),
        "client-token": one.get("ClientToken"),
        "group-name": one.get("GroupName"),
        "instance-id": one.get("InstanceId"),
        "instance-state-name": one.get("State", {}).get("Name") if isinstance(one.get("State"), dict) else None,
        "placement-group-name": (one.get("Placement") or {}).get("GroupName"),
    }
    return shown[name] in values

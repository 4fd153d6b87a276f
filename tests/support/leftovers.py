# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What rounds leave in the simulated region, for tests of the module reap."""

from __future__ import annotations

import datetime
import os
import typing as t

from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.ownership import Owner, current_owner, machine_name
from ansible_collections.lowlatency.ec2.plugins.modules import reap
from support.region import TestRegion, Vpc, tag_specifications

Result = dict[str, t.Any]

NOW = datetime.datetime.now(datetime.timezone.utc)
PAST = (NOW - datetime.timedelta(minutes=1)).isoformat(timespec="seconds")
FUTURE = (NOW + datetime.timedelta(hours=1)).isoformat(timespec="seconds")
OURS = current_owner(os.getpid(), "slot-1")
# No process is as old as the machine's first tick and has this id.
GONE = str(Owner(machine_name(), os.getpid(), 1, "slot-1"))
ELSEWHERE = str(Owner("f" * 32, 1, 1, "slot-1"))


class Leftovers:
    """Groups and instances as rounds leave them."""

    def __init__(self, region: TestRegion, vpc: Vpc) -> None:
        self.region = region
        self.vpc = vpc

    @staticmethod
    def tags(**more: str | None) -> dict[str, str]:
        usual = {"search-id": "tokyo", "role": "candidate", "owner": GONE, "expires-at": FUTURE}
        given = {**usual, **{key.replace("_", "-"): value for key, value in more.items()}}
        return {f"lowlatency:{key}": value for key, value in given.items() if value is not None}

    def group(self, name: str, **tags: str | None) -> str:
        specifications = tag_specifications("placement-group", self.tags(**tags))
        self.region.client().create_placement_group(
            GroupName=name, Strategy="cluster", TagSpecifications=specifications
        )
        return name

    def instance(self, group: str | None = None, **tags: str | None) -> str:
        placement = {"GroupName": group} if group else None
        specifications = tag_specifications("instance", self.tags(**tags))
        launched = self.region.launch(self.vpc, "c8g.medium", Placement=placement, TagSpecifications=specifications)
        return str(launched["InstanceId"])

    def instances(self, count: int) -> list[str]:
        """Several candidates of one launch, in no group."""
        specifications = tag_specifications("instance", self.tags())
        launched = self.region.launch_many(self.vpc, count, "c8g.medium", TagSpecifications=specifications)
        return [str(one["InstanceId"]) for one in launched]

    def round(self, group: str, **tags: str | None) -> str:
        self.group(group, **tags)
        return self.instance(group, **tags)

    def reap(self, **options: t.Any) -> Result:
        self.region.forget_calls()
        search: Result = {} if options.get("all_searches") else {"search_id": "tokyo"}
        return self.region.run_module(reap.main, **{**search, **options})

    def live(self) -> set[str]:
        return {one["instance_id"] for one in self.region.api.instances() if one["state"] != "terminated"}

    def groups(self) -> set[str]:
        found = self.region.client().describe_placement_groups()["PlacementGroups"]
        return {one["GroupName"] for one in found}

    def group_id(self, name: str) -> str:
        (found,) = self.region.client().describe_placement_groups(GroupNames=[name])["PlacementGroups"]
        return str(found["GroupId"])


def ids(entries: list[dict[str, str]]) -> set[str]:
    return {one["id"] for one in entries}

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rounds of the module candidate_instance against the simulated region, and what may go wrong with them."""

from __future__ import annotations

import typing as t

from ansible_collections.lowlatency.ec2.plugins.modules import candidate_instance
from local_region.api.faults import NoFaults
from support.region import AL2023, TestRegion, Vpc

TAGS = {"lowlatency:search-id": "tokyo", "lowlatency:role": "candidate"}
Result = dict[str, t.Any]


class Shortage(NoFaults):
    """Faults: each type meets the code that is planned for it; calls are throttled as long as asked."""

    def __init__(self, codes: dict[str, str] | None = None, throttled: dict[str, int] | None = None) -> None:
        self.codes = codes or {}
        self.throttled = throttled or {}

    def launch_error(self, n: int, instance_type: str) -> str | None:
        return self.codes.get(instance_type)

    def throttle(self, n: int, action: str) -> bool:
        left = self.throttled.get(action, 0)
        self.throttled[action] = left - 1
        return left > 0


class Rounds:
    """Runs of the module with the options of an ordinary round, calls counted from zero each time."""

    def __init__(self, region: TestRegion, vpc: Vpc) -> None:
        self.region = region
        self.vpc = vpc
        region.client().create_placement_group(GroupName="g-1", Strategy="cluster")

    def launch(self, **options: t.Any) -> Result:
        wanted = {
            "round_id": "tokyo-1",
            "name": "1753142400-DC-Search",
            "instance_types": ["c8g.medium", "c7i.large"],
            "image_id": AL2023,
            "placement_group": "g-1",
            "subnet_id": self.vpc.subnet_id,
            "security_group_ids": [self.vpc.security_group_id],
            "key_name": self.vpc.key_name,
            "associate_public_ip": True,
            "tags": TAGS,
        }
        return self.run(**{**wanted, **options})

    def run(self, **options: t.Any) -> Result:
        self.region.forget_calls()
        return self.region.run_module(candidate_instance.main, **options)

    @property
    def actions(self) -> list[str]:
        return [call.action for call in self.region.calls]

    def describe(self, instance_id: str) -> Result:
        return self.region.describe(instance_id)[0]

    def attribute(self, instance_id: str, name: str) -> t.Any:
        answer = self.region.client().describe_instance_attribute(InstanceId=instance_id, Attribute=name)
        return answer[name[0].upper() + name[1:]]["Value"]

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many requests a round makes of EC2: the modules really run, in this process, against the simulated region."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_region.api.faults import NoFaults
from support.passing_time import pass_by_sleeping
from support.region import TestRegion, Vpc
from support.region_rounds import RegionSlot, requests
from support.round_requests import requests_of_rounds

#: What a round on the calm path may make, polls of waits apart.
CALM = 14


@pytest.fixture(autouse=True)
def waits_take_no_time(region_api: TestRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    pass_by_sleeping(monkeypatch, region_api.clock)


@pytest.fixture
def slot(tmp_path: Path, region_api: TestRegion, vpc: Vpc) -> RegionSlot:
    return RegionSlot(tmp_path, region_api, vpc)


def test_a_round_on_the_calm_path(slot: RegionSlot) -> None:
    """Group, launch, running, probe, sweep, discard: named one by one, so that one more is seen."""
    slot.round(120.0)
    slot.round(150.0)
    slot.modules.take()
    assert slot.round(150.0)["verdict"]["kind"] == "rejected"
    steps = slot.modules.take()
    assert [step for step, _asked in steps] == ["placement_group", "launch", "sweep", "terminate"]
    asked, polls = requests(steps)
    assert +asked == {
        "CreatePlacementGroup": 1,
        "DeletePlacementGroup": 1,
        "DescribeInstanceTypes": 1,
        "DescribeInstances": 3,
        "DescribePlacementGroups": 2,
        "DescribeSubnets": 1,
        "RunInstances": 1,
        "TerminateInstances": 1,
    }
    assert asked.total() <= CALM
    assert polls >= 1
    # The order of the calls alone tells the same, which is all that the bench of a lab has.
    assert requests_of_rounds(slot.modules.actions)[-1] == (+asked, polls)
    assert len(requests_of_rounds(slot.modules.actions)) == 3


def test_a_promotion(slot: RegionSlot, region_api: TestRegion) -> None:
    """What it takes to keep a candidate, beside a round on the calm path, and to let its predecessor go."""
    first = slot.round(120.0)["candidate"]["instance_id"]
    slot.modules.take()
    second = slot.round(110.0)["candidate"]["instance_id"]
    asked = {step: each.total() for step, each in slot.modules.take()}
    keeping = {"host_keys": 2, "stop_on_shutdown": 4, "protect": 10}
    assert {step: asked[step] for step in keeping} == keeping
    assert asked["terminate"] == 7
    (kept,) = region_api.describe(second)
    assert kept["MaintenanceOptions"] == {"AutoRecovery": "disabled", "RebootMigration": "disabled"}
    assert region_api.states(first) == ["terminated"]


class Scheduled(NoFaults):
    """AWS is going to reboot every host."""

    def event_code(self, instance_id: str) -> str | None:
        return "system-reboot"


def test_what_aws_has_scheduled_for_the_champion_is_told(
    slot: RegionSlot, tmp_path: Path, region_api: TestRegion, vpc: Vpc
) -> None:
    champion = slot.round(120.0)["candidate"]["instance_id"]
    region_api.api.state.faults = Scheduled()
    result = RegionSlot(tmp_path, region_api, vpc).round(150.0)
    (event,) = result["scheduled_events"]
    assert (event["instance_id"], event["code"]) == (champion, "system-reboot")


class Late(NoFaults):
    """EC2 shows what is new after two seconds."""

    def hidden_s(self, resource_id: str) -> float:
        return 2.0


def test_a_round_stands_views_that_lag(tmp_path: Path, region_api: TestRegion) -> None:
    """Neither a candidate nor the group of a failed launch is left behind because EC2 did not show it at first."""
    region_api.reset(faults=Late())
    vpc = region_api.make_vpc()
    slot = RegionSlot(tmp_path, region_api, vpc)
    champion = slot.round(120.0)["candidate"]["instance_id"]
    assert slot.round(150.0)["verdict"]["kind"] == "rejected"
    none = RegionSlot(tmp_path, region_api, vpc)

    class LateAndFull(Late):
        def launch_error(self, n: int, instance_type: str) -> str | None:
            return "InsufficientInstanceCapacity"

    region_api.api.state.faults = LateAndFull()
    before = set(region_api.api.state.groups)
    none.memory.shortages_in_row = -1  # so that the round does not back off
    assert none.round(150.0)["outcome"] == "no_capacity"
    assert set(region_api.api.state.groups) == before
    live = [one["instance_id"] for one in region_api.api.instances() if one["state"] != "terminated"]
    assert live == [champion]

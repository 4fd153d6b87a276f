# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""candidate_instance_info against the simulated region."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import calls
from ansible_collections.lowlatency.ec2.plugins.modules import candidate_instance_info
from local_region.api.faults import NoFaults
from support.region import TestRegion, Vpc, tag_specifications


@pytest.fixture
def instances(region_api: TestRegion, vpc: Vpc) -> dict[str, str]:
    """Map a name to an instance's id: two of tokyo, one of osaka, one of nobody, one that is terminated."""
    wanted: dict[str, dict[str, str]] = {
        "champion": {"lowlatency:search-id": "tokyo", "lowlatency:round": "t-1", "lowlatency:role": "champion"},
        "candidate": {"lowlatency:search-id": "tokyo", "lowlatency:round": "t-2", "lowlatency:role": "candidate"},
        "osaka": {"lowlatency:search-id": "osaka", "lowlatency:round": "o-1", "lowlatency:role": "candidate"},
        "stranger": {"Name": "database"},
        "ended": {"lowlatency:search-id": "tokyo", "lowlatency:round": "t-0", "lowlatency:role": "candidate"},
    }
    ids = {
        name: region_api.launch(vpc, TagSpecifications=tag_specifications("instance", tags))["InstanceId"]
        for name, tags in wanted.items()
    }
    region_api.client().terminate_instances(InstanceIds=[ids["ended"]])
    region_api.forget_calls()
    return ids


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"champion", "candidate", "osaka"}),
        ({"search_id": "tokyo"}, {"champion", "candidate"}),
        ({"search_id": "tok*"}, set()),
        ({"round_id": "t-2"}, {"candidate"}),
        ({"search_id": "tokyo", "states": ["terminated"]}, {"ended"}),
        ({"tags": {"Name": "database"}}, {"stranger"}),
        ({"filters": {"tag:lowlatency:role": ["champion", "anchor"]}}, {"champion"}),
        ({"search_id": "tokyo", "filters": {"instance-type": "c7i.*"}}, set()),
    ],
)
def test_conditions(
    region_api: TestRegion, instances: dict[str, str], options: dict[str, t.Any], names: set[str]
) -> None:
    found = region_api.run_module(candidate_instance_info.main, **options)
    assert {one["instance_id"] for one in found["candidates"]} == {instances[name] for name in names}
    assert not found["changed"]
    assert region_api.write_calls() == []


def test_by_id_and_in_check_mode(region_api: TestRegion, instances: dict[str, str]) -> None:
    ids = [instances["stranger"], "i-00000000000000000"]
    found = region_api.run_module(candidate_instance_info.main, instance_ids=ids, check=True)
    assert [one["instance_id"] for one in found["candidates"]] == ids[:1]
    assert region_api.run_module(candidate_instance_info.main, instance_ids=[])["candidates"] == []


class Scheduled(NoFaults):
    """AWS has scheduled something for each instance."""

    def event_code(self, instance_id: str) -> str | None:
        return "system-reboot"


def test_host_keys_are_read_from_consoles_when_asked_for(region_api: TestRegion, instances: dict[str, str]) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG0b"
    block = f"-----BEGIN SSH HOST KEY KEYS-----\n{key} root@here\n-----END SSH HOST KEY KEYS-----\n"
    region_api.hosts.consoles[instances["champion"]] = f"booting\n{block}"
    found = region_api.run_module(candidate_instance_info.main, search_id="tokyo", host_keys=True)["candidates"]
    keys = {one["instance_id"]: one["host_keys"] for one in found}
    assert keys == {instances["champion"]: [key], instances["candidate"]: []}
    assert [call.action for call in region_api.calls].count("GetConsoleOutput") == 2
    assert "host_keys" not in region_api.run_module(candidate_instance_info.main, search_id="tokyo")["candidates"][0]


def test_scheduled_events_are_shown_when_asked_for(region_api: TestRegion, instances: dict[str, str]) -> None:
    region_api.api.state.faults = Scheduled()
    found = region_api.run_module(candidate_instance_info.main, search_id="tokyo")
    assert found["candidates"]
    assert all("scheduled_events" not in one for one in found["candidates"])
    region_api.forget_calls()
    found = region_api.run_module(candidate_instance_info.main, search_id="tokyo", scheduled_events=True)
    assert [call.action for call in region_api.calls] == ["DescribeInstances", "DescribeInstanceStatus"]
    for one in found["candidates"]:
        (event,) = one["scheduled_events"]
        assert event["code"] == "system-reboot"
        assert one["launch_time"] < event["not_before"] < event["not_after"]
    none = region_api.run_module(candidate_instance_info.main, search_id="kyoto", scheduled_events=True)
    assert none["candidates"] == []


def test_all_pages(region_api: TestRegion, vpc: Vpc, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = tag_specifications("instance", {"lowlatency:search-id": "tokyo"})
    # Pages are of whole launches, and five is the least that EC2 accepts as their size.
    ids = {region_api.launch(vpc, "c8g.medium", TagSpecifications=tags)["InstanceId"] for _again in range(12)}
    region_api.forget_calls()
    monkeypatch.setattr(calls, "PAGE_SIZE", 5)
    found = region_api.run_module(candidate_instance_info.main, search_id="tokyo")
    assert {one["instance_id"] for one in found["candidates"]} == ids
    assert [call.action for call in region_api.calls] == ["DescribeInstances"] * 3

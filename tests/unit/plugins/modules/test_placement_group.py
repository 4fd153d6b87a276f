# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""placement_group against the simulated region: what it returns, and which calls it makes."""

from __future__ import annotations

import threading
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import groups
from ansible_collections.lowlatency.ec2.plugins.modules import placement_group
from local_region.api.faults import NoFaults
from local_region.api.region_state import Quotas
from support.modules import run_module
from support.region import TestRegion, Vpc

TAGS = {"lowlatency:search-id": "tokyo", "lowlatency:role": "candidate"}


def run(region: TestRegion, **options: t.Any) -> dict[str, t.Any]:
    """One run with its calls counted from zero."""
    region.forget_calls()
    return region.run_module(placement_group.main, **{"name": "g-1", **options})


def actions(region: TestRegion) -> list[str]:
    return [call.action for call in region.calls]


def test_create_again_and_delete_again(region_api: TestRegion) -> None:
    planned = run(region_api, tags=TAGS, check=True, diff=True)
    assert planned["changed"]
    assert planned["diff"]["before"] == {}
    assert region_api.write_calls() == []

    created = run(region_api, tags=TAGS, diff=True)
    assert created["changed"]
    assert actions(region_api) == ["DescribePlacementGroups", "CreatePlacementGroup"]
    group = created["placement_group"]
    assert group["group_id"].startswith("pg-")
    assert (group["name"], group["strategy"], group["state"], group["tags"]) == ("g-1", "cluster", "available", TAGS)
    for name in ("name", "strategy", "tags"):
        assert planned["diff"]["after"][name] == created["diff"]["after"][name] == planned["placement_group"][name]

    for check in (True, False):
        again = run(region_api, tags=TAGS, check=check, diff=True)
        assert not again["changed"]
        assert again["placement_group"] == group
        assert again["diff"] == {"before": {}, "after": {}}
        assert region_api.write_calls() == []

    assert run(region_api, state="absent", check=True)["changed"]
    assert region_api.write_calls() == []
    deleted = run(region_api, state="absent", diff=True)
    assert deleted["changed"]
    assert deleted["placement_group"] is None
    assert deleted["diff"]["before"]["name"] == "g-1"
    assert region_api.write_calls() == ["DeletePlacementGroup"]
    for check in (True, False):
        assert not run(region_api, state="absent", check=check)["changed"]
        assert region_api.write_calls() == []


def test_no_diff_unless_asked_for(region_api: TestRegion) -> None:
    assert "diff" not in run(region_api)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"strategy": "partition", "partition_count": 3}, {"partition_count": 3, "spread_level": None}),
        ({"strategy": "spread", "spread_level": "rack"}, {"partition_count": None, "spread_level": "rack"}),
    ],
)
def test_other_strategies(region_api: TestRegion, options: dict[str, t.Any], kept: dict[str, t.Any]) -> None:
    assert run(region_api, **options)["placement_group"].items() >= kept.items()
    assert not run(region_api, **options)["changed"]
    assert not run(region_api, strategy=options["strategy"])["changed"]


def test_tags_are_reconciled(region_api: TestRegion) -> None:
    run(region_api, tags={"a": "1", "b": "2"})

    wanted = {"b": "3", "c": "4"}
    for check in (True, False):
        changed = run(region_api, tags=wanted, purge_tags=False, check=check, diff=True)
        assert changed["changed"]
        assert changed["placement_group"]["tags"] == {"a": "1", **wanted}
        assert changed["diff"] == {
            "before": {"tags": {"a": "1", "b": "2"}},
            "after": {"tags": {"a": "1", **wanted}},
        }
        assert region_api.write_calls() == ([] if check else ["CreateTags"])
    assert not run(region_api, tags=wanted, purge_tags=False)["changed"]
    assert not run(region_api)["changed"]

    assert run(region_api, tags=wanted)["placement_group"]["tags"] == wanted
    assert region_api.write_calls() == ["DeleteTags"]
    found = region_api.client().describe_placement_groups(GroupNames=["g-1"])["PlacementGroups"][0]
    assert {tag["Key"]: tag["Value"] for tag in found["Tags"]} == wanted

    assert run(region_api, tags={})["placement_group"]["tags"] == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": " "}, "name: must not be empty"),
        ({"partition_count": 3}, "partition_count: needs strategy 'partition', got 'cluster'"),
        ({"strategy": "partition", "partition_count": 8}, "partition_count: must be from 1 to 7, got 8"),
        ({"spread_level": "rack"}, "spread_level: needs strategy 'spread', got 'cluster'"),
    ],
)
def test_options_that_contradict_each_other(region_api: TestRegion, options: dict[str, t.Any], message: str) -> None:
    failed = run(region_api, **options, fail_ok=True)
    assert failed["msg"] == message
    assert region_api.calls == []


@pytest.mark.parametrize("check", [True, False])
def test_what_cannot_be_changed_is_a_clear_failure(region_api: TestRegion, check: bool) -> None:
    run(region_api, strategy="partition", partition_count=3)
    failed = run(region_api, strategy="cluster", tags=TAGS, check=check, fail_ok=True)
    assert failed["msg"] == (
        "strategy: the placement group 'g-1' exists with 'partition' and cannot be changed to 'cluster'"
    )
    assert region_api.write_calls() == []
    failed = run(region_api, strategy="partition", partition_count=4, check=check, fail_ok=True)
    assert failed["msg"].startswith("partition_count: the placement group 'g-1' exists with '3'")


def test_a_group_in_use_names_who_is_in_it(region_api: TestRegion, vpc: Vpc) -> None:
    run(region_api)
    instance = region_api.launch(vpc, Placement={"GroupName": "g-1"})
    failed = run(region_api, state="absent", wait=False, fail_ok=True)
    assert failed["error"]["code"] == "InvalidPlacementGroup.InUse"
    assert failed["instance_ids"] == [instance["InstanceId"]]
    assert instance["InstanceId"] in failed["msg"]
    assert region_api.write_calls() == ["DeletePlacementGroup"]

    failed = run(region_api, state="absent", wait_timeout=1, fail_ok=True)
    assert failed["instance_ids"] == [instance["InstanceId"]]
    assert region_api.write_calls().count("DeletePlacementGroup") >= 2


def test_a_wait_for_a_group_in_use_ends_when_it_is_empty(region_api: TestRegion, vpc: Vpc) -> None:
    run(region_api)
    instance = region_api.launch(vpc, Placement={"GroupName": "g-1"})
    ended = terminate_when_in_use(region_api, instance["InstanceId"])
    assert run(region_api, state="absent", wait_timeout=60)["changed"]
    ended()
    assert region_api.write_calls()[0] == region_api.write_calls()[-1] == "DeletePlacementGroup"
    assert not run(region_api, state="absent")["changed"]


def terminate_when_in_use(region: TestRegion, instance_id: str) -> t.Callable[[], None]:
    """Terminate the instance once the module has met the group in use; return what joins the helper."""

    def watch() -> None:
        for _again in range(6000):
            if any(call.code == "InvalidPlacementGroup.InUse" for call in region.calls):
                region.client().terminate_instances(InstanceIds=[instance_id])
                return
            threading.Event().wait(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread.join


def test_errors_of_the_api_carry_their_code(region_api: TestRegion) -> None:
    region_api.reset(quotas=Quotas(placement_groups=0))
    failed = run(region_api, fail_ok=True)
    assert failed["error"]["code"] == "PlacementGroupLimitExceeded"
    assert region_api.write_calls() == ["CreatePlacementGroup"]


def test_a_group_that_appears_meanwhile_is_taken(region_api: TestRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    region_api.client().create_placement_group(GroupName="g-1", Strategy="cluster")
    seen: list[str] = []
    describe = groups.describe_group

    def late(client: t.Any, name: str) -> t.Any:
        seen.append(name)
        return None if len(seen) == 1 else describe(client, name)

    monkeypatch.setattr(groups, "describe_group", late)
    made = run(region_api, tags=TAGS)
    assert made["placement_group"]["tags"] == TAGS
    assert region_api.write_calls() == ["CreatePlacementGroup", "CreateTags"]


class Late(NoFaults):
    """EC2 shows a new group after two seconds."""

    def hidden_s(self, resource_id: str) -> float:
        return 2.0


def test_a_new_group_that_is_not_shown_is_taken_as_it_is(region_api: TestRegion) -> None:
    region_api.reset(faults=Late())
    region_api.client().create_placement_group(GroupName="g-1", Strategy="cluster")
    region_api.forget_calls()
    kept = region_api.run_module(placement_group.main, name="g-1", tags={"a": "b"})
    assert kept["placement_group"]["tags"] == {"a": "b"}
    assert region_api.write_calls() == ["CreatePlacementGroup", "CreateTags"]


def test_a_new_group_that_is_not_shown_is_not_left_behind(region_api: TestRegion) -> None:
    region_api.reset(faults=Late())
    region_api.client().create_placement_group(GroupName="g-1", Strategy="cluster")
    assert not region_api.run_module(placement_group.main, name="g-1", state="absent")["changed"]
    assert region_api.run_module(placement_group.main, name="g-1", state="absent", settle_timeout=10)["changed"]
    assert region_api.api.state.groups == {}


def test_a_lost_connection_has_a_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses_s: list[float] = []
    monkeypatch.setattr("time.sleep", pauses_s.append)
    nowhere = {"endpoint_url": "http://127.0.0.1:9", "access_key": "lab", "secret_key": "a-lab-has-no-secrets"}
    result = run_module(placement_group.main, {"name": "lonely", "region": "ap-northeast-1", **nowhere}, fail_ok=True)
    assert result["failed"]
    assert result["error"]["code"] == "EndpointConnectionError"
    assert len(pauses_s) == 5

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""reap against the simulated region: what goes, what stays, and which calls it makes."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import reap as ec2_reap
from ansible_collections.lowlatency.ec2.plugins.modules import reap
from local_region.api.region_state import Timings
from support.leftovers import ELSEWHERE, GONE, OURS, PAST, Leftovers, ids
from support.region import TestRegion, Vpc

Result = dict[str, t.Any]


@pytest.fixture
def leftovers(region_api: TestRegion, vpc: Vpc) -> Leftovers:
    return Leftovers(region_api, vpc)


@pytest.fixture
def slow_leftovers(region_api: TestRegion) -> Leftovers:
    """An instance takes ten minutes of the region's clock to be terminated."""
    region_api.reset(timings=Timings(pending_s=0, shutting_down_s=600))
    return Leftovers(region_api, region_api.make_vpc())


def test_instances_go_first_and_their_groups_when_they_are_gone(slow_leftovers: Leftovers) -> None:
    instance_id = slow_leftovers.round("g-1")

    planned = slow_leftovers.reap(check=True, diff=True)
    assert planned["changed"]
    assert planned["diff"] == {"before": {"present": [instance_id]}, "after": {"present": []}}
    assert slow_leftovers.region.write_calls() == []

    first = slow_leftovers.reap(diff=True)
    assert (first["reaped"], first["pending"], first["diff"]) == (
        planned["reaped"],
        planned["pending"],
        planned["diff"],
    )
    assert ids(first["reaped"]) == {instance_id}
    assert first["pending"] == [
        {"kind": "instance", "id": instance_id, "why": f"instance {instance_id} is shutting-down"},
        {"kind": "placement_group", "id": "g-1", "why": f"group g-1 holds {instance_id}, which is shutting-down"},
    ]
    assert slow_leftovers.region.write_calls() == ["TerminateInstances"]

    second = slow_leftovers.reap()
    assert not second["changed"]
    assert second["pending"] == first["pending"]
    assert slow_leftovers.region.write_calls() == []

    slow_leftovers.region.clock.advance(601)
    last = slow_leftovers.reap()
    assert ids(last["reaped"]) == {"g-1"}
    assert last["pending"] == []
    assert slow_leftovers.region.write_calls() == ["DeletePlacementGroup"]

    for check in (True, False):
        nothing = slow_leftovers.reap(check=check)
        assert not nothing["changed"]
        assert nothing["reaped"] == nothing["pending"] == nothing["kept"] == []
        assert slow_leftovers.region.write_calls() == []


def test_a_pass_with_nothing_to_do_costs_two_requests(leftovers: Leftovers) -> None:
    leftovers.reap()
    assert [call.action for call in leftovers.region.calls] == ["DescribeInstances", "DescribePlacementGroups"]


@pytest.mark.parametrize("role", ["champion", "anchor", "qualified", "production", None])
def test_survivors_and_their_groups_stay(leftovers: Leftovers, role: str | None) -> None:
    survivor = leftovers.round("g-1", role=role, expires_at=PAST, owner=OURS)
    late = leftovers.group("g-2", expires_at=PAST)
    in_late = leftovers.instance("g-2", role=role)
    by_name = leftovers.round("g-3", expires_at=PAST)
    candidate = leftovers.round("g-4", expires_at=PAST)
    for _again in range(2):
        result = leftovers.reap(survivors=[by_name], spare_live_owners=False)
    assert ids(result["kept"]) == {survivor, "g-1", in_late, late, by_name, "g-3"}
    assert leftovers.live() == {survivor, in_late, by_name}
    assert leftovers.groups() == {"g-1", "g-2", "g-3"}
    assert candidate not in leftovers.live()


def test_a_protected_candidate_is_spared_and_does_not_spare_the_others(leftovers: Leftovers) -> None:
    candidates = [leftovers.round(f"g-{number}") for number in range(3)]
    leftovers.region.client().modify_instance_attribute(InstanceId=candidates[1], DisableApiTermination={"Value": True})
    planned = leftovers.reap(check=True)
    result = leftovers.reap()
    for one in (planned, result):
        assert {"kind": "instance", "id": candidates[1], "why": "is protected against termination"} in one["kept"]
        assert {candidates[0], candidates[2]} <= ids(one["reaped"])
    assert leftovers.live() == {candidates[1]}
    # Refused as a whole, then in halves until the protected one stands alone.
    assert leftovers.region.write_calls()[:5] == ["TerminateInstances"] * 5
    leftovers.reap()
    assert leftovers.groups() == {"g-1"}


def test_only_what_is_ours_past_its_time_or_ownerless_goes(leftovers: Leftovers) -> None:
    gone, ours = leftovers.round("g-gone", owner=GONE), leftovers.round("g-ours", owner=OURS)
    elsewhere = leftovers.round("g-elsewhere", owner=ELSEWHERE)
    expired = leftovers.round("g-expired", owner=ELSEWHERE, expires_at=PAST)
    empty = leftovers.group("g-empty", owner=ELSEWHERE)
    result = leftovers.reap()
    assert ids(result["reaped"]) >= {gone, ours, expired}
    assert ids(result["kept"]) == {elsewhere, "g-elsewhere", empty}
    leftovers.reap()
    assert leftovers.groups() == {"g-elsewhere", "g-empty"}

    leftovers.reap(spare_live_owners=False)
    leftovers.reap(spare_live_owners=False)
    assert leftovers.live() == leftovers.groups() == set()


def test_a_named_owner_asks_for_its_own_only(leftovers: Leftovers) -> None:
    one, other = leftovers.round("g-1", owner=f"{OURS}0"), leftovers.round("g-2", owner=OURS)
    assert leftovers.live() == {one, other}
    leftovers.reap(owner=OURS)
    assert leftovers.live() == {one}
    leftovers.reap(owner=OURS.rsplit(":", 1)[0])
    assert leftovers.live() == set()


def test_other_searches_stay(leftovers: Leftovers) -> None:
    osaka = leftovers.round("g-1", search_id="osaka")
    stranger = leftovers.round("g-2", search_id=None)
    leftovers.round("g-3")
    leftovers.reap(search_id="tok*")
    assert len(leftovers.live()) == 3
    leftovers.reap()
    leftovers.reap()
    assert leftovers.live() == {osaka, stranger}
    leftovers.reap(all_searches=True)
    leftovers.reap(all_searches=True)
    assert leftovers.live() == {stranger}
    assert leftovers.groups() == {"g-2"}


def test_a_group_with_a_stranger_in_it_stays_and_nobody_waits_for_it(leftovers: Leftovers) -> None:
    leftovers.group("g-1")
    stranger = leftovers.instance("g-1", search_id=None)
    result = leftovers.reap()
    assert result["kept"] == [
        {"kind": "placement_group", "id": "g-1", "why": f"holds {stranger}, which is not of the search"}
    ]
    assert result["pending"] == []


def test_a_sweep_of_named_groups(slow_leftovers: Leftovers) -> None:
    """What a slot does between rounds with the groups of its discarded candidates."""
    first, second = slow_leftovers.round("g-1", owner=OURS), slow_leftovers.round("g-2", owner=OURS)
    current = slow_leftovers.round("g-3", owner=OURS)
    slow_leftovers.region.client().terminate_instances(InstanceIds=[first])
    result = slow_leftovers.reap(owner=OURS, placement_groups=["g-1", "g-2", "g-gone"])
    assert ids(result["reaped"]) == {second}
    assert ids(result["pending"]) == {first, second, "g-1", "g-2"}
    slow_leftovers.region.clock.advance(601)
    assert ids(slow_leftovers.reap(owner=OURS, placement_groups=["g-1", "g-2"])["reaped"]) == {"g-1", "g-2"}
    assert (slow_leftovers.live(), slow_leftovers.groups()) == ({current}, {"g-3"})


def test_limits_by_id_and_by_group_add_up(leftovers: Leftovers) -> None:
    one, two, three = (leftovers.round(f"g-{number}") for number in (1, 2, 3))
    result = leftovers.reap(instance_ids=[one], placement_groups=["g-2"])
    assert ids(result["reaped"]) >= {one, two}
    assert leftovers.live() == {three}
    assert "g-1" in leftovers.groups()
    leftovers.reap(instance_ids=[three])
    assert leftovers.live() == set()
    assert "g-3" in leftovers.groups()
    nothing = leftovers.reap(instance_ids=[], placement_groups=[])
    assert nothing["reaped"] == nothing["kept"] == []
    assert leftovers.region.calls == []


def test_an_elastic_address_is_taken_off_and_kept(leftovers: Leftovers) -> None:
    candidate = leftovers.round("g-1")
    ec2 = leftovers.region.client()
    address = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=candidate)
    assert leftovers.reap()["disassociated"] == [address["PublicIp"]]
    assert leftovers.region.write_calls()[:2] == ["DisassociateAddress", "TerminateInstances"]
    (kept,) = ec2.describe_addresses(AllocationIds=[address["AllocationId"]])["Addresses"]
    assert not kept.get("AssociationId")


def test_many_are_terminated_in_batches(leftovers: Leftovers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ec2_reap, "BATCH", 2)
    for _again in range(5):
        leftovers.instance()
    assert len(leftovers.reap()["reaped"]) == 5
    assert leftovers.region.write_calls() == ["TerminateInstances"] * 3
    assert leftovers.live() == set()


def test_a_wait_until_all_is_gone(region_api: TestRegion) -> None:
    region_api.reset(timings=Timings(pending_s=0, shutting_down_s=1))
    leftovers = Leftovers(region_api, region_api.make_vpc())
    instance_id = leftovers.round("g-1")
    result = leftovers.reap(wait=True)
    assert ids(result["reaped"]) == {instance_id, "g-1"}
    assert result["pending"] == []


def test_a_wait_that_comes_to_nothing_says_what_is_left(slow_leftovers: Leftovers) -> None:
    instance_id = slow_leftovers.round("g-1")
    result = slow_leftovers.reap(wait=True, wait_timeout=1)
    assert ids(result["reaped"]) == {instance_id}
    assert ids(result["pending"]) == {instance_id, "g-1"}
    assert slow_leftovers.reap(wait=True, wait_timeout=1, check=True)["pending"] == result["pending"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"search_id": None}, "search_id: exactly one of search_id and all_searches is needed, neither is given"),
        ({"search_id": "tokyo", "all_searches": True}, "search_id: exactly one of"),
        ({"search_id": " "}, "search_id: must not be empty"),
    ],
)
def test_one_search_or_all_of_them(region_api: TestRegion, options: Result, problem: str) -> None:
    failed = region_api.run_module(reap.main, **options, fail_ok=True)
    assert failed["msg"].startswith(problem)
    assert region_api.calls == []

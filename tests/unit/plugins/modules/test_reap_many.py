# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""reap over many resources, with others at work beside it, and with an API that refuses, lags or has had enough."""

from __future__ import annotations

import subprocess
import sys
import threading
import typing as t
from collections import Counter
from collections.abc import Iterator

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import calls
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.ownership import current_owner
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.reap import Pass, Reaper
from ansible_collections.lowlatency.ec2.plugins.modules import placement_group, reap
from local_region.api.faults import NoFaults
from local_region.api.region_state import Quotas
from support.leftovers import GONE, OURS, PAST, Leftovers, ids
from support.region import TestRegion, Vpc

MANY = Quotas(on_demand_vcpus=10_000, placement_groups=1_000)


@pytest.fixture
def leftovers(region_api: TestRegion, vpc: Vpc) -> Leftovers:
    return Leftovers(region_api, vpc)


@pytest.fixture
def other_controller() -> Iterator[str]:
    """The owner tag of a slot of a controller that lives, beside this process."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield current_owner(process.pid, "slot-1")
        process.communicate(b"\n")


def actions(region: TestRegion) -> Counter[str]:
    return Counter(call.action for call in region.calls)


def one_pass(leftovers: Leftovers, **options: t.Any) -> Pass:
    """A pass as the module makes it, with a client of its own."""
    defaults = {name: spec.get("default") for name, spec in reap.ARGUMENT_SPEC.items()}
    client = leftovers.region._new_client("ec2", retries=False, region="ap-northeast-1")
    return Reaper(client, {**defaults, "search_id": "tokyo", **options}, check_mode=False).run_pass()


# -- how many requests ---------------------------------------------------------------------------------


def test_what_a_pass_costs(region_api: TestRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    """250 instances on five pages, 40 groups: so many requests, and not one more."""
    region_api.reset(quotas=MANY)
    leftovers = Leftovers(region_api, region_api.make_vpc())
    for number in range(40):
        leftovers.group(f"g-{number}")
    for _launch in range(25):
        leftovers.instances(10)
    monkeypatch.setattr(calls, "PAGE_SIZE", 5)
    assert len(leftovers.reap()["reaped"]) == 250 + 40
    assert actions(region_api) == {
        "DescribeInstances": 5,
        "DescribePlacementGroups": 1,
        "TerminateInstances": 3,
        "DeletePlacementGroup": 40,
    }
    assert leftovers.live() == leftovers.groups() == set()
    monkeypatch.setattr(calls, "PAGE_SIZE", 1000)
    assert leftovers.reap()["reaped"] == []
    assert actions(region_api) == {"DescribeInstances": 1, "DescribePlacementGroups": 1}


def test_more_names_than_a_request_takes_as_values_of_filters(leftovers: Leftovers) -> None:
    wanted = leftovers.round("g-399")
    elsewhere = leftovers.round("g-elsewhere")
    names = [f"g-{number}" for number in range(400)]
    assert ids(leftovers.reap(placement_groups=names)["reaped"]) == {wanted}
    assert ids(leftovers.reap(placement_groups=names)["reaped"]) == {"g-399"}
    assert leftovers.live() == {elsewhere}
    assert actions(leftovers.region)["DescribeInstances"] == 3
    assert actions(leftovers.region)["DescribePlacementGroups"] == 3


def test_one_protected_instance_among_a_hundred(region_api: TestRegion) -> None:
    region_api.reset(quotas=MANY)
    leftovers = Leftovers(region_api, region_api.make_vpc())
    candidates = leftovers.instances(100)
    region_api.client().modify_instance_attribute(InstanceId=candidates[77], DisableApiStop={"Value": True})
    result = leftovers.reap()
    assert ids(result["reaped"]) == set(candidates) - {candidates[77]}
    assert result["kept"] == [{"kind": "instance", "id": candidates[77], "why": "is protected against termination"}]
    assert actions(region_api)["TerminateInstances"] <= 15


# -- others at work ------------------------------------------------------------------------------------


def test_two_controllers_that_reap_at_once_do_each_other_no_harm(leftovers: Leftovers, other_controller: str) -> None:
    """Both take what nobody owns, as often as they like; neither touches what the other works with."""
    left = {leftovers.round(f"g-left-{number}", owner=GONE) for number in range(6)}
    left |= {leftovers.round(f"g-late-{number}", owner=other_controller, expires_at=PAST) for number in range(3)}
    mine, theirs = leftovers.round("g-mine", owner=OURS), leftovers.round("g-theirs", owner=other_controller)
    made = leftovers.group("g-made", owner=other_controller)
    champion = leftovers.round("g-champion", owner=GONE, role="champion", expires_at="never")
    begin = threading.Barrier(2)
    passes: list[Pass] = []
    problems: list[BaseException] = []

    def controller(slot: str) -> None:
        try:
            begin.wait(60)
            passes.extend(one_pass(leftovers, owner=slot) for _again in range(3))
        except BaseException as error:
            problems.append(error)

    # Each sweeps for a slot that has nothing: what its other slots work with is not asked for.
    threads = [threading.Thread(target=controller, args=(f"{one}-sweep",)) for one in (OURS, other_controller)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert leftovers.live() == {mine, theirs, champion}
    assert leftovers.groups() == {"g-mine", "g-theirs", made, "g-champion"}
    reaped = {one["id"] for each in passes for one in each.reaped}
    assert left <= reaped
    assert {mine, theirs, champion, "g-mine", "g-theirs", "g-champion", made} & reaped == set()


class Meanwhile:
    """Does something between the read of a pass and the first request for an end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: t.Callable[[], object]) -> None:
        real, self.done = calls.describe_placement_groups, False

        def describe(client: t.Any, filters: t.Any) -> t.Any:
            found = real(client, filters)
            if not self.done:
                self.done = True
                act()
            return found

        monkeypatch.setattr(calls, "describe_placement_groups", describe)


def test_another_controller_was_quicker(leftovers: Leftovers, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate, empty = leftovers.round("g-1"), leftovers.group("g-2")
    other = Meanwhile(monkeypatch, lambda: [one_pass(leftovers), one_pass(leftovers)])
    result = leftovers.reap()
    assert other.done
    # What is gone already was not reaped by this one, and is no failure.
    assert empty not in ids(result["reaped"])
    assert ids(result["reaped"]) <= {candidate}
    assert leftovers.live() == leftovers.groups() == set()


def test_one_that_is_promoted_meanwhile_is_spared(leftovers: Leftovers, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted, left = leftovers.round("g-1", expires_at=PAST), leftovers.round("g-2", expires_at=PAST)

    def promote() -> None:
        leftovers.region.client().modify_instance_attribute(InstanceId=promoted, DisableApiTermination={"Value": True})

    Meanwhile(monkeypatch, promote)
    result = leftovers.reap()
    assert ids(result["kept"]) == {promoted, "g-1"}
    assert leftovers.live() == {promoted}
    assert left in ids(result["reaped"])


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_no_way_leads_to_the_group_of_a_survivor(leftovers: Leftovers, state: str) -> None:
    """The group carries a candidate's tags for ever, and each of these says that it may go."""
    survivor = leftovers.round("g-1", role="champion", owner=OURS, expires_at=PAST)
    leftovers.region.client().create_tags(
        Resources=[leftovers.group_id("g-1")], Tags=[{"Key": "lowlatency:role", "Value": "candidate"}]
    )
    if state == "stopped":
        leftovers.region.client().stop_instances(InstanceIds=[survivor])
    for options in ({}, {"spare_live_owners": False}, {"placement_groups": ["g-1"]}, {"all_searches": True}):
        assert leftovers.reap(**options)["reaped"] == []
    refused = leftovers.region.run_module(placement_group.main, name="g-1", state="absent", wait=False, fail_ok=True)
    assert refused["error"]["code"] == "InvalidPlacementGroup.InUse"
    assert refused["instance_ids"] == [survivor]
    assert leftovers.groups() == {"g-1"}


# -- an API that refuses, lags or has had enough -----------------------------------------------------------


class Refuses(NoFaults):
    """Every call of these actions meets a code, after the first ones."""

    def __init__(self, code: str, *actions: str, after: int = 0) -> None:
        self._code, self._actions, self._left = code, actions, after

    def call_error(self, n: int, action: str) -> str | None:
        if action not in self._actions:
            return None
        self._left -= 1
        return self._code if self._left < 0 else None


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses are written down and not made."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("code", ["RequestLimitExceeded", "InternalError"])
def test_what_cannot_be_asked_for_now_is_pending_and_says_why(
    leftovers: Leftovers, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate, groups = leftovers.round("g-1"), [leftovers.group(f"g-{number}") for number in range(2, 5)]
    monkeypatch.setattr(leftovers.region.api.state, "faults", Refuses(code, "TerminateInstances"))
    result = leftovers.reap()
    assert {"kind": "instance", "id": candidate, "why": f"instance {candidate} is not ended yet: {code}"} in (
        result["pending"]
    )
    assert ids(result["reaped"]) == set(groups)
    monkeypatch.setattr(leftovers.region.api.state, "faults", Refuses(code, "DeletePlacementGroup"))
    leftovers.reap()
    result = leftovers.reap()
    assert result["reaped"] == []
    assert result["pending"] == [
        {"kind": "placement_group", "id": "g-1", "why": f"group g-1 is not deleted yet: {code}"}
    ]
    # One group's tries, and no more of them.
    assert actions(leftovers.region)["DeletePlacementGroup"] == 6
    monkeypatch.setattr(leftovers.region.api.state, "faults", NoFaults())
    leftovers.reap()
    assert leftovers.live() == leftovers.groups() == set()


def test_a_refusal_for_good_fails_and_says_what_was_done(leftovers: Leftovers, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [leftovers.group(f"g-{number}") for number in range(4)]
    faults = Refuses("UnauthorizedOperation", "DeletePlacementGroup", after=2)
    monkeypatch.setattr(leftovers.region.api.state, "faults", faults)
    failed = leftovers.reap(fail_ok=True)
    assert failed["error"]["code"] == "UnauthorizedOperation"
    assert [one["id"] for one in failed["reaped"]] == groups[:2]


def test_no_right_to_end_anything_fails(leftovers: Leftovers, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = leftovers.round("g-1")
    faults = Refuses("UnauthorizedOperation", "TerminateInstances")
    monkeypatch.setattr(leftovers.region.api.state, "faults", faults)
    failed = leftovers.reap(fail_ok=True)
    assert (failed["error"]["code"], failed["reaped"]) == ("UnauthorizedOperation", [])
    assert leftovers.live() == {candidate}


class Late(NoFaults):
    """EC2 shows what is new after a while."""

    def hidden_s(self, resource_id: str) -> float:
        return 5.0


def test_what_ec2_does_not_show_yet_goes_with_a_later_pass(region_api: TestRegion) -> None:
    region_api.reset(faults=Late())
    leftovers = Leftovers(region_api, region_api.make_vpc())
    leftovers.round("g-1")
    assert leftovers.reap()["reaped"] == []
    region_api.clock.advance(5)
    leftovers.reap()
    leftovers.reap()
    assert leftovers.live() == leftovers.groups() == set()


def test_a_group_whose_new_instance_is_not_shown_is_pending(region_api: TestRegion) -> None:
    region_api.reset()
    leftovers = Leftovers(region_api, region_api.make_vpc())
    leftovers.group("g-1")
    region_api.api.state.faults = Late()
    hidden = leftovers.instance("g-1")
    result = leftovers.reap()
    assert (result["reaped"], result["pending"]) == (
        [],
        [{"kind": "placement_group", "id": "g-1", "why": "group g-1: InvalidPlacementGroup.InUse"}],
    )
    region_api.clock.advance(5)
    assert hidden in ids(leftovers.reap()["reaped"])


def test_an_instance_that_is_shown_here_and_not_there_is_asked_for_again(
    leftovers: Leftovers, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate, other = leftovers.instance(), leftovers.instance()
    instance = leftovers.region.api.state.instance(candidate)
    Meanwhile(monkeypatch, lambda: setattr(instance, "shown", False))
    result = leftovers.reap()
    assert ids(result["reaped"]) == {other}
    assert result["pending"][0]["why"] == f"instance {candidate} is not ended yet: InvalidInstanceID.NotFound"
    instance.shown = True
    assert ids(leftovers.reap()["reaped"]) == {candidate}

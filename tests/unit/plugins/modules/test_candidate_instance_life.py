# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""candidate_instance keeps and ends instances in the simulated region: changes, refusals, and which calls it makes."""

from __future__ import annotations

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import candidate as ec2_candidate
from local_region.api.faults import NoFaults
from local_region.api.region_state import Timings
from support.candidates import TAGS, Result, Rounds
from support.region import TestRegion

KEEP: Result = {
    "shutdown_behavior": "stop",
    "termination_protection": True,
    "stop_protection": True,
    "tags": {"lowlatency:role": "champion"},
}


class Refused(NoFaults):
    """Every call of one action meets a code."""

    def __init__(self, action: str, code: str) -> None:
        self._action, self._code = action, code

    def call_error(self, n: int, action: str) -> str | None:
        return self._code if action == self._action else None


def test_a_kept_candidate_is_protected_and_read_back(rounds: Rounds) -> None:
    instance_id = rounds.launch()["candidate"]["instance_id"]
    before = {"shutdown_behavior": "terminate", "termination_protection": False, "stop_protection": False}
    after = {name: KEEP[name] for name in before}
    for check in (True, False):
        kept = rounds.run(instance_id=instance_id, **KEEP, check=check, diff=True)
        assert kept["changed"]
        assert kept["candidate"]["tags"] == {
            **TAGS,
            "lowlatency:round": "tokyo-1",
            "Name": "1753142400-DC-Search",
            "lowlatency:role": "champion",
        }
        assert kept["diff"]["before"].items() >= before.items()
        assert kept["diff"]["after"].items() >= after.items()
        assert rounds.region.write_calls() == ([] if check else ["ModifyInstanceAttribute"] * 3 + ["CreateTags"])
    # The dead-man timer inside could end it as long as a shutdown means termination: that is set first.
    assert rounds.attribute(instance_id, "instanceInitiatedShutdownBehavior") == "stop"
    assert rounds.attribute(instance_id, "disableApiTermination") is True
    assert rounds.attribute(instance_id, "disableApiStop") is True
    for check in (True, False):
        assert not rounds.run(instance_id=instance_id, **KEEP, check=check)["changed"]
        assert rounds.region.write_calls() == []
    assert not rounds.run(instance_id=instance_id)["changed"]
    assert rounds.actions == ["DescribeInstances"]


MAINTENANCE: Result = {"auto_recovery": "disabled", "reboot_migration": "disabled"}


def test_maintenance_options_are_set_in_one_request_and_read_back(rounds: Rounds) -> None:
    instance_id = rounds.launch()["candidate"]["instance_id"]
    for check in (True, False):
        kept = rounds.run(instance_id=instance_id, **MAINTENANCE, check=check, diff=True)
        assert kept["changed"]
        assert kept["candidate"]["maintenance_options"] == MAINTENANCE
        assert kept["diff"]["before"] == {"maintenance_options": dict.fromkeys(MAINTENANCE, "default")}
        assert kept["diff"]["after"] == {"maintenance_options": MAINTENANCE}
    assert rounds.actions == ["DescribeInstances", "ModifyInstanceMaintenanceOptions", "DescribeInstances"]
    shown = rounds.describe(instance_id)["MaintenanceOptions"]
    assert shown == {"AutoRecovery": "disabled", "RebootMigration": "disabled"}
    for check in (True, False):
        again = rounds.run(instance_id=instance_id, **MAINTENANCE, check=check)
        assert (again["changed"], again["refused"]) == (False, {})
        assert rounds.region.write_calls() == []
    assert rounds.run(instance_id=instance_id, reboot_migration="default")["candidate"]["maintenance_options"] == {
        "auto_recovery": "disabled",
        "reboot_migration": "default",
    }


def test_a_launch_with_maintenance_options(rounds: Rounds) -> None:
    launched = rounds.launch(**MAINTENANCE)
    assert launched["candidate"]["maintenance_options"] == MAINTENANCE
    assert rounds.region.write_calls() == ["RunInstances", "ModifyInstanceMaintenanceOptions"]
    # What the request says needs no other one.
    rounds.launch(round_id="tokyo-2", auto_recovery="disabled")
    assert rounds.region.write_calls() == ["RunInstances"]


@pytest.mark.parametrize("code", ["UnsupportedOperation", "Unsupported"])
def test_an_instance_that_knows_no_such_options_is_kept_all_the_same(rounds: Rounds, code: str) -> None:
    instance_id = rounds.launch()["candidate"]["instance_id"]
    rounds.region.api.state.faults = Refused("ModifyInstanceMaintenanceOptions", code)
    kept = rounds.run(instance_id=instance_id, **KEEP, **MAINTENANCE)
    assert kept["refused"] == dict.fromkeys(MAINTENANCE, code)
    assert kept["candidate"]["tags"]["lowlatency:role"] == "champion"
    assert rounds.attribute(instance_id, "disableApiTermination") is True


def test_no_right_to_set_them_is_a_failure(rounds: Rounds) -> None:
    instance_id = rounds.launch()["candidate"]["instance_id"]
    rounds.region.api.state.faults = Refused("ModifyInstanceMaintenanceOptions", "UnauthorizedOperation")
    failed = rounds.run(instance_id=instance_id, **MAINTENANCE, fail_ok=True)
    assert failed["error"]["code"] == "UnauthorizedOperation"


class Late(NoFaults):
    """EC2 shows what is new after two seconds."""

    def hidden_s(self, resource_id: str) -> float:
        return 2.0


@pytest.fixture
def late(region_api: TestRegion) -> Rounds:
    rounds = Rounds(region_api, region_api.make_vpc())
    region_api.api.state.faults = Late()
    return rounds


def test_a_new_instance_that_is_not_shown_is_waited_for(late: Rounds) -> None:
    launched = late.launch()
    assert (launched["outcome"], launched["candidate"]["state"]) == ("launched", "running")


def test_a_new_instance_that_is_not_shown_is_kept_by_its_id(late: Rounds) -> None:
    instance_id = late.launch(wait=False)["candidate"]["instance_id"]
    kept = late.run(instance_id=instance_id, **KEEP)
    assert (kept["outcome"], kept["changed"]) == ("existing", True)


@pytest.mark.parametrize("key", ["round_id", "instance_id"])
def test_a_new_instance_that_is_not_shown_is_not_left_behind(late: Rounds, key: str) -> None:
    instance_id = late.launch(wait=False)["candidate"]["instance_id"]
    named = {"round_id": {"round_id": "tokyo-1", "settle_timeout": 10}, "instance_id": {"instance_id": instance_id}}
    ended = late.run(**named[key], state="absent")
    assert ended["terminated_instance_ids"] == [instance_id]


def test_a_round_without_an_instance_is_not_looked_for_unless_asked_to(late: Rounds) -> None:
    late.run(round_id="tokyo-9", state="absent")
    assert late.actions == ["DescribeInstances"]
    late.run(round_id="tokyo-9", state="absent", settle_timeout=1)
    assert len(late.actions) > 1


def test_each_change_is_read_back_before_the_next(rounds: Rounds) -> None:
    instance_id = rounds.launch()["candidate"]["instance_id"]
    rounds.run(instance_id=instance_id, **KEEP)
    read_change_read = ["DescribeInstanceAttribute", "ModifyInstanceAttribute", "DescribeInstanceAttribute"]
    assert rounds.actions == ["DescribeInstances", *read_change_read * 3, "CreateTags"]


def test_tags_are_purged_only_when_asked_to(rounds: Rounds) -> None:
    instance_id = rounds.launch()["candidate"]["instance_id"]
    kept = rounds.run(instance_id=instance_id, tags={"only": "this"}, purge_tags=True)
    assert kept["candidate"]["tags"] == {"only": "this"}
    assert rounds.region.write_calls() == ["CreateTags", "DeleteTags"]
    assert not rounds.run(instance_id=instance_id, purge_tags=True)["changed"]


def test_an_instance_named_by_id_is_never_launched(rounds: Rounds) -> None:
    failed = rounds.launch(instance_id="i-00000000000000000", settle_timeout=0, fail_ok=True)
    assert failed["error"]["code"] == "InvalidInstanceID.NotFound"
    assert failed["msg"] == "instance_id: instance 'i-00000000000000000' does not exist"
    instance_id = rounds.launch()["candidate"]["instance_id"]
    assert rounds.launch(instance_id=instance_id)["outcome"] == "existing"
    failed = rounds.launch(instance_id=instance_id, round_id="tokyo-2", fail_ok=True)
    assert failed["msg"] == f"round_id: instance '{instance_id}' is of round 'tokyo-1'"
    rounds.run(instance_id=instance_id, state="absent")
    failed = rounds.run(instance_id=instance_id, termination_protection=True, fail_ok=True)
    assert failed["msg"] == f"instance_id: instance '{instance_id}' is terminated"


@pytest.mark.parametrize("key", ["round_id", "instance_id"])
def test_terminate_and_again(rounds: Rounds, key: str) -> None:
    candidate = rounds.launch()["candidate"]
    named = {"round_id": "tokyo-1", "instance_id": candidate["instance_id"]}[key]
    for check in (True, False):
        ended = rounds.run(**{key: named}, state="absent", check=check, diff=True)
        assert (ended["changed"], ended["outcome"]) == (True, "terminated")
        assert ended["terminated_instance_ids"] == [candidate["instance_id"]]
        assert ended["diff"] == {"before": {"instance_ids": [candidate["instance_id"]]}, "after": {"instance_ids": []}}
        assert rounds.region.write_calls() == ([] if check else ["TerminateInstances"])
    assert ended["candidate"]["state"] in ("shutting-down", "terminated")
    for check in (True, False):
        again = rounds.run(**{key: named}, state="absent", check=check)
        assert (again["changed"], again["outcome"]) == (False, "absent")
        assert rounds.region.write_calls() == []


def test_what_never_was_is_absent(rounds: Rounds) -> None:
    for named in ({"round_id": "tokyo-9"}, {"instance_id": "i-00000000000000000"}):
        result = rounds.run(**named, state="absent", wait=True, settle_timeout=0)
        assert (result["changed"], result["outcome"], result["candidate"]) == (False, "absent", None)


def test_a_round_id_is_no_pattern(rounds: Rounds) -> None:
    rounds.launch()
    assert not rounds.run(round_id="tokyo-*", state="absent")["changed"]


def test_a_wait_for_the_end(region_api: TestRegion) -> None:
    region_api.reset(timings=Timings(pending_s=0, shutting_down_s=1))
    rounds = Rounds(region_api, region_api.make_vpc())
    instance_id = rounds.launch()["candidate"]["instance_id"]
    not_waited = rounds.run(instance_id=instance_id, state="absent")
    assert not_waited["candidate"]["state"] == "shutting-down"
    waited = rounds.run(instance_id=instance_id, state="absent", wait=True)
    assert (waited["changed"], waited["candidate"]["state"]) == (False, "terminated")


def test_a_wait_for_the_end_that_comes_to_nothing(region_api: TestRegion) -> None:
    region_api.reset(timings=Timings(pending_s=0, shutting_down_s=600))
    rounds = Rounds(region_api, region_api.make_vpc())
    instance_id = rounds.launch()["candidate"]["instance_id"]
    failed = rounds.run(instance_id=instance_id, state="absent", wait=True, wait_timeout=1, fail_ok=True)
    assert failed["changed"]
    assert f"'{instance_id}' is 'shutting-down' and not terminated" in failed["msg"]


@pytest.mark.parametrize(
    ("protection", "check"),
    [
        ("termination_protection", False),
        ("termination_protection", True),
        ("stop_protection", False),
        ("stop_protection", True),
    ],
)
def test_a_protected_instance_is_spared_unless_forced(rounds: Rounds, protection: str, check: bool) -> None:
    instance_id = rounds.launch(**{protection: True})["candidate"]["instance_id"]
    failed = rounds.run(round_id="tokyo-1", state="absent", check=check, fail_ok=True)
    assert failed["error"]["code"] == "OperationNotPermitted"
    assert failed["candidate"]["instance_id"] == instance_id
    assert rounds.region.states(instance_id) == ["running"]

    assert rounds.run(round_id="tokyo-1", state="absent", force=True, check=check)["changed"]
    assert (rounds.region.states(instance_id) == ["running"]) == check


@pytest.mark.parametrize("check", [True, False])
def test_a_survivor_is_spared_by_its_role_unless_forced(rounds: Rounds, check: bool) -> None:
    instance_id = rounds.launch(market="spot", tags={"lowlatency:role": "champion"})["candidate"]["instance_id"]
    failed = rounds.run(instance_id=instance_id, state="absent", check=check, fail_ok=True)
    assert failed["msg"] == f"instance '{instance_id}' has the role 'champion'; it is terminated only with force: true"
    assert rounds.region.write_calls() == []
    assert rounds.run(instance_id=instance_id, state="absent", force=True, check=check)["changed"]


def test_an_instance_that_another_slot_ends_meanwhile_is_ended(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    instance_id = rounds.launch(termination_protection=True)["candidate"]["instance_id"]
    real = ec2_candidate.set_attribute
    other = rounds.region.client("ec2")

    def raced(client: object, target: str, name: str, value: bool) -> None:
        if rounds.region.states(target) == ["running"]:
            other.modify_instance_attribute(InstanceId=target, DisableApiTermination={"Value": False})
            other.terminate_instances(InstanceIds=[target])
        real(client, target, name, value)

    monkeypatch.setattr(ec2_candidate, "set_attribute", raced)
    ended = rounds.run(instance_id=instance_id, state="absent", force=True)
    assert ended["outcome"] == "terminated"
    assert rounds.region.states(instance_id)[0] in ("shutting-down", "terminated")

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is reaped and what is spared."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import reap_plan
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.reap_plan import Policy
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime.datetime(2026, 7, 22, 12, tzinfo=datetime.timezone.utc)
PAST, FUTURE = "2026-07-22T11:59:59+00:00", "2026-07-22T12:00:01Z"
OURS, GONE, ALIVE, ELSEWHERE = "m:1:10:slot-1", "m:2:20:slot-1", "m:3:30:slot-1", "other:1:10:slot-1"
OWNER_STATES = {OURS: "alive", GONE: "gone", ALIVE: "alive", ELSEWHERE: "unknown"}


def policy(**more: t.Any) -> Policy:
    return Policy(now=NOW, search_id="tokyo", owners=frozenset({"m:1:10:"}), owner_states=OWNER_STATES, **more)


def tags(**more: str | None) -> dict[str, str]:
    given_tags = {"search-id": "tokyo", "role": "candidate", "owner": ELSEWHERE, "expires-at": FUTURE}
    given_tags.update({key.replace("_", "-"): value for key, value in more.items()})  # type: ignore[misc]
    return {f"lowlatency:{key}": value for key, value in given_tags.items() if value is not None}


def instance(
    name: str = "i-1", group: str | None = "g-1", state: str = "running", **more: str | None
) -> dict[str, t.Any]:
    return {"instance_id": name, "placement_group": group, "state": state, "tags": tags(**more)}


def group(name: str = "g-1", state: str = "available", **more: str | None) -> dict[str, t.Any]:
    return {"name": name, "state": state, "tags": tags(**more)}


def ids(entries: list[dict[str, str]]) -> list[str]:
    return [one["id"] for one in entries]


@pytest.mark.parametrize(
    ("given_tags", "taken", "why"),
    [
        (tags(), False, "its owner other:1:10:slot-1 is unknown, and its time is up at 2026-07-22T12:00:01Z"),
        (tags(expires_at=PAST), True, f"its time was up at {PAST}"),
        (tags(expires_at=PAST, owner=ALIVE), True, f"its time was up at {PAST}"),
        (tags(expires_at=PAST, role="champion"), False, "has the role 'champion'"),
        (tags(expires_at=PAST, role=None), False, "has no tag lowlatency:role"),
        (tags(owner=OURS), True, "its owner asks for it"),
        (tags(owner=OURS, role="anchor"), False, "has the role 'anchor'"),
        (tags(owner=GONE), True, "its owner m:2:20:slot-1 is gone"),
        (tags(owner=GONE, role="qualified"), False, "has the role 'qualified'"),
        (tags(owner=ALIVE), False, "its owner m:3:30:slot-1 is alive, and its time is up at 2026-07-22T12:00:01Z"),
        (tags(owner=None, expires_at=None), False, "its owner None is unknown, and it has no time that it expires at"),
        (
            tags(expires_at="never"),
            False,
            "its owner other:1:10:slot-1 is unknown, and it has no time that it expires at",
        ),
        (tags(owner=None, expires_at=PAST), True, f"its time was up at {PAST}"),
    ],
)
def test_claims(given_tags: dict[str, str], taken: bool, why: str) -> None:
    assert reap_plan.claim(given_tags, policy()) == (taken, why)


def test_another_machines_candidates_are_taken_only_when_asked_for() -> None:
    assert reap_plan.claim(tags(), policy(spare_live_owners=False))[0]
    assert reap_plan.claim(tags(owner=ALIVE), policy(spare_live_owners=False))[0]
    assert not reap_plan.claim(tags(role="champion"), policy(spare_live_owners=False))[0]


@pytest.mark.parametrize(
    ("text", "hour"),
    [("2026-07-22T12:00:00Z", 12), ("2026-07-22T12:00:00", 12), ("2026-07-22T21:00:00+09:00", 12)],
)
def test_times(text: str, hour: int) -> None:
    parsed = reap_plan.parse_time(text)
    assert parsed is not None
    assert parsed.astimezone(datetime.timezone.utc).hour == hour


@pytest.mark.parametrize("text", [None, "", "never", "tomorrow"])
def test_other_texts_are_no_time(text: str | None) -> None:
    assert reap_plan.parse_time(text) is None


resources = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["candidate", "champion", "anchor", "qualified", "production", None]),
        "owner": st.sampled_from([OURS, GONE, ALIVE, ELSEWHERE, "nonsense", None]),
        "expires_at": st.sampled_from([PAST, FUTURE, "never", None]),
        "search_id": st.sampled_from(["tokyo", "osaka", None]),
    }
)
states = st.sampled_from(["pending", "running", "stopping", "stopped", "shutting-down", "terminated"])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[dict[str, t.Any]], list[dict[str, t.Any]], Policy]:
    names = [f"g-{number}" for number in range(4)]
    instances = [
        instance(f"i-{number}", draw(st.sampled_from([*names, None])), draw(states), **draw(resources))
        for number in range(draw(st.integers(0, 6)))
    ]
    groups = [group(name, draw(st.sampled_from(["available", "deleting"])), **draw(resources)) for name in names]
    chosen = policy(
        spare_live_owners=draw(st.booleans()),
        survivors=frozenset(draw(st.sets(st.sampled_from(["i-0", "i-1", "i-9"])))),
        groups=draw(st.one_of(st.none(), st.frozensets(st.sampled_from(names)))),
        instances=draw(st.one_of(st.none(), st.frozensets(st.sampled_from(["i-0", "i-2"])))),
    )
    return instances, groups, chosen


@given(worlds())
def test_nothing_is_taken_that_must_stay(world: tuple[t.Any, t.Any, Policy]) -> None:
    instances, groups, chosen = world
    by_id = {one["instance_id"]: one for one in instances}
    plan = reap_plan.plan_instances(instances, chosen)
    for name in ids(plan.take):
        assert by_id[name]["tags"]["lowlatency:role"] == "candidate"
        assert by_id[name]["tags"]["lowlatency:search-id"] == "tokyo"
        assert by_id[name]["state"] in ("pending", "running", "stopping", "stopped")
        assert name not in chosen.survivors
    everything = ids(plan.take) + ids(plan.pending) + ids(plan.kept)
    assert len(everything) == len(set(everything))
    spared = ids(plan.kept)
    group_plan = reap_plan.plan_groups(groups, instances, chosen, spared)
    by_name = {one["name"]: one for one in groups}
    for name in ids(group_plan.take):
        assert by_name[name]["tags"]["lowlatency:role"] == "candidate"
        assert not [one for one in instances if one["placement_group"] == name and one["state"] != "terminated"]
    for name in ids(group_plan.pending):
        assert not [one for one in instances if one["placement_group"] == name and one["instance_id"] in spared]
    everything = ids(group_plan.take) + ids(group_plan.pending) + ids(group_plan.kept)
    assert len(everything) == len(set(everything))
    if chosen.limited:
        assert set(everything) <= (chosen.groups or set())


@given(worlds())
def test_when_all_that_was_taken_is_gone_nothing_is_pending(world: tuple[t.Any, t.Any, Policy]) -> None:
    instances, groups, chosen = world
    plan = reap_plan.plan_instances(instances, chosen)
    ended = {*ids(plan.take), *ids(plan.pending)}
    later = [{**one, "state": "terminated"} if one["instance_id"] in ended else one for one in instances]
    # What is out of reach in a group is a stranger that the API reports, not the plan: only what is in reach counts.
    spared = ids(plan.kept)
    reachable = [one for one in later if one["instance_id"] in spared or one["state"] == "terminated"]
    assert reap_plan.plan_instances(later, chosen).pending == []
    pending = reap_plan.plan_groups(groups, reachable, chosen, spared).pending
    assert all("is being deleted" in one["why"] for one in pending)


def test_a_group_waits_for_its_instance_and_says_so() -> None:
    plan = reap_plan.plan_groups([group(owner=OURS)], [instance(state="shutting-down")], policy(), [])
    assert plan.pending == [
        {"kind": "placement_group", "id": "g-1", "why": "group g-1 holds i-1, which is shutting-down"}
    ]


def test_a_survivors_group_stays_even_if_its_own_tags_are_a_candidates() -> None:
    plan = reap_plan.plan_groups([group(owner=OURS)], [instance(role="champion")], policy(), ["i-1"])
    assert plan.kept == [{"kind": "placement_group", "id": "g-1", "why": "holds i-1, which stays"}]


def test_an_empty_group_of_a_live_owner_is_not_taken_from_under_it() -> None:
    plan = reap_plan.plan_groups([group(owner=ALIVE)], [], policy(), [])
    assert ids(plan.kept) == ["g-1"]


def test_all_searches_means_tagged_resources_only() -> None:
    everywhere = Policy(now=NOW, owners=frozenset({"m:1:10:"}))
    instances = [instance("i-1", search_id="osaka", owner=OURS), instance("i-2", search_id=None, owner=OURS)]
    assert ids(reap_plan.plan_instances(instances, everywhere).take) == ["i-1"]

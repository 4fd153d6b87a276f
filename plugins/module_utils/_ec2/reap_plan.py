# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to reap, what to spare, and why: pure functions on plain values.

Private to lowlatency.ec2: its interface may change at any time.

A resource is taken if it is a candidate's (never a survivor's) and nobody can want it any more: its time is up, its
owner is the one that asks, or its owner is provably gone.
"""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from .ownership import GONE, UNKNOWN, is_of_run
from .transformations import (
    ROLE_CANDIDATE,
    TAG_EXPIRES_AT,
    TAG_OWNER,
    TAG_ROLE,
    TAG_SEARCH_ID,
)

Resource = t.Mapping[str, t.Any]
Entry = dict[str, str]

INSTANCE = "instance"
GROUP = "placement_group"


@dataclasses.dataclass(frozen=True)
class Policy:
    """What was asked for, and what is known of the world at C(now) (aware, UTC).

    C(search_id) of null means all searches. C(owners) are the owners, whole or as prefixes, that count as the one that
    asks. C(owner_states) maps an owner's tag to C(alive), C(gone) or C(unknown). C(groups) and C(instances) limit the
    reach to these names and ids; null and null means no limit.
    """

    now: datetime.datetime
    search_id: str | None = None
    owners: frozenset[str] = frozenset()
    owner_states: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    survivors: frozenset[str] = frozenset()
    spare_live_owners: bool = True
    groups: frozenset[str] | None = None
    instances: frozenset[str] | None = None

    @property
    def limited(self) -> bool:
        """Whether only named groups and instances are looked at."""
        return self.groups is not None or self.instances is not None


@dataclasses.dataclass
class Plan:
    """Decisions, each an C(Entry) with C(kind), C(id) and C(why)."""

    take: list[Entry] = dataclasses.field(default_factory=list)
    pending: list[Entry] = dataclasses.field(default_factory=list)
    kept: list[Entry] = dataclasses.field(default_factory=list)


def entry(kind: str, name: str, why: str) -> Entry:
    """One line of a plan or of a result."""
    return {"kind": kind, "id": name, "why": why}


def parse_time(text: str | None) -> datetime.datetime | None:
    """A time in ISO 8601 as an aware one, taken for UTC if it names no zone; null if it is none."""
    try:
        parsed = datetime.datetime.fromisoformat((text or "").strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.timezone.utc)


def is_past(text: str | None, now: datetime.datetime) -> bool:
    """Whether a time in ISO 8601 has come; false if it is none."""
    moment = parse_time(text)
    return moment is not None and moment <= now


def is_of_search(resource: Resource, search_id: str | None) -> bool:
    """Tell whether a resource carries this search's tag, or for null any search's."""
    tag = resource["tags"].get(TAG_SEARCH_ID)
    return tag is not None and search_id in (None, tag)


def claim(tags: t.Mapping[str, str], policy: Policy) -> tuple[bool, str]:
    """Whether a resource with these tags may be taken, and why or why not."""
    role = tags.get(TAG_ROLE)
    if role != ROLE_CANDIDATE:
        return False, f"has the role '{role}'" if role else f"has no tag {TAG_ROLE}"
    expires_at = parse_time(tags.get(TAG_EXPIRES_AT))
    if expires_at is not None and expires_at <= policy.now:
        return True, f"its time was up at {tags[TAG_EXPIRES_AT]}"
    owner = tags.get(TAG_OWNER)
    if any(is_of_run(owner, prefix) for prefix in policy.owners):
        return True, "its owner asks for it"
    state = policy.owner_states.get(owner or "", UNKNOWN)
    if state == GONE:
        return True, f"its owner {owner} is gone"
    if not policy.spare_live_owners:
        return True, f"was asked for, though its owner {owner} is {state}"
    until = f"its time is up at {tags[TAG_EXPIRES_AT]}" if expires_at else "it has no time that it expires at"
    return False, f"its owner {owner} is {state}, and {until}"


def plan_instances(instances: t.Iterable[Resource], policy: Policy) -> Plan:
    """Decide about instances (as C(candidate_of) makes them). Those that are terminated appear nowhere."""
    plan = Plan()
    for instance in instances:
        name = instance["instance_id"]
        if instance["state"] == "terminated" or not _in_reach(instance, policy):
            continue
        taken, why = claim(instance["tags"], policy)
        if name in policy.survivors:
            taken, why = False, "is named as a survivor"
        if taken and instance["state"] == "shutting-down":
            plan.pending.append(entry(INSTANCE, name, f"instance {name} is shutting-down"))
        else:
            (plan.take if taken else plan.kept).append(entry(INSTANCE, name, why))
    return plan


def _in_reach(instance: Resource, policy: Policy) -> bool:
    if not is_of_search(instance, policy.search_id):
        return False
    named = instance["instance_id"] in (policy.instances or ()) or instance["placement_group"] in (policy.groups or ())
    return named or not policy.limited


def plan_groups(
    groups: t.Iterable[Resource], instances: t.Iterable[Resource], policy: Policy, spared: t.Collection[str]
) -> Plan:
    """Decide about groups (as C(placement_group_of) makes them), once the instances were dealt with.

    C(instances) are all that may be in the groups, as they are now; C(spared) are the ids of those that stay.
    """
    plan = Plan()
    occupants = _occupants(instances)
    for group in groups:
        name = group["name"]
        if group["state"] == "deleted" or not is_of_search(group, policy.search_id):
            continue
        if policy.limited and name not in (policy.groups or ()):
            continue
        taken, why = claim(group["tags"], policy)
        staying = sorted(one for one in occupants.get(name, {}) if one in spared)
        leaving = sorted(one for one in occupants.get(name, {}) if one not in spared)
        if staying or not taken:
            plan.kept.append(entry(GROUP, name, f"holds {', '.join(staying)}, which stays" if staying else why))
        elif group["state"] == "deleting":
            plan.pending.append(entry(GROUP, name, f"group {name} is being deleted"))
        elif leaving:
            states = ", ".join(f"{one}, which is {occupants[name][one]}" for one in leaving)
            plan.pending.append(entry(GROUP, name, f"group {name} holds {states}"))
        else:
            plan.take.append(entry(GROUP, name, why))
    return plan


def _occupants(instances: t.Iterable[Resource]) -> dict[str, dict[str, str]]:
    """Map a group's name to C({instance id: state}) of those in it that are not terminated."""
    found: dict[str, dict[str, str]] = {}
    for instance in instances:
        if instance["placement_group"] and instance["state"] != "terminated":
            found.setdefault(instance["placement_group"], {})[instance["instance_id"]] = instance["state"]
    return found

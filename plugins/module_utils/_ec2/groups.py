# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placement groups: what the modules do with one, over the thin calls.

Private to lowlatency.ec2: its interface may change at any time.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_specifications

from . import calls
from .client import Client, Ec2Error, refusal
from .transformations import (
    filters_of,
    placement_group_of,
    tag_changes,
)
from .waiters import WaitTimeout, wait_until

Group = dict[str, t.Any]

IN_USE = "InvalidPlacementGroup.InUse"
# As long a new group may be missing from what EC2 shows.
SETTLE_S = 15.0
DELETED = "deleted"
GONE_STATES = frozenset({"deleting", DELETED})
# What stays as it was created: option -> name at the API.
FIXED = {"strategy": "Strategy", "partition_count": "PartitionCount", "spread_level": "SpreadLevel"}


@dataclasses.dataclass(frozen=True)
class WantedGroup:
    """The options of the module placement_group, checked."""

    name: str
    strategy: str = "cluster"
    partition_count: int | None = None
    spread_level: str | None = None
    tags: dict[str, t.Any] | None = None
    purge_tags: bool = True
    wait: bool = True
    wait_timeout_s: float = 300
    settle_timeout_s: float = 0

    @classmethod
    def from_options(cls, options: t.Mapping[str, t.Any]) -> WantedGroup:
        """Raise C(Ec2Error) for options that contradict each other, before any call."""
        wanted = cls(
            name=options["name"],
            strategy=options["strategy"],
            partition_count=options["partition_count"],
            spread_level=options["spread_level"],
            tags=options["tags"],
            purge_tags=options["purge_tags"],
            wait=options["wait"],
            wait_timeout_s=options["wait_timeout"],
            settle_timeout_s=options["settle_timeout"],
        )
        wanted._check()
        return wanted

    def _check(self) -> None:
        if not self.name.strip():
            raise Ec2Error(message="name: must not be empty")
        if self.partition_count is not None and self.strategy != "partition":
            raise Ec2Error(message=f"partition_count: needs strategy 'partition', got '{self.strategy}'")
        if self.partition_count is not None and not 1 <= self.partition_count <= 7:
            raise Ec2Error(message=f"partition_count: must be from 1 to 7, got {self.partition_count}")
        if self.spread_level is not None and self.strategy != "spread":
            raise Ec2Error(message=f"spread_level: needs strategy 'spread', got '{self.strategy}'")

    def request(self) -> dict[str, t.Any]:
        """The arguments of CreatePlacementGroup."""
        request = {"GroupName": self.name}
        request.update({api: getattr(self, name) for name, api in FIXED.items() if getattr(self, name) is not None})
        if self.tags:
            texts = {key: str(value) for key, value in self.tags.items()}
            request["TagSpecifications"] = boto3_tag_specifications(texts, types=["placement-group"])
        return request


def describe_group(client: Client, name: str) -> Group | None:
    """The group of this name, or null."""
    found = calls.describe_placement_groups_by_name(client, [name])
    return placement_group_of(found[0]) if found and found[0].get("State") != DELETED else None


def describe_shown_group(client: Client, name: str, timeout_s: float) -> Group | None:
    """As L(describe_group), but look again for so long while EC2 shows no such group: what it shows lags behind."""
    try:
        return wait_until(lambda: describe_group(client, name), lambda seen: seen is not None, timeout_s)
    except WaitTimeout:
        return None


def find_group(client: Client, wanted: WantedGroup, check_mode: bool) -> Group | None:
    """The group to keep, or null if one is to be created: one that is being deleted is awaited first."""
    group = describe_group(client, wanted.name)
    if group is None or group["state"] not in GONE_STATES:
        return group
    if not check_mode:
        _wait_until_gone(client, wanted, group)
    return None


def planned_group(wanted: WantedGroup) -> Group:
    """What a group would look like, for check mode."""
    tags = [{"Key": key, "Value": str(value)} for key, value in (wanted.tags or {}).items()]
    return placement_group_of({"GroupName": wanted.name, "Tags": tags, **_fixed(wanted)})


def _fixed(wanted: WantedGroup) -> dict[str, t.Any]:
    return {api: getattr(wanted, name) for name, api in FIXED.items()}


def create_group(client: Client, wanted: WantedGroup) -> Group:
    """Create the group and wait until it can be used.

    A group that appeared meanwhile (an answer of ours that got lost, another slot) is taken if it is as wanted.
    """
    try:
        group = placement_group_of(calls.create_placement_group(client, **wanted.request()))
    except Ec2Error as error:
        if error.code != "InvalidPlacementGroup.Duplicate":
            raise
        existing = describe_shown_group(client, wanted.name, SETTLE_S)
        if existing is None:
            raise
        refuse_mismatch(existing, wanted)
        return reconcile_tags(client, existing, wanted, check_mode=False)
    return _wait_until_available(client, wanted, group) if wanted.wait else group


def refuse_mismatch(group: Group, wanted: WantedGroup) -> None:
    """Raise C(Ec2Error) if the group differs from what is wanted in what EC2 cannot change."""
    for name in FIXED:
        value = getattr(wanted, name)
        if value is not None and group[name] != value:
            raise Ec2Error(
                message=f"{name}: the placement group '{wanted.name}' exists with '{group[name]}' and cannot be "
                f"changed to '{value}'",
                placement_group=group,
            )


def reconcile_tags(client: Client, group: Group, wanted: WantedGroup, check_mode: bool) -> Group:
    """Set and take off tags as wanted; return the group with the tags that it has then."""
    to_set, to_remove, after = tag_changes(group["tags"], wanted.tags, wanted.purge_tags)
    if not check_mode and to_set:
        calls.create_tags(client, [group["group_id"]], to_set)
    if not check_mode and to_remove:
        calls.delete_tags(client, [group["group_id"]], to_remove)
    return {**group, "tags": after}


def delete_group(client: Client, group: Group | None, wanted: WantedGroup) -> bool:
    """Delete the group; return whether that changed anything."""
    if group is None:
        return False
    changed = group["state"] not in GONE_STATES and _delete(client, wanted)
    if wanted.wait:
        _wait_until_gone(client, wanted, group)
    return changed


def _delete(client: Client, wanted: WantedGroup) -> bool:
    try:
        outcome = wait_until(
            lambda: _try_to_delete(client, wanted.name),
            lambda outcome: outcome != IN_USE,
            wanted.wait_timeout_s if wanted.wait else 0,
        )
    except WaitTimeout as timeout:
        ids = instances_in_group(client, wanted.name)
        raise refusal(
            f"the placement group '{wanted.name}' cannot be deleted: it still holds {', '.join(ids) or 'instances'} "
            f"({timeout})",
            IN_USE,
            instance_ids=ids,
        ) from timeout
    return outcome == DELETED


def _try_to_delete(client: Client, name: str) -> str:
    """V(deleted), V(absent) or the code that says that the group is in use."""
    try:
        return DELETED if calls.delete_placement_group(client, name) else "absent"
    except Ec2Error as error:
        if error.code != IN_USE:
            raise
        return IN_USE


def instances_in_group(client: Client, name: str) -> list[str]:
    """The ids of the instances that are in the group and not terminated."""
    found = calls.describe_instances(client, filters_of({"placement-group-name": name}, None))
    return sorted(instance["InstanceId"] for instance in found if instance["State"]["Name"] != "terminated")


def _wait_until_available(client: Client, wanted: WantedGroup, group: Group) -> Group:
    try:
        # An empty answer is EC2's view lagging behind: the group exists, its creation was answered.
        return wait_until(
            lambda: describe_group(client, wanted.name) or group,
            lambda seen: seen["state"] == "available",
            wanted.wait_timeout_s,
            first=group,
        )
    except WaitTimeout as timeout:
        raise refusal(
            f"the placement group '{wanted.name}' is '{timeout.last['state']}' and not available ({timeout})",
            "WaitTimeout",
            placement_group=timeout.last,
        ) from timeout


def _wait_until_gone(client: Client, wanted: WantedGroup, group: Group) -> None:
    try:
        wait_until(lambda: describe_group(client, wanted.name), lambda seen: seen is None, wanted.wait_timeout_s)
    except WaitTimeout as timeout:
        raise refusal(
            f"the placement group '{wanted.name}' is '{timeout.last['state']}' and not gone ({timeout})",
            "WaitTimeout",
            placement_group=timeout.last,
        ) from timeout

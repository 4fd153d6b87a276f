# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reaping at the EC2 API: read, decide, end instances, then delete groups. One pass does not wait.

Private to lowlatency.ec2: its interface may change at any time.
"""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from . import calls, ownership, reap_plan
from .client import Client, Ec2Error
from .reap_plan import GROUP, INSTANCE, Entry, Policy, entry
from .transformations import (
    PROTECTION_ATTRIBUTES,
    TAG_OWNER,
    TAG_SEARCH_ID,
    candidate_of,
    escape_filter_value,
    filters_of,
    placement_group_of,
)

NOT_PERMITTED = "OperationNotPermitted"
IN_USE = "InvalidPlacementGroup.InUse"
# TerminateInstances takes up to 1,000; AWS asks for batches.
BATCH = 50

Resource = dict[str, t.Any]


@dataclasses.dataclass
class Pass:
    """What one pass did and saw."""

    reaped: list[Entry] = dataclasses.field(default_factory=list)
    pending: list[Entry] = dataclasses.field(default_factory=list)
    kept: list[Entry] = dataclasses.field(default_factory=list)
    disassociated: list[str] = dataclasses.field(default_factory=list)


class Reaper:
    """One or more passes over what a search has left."""

    def __init__(self, client: Client, options: t.Mapping[str, t.Any], check_mode: bool) -> None:
        """Take the options of the module reap."""
        self._client = client
        self._options = options
        self._check_mode = check_mode
        self._machine = ownership.machine_name()

    def run_pass(self) -> Pass:
        """Ask for the end of what may be taken, delete the groups that are empty, and say what is left."""
        result = Pass()
        instances, groups = self._read()
        policy = self._policy([*instances, *groups])
        plan = reap_plan.plan_instances(instances, policy)
        result.pending, result.kept = plan.pending, plan.kept
        states = self._end_instances(plan.take, result)
        instances = [{**one, "state": states.get(one["instance_id"], one["state"])} for one in instances]
        spared = {one["id"] for one in result.kept}
        group_plan = reap_plan.plan_groups(groups, instances, policy, spared)
        result.pending += group_plan.pending
        result.kept += group_plan.kept
        for taken in group_plan.take:
            self._delete_group(taken, instances, result)
        return result

    def _read(self) -> tuple[list[Resource], list[Resource]]:
        search_id = self._options["search_id"]
        if search_id is None:
            scope, tags = {"tag-key": TAG_SEARCH_ID}, None
        else:
            scope, tags = {}, {TAG_SEARCH_ID: search_id}
        found: dict[str, Resource] = {}
        for limit in self._instance_limits():
            filters = filters_of({**scope, **limit}, tags)
            found.update(
                {one["InstanceId"]: candidate_of(one) for one in calls.describe_instances(self._client, filters)}
            )
        names = self._options["placement_groups"]
        if names is None and self._options["instance_ids"] is not None:
            return list(found.values()), []
        limit = {} if names is None else {"group-name": [escape_filter_value(name) for name in names]}
        groups = (
            calls.describe_placement_groups(self._client, filters_of({**scope, **limit}, tags)) if names != [] else []
        )
        return list(found.values()), [placement_group_of(group) for group in groups]

    def _instance_limits(self) -> list[dict[str, t.Any]]:
        """One set of filters for each DescribeInstances that is needed: filters narrow, so two limits take two."""
        names, ids = self._options["placement_groups"], self._options["instance_ids"]
        if names is None and ids is None:
            return [{}]
        limits: list[dict[str, t.Any]] = []
        if names:
            limits.append({"placement-group-name": [escape_filter_value(name) for name in names]})
        if ids:
            limits.append({"instance-id": list(ids)})
        return limits

    def _policy(self, resources: list[Resource]) -> Policy:
        options = self._options
        owners = [options["owner"]] if options["owner"] else ownership.ancestor_runs()
        seen = {one["tags"][TAG_OWNER] for one in resources if TAG_OWNER in one["tags"]}
        return Policy(
            now=datetime.datetime.now(datetime.timezone.utc),
            search_id=options["search_id"],
            owners=frozenset(owners),
            owner_states={
                text: ownership.judge_owner(ownership.parse_owner(text), self._machine, ownership.start_ticks)
                for text in seen
            },
            survivors=frozenset(options["survivors"]),
            spare_live_owners=options["spare_live_owners"],
            groups=None if options["placement_groups"] is None else frozenset(options["placement_groups"]),
            instances=None if options["instance_ids"] is None else frozenset(options["instance_ids"]),
        )

    def _end_instances(self, taken: list[Entry], result: Pass) -> dict[str, str]:
        """Terminate, and sort each entry into the result; return the states by id that EC2 answered."""
        if self._check_mode:
            allowed = [one for one in taken if not self._is_protected(one["id"])]
            states = {one["id"]: "shutting-down" for one in allowed}
        else:
            self._free_addresses([one["id"] for one in taken], result)
            states = self._terminate([one["id"] for one in taken])
        for one in taken:
            if one["id"] not in states:
                result.kept.append(entry(INSTANCE, one["id"], "is protected against termination"))
                continue
            result.reaped.append(one)
            if states[one["id"]] != "terminated":
                result.pending.append(entry(INSTANCE, one["id"], f"instance {one['id']} is {states[one['id']]}"))
        return states

    def _is_protected(self, instance_id: str) -> bool:
        names = ("termination_protection", "stop_protection")
        return any(
            calls.describe_instance_attribute(self._client, instance_id, PROTECTION_ATTRIBUTES[name]) for name in names
        )

    def _free_addresses(self, ids: list[str], result: Pass) -> None:
        """Take elastic addresses off, so that they are free at once and not when the instances are gone."""
        for address in calls.describe_addresses(self._client, ids) if ids else ():
            if calls.disassociate_address(self._client, address["AssociationId"]):
                result.disassociated.append(address["PublicIp"])

    def _terminate(self, ids: list[str]) -> dict[str, str]:
        """Terminate in batches. A batch with a protected instance is refused whole, and then taken one by one."""
        states: dict[str, str] = {}
        for start in range(0, len(ids), BATCH):
            batch = ids[start : start + BATCH]
            try:
                states.update(self._terminate_batch(batch))
            except Ec2Error as error:
                if error.code not in (NOT_PERMITTED, "InvalidInstanceID.NotFound"):
                    raise
                for one in batch:
                    states.update(self._terminate_one(one))
        return states

    def _terminate_batch(self, ids: list[str]) -> dict[str, str]:
        answer = calls.terminate_instances(self._client, ids)
        return {one["InstanceId"]: one["CurrentState"]["Name"] for one in answer}

    def _terminate_one(self, instance_id: str) -> dict[str, str]:
        try:
            return self._terminate_batch([instance_id])
        except Ec2Error as error:
            if error.code == "InvalidInstanceID.NotFound":
                return {instance_id: "terminated"}
            if error.code != NOT_PERMITTED:
                raise
            return {}

    def _delete_group(self, taken: Entry, instances: list[Resource], result: Pass) -> None:
        name = taken["id"]
        try:
            deleted = self._check_mode or calls.delete_placement_group(self._client, name)
        except Ec2Error as error:
            if error.code != IN_USE:
                raise
            self._explain_in_use(name, instances, result)
            return
        if deleted:
            result.reaped.append(taken)

    def _explain_in_use(self, name: str, instances: list[Resource], result: Pass) -> None:
        """A group that looked empty is not: it holds what is not of the search, or EC2 has not caught up."""
        known = {one["instance_id"] for one in instances}
        found = calls.describe_instances(
            self._client, filters_of({"placement-group-name": escape_filter_value(name)}, None)
        )
        strangers = sorted(
            one["InstanceId"]
            for one in found
            if one["InstanceId"] not in known and one["State"]["Name"] != "terminated"
        )
        if strangers:
            result.kept.append(entry(GROUP, name, f"holds {', '.join(strangers)}, which is not of the search"))
        else:
            result.pending.append(entry(GROUP, name, f"group {name}: {IN_USE}"))

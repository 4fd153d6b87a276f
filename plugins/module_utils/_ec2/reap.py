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
from .batches import BATCH, FILTER_VALUES, NOT_ALLOWED, NOT_PERMITTED, OF_THE_MOMENT, Answers, ask_in_batches, batches
from .client import Client, Ec2Error
from .reap_plan import GROUP, INSTANCE, Entry, Policy, entry
from .transformations import (
    PROTECTION_ATTRIBUTES,
    TAG_OWNER,
    TAG_SEARCH_ID,
    candidate_of,
    escape_filter_value,
    filters_of,
    has_elastic_address,
    placement_group_of,
)

IN_USE = "InvalidPlacementGroup.InUse"
# Codes for an instance that is spared, with what is said of it.
_KEPT = {
    NOT_ALLOWED: f"may not be ended with these credentials ({NOT_ALLOWED})",
    NOT_PERMITTED: "is protected against termination",
}

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
        self._with_elastic_address: frozenset[str] = frozenset()

    def run_pass(self) -> Pass:
        """Ask for the end of what may be taken, delete the groups that are empty, and say what is left.

        Raises C(Ec2Error), with what was done until then.
        """
        result = Pass()
        try:
            self._run(result)
        except Ec2Error as error:
            error.kwargs.update(dataclasses.asdict(result))
            raise
        return result

    def _run(self, result: Pass) -> None:
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
        self._delete_groups(group_plan.take, instances, result)

    def _read(self) -> tuple[list[Resource], list[Resource]]:
        search_id = self._options["search_id"]
        if search_id is None:
            scope, tags = {"tag-key": TAG_SEARCH_ID}, None
        else:
            scope, tags = {}, {TAG_SEARCH_ID: search_id}
        found: dict[str, Resource] = {}
        for limit in self._instance_limits():
            filters = filters_of({**scope, **limit}, tags)
            found.update({one["InstanceId"]: one for one in calls.describe_instances(self._client, filters)})
        self._with_elastic_address = frozenset(name for name, one in found.items() if has_elastic_address(one))
        groups: list[Resource] = []
        for limit in self._group_limits():
            groups += calls.describe_placement_groups(self._client, filters_of({**scope, **limit}, tags))
        return [candidate_of(one) for one in found.values()], [placement_group_of(group) for group in groups]

    def _instance_limits(self) -> list[dict[str, t.Any]]:
        """One set of filters for each DescribeInstances that is needed: filters narrow, so two limits take two."""
        names, ids = self._options["placement_groups"], self._options["instance_ids"]
        if names is None and ids is None:
            return [{}]
        of_groups = [{"placement-group-name": some} for some in batches(_escaped(names or []), FILTER_VALUES)]
        return [*of_groups, *({"instance-id": some} for some in batches(ids or [], FILTER_VALUES))]

    def _group_limits(self) -> list[dict[str, t.Any]]:
        """The same for DescribePlacementGroups; none if only instances were asked for."""
        names = self._options["placement_groups"]
        if names is None:
            return [{}] if self._options["instance_ids"] is None else []
        return [{"group-name": some} for some in batches(_escaped(names), FILTER_VALUES)]

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
        ids, answers = [one["id"] for one in taken], Answers()
        if self._check_mode:
            answers.refused = {name: NOT_PERMITTED for name in ids if self._is_protected(name)}
            answers.states = {name: "shutting-down" for name in ids if name not in answers.refused}
            _sort(taken, answers, result)
            return answers.states
        self._free_addresses(ids, result)
        try:
            ask_in_batches(ids, self._terminate, BATCH, answers)
        finally:
            _sort(taken, answers, result)
        return answers.states

    def _is_protected(self, instance_id: str) -> bool:
        names = ("termination_protection", "stop_protection")
        return any(
            calls.describe_instance_attribute(self._client, instance_id, PROTECTION_ATTRIBUTES[name]) for name in names
        )

    def _free_addresses(self, ids: list[str], result: Pass) -> None:
        """Take elastic addresses off, so that they are free at once and not when the instances are gone."""
        for some in batches([one for one in ids if one in self._with_elastic_address], FILTER_VALUES):
            for address in calls.describe_addresses(self._client, some):
                if calls.disassociate_address(self._client, address["AssociationId"]):
                    result.disassociated.append(address["PublicIp"])

    def _terminate(self, ids: list[str]) -> dict[str, str]:
        answer = calls.terminate_instances(self._client, ids)
        return {one["InstanceId"]: one["CurrentState"]["Name"] for one in answer}

    def _delete_groups(self, taken: list[Entry], instances: list[Resource], result: Pass) -> None:
        """Delete one after the other. When EC2 takes no more requests for now, what is left is pending."""
        for number, one in enumerate(taken):
            try:
                self._delete_group(one, instances, result)
            except Ec2Error as error:
                if error.code not in OF_THE_MOMENT:
                    raise
                for late in taken[number:]:
                    why = f"group {late['id']} is not deleted yet: {error.code}"
                    result.pending.append(entry(GROUP, late["id"], why))
                return

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


def _sort(taken: t.Iterable[Entry], answers: Answers, result: Pass) -> None:
    """Put each instance into the result by what EC2 answered; what it was not asked about is nowhere."""
    for one in taken:
        name = one["id"]
        code, state = answers.refused.get(name), answers.states.get(name)
        if state is not None:
            result.reaped.append(one)
        elif code in _KEPT:
            result.kept.append(entry(INSTANCE, name, _KEPT[code]))
        if code is not None and code not in _KEPT:
            result.pending.append(entry(INSTANCE, name, f"instance {name} is not ended yet: {code}"))
        elif state not in (None, "terminated"):
            result.pending.append(entry(INSTANCE, name, f"instance {name} is {state}"))


def _escaped(names: t.Sequence[str]) -> list[str]:
    return [escape_filter_value(name) for name in names]

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Placement groups, which moto has none of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.utils import random_id

from local_region.api.errors import ec2_error
from local_region.api.filters import Extractor, attribute, check_names, resource_matches
from local_region.api.region_state import ACCOUNT_ID, RegionState

if TYPE_CHECKING:
    from moto.ec2.responses._base_response import EC2BaseResponse
else:
    EC2BaseResponse = object

STRATEGIES: Final = ("cluster", "spread", "partition")
SPREAD_LEVELS: Final = ("rack", "host")
MAX_PARTITIONS: Final = 7
# The reference says "up to 255 ASCII characters".
_NAME = re.compile(r"[\x20-\x7e]{1,255}")

_FILTERS: Final[dict[str, Extractor]] = {
    "group-name": attribute("group_name"),
    "group-arn": attribute("group_arn"),
    "spread-level": attribute("spread_level"),
    "state": attribute("state"),
    "strategy": attribute("strategy"),
}


class PlacementGroup(TaggedEC2Resource):
    """One group; `rack` is where its instances land."""

    def __init__(
        self,
        state: RegionState,
        name: str,
        *,
        strategy: str,
        partition_count: int | None,
        spread_level: str | None,
        tags: Mapping[str, str],
    ) -> None:
        self.ec2_backend = state.backend
        self.id = random_id("pg")
        self.group_name = name
        self.strategy = strategy
        self.partition_count = partition_count
        self.spread_level = spread_level
        self.state = "available"
        self.group_arn = f"arn:aws:ec2:{state.region}:{ACCOUNT_ID}:placement-group/{name}"
        self.rack = state.next_rack()
        self.add_tags(dict(tags))
        self.shown = True
        hidden_s = state.faults.hidden_s(self.id)
        if hidden_s > 0:
            self.shown = False
            state.after(hidden_s, self._show)

    def _show(self) -> None:
        self.shown = True

    @property
    def group_id(self) -> str:
        return self.id

    def tag_map(self) -> dict[str, str]:
        return dict(self.ec2_backend.tags.get(self.id, {}))


def find_group(state: RegionState, name: str | None, group_id: str | None) -> PlacementGroup:
    """Return a group by name or id. Raises InvalidPlacementGroup.Unknown."""
    if name is not None and group_id is not None:
        raise ec2_error("InvalidParameterCombination", "Specify either a placement group name or an id, not both.")
    for group in state.groups.values():
        if group.group_name == name or group.id == group_id:
            return group
    raise unknown_group(name or group_id)


def unknown_group(name: str | None) -> Exception:
    """Return the error for a group that EC2 does not know."""
    return ec2_error("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")


def members(state: RegionState, group: PlacementGroup) -> list[Any]:
    """Return the instances of a group that are not terminated; one that is shutting down still counts."""
    return [one for one in state.instances() if one.placement_group_id == group.id and one.state != "terminated"]


def check_new_group(parameters: Mapping[str, Any]) -> tuple[str, str, int | None, str | None]:
    """Return (name, strategy, partition count, spread level). Raises what CreatePlacementGroup would."""
    name = parameters.get("GroupName")
    strategy = parameters.get("Strategy", "cluster")
    partitions = parameters.get("PartitionCount")
    level = parameters.get("SpreadLevel")
    if not name:
        raise ec2_error("MissingParameter", "The request must contain the parameter GroupName")
    if not _NAME.fullmatch(name):
        raise ec2_error("InvalidParameterValue", f"Value ({name}) for parameter groupName is invalid.")
    if strategy not in STRATEGIES:
        raise ec2_error("InvalidParameterValue", f"Value ({strategy}) for parameter strategy is invalid.")
    if partitions is not None and strategy != "partition":
        raise ec2_error("InvalidParameterCombination", "PartitionCount is valid only with the strategy partition.")
    if partitions is not None and not 1 <= partitions <= MAX_PARTITIONS:
        raise ec2_error("InvalidParameterValue", f"Value ({partitions}) for parameter partitionCount is invalid.")
    if level is not None and strategy != "spread":
        raise ec2_error("InvalidParameterCombination", "SpreadLevel is valid only with the strategy spread.")
    if level is not None and level not in SPREAD_LEVELS:
        raise ec2_error("InvalidParameterValue", f"Value ({level}) for parameter spreadLevel is invalid.")
    if strategy == "partition":
        return name, strategy, partitions or MAX_PARTITIONS, None
    return name, strategy, None, (level or "rack") if strategy == "spread" else None


class PlacementGroupActions(EC2BaseResponse):
    """CreatePlacementGroup, DescribePlacementGroups, DeletePlacementGroup."""

    lab: RegionState

    def create_placement_group(self) -> ActionResult:
        name, strategy, partitions, level = check_new_group(self.params)
        tags = self._parse_tag_specification("placement-group").get("placement-group", {})
        self.error_on_dryrun()
        if name in self.lab.groups:
            raise ec2_error("InvalidPlacementGroup.Duplicate", f"The placement group '{name}' already exists.")
        if len(self.lab.groups) >= self.lab.quotas.placement_groups:
            raise ec2_error("PlacementGroupLimitExceeded", "You have reached the limit of placement groups.")
        group = PlacementGroup(
            self.lab, name, strategy=strategy, partition_count=partitions, spread_level=level, tags=tags
        )
        self.lab.groups[name] = group
        return ActionResult({"PlacementGroup": group})

    def describe_placement_groups(self) -> ActionResult:
        self.error_on_dryrun()
        groups = list(self.lab.groups.values())
        names = self._get_param("GroupNames", [])
        ids = self._get_param("GroupIds", [])
        if names or ids:
            wanted = [self._shown(find_group(self.lab, name, None)) for name in names]
            wanted += [self._shown(find_group(self.lab, None, group_id)) for group_id in ids]
            groups = [group for group in groups if group in wanted]
        filters = self._filters_from_querystring()
        check_names(filters, _FILTERS)
        shown = [group for group in groups if group.shown]
        found = [group for group in shown if resource_matches(group, group.tag_map(), filters, _FILTERS)]
        return ActionResult({"PlacementGroups": found})

    @staticmethod
    def _shown(group: PlacementGroup) -> PlacementGroup:
        """What is described lags behind what was done: a new group may be unknown for seconds, here alone."""
        if not group.shown:
            raise unknown_group(group.group_name)
        return group

    def delete_placement_group(self) -> ActionResult:
        name = self._get_param("GroupName")
        if not name:
            raise ec2_error("MissingParameter", "The request must contain the parameter GroupName")
        group = find_group(self.lab, name, None)
        self.error_on_dryrun()
        if members(self.lab, group):
            raise ec2_error(
                "InvalidPlacementGroup.InUse", f"The placement group '{name}' is in use and may not be deleted."
            )
        del self.lab.groups[name]
        self.lab.backend.tags.pop(group.id, None)
        return EmptyResult()

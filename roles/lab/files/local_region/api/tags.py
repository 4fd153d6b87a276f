# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tags on things that moto does not know or does not check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidInstanceIdError

from local_region.api.placement_groups import find_group
from local_region.api.region_state import RegionState

if TYPE_CHECKING:
    from moto.ec2.responses.tags import TagResponse
else:
    TagResponse = object


class TagActions(TagResponse):
    """CreateTags and DeleteTags that refuse resources that do not exist."""

    lab: RegionState

    def create_tags(self) -> ActionResult:
        self._check_exist()
        return super().create_tags()

    def delete_tags(self) -> ActionResult:
        self._check_exist()
        return super().delete_tags()

    def _check_exist(self) -> None:
        for resource_id in self._get_param("Resources", []):
            if resource_id.startswith("pg-"):
                find_group(self.lab, None, resource_id)
            elif resource_id.startswith("i-") and self.lab.instance(resource_id) is None:
                raise InvalidInstanceIdError(resource_id)

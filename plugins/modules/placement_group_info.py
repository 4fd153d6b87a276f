#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: placement_group_info
short_description: List EC2 placement groups
version_added: 0.1.0
author:
  - lowlatency.ec2 contributors (@lowlatency)
description:
  - Lists placement groups by name, by search, by tags or by EC2's filters. Without any of these it lists all.
  - This module exists beside M(amazon.aws.ec2_placement_group_info), which knows names only.
options:
  names:
    description:
      - Only groups with these names. A name that no group has is no error.
    type: list
    elements: str
  search_id:
    description:
      - Only groups of this search, that is, with this value of the tag C(lowlatency:search-id).
    type: str
  tags:
    description:
      - Only groups that carry all of these tags with exactly these values.
    type: dict
    aliases: [resource_tags]
  filters:
    description:
      - EC2's own filters, see
        U(https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribePlacementGroups.html).
        A value may be a list.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - lowlatency.ec2.boto3
  - lowlatency.ec2.attributes
  - lowlatency.ec2.attributes.info
  - lowlatency.ec2.attributes.action_group
seealso:
  - module: lowlatency.ec2.placement_group
"""

EXAMPLES = r"""
- name: List the groups of a search
  lowlatency.ec2.placement_group_info:
    search_id: tokyo
  register: result

- name: Show how many there are
  ansible.builtin.debug:
    msg: "{{ result.placement_groups | length }} placement groups"
"""

RETURN = r"""
placement_groups:
  description: The groups, by name. An empty list if there are none.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The group's name.
      type: str
      returned: always
      sample: dc-machine-cluster-1753142400-1-7f3a
    group_id:
      description: The group's id.
      type: str
      returned: always
      sample: pg-0123456789abcdef0
    group_arn:
      description: The group's ARN.
      type: str
      returned: always
      sample: arn:aws:ec2:ap-northeast-1:123456789012:placement-group/dc-machine-cluster-1753142400-1-7f3a
    strategy:
      description: How EC2 places the instances of the group.
      type: str
      returned: always
      sample: cluster
    partition_count:
      description: The number of partitions of a group with the strategy V(partition), else V(null).
      type: int
      returned: always
      sample: 3
    spread_level:
      description: Over what the instances of a group with the strategy V(spread) are spread, else V(null).
      type: str
      returned: always
      sample: rack
    state:
      description: The group's state.
      type: str
      returned: always
      sample: available
    tags:
      description: The group's tags.
      type: dict
      returned: always
      sample: {"lowlatency:search-id": tokyo}
"""

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.calls import describe_placement_groups
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.client import Client, Ec2Error, ec2_client, fail
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.transformations import (
    TAG_SEARCH_ID,
    escape_filter_value,
    filters_of,
    has_tags,
    placement_group_of,
)


def list_groups(client: Client, options: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The groups that the module's options ask for, by name."""
    tags = {**(options["tags"] or {})}
    if options["search_id"] is not None:
        tags[TAG_SEARCH_ID] = options["search_id"]
    filters = dict(options["filters"])
    if options["names"] is not None:
        filters["group-name"] = [escape_filter_value(name) for name in options["names"]]
    groups = [placement_group_of(group) for group in describe_placement_groups(client, filters_of(filters, tags))]
    return sorted((group for group in groups if has_tags(group, tags)), key=lambda group: group["name"])


def main() -> None:
    """Run the module."""
    argument_spec = {
        "names": {"type": "list", "elements": "str"},
        "search_id": {"type": "str"},
        "tags": {"type": "dict", "aliases": ["resource_tags"]},
        "filters": {"type": "dict", "default": {}},
    }
    module = AnsibleAWSModule(argument_spec=argument_spec, supports_check_mode=True)
    if module.params["names"] == []:
        module.exit_json(changed=False, placement_groups=[])
    try:
        groups = list_groups(ec2_client(module), module.params)
    except Ec2Error as error:
        fail(module, error)
    module.exit_json(changed=False, placement_groups=groups)


if __name__ == "__main__":
    main()

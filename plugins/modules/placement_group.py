#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: placement_group
short_description: Create, tag or delete an EC2 placement group
version_added: 0.1.0
author:
  - lowlatency.ec2 contributors (@lowlatency)
description:
  - Creates a placement group, keeps its tags as they should be, or deletes it.
  - This module exists beside M(amazon.aws.ec2_placement_group), because that one leaves the tags of an existing group
    alone, does not wait, shows no diff and knows no spread level.
options:
  name:
    description:
      - The group's name. It is unique in a region of an account.
    type: str
    required: true
  state:
    description:
      - Whether the group should exist.
    type: str
    choices: [present, absent]
    default: present
  strategy:
    description:
      - How EC2 places the instances of the group. It cannot be changed later.
    type: str
    choices: [cluster, partition, spread]
    default: cluster
  partition_count:
    description:
      - The number of partitions, from V(1) to V(7), with O(strategy=partition). It cannot be changed later.
      - If not given, EC2 chooses, and that of an existing group is accepted.
    type: int
  spread_level:
    description:
      - Over what the instances are spread with O(strategy=spread). It cannot be changed later.
      - If not given, EC2 chooses, and that of an existing group is accepted.
    type: str
    choices: [host, rack]
  wait:
    description:
      - Whether to wait until the group is available, or gone.
      - With O(state=absent), a group that still holds instances is tried again until O(wait_timeout).
    type: bool
    default: true
  wait_timeout:
    description:
      - How long to wait, in seconds. The module fails when the time is up and says what it saw last.
    type: int
    default: 300
  settle_timeout:
    description:
      - With O(state=absent), how long to look for a group that EC2 does not show, in seconds.
      - What EC2 shows lags some seconds behind what it did. Set this for a group that was created a moment ago, which
        would be left behind otherwise.
    type: int
    default: 0
attributes:
  check_mode:
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - lowlatency.ec2.boto3
  - amazon.aws.tags.modules
  - lowlatency.ec2.attributes
  - lowlatency.ec2.attributes.changing
  - lowlatency.ec2.attributes.action_group
seealso:
  - module: lowlatency.ec2.placement_group_info
  - module: lowlatency.ec2.candidate_instance
  - module: amazon.aws.ec2_placement_group
"""

EXAMPLES = r"""
- name: Create a cluster placement group for a round of a search
  lowlatency.ec2.placement_group:
    name: dc-machine-cluster-1753142400-1-7f3a
    tags:
      lowlatency:search-id: tokyo
      lowlatency:role: candidate

- name: Delete it as soon as its instance is gone
  lowlatency.ec2.placement_group:
    name: dc-machine-cluster-1753142400-1-7f3a
    state: absent
    wait_timeout: 600
"""

RETURN = r"""
placement_group:
  description:
    - The group as it is now, in check mode as it would be. What is not known is V(null).
    - V(null) with O(state=absent).
  returned: success
  type: dict
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
      description: The number of partitions of a group with the strategy V(partition).
      type: int
      returned: always
      sample: 3
    spread_level:
      description: Over what the instances of a group with the strategy V(spread) are spread.
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
instance_ids:
  description: The instances that still are in a group that could not be deleted.
  returned: failure, when the group is in use
  type: list
  elements: str
  sample: [i-0123456789abcdef0]
"""

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import groups
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.client import Client, Ec2Error, ec2_client, fail
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.transformations import changed_parts


def present(module: AnsibleAWSModule, client: Client, wanted: groups.WantedGroup) -> dict[str, t.Any]:
    """Create the group or reconcile its tags; return the module's result."""
    before = groups.find_group(client, wanted, module.check_mode)
    if before is None:
        after = groups.planned_group(wanted) if module.check_mode else groups.create_group(client, wanted)
        return {"changed": True, "placement_group": after, "diff": changed_parts({}, after)}
    groups.refuse_mismatch(before, wanted)
    after = groups.reconcile_tags(client, before, wanted, check_mode=module.check_mode)
    return {"changed": after != before, "placement_group": after, "diff": changed_parts(before, after)}


def absent(module: AnsibleAWSModule, client: Client, wanted: groups.WantedGroup) -> dict[str, t.Any]:
    """Delete the group; return the module's result."""
    before = groups.describe_shown_group(client, wanted.name, wanted.settle_timeout_s)
    ours_to_delete = before is not None and before["state"] not in groups.GONE_STATES
    changed = ours_to_delete if module.check_mode else groups.delete_group(client, before, wanted)
    return {"changed": changed, "placement_group": None, "diff": changed_parts((before or {}) if changed else {}, {})}


def main() -> None:
    """Run the module."""
    argument_spec = {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "strategy": {"type": "str", "choices": ["cluster", "partition", "spread"], "default": "cluster"},
        "partition_count": {"type": "int"},
        "spread_level": {"type": "str", "choices": ["host", "rack"]},
        "tags": {"type": "dict", "aliases": ["resource_tags"]},
        "purge_tags": {"type": "bool", "default": True},
        "wait": {"type": "bool", "default": True},
        "wait_timeout": {"type": "int", "default": 300},
        "settle_timeout": {"type": "int", "default": 0},
    }
    module = AnsibleAWSModule(argument_spec=argument_spec, supports_check_mode=True)
    try:
        wanted = groups.WantedGroup.from_options(module.params)
        act = present if module.params["state"] == "present" else absent
        result = act(module, ec2_client(module), wanted)
    except Ec2Error as error:
        fail(module, error)
    if not module._diff:
        result.pop("diff")
    module.exit_json(**result)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: candidate_instance_info
short_description: List the instances of searches
version_added: 0.1.0
author:
  - lowlatency.ec2 contributors (@lowlatency)
description:
  - Lists instances by id, by round, by search, by tags or by EC2's filters. Conditions add up.
  - Without any of these it lists the instances of all searches.
options:
  instance_ids:
    description:
      - Only instances with these ids. An id that no instance has is no error.
    type: list
    elements: str
  round_id:
    description:
      - Only instances of this round, that is, with this value of the tag C(lowlatency:round).
    type: str
  search_id:
    description:
      - Only instances of this search, that is, with this value of the tag C(lowlatency:search-id).
    type: str
  tags:
    description:
      - Only instances that carry all of these tags with exactly these values.
    type: dict
    aliases: [resource_tags]
  filters:
    description:
      - EC2's own filters, see U(https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html).
        A value may be a list.
    type: dict
    default: {}
  states:
    description:
      - Only instances in one of these states. EC2 shows a terminated instance for about an hour.
    type: list
    elements: str
    choices: [pending, running, shutting-down, terminated, stopping, stopped]
    default: [pending, running, shutting-down, stopping, stopped]
  host_keys:
    description:
      - Whether to read the SSH host keys of each instance from its console, with one more request for each.
    type: bool
    default: false
  scheduled_events:
    description:
      - Whether to look up the events that AWS has scheduled for the instances, such as a reboot or a retirement. This
        costs one request for each hundred instances.
    type: bool
    default: false
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
  - module: lowlatency.ec2.candidate_instance
"""

EXAMPLES = r"""
- name: List the survivors of a search
  lowlatency.ec2.candidate_instance_info:
    search_id: tokyo
    filters:
      tag:lowlatency:role: [champion, anchor, qualified]
  register: result

- name: Show their ids
  ansible.builtin.debug:
    msg: "{{ result.candidates | map(attribute='instance_id') }}"
"""

RETURN = r"""
candidates:
  description: The instances, by launch time. An empty list if there are none.
  returned: success
  type: list
  elements: dict
  contains:
    instance_id:
      description: The id of the instance.
      type: str
      returned: always
      sample: i-0123456789abcdef0
    instance_type:
      description: The type of the instance.
      type: str
      returned: always
      sample: c8g.medium
    architecture:
      description: The architecture of the instance.
      type: str
      returned: always
      sample: arm64
    placement_group:
      description: The name of the placement group that the instance is in.
      type: str
      returned: always
      sample: dc-machine-cluster-1753142400-1-7f3a
    availability_zone:
      description: The name of the zone that the instance is in.
      type: str
      returned: always
      sample: ap-northeast-1a
    state:
      description: The state of the instance, V(unknown) if EC2 does not show it (yet).
      type: str
      returned: always
      sample: running
    state_reason:
      description: Why the instance is in its state, with C(code) and C(message), or V(null).
      type: dict
      returned: always
      sample: {"code": "Client.UserInitiatedShutdown", "message": "User initiated shutdown"}
    private_ip_address:
      description: The primary private address.
      type: str
      returned: always
      sample: 10.0.0.17
    public_ip_address:
      description: The public address.
      type: str
      returned: always
      sample: 203.0.113.17
    image_id:
      description: The image that the instance was launched from.
      type: str
      returned: always
      sample: ami-0123456789abcdef0
    key_name:
      description: The name of the key pair.
      type: str
      returned: always
      sample: dc-machine
    market:
      description: V(on-demand) or V(spot).
      type: str
      returned: always
      sample: on-demand
    spot_instance_request_id:
      description: The id of the spot request.
      type: str
      returned: always
      sample: sir-0123456789abcdef0
    subnet_id:
      description: The subnet that the instance is in.
      type: str
      returned: always
      sample: subnet-0123456789abcdef0
    vpc_id:
      description: The VPC that the instance is in.
      type: str
      returned: always
      sample: vpc-0123456789abcdef0
    security_group_ids:
      description: The security groups of the instance.
      type: list
      elements: str
      returned: always
      sample: [sg-0123456789abcdef0]
    launch_time:
      description: When the instance was launched, in ISO 8601.
      type: str
      returned: always
      sample: "2026-07-22T00:00:00+00:00"
    maintenance_options:
      description: What AWS may do of its own accord, C(auto_recovery) and C(reboot_migration).
      type: dict
      returned: always
      sample: {"auto_recovery": "default", "reboot_migration": "default"}
    tags:
      description: The tags of the instance.
      type: dict
      returned: always
      sample: {"lowlatency:round": tokyo-1753142400-1-7f3a}
    host_keys:
      description:
        - The SSH host keys, type and key, that the instance's console shows. Empty while it shows none, as in the first
          minutes after the boot, and for images that print none.
      type: list
      elements: str
      returned: with O(host_keys)
      sample: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG0b]
    scheduled_events:
      description: The events that AWS has scheduled for the instance and that are still to come, the next one first.
      type: list
      elements: dict
      returned: with O(scheduled_events)
      contains:
        event_id:
          description: The id of the event.
          type: str
          returned: always
          sample: instance-event-0123456789abcdef0
        code:
          description: >-
            What is to happen, V(instance-reboot), V(system-reboot), V(system-maintenance), V(instance-stop) or
            V(instance-retirement).
          type: str
          returned: always
          sample: system-reboot
        description:
          description: AWS's text.
          type: str
          returned: always
          sample: scheduled reboot
        not_before:
          description: The earliest time at which it begins, in ISO 8601.
          type: str
          returned: always
          sample: "2026-08-05T00:00:00+00:00"
        not_after:
          description: The latest time at which it ends, in ISO 8601.
          type: str
          returned: always
          sample: "2026-08-05T02:00:00+00:00"
"""

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.calls import describe_instances, get_console_output
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.client import Client, Ec2Error, ec2_client, fail
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.console import host_keys_in
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.maintenance import scheduled_events
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.transformations import (
    TAG_ROUND,
    TAG_SEARCH_ID,
    candidate_of,
    filters_of,
    has_tags,
)

STATES = ["pending", "running", "shutting-down", "terminated", "stopping", "stopped"]


def list_candidates(client: Client, options: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The instances that the module's options ask for, by launch time."""
    named = {TAG_ROUND: options["round_id"], TAG_SEARCH_ID: options["search_id"]}
    tags = {**(options["tags"] or {}), **{key: value for key, value in named.items() if value is not None}}
    filters = dict(options["filters"])
    if options["instance_ids"] is not None:
        filters["instance-id"] = options["instance_ids"]
    if not filters and not tags:
        filters["tag-key"] = TAG_SEARCH_ID
    filters["instance-state-name"] = options["states"]
    found = [candidate_of(one) for one in describe_instances(client, filters_of(filters, tags))]
    candidates = sorted(
        (one for one in found if has_tags(one, tags)), key=lambda one: (one["launch_time"] or "", one["instance_id"])
    )
    if options["scheduled_events"]:
        candidates = _with_events(client, candidates)
    return _with_host_keys(client, candidates) if options["host_keys"] else candidates


def _with_events(client: Client, candidates: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    events = scheduled_events(client, [one["instance_id"] for one in candidates])
    return [{**one, "scheduled_events": events[one["instance_id"]]} for one in candidates]


def _with_host_keys(client: Client, candidates: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    consoles = {one["instance_id"]: get_console_output(client, one["instance_id"]) for one in candidates}
    return [{**one, "host_keys": host_keys_in(consoles[one["instance_id"]])} for one in candidates]


def main() -> None:
    """Run the module."""
    argument_spec = {
        "instance_ids": {"type": "list", "elements": "str"},
        "round_id": {"type": "str"},
        "search_id": {"type": "str"},
        "tags": {"type": "dict", "aliases": ["resource_tags"]},
        "filters": {"type": "dict", "default": {}},
        "states": {
            "type": "list",
            "elements": "str",
            "choices": STATES,
            "default": [state for state in STATES if state != "terminated"],
        },
        "host_keys": {"type": "bool", "default": False},
        "scheduled_events": {"type": "bool", "default": False},
    }
    module = AnsibleAWSModule(argument_spec=argument_spec, supports_check_mode=True)
    if module.params["instance_ids"] == []:
        module.exit_json(changed=False, candidates=[])
    try:
        candidates = list_candidates(ec2_client(module), module.params)
    except Ec2Error as error:
        fail(module, error)
    module.exit_json(changed=False, candidates=candidates)


if __name__ == "__main__":
    main()

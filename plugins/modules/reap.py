#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reap
short_description: Remove what rounds of a search have left
version_added: 0.1.0
author:
  - lowlatency.ec2 contributors (@lowlatency)
description:
  - Terminates candidates that nobody wants any more and deletes their placement groups once these are empty.
  - A resource is taken if its tag C(lowlatency:role) is V(candidate) and one of these is true - its time in
    C(lowlatency:expires-at) is over, its owner in C(lowlatency:owner) is the one that asks, or that owner is provably
    gone, which means that it was a process of this machine and runs no more.
  - Survivors are spared by their role, by O(survivors), and by their protection against termination or stopping. So
    are their groups, and groups that hold anything else.
  - One run is one pass and does not wait. What takes time is in RV(pending); run the module in a loop until that is
    empty.
  - An elastic IP address of a reaped candidate is disassociated and never released.
options:
  search_id:
    description:
      - The search, that is, the value of the tag C(lowlatency:search-id).
      - Exactly one of O(search_id) and O(all_searches) is needed.
    type: str
  all_searches:
    description:
      - Whether to look at the resources of all searches in the region.
    type: bool
    default: false
  owner:
    description:
      - The owner that asks, as in the tag C(lowlatency:owner), or the beginning of it up to a colon. Its resources are
        taken even if their time is not up.
      - If not given, it is the run of Ansible that the module is part of, with all its slots.
    type: str
  survivors:
    description:
      - The ids of instances to spare, whatever their tags say.
    type: list
    elements: str
    default: []
  spare_live_owners:
    description:
      - Whether to spare what is not past its time while its owner may live. That is the case for each owner on another
        machine.
      - With V(false) every candidate of the search is taken, also those that another controller is working with.
    type: bool
    default: true
  placement_groups:
    description:
      - Look only at the placement groups with these names and the instances in them, and at O(instance_ids).
    type: list
    elements: str
  instance_ids:
    description:
      - Look only at these instances, and at O(placement_groups).
    type: list
    elements: str
  wait:
    description:
      - Whether to repeat the pass until nothing is pending.
    type: bool
    default: false
  wait_timeout:
    description:
      - How long to repeat, in seconds. What is left then is in RV(pending); that is no failure.
    type: int
    default: 600
attributes:
  check_mode:
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - lowlatency.ec2.boto3
  - lowlatency.ec2.attributes
  - lowlatency.ec2.attributes.changing
  - lowlatency.ec2.attributes.action_group
notes:
  - A pass costs two requests for reading, one to look for elastic addresses and one to terminate if there is something
    to terminate, and one for each group that it deletes.
  - Spot requests need no reaping. Candidates are requested once, and such a request ends with its instance.
seealso:
  - module: lowlatency.ec2.candidate_instance
  - module: lowlatency.ec2.placement_group
"""

EXAMPLES = r"""
- name: Remove what a search has left, and wait for it for up to half an hour
  lowlatency.ec2.reap:
    search_id: tokyo
    survivors: [i-0123456789abcdef0]
  register: reaped
  until: reaped.pending | length == 0
  retries: 30
  delay: 60

- name: Show what all searches have left
  lowlatency.ec2.reap:
    all_searches: true
  check_mode: true
"""

RETURN = r"""
reaped:
  description: What this run took (instances as soon as EC2 was asked), or in check mode would take.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: V(instance) or V(placement_group).
      type: str
      returned: always
      sample: instance
    id:
      description: The id of the instance or the name of the group.
      type: str
      returned: always
      sample: i-0123456789abcdef0
    why:
      description: Why it was taken.
      type: str
      returned: always
      sample: its time was up at 2026-07-22T00:00:00+00:00
pending:
  description: What is not gone yet, although it was taken or may be taken.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: V(instance) or V(placement_group).
      type: str
      returned: always
      sample: placement_group
    id:
      description: The id of the instance or the name of the group.
      type: str
      returned: always
      sample: dc-machine-cluster-1753142400-1-7f3a
    why:
      description: What it waits for.
      type: str
      returned: always
      sample: group dc-machine-cluster-1753142400-1-7f3a holds i-0123456789abcdef0, which is shutting-down
kept:
  description: What was spared.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: V(instance) or V(placement_group).
      type: str
      returned: always
      sample: instance
    id:
      description: The id of the instance or the name of the group.
      type: str
      returned: always
      sample: i-0123456789abcdef0
    why:
      description: Why it was spared.
      type: str
      returned: always
      sample: has the role 'champion'
disassociated:
  description: The elastic IP addresses that were taken off reaped instances.
  returned: success
  type: list
  elements: str
  sample: [203.0.113.17]
"""

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.client import Ec2Error, ec2_client, fail
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.reap import Pass, Reaper
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.waiters import WaitTimeout, wait_until

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "search_id": {"type": "str"},
    "all_searches": {"type": "bool", "default": False},
    "owner": {"type": "str"},
    "survivors": {"type": "list", "elements": "str", "default": []},
    "spare_live_owners": {"type": "bool", "default": True},
    "placement_groups": {"type": "list", "elements": "str"},
    "instance_ids": {"type": "list", "elements": "str"},
    "wait": {"type": "bool", "default": False},
    "wait_timeout": {"type": "int", "default": 600},
}


def check_options(options: t.Mapping[str, t.Any]) -> None:
    """Raise C(Ec2Error) unless one search or all of them were asked for."""
    named = options["search_id"] is not None
    if named == options["all_searches"]:
        both = "both are given" if named else "neither is given"
        raise Ec2Error(message=f"search_id: exactly one of search_id and all_searches is needed, {both}")
    if named and not options["search_id"].strip():
        raise Ec2Error(message="search_id: must not be empty")


def run_passes(reaper: Reaper, timeout_s: float) -> list[Pass]:
    """Repeat the pass until nothing is pending or the time is up; return all passes."""
    passes: list[Pass] = []

    def one_more() -> Pass:
        passes.append(reaper.run_pass())
        return passes[-1]

    try:
        wait_until(one_more, lambda seen: not seen.pending, timeout_s)
    except WaitTimeout:
        # What is left is in the last pass: the caller sees it and decides whether to go on.
        return passes
    return passes


def result_of(passes: list[Pass]) -> dict[str, t.Any]:
    """The module's result: all that was reaped, and what the last pass saw."""
    reaped = [one for single in passes for one in single.reaped]
    disassociated = [address for single in passes for address in single.disassociated]
    ids = {"reaped": sorted(one["id"] for one in reaped)}
    return {
        "changed": bool(reaped),
        "reaped": reaped,
        "pending": passes[-1].pending,
        "kept": passes[-1].kept,
        "disassociated": disassociated,
        "diff": {"before": {"present": ids["reaped"]}, "after": {"present": []}}
        if reaped
        else {"before": {}, "after": {}},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        check_options(module.params)
        reaper = Reaper(ec2_client(module), module.params, module.check_mode)
        waits = module.params["wait"] and not module.check_mode
        result = result_of(run_passes(reaper, module.params["wait_timeout"]) if waits else [reaper.run_pass()])
    except Ec2Error as error:
        fail(module, error)
    if not module._diff:
        result.pop("diff")
    module.exit_json(**result)


if __name__ == "__main__":
    main()

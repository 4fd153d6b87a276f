#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: candidate_instance
short_description: Launch, keep or terminate the instance of a round
version_added: 0.1.0
author:
  - lowlatency.ec2 contributors (@lowlatency)
description:
  - Launches one instance for one round of a search, keeps its tags and protections as they should be, or terminates it.
  - It fails fast. Each instance type costs one request; a lack of capacity, a quota or a type that EC2 cannot place is
    returned as RV(outcome) with AWS's own codes in RV(attempts), and is not a failure of the module.
  - This module exists beside M(amazon.aws.ec2_instance), because that one repeats a launch that met a lack of capacity
    for three to four minutes, launches spot instances only through a launch template, and goes on with a warning when a
    wait comes to nothing.
  - Instances are launched with IMDSv2 required, with an encrypted gp3 root volume that is deleted with them, and with
    the shutdown behavior V(terminate), so that a timer inside can end them.
options:
  state:
    description:
      - With V(present) the round's instance exists. With V(absent) it is terminated.
    type: str
    choices: [present, absent]
    default: present
  round_id:
    description:
      - The round that the instance belongs to. It is the key by which an instance is found again, as the tag
        C(lowlatency:round), and from it the C(ClientToken) of each request is made, so that a launch whose answer was
        lost is not repeated.
      - At least one of O(round_id) and O(instance_id) is needed.
    type: str
  instance_id:
    description:
      - The instance to keep or to terminate. With it nothing is ever launched.
      - If O(round_id) is given too, the instance must not be of another round.
    type: str
  name:
    description:
      - The value of the tag C(Name).
    type: str
  instance_types:
    description:
      - The instance types to try, in this order, until one of them is launched.
      - Needed to launch an instance.
    type: list
    elements: str
  image_id:
    description:
      - The image, as an id or as C(resolve:ssm:) and the name of a parameter.
      - C({architecture}) in it is replaced by V(x86_64) or V(arm64), as the instance type needs.
      - Needed to launch an instance.
    type: str
  root_device_name:
    description:
      - The name of the image's root device, which is needed to encrypt the root volume.
      - If not given, it is known for the images that Amazon Linux, Debian and Ubuntu publish as parameters below
        C(/aws/service), and looked up for others, which costs one or two requests.
    type: str
  volume_size_gib:
    description:
      - The size of the root volume in GiB. If not given, that of the image.
    type: int
  placement_group:
    description:
      - The name of the placement group to launch into.
    type: str
  placement_group_strategy:
    description:
      - The strategy of O(placement_group). An instance type that cannot join such a group is refused before anything is
        launched.
    type: str
    choices: [cluster, partition, spread]
    default: cluster
  subnet_id:
    description:
      - The subnet to launch into. If not given, EC2 takes one of the default VPC.
    type: str
  availability_zone:
    description:
      - The zone that O(subnet_id) must be in, by its name or by its id. If it is in another, nothing is launched.
    type: str
  security_group_ids:
    description:
      - The security groups of the instance. If not given, the VPC's default one.
    type: list
    elements: str
  key_name:
    description:
      - The name of the key pair to log in with.
    type: str
  associate_public_ip:
    description:
      - Whether the instance gets a public address. If not given, the subnet decides.
    type: bool
  instance_profile:
    description:
      - The name or ARN of the IAM instance profile.
    type: str
  market:
    description:
      - What to launch. A V(spot) instance is requested once, at no more than the on-demand price, and is terminated
        when AWS takes it back. It can have neither of the protections, nor O(shutdown_behavior=stop).
    type: str
    choices: [on-demand, spot]
    default: on-demand
  user_data:
    description:
      - The user data of the instance.
    type: str
  tags:
    description:
      - The tags of the instance, and at launch of its volume, its network interface and its spot request.
      - The tags C(lowlatency:round) and C(Name) come from O(round_id) and O(name).
      - If not given, the tags of an existing instance are left alone.
    type: dict
    aliases: [resource_tags]
  purge_tags:
    description:
      - Whether to take tags that are not in O(tags) off an existing instance.
      - Ignored if O(tags) is not given. Tags that begin with C(aws:) are never touched.
    type: bool
    default: false
  shutdown_behavior:
    description:
      - What a shutdown from inside does to the instance.
      - If not given, a new instance gets V(terminate), and an existing one is left alone.
    type: str
    choices: [terminate, stop]
  termination_protection:
    description:
      - Whether the API refuses to terminate the instance. It does not stop a shutdown from inside.
      - If not given, a new instance is not protected, and an existing one is left alone.
    type: bool
  stop_protection:
    description:
      - Whether the API refuses to stop the instance. EC2 then refuses to terminate it, too.
      - If not given, a new instance is not protected, and an existing one is left alone.
    type: bool
  auto_recovery:
    description:
      - Whether AWS may put the instance on another host when its own fails. V(disabled) keeps it from that.
      - If not given, a new instance has V(default), and an existing one is left alone.
    type: str
    choices: [default, disabled]
  reboot_migration:
    description:
      - Whether AWS may put the instance on another host when it is rebooted while a reboot of its host is scheduled.
        V(disabled) keeps it from that.
      - If not given, a new instance has V(default), and an existing one is left alone.
    type: str
    choices: [default, disabled]
  force:
    description:
      - With O(state=absent), also terminate an instance that is protected, after taking the protections off, and one
        whose tag C(lowlatency:role) is not V(candidate).
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until a new instance runs, or until an ended one is terminated.
      - If not given, V(true) with O(state=present) and V(false) with O(state=absent).
    type: bool
  wait_timeout:
    description:
      - How long to wait, in seconds. When the time is up the module fails, says the last state that it saw, and returns
        the candidate, so that it can be terminated.
    type: int
    default: 300
  settle_timeout:
    description:
      - How long to look for an instance that EC2 does not show, in seconds, before it counts as not there.
      - What EC2 shows lags some seconds behind what it did. Set this to end the instance of a round that was launched a
        moment ago, which would be left behind otherwise.
      - If not given, V(15) with O(instance_id), which somebody must have from EC2, and V(0) with O(round_id).
    type: int
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
  - A launch costs three requests (find the round's instance, describe the types, run) and one for each look at the
    instance while it starts, the first after 0.5 s, then in growing steps of up to 5 s. A zone to check costs one more.
  - What EC2 shows lags some seconds behind what it did, and a new instance may not be known everywhere yet. This module
    asks again for what it launched or was told of by its id, up to O(settle_timeout).
  - A throttled launch is tried four times within seven seconds, with the same C(ClientToken).
seealso:
  - module: lowlatency.ec2.candidate_instance_info
  - module: lowlatency.ec2.placement_group
  - module: lowlatency.ec2.reap
  - module: amazon.aws.ec2_instance
"""

EXAMPLES = r"""
- name: Launch a candidate, of the first type that has capacity
  lowlatency.ec2.candidate_instance:
    round_id: tokyo-1753142400-1-7f3a
    name: 1753142400-DC-Search
    instance_types: [c8g.medium, c8g.large, c7i.large]
    image_id: resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}
    placement_group: dc-machine-cluster-1753142400-1-7f3a
    subnet_id: subnet-0123456789abcdef0
    security_group_ids: [sg-0123456789abcdef0]
    key_name: dc-machine
    associate_public_ip: true
    tags:
      lowlatency:search-id: tokyo
      lowlatency:role: candidate
  register: launch

- name: Say why there is none
  ansible.builtin.debug:
    msg: "{{ launch.outcome }}: {{ launch.attempts | map(attribute='code') | join(', ') }}"
  when: launch.candidate is none

- name: Keep it
  lowlatency.ec2.candidate_instance:
    instance_id: "{{ launch.candidate.instance_id }}"
    shutdown_behavior: stop
    termination_protection: true
    stop_protection: true
    auto_recovery: disabled
    reboot_migration: disabled
    tags:
      lowlatency:role: champion

- name: Terminate the instance of a round, whatever became of it
  lowlatency.ec2.candidate_instance:
    round_id: tokyo-1753142400-1-7f3a
    state: absent
    wait: true
"""

RETURN = r"""
outcome:
  description:
    - What became of it.
    - V(launched), V(existing) and, in check mode, V(would_launch); V(terminated) and V(absent) with O(state=absent).
    - V(no_capacity), V(quota), V(unsupported), V(placement), V(throttled) or V(unavailable) if nothing was launched.
      Another round may do better.
    - V(failed_to_start) if the instance was launched and ended before it ran.
    - V(timed_out) if the module failed because the instance did not run in time.
  returned: success, and failure to run in time
  type: str
  sample: launched
launched:
  description: Whether this run launched an instance that lives.
  returned: success
  type: bool
  sample: true
waited_s:
  description: How long the module waited for EC2 to start the instance, in seconds.
  returned: success
  type: float
  sample: 6.2
attempts:
  description: The types that could not be launched, in the order of the attempts.
  returned: success, and failure of a later attempt
  type: list
  elements: dict
  contains:
    instance_type:
      description: The type that was tried.
      type: str
      returned: always
      sample: c8g.medium
    code:
      description: The AWS error code, or the code of the reason for which EC2 ended the instance.
      type: str
      returned: always
      sample: InsufficientInstanceCapacity
    message:
      description: AWS's text.
      type: str
      returned: always
      sample: We currently do not have sufficient c8g.medium capacity in the Availability Zone you requested.
candidate:
  description:
    - The instance as it is now, or V(null) if there is none. What is not known is V(null).
  returned: success, and failure to run in time
  type: dict
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
refused:
  description:
    - The maintenance options that EC2 does not offer for this instance, with its codes, or V(WaitTimeout) for those
      that it did not show as set within 15 s. Everything else was done.
  returned: success
  type: dict
  sample: {"reboot_migration": "UnsupportedOperation"}
terminated_instance_ids:
  description: The instances that this run terminated.
  returned: success, with O(state=absent)
  type: list
  elements: str
  sample: [i-0123456789abcdef0]
error:
  description: The error of the API, for a code that neither another instance type nor another round mends.
  returned: failure at the API
  type: dict
  contains:
    code:
      description: The AWS error code.
      type: str
      returned: always
      sample: UnauthorizedOperation
    message:
      description: AWS's text.
      type: str
      returned: always
      sample: You are not authorized to perform this operation.
"""

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.candidate import absent, check_options, present
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.client import Ec2Error, ec2_client, fail
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.launch import Launcher

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "round_id": {"type": "str"},
    "instance_id": {"type": "str"},
    "name": {"type": "str"},
    "instance_types": {"type": "list", "elements": "str"},
    "image_id": {"type": "str"},
    "root_device_name": {"type": "str"},
    "volume_size_gib": {"type": "int"},
    "placement_group": {"type": "str"},
    "placement_group_strategy": {"type": "str", "choices": ["cluster", "partition", "spread"], "default": "cluster"},
    "subnet_id": {"type": "str"},
    "availability_zone": {"type": "str"},
    "security_group_ids": {"type": "list", "elements": "str"},
    "key_name": {"type": "str", "no_log": False},
    "associate_public_ip": {"type": "bool"},
    "instance_profile": {"type": "str"},
    "market": {"type": "str", "choices": ["on-demand", "spot"], "default": "on-demand"},
    "user_data": {"type": "str"},
    "tags": {"type": "dict", "aliases": ["resource_tags"]},
    "purge_tags": {"type": "bool", "default": False},
    "shutdown_behavior": {"type": "str", "choices": ["terminate", "stop"]},
    "termination_protection": {"type": "bool"},
    "stop_protection": {"type": "bool"},
    "auto_recovery": {"type": "str", "choices": ["default", "disabled"]},
    "reboot_migration": {"type": "str", "choices": ["default", "disabled"]},
    "force": {"type": "bool", "default": False},
    "wait": {"type": "bool"},
    "wait_timeout": {"type": "int", "default": 300},
    "settle_timeout": {"type": "int"},
}


def run(module: AnsibleAWSModule) -> dict[str, t.Any]:
    """Do what the options ask for; return the module's result. Raises C(Ec2Error)."""
    options = module.params
    check_options(options)
    client = ec2_client(module)
    if options["state"] == "absent":
        return absent(client, options, module.check_mode)
    launcher = None
    if options["instance_id"] is None:
        launcher = Launcher(client, lambda: ec2_client(module, "ssm"), options)
    return present(client, launcher, options, module.check_mode)


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec=ARGUMENT_SPEC,
        required_one_of=[("round_id", "instance_id")],
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except Ec2Error as error:
        fail(module, error)
    if not module._diff:
        result.pop("diff")
    module.exit_json(**result)


if __name__ == "__main__":
    main()

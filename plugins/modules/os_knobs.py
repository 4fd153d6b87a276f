#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: os_knobs
short_description: Tune a Linux for low latency
version_added: 0.1.0
author:
  - lowlatency.ec2 contributors (@lowlatency)
description:
  - Turns many knobs of an operating system in one go, those of a catalogue and your own, so that a stock Linux
    becomes one for low latency. Each knob is applied to the running kernel, persisted over reboots, read back from
    the kernel, and has a result of its own.
  - What each knob was on first contact is saved before it is changed. With O(state=absent) it becomes that again.
  - Nothing is changed when the wish is not valid, or when the machine must not be tuned (a container, a namespace of
    the lab, an unsupported distribution, a read-only C(/sys)).
  - A knob that fails is turned back at once and is not persisted. The others go on, and the module fails at its end,
    with all results.
  - Running it with some O(groups) leaves the knobs of other groups as they are. A knob that was turned and that the
    wish no longer has, such as one that O(knobs) now turns off, is turned back.
  - A machine that comes up with another number of vCPUs or another size of memory, as from an image, plans anew when it
    boots.
  - It never reboots. RV(reboot_required) says when one is needed.
options:
  state:
    description:
      - With V(present), the machine is tuned as the other options say.
      - With V(absent), the knobs of O(groups) are turned back to what they were, or without O(groups) all of them, and
        then everything that was put on the machine is taken away. The other options are ignored.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - lowlatency.ec2.tuning_wish
  - lowlatency.ec2.attributes
  - lowlatency.ec2.attributes.changing
notes:
  - The host needs Linux, root and Python 3.9 or later, nothing else. Supported are Debian 12, Ubuntu 24.04, Amazon
    Linux 2023 and RHEL 9 with its kin.
  - In check mode the results are those of a real run. V(applied) then means that it would be.
seealso:
  - module: lowlatency.ec2.os_knobs_info
"""

EXAMPLES = r"""
- name: Tune a machine
  lowlatency.ec2.os_knobs:
  register: tuning

- name: Tune the network alone, with a longer busy poll, and leave swappiness to others
  lowlatency.ec2.os_knobs:
    groups: [network, memory]
    knobs:
      busy_poll: 70
      swappiness: false

- name: Add a knob of one's own
  lowlatency.ec2.os_knobs:
    extra_knobs:
      - id: unprivileged_bpf_off
        group: hardening
        means: sysctl
        target: kernel.unprivileged_bpf_disabled
        value: 2

- name: Turn everything back
  lowlatency.ec2.os_knobs:
    state: absent
"""

RETURN = r"""
results:
  description: What became of each knob, in the order of the catalogue.
  returned: success or when a knob failed
  type: list
  elements: dict
  contains:
    id:
      description: The knob's id.
      returned: always
      type: str
      sample: busy_poll
    group:
      description: The knob's group.
      returned: always
      type: str
      sample: network
    status:
      description:
        - One of V(applied), V(already), V(pending_reboot) (persisted, and the kernel takes it
          with the next boot), V(unsupported) and V(failed).
        - With O(state=absent), V(applied) means that it was turned back.
      returned: always
      type: str
      sample: applied
    reason:
      description: Why, or what else to know. Can be empty.
      returned: always
      type: str
      sample: ""
    before:
      description: What the running kernel had, item to value.
      returned: always
      type: dict
      sample: {"net.core.busy_poll": "0"}
    after:
      description: What it has now, or with the next boot.
      returned: always
      type: dict
      sample: {"net.core.busy_poll": "50"}
counts:
  description: How many knobs have each status that occurs.
  returned: success or when a knob failed
  type: dict
  sample: {"already": 52, "unsupported": 9}
failed_knobs:
  description: Ids of the knobs that failed.
  returned: success or when a knob failed
  type: list
  elements: str
  sample: []
reboot_required:
  description: Whether the running kernel takes some of it only with the next boot.
  returned: success or when a knob failed
  type: bool
  sample: false
cpu_plan:
  description: Which vCPUs the system keeps and which are isolated.
  returned: success or when a knob failed
  type: dict
  contains:
    housekeeping:
      description: The vCPUs that the system keeps.
      returned: always
      type: list
      elements: int
      sample: [0, 1]
    isolated:
      description: The vCPUs that are isolated.
      returned: always
      type: list
      elements: int
      sample: [2, 3, 4, 5]
    reason:
      description: Why none is isolated, else empty.
      returned: always
      type: str
      sample: ""
machine:
  description: What the machine is.
  returned: success or when a knob failed
  type: dict
  contains:
    family:
      description: The CPU family, one of V(intel), V(amd), V(graviton) and V(other).
      returned: always
      type: str
      sample: intel
    arch:
      description: The architecture.
      returned: always
      type: str
      sample: x86_64
    distribution:
      description: The distribution, C(ID) of C(os-release).
      returned: always
      type: str
      sample: debian
    version:
      description: Its version, C(VERSION_ID) of C(os-release).
      returned: always
      type: str
      sample: "12"
    kernel:
      description: The kernel's release.
      returned: always
      type: str
      sample: 6.1.0-38-cloud-amd64
    vcpus:
      description: Number of online vCPUs.
      returned: always
      type: int
      sample: 6
    cores:
      description: Number of physical cores.
      returned: always
      type: int
      sample: 3
    nodes:
      description: Number of NUMA nodes.
      returned: always
      type: int
      sample: 1
    memory_kib:
      description: Memory in KiB.
      returned: always
      type: int
      sample: 2030912
    interface:
      description: The network interface that is tuned.
      returned: always
      type: str
      sample: ens5
    driver:
      description: Its driver.
      returned: always
      type: str
      sample: ena
    disks:
      description: The whole disks of real devices.
      returned: always
      type: list
      elements: str
      sample: [nvme0n1]
    bootloader:
      description: How the kernel's command line is set, V(grub_dropin), V(grubby) or empty.
      returned: always
      type: str
      sample: grub_dropin
checks:
  description: What else slows this machine down or fights with its tuning. Nothing is changed for them.
  returned: success or when a knob failed, empty with O(state=absent)
  type: list
  elements: dict
  contains:
    id:
      description: The check's name.
      returned: always
      type: str
      sample: docker_network
    status:
      description: One of V(ok), V(warning) and V(not_applicable).
      returned: always
      type: str
      sample: ok
    reason:
      description: What was found, in a sentence.
      returned: always
      type: str
      sample: No docker daemon runs here.
notes:
  description: What a person should know of the machine as a whole, such as a wish that was made for another size.
  returned: success or when a knob failed
  type: list
  elements: str
  sample: []
msg:
  description: What was done or seen, in a line.
  returned: always
  type: str
  sample: "51 applied, 3 pending_reboot, 9 unsupported; a reboot is required"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning import engine
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import TuningError
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning_options import (
    WISH_SPEC,
    host_of,
    returned,
    summary_of,
    wish_of,
)

ARGUMENT_SPEC: dict[str, t.Any] = dict(
    state=dict(type="str", choices=["present", "absent"], default="present"),
    **WISH_SPEC,
)


def tune(module: AnsibleModule) -> engine.Outcome:
    """Do what the options say. Raises TuningError and OSError."""
    host = host_of(module)
    if module.params["state"] == "absent":
        return engine.absent(host, module.params["groups"] or (), check=module.check_mode)
    return engine.present(host, wish_of(module.params), check=module.check_mode)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        outcome = tune(module)
    except (TuningError, OSError) as error:
        module.fail_json(msg=str(error))
    result = dict(changed=outcome.changed, msg=summary_of(outcome), **returned(outcome))
    if module._diff:
        result["diff"] = dict(before=outcome.before, after=outcome.after)
    if result["failed_knobs"]:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

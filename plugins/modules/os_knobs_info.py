#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: os_knobs_info
short_description: Compare a tuned Linux with what it should be
version_added: 0.1.0
author:
  - lowlatency.ec2 contributors (@lowlatency)
description:
  - Reads, from the running kernel and from what the next boot will bring, whether the knobs of
    M(lowlatency.ec2.os_knobs) are as wished.
  - Without any option of a wish, the machine is compared with what it was tuned to.
  - A knob that only a boot brings is as wished when the kernel's own files prove that it took it. That it stands on the
    kernel's command line is not enough.
extends_documentation_fragment:
  - lowlatency.ec2.tuning_wish
  - lowlatency.ec2.attributes
  - lowlatency.ec2.attributes.info
notes:
  - The host needs Linux, root and Python 3.9 or later, nothing else.
seealso:
  - module: lowlatency.ec2.os_knobs
"""

EXAMPLES = r"""
- name: See whether the machine still is as it was tuned
  lowlatency.ec2.os_knobs_info:
  register: tuning

- name: Fail when it is not
  ansible.builtin.assert:
    that: tuning.drifted | length == 0
"""

RETURN = r"""
stored:
  description: Whether the machine was tuned, so that there is something to compare it with.
  returned: success
  type: bool
  sample: true
drifted:
  description: Ids of the knobs that are not as wished.
  returned: success
  type: list
  elements: str
  sample: [busy_poll]
results:
  description: What became of each knob, in the order of the catalogue.
  returned: success
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
        - One of V(already), V(pending_reboot) (the kernel takes it with the next boot), V(unsupported) and V(drifted)
          (not as wished, in the running kernel or after the next boot).
      returned: always
      type: str
      sample: already
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
  returned: success
  type: dict
  sample: {"already": 52, "unsupported": 9}
failed_knobs:
  description: Always empty; there for what reads the results of both modules.
  returned: success
  type: list
  elements: str
  sample: []
reboot_required:
  description: Whether the running kernel takes some of it only with the next boot.
  returned: success
  type: bool
  sample: false
cpu_plan:
  description: Which vCPUs the system keeps and which are isolated.
  returned: success
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
  returned: success
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
  returned: success
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
  returned: success
  type: list
  elements: str
  sample: []
msg:
  description: What was done or seen, in a line.
  returned: always
  type: str
  sample: "52 already, 1 drifted, 9 unsupported"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning import engine
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import DRIFTED, TuningError
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning_options import (
    WISH_SPEC,
    host_of,
    returned,
    summary_of,
    wish_of,
)


def wanted(options: t.Mapping[str, t.Any]) -> t.Optional[engine.Wish]:
    """The wish of the options; none when they say nothing. Raises InvalidInput."""
    said = options["groups"] is not None or options["housekeeping_cpus"] is not None
    if said or options["knobs"] or options["extra_knobs"] or options["parameters"]:
        return wish_of(options)
    return None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=WISH_SPEC, supports_check_mode=True)
    try:
        outcome = engine.verify(host_of(module), wanted(module.params))
    except (TuningError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=False,
        msg=summary_of(outcome),
        stored=outcome.stored,
        drifted=outcome.ids(DRIFTED),
        **returned(outcome),
    )


if __name__ == "__main__":
    main()

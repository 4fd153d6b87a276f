#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: latency_probe_turns
short_description: Measure TCP handshakes again and again, in turn with another host
version_added: 0.1.0
author: lowlatency.ec2 contributors (@lowlatency)
description:
  - Makes the same short probe at each of some times. Two hosts whose times lie between each other's measure the same
    addresses in alternation, so that whatever the time of day does to the path, it does to both.
  - It is one process for all turns, so that no connection to the host and no start of Python falls between them.
  - The M(lowlatency.ec2.search_round) module compares a newcomer with the sitting champion by it.
attributes:
  check_mode:
    description: Can run in C(check_mode) and return what it would do. It then makes no handshake and no turn.
    support: full
  diff_mode:
    description: Would return details on what has changed. This module changes nothing.
    support: none
options:
  probe:
    description:
      - What to measure in each turn, by the options of M(lowlatency.ec2.latency_probe), which checks them too.
      - C(progress_path) is not among them; see O(progress_path).
    type: dict
    required: true
  turns:
    description:
      - When to measure, in seconds since 1970 by the clock of this host, one after the other and at most 64 times.
      - A turn that has passed when it is reached, because the one before it took longer, begins at once.
      - All within an hour of now.
    type: list
    elements: float
    required: true
  progress_path:
    description:
      - File that always holds a JSON document with C(stage) (V(turns)) and C(turns), those that were made so far, in
        the shape of RV(turns).
      - It is not removed, and not written in check mode.
    type: path
  stop_path:
    description: As soon as there is anything at this path, no further turn begins and the module ends.
    type: path
notes:
  - The host needs Linux and Python 3.9 or later, nothing else, and no privilege.
seealso:
  - module: lowlatency.ec2.latency_probe
"""

EXAMPLES = r"""
- name: Take the even minutes of the next ten
  lowlatency.ec2.latency_probe_turns:
    probe:
      endpoints:
        - name: mine
          host: gateway.example.com
          addresses:
            - 192.0.2.10
      probe_mode: exhaustive
      samples: 100
    turns: "{{ range(first | int, first | int + 600, 120) }}"
  vars:
    first: "{{ (now().timestamp() // 120 + 1) * 120 }}"
  async: 700
  poll: 10
"""

RETURN = r"""
turns:
  description: The turns that were made, fewer than O(turns) when O(stop_path) appeared.
  returned: success
  type: list
  elements: dict
  contains:
    began_s:
      description: When it began, in seconds since 1970 by the clock of this host.
      returned: success
      type: float
      sample: 1795348800.004
    late_s:
      description: Seconds after its time that it began.
      returned: success
      type: float
      sample: 0.004
    duration_s:
      description: Seconds that it took.
      returned: success
      type: float
      sample: 0.561
    handshakes:
      description: Handshakes that were made or failed, without the warm-up.
      returned: success
      type: int
      sample: 200
    endpoints:
      description:
        - What was measured, with C(name), C(host), C(port) and C(addresses).
        - Of each address its C(address), C(samples), C(errors), C(dropped), C(wall) and C(wire), as
          M(lowlatency.ec2.latency_probe) returns them.
      returned: success
      type: list
      elements: dict
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.options import ARGUMENT_SPEC as PROBE_SPEC
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import BadOption, Plan, plan_from
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.run import may_use
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.turns import checked_turns, run_turns

ARGUMENT_SPEC = dict(
    probe=dict(type="dict", required=True),
    turns=dict(type="list", elements="float", required=True),
    progress_path=dict(type="path"),
    stop_path=dict(type="path"),
)


def plan_of_a_turn(module: AnsibleModule) -> Plan:
    """The plan of each turn. Raises BadOption, and ends the module when an option is none of the probe's."""
    found = ArgumentSpecValidator(PROBE_SPEC).validate(module.params["probe"])
    if found.error_messages:
        module.fail_json(msg=f"probe: {'; '.join(found.error_messages)}")
    options = {**found.validated_parameters, "progress_path": module.params["progress_path"]}
    return plan_from(options, sorted(os.sched_getaffinity(0)), may_use)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        plan = plan_of_a_turn(module)
        turns = checked_turns(module.params["turns"], time.time())
        made = [] if module.check_mode else run_turns(plan, turns, module.params["stop_path"])
    except BadOption as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"The probe can't go on: {error}", errno=error.errno)
    module.exit_json(changed=False, turns=made)


if __name__ == "__main__":
    main()

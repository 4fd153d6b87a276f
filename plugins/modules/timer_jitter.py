#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: timer_jitter
short_description: Measure how late timers fire, with cyclictest or rtla
version_added: 0.1.0
author: lowlatency.ec2 contributors (@lowlatency)
description:
  - Measures how many microseconds after its time a thread of real-time priority runs on each of some CPUs, with
    C(cyclictest) (package rt-tests, or realtime-tests on RHEL), or with C(rtla timerlat) where that is what there is.
  - The tools are told not to change the system's power management, because what that does to a wake-up is part of what
    is to be seen.
  - It installs nothing. Without either tool, or without root, RV(evaluated) is false and RV(reason) says why, which is
    a result and not a failure of the module.
attributes:
  check_mode:
    description: Can run in C(check_mode) and return what it would do. It then measures nothing.
    support: full
  diff_mode:
    description: Would return details on what has changed. This module changes nothing.
    support: none
options:
  duration_s:
    description: Seconds to measure in all, from 1 to 600. Each block takes at least one of them.
    type: int
    default: 32
  blocks:
    description:
      - Runs of the tool to divide them into.
      - With fewer than 16 the gate has to judge by the spread of all blocks together, which shows less.
    type: int
    default: 16
  cpus:
    description:
      - CPUs to measure, one thread on each.
      - When it is empty, these are all that are online, also isolated ones.
    type: list
    elements: int
    default: []
  interval_us:
    description: Microseconds between two timers, from 50 to 100000.
    type: int
    default: 500
  priority:
    description: Real-time priority of the threads (C(SCHED_FIFO)), from 1 to 98.
    type: int
    default: 90
  tool:
    description: Which tool to use. With V(auto) it is C(cyclictest) where it is installed, else C(rtla).
    type: str
    choices: [auto, cyclictest, rtla]
    default: auto
notes:
  - Needs root.
seealso:
  - plugin: lowlatency.ec2.tuning_gate_verdict
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Measure the jitter of timers on the isolated CPUs
  lowlatency.ec2.timer_jitter:
    cpus: [2, 3]
  register: jitter
"""

RETURN = r"""
evaluated:
  description: Whether there are figures.
  returned: success
  type: bool
  sample: true
reason:
  description: Why there are no figures, else empty.
  returned: success
  type: str
  sample: neither cyclictest nor rtla is installed
tool:
  description: The tool that measured, V(null) without figures.
  returned: success
  type: str
  sample: cyclictest
samples:
  description: Timers that fired on all CPUs together.
  returned: success
  type: int
  sample: 128000
overflows:
  description: Timers later than the histogram of the tool reaches, 10,000 µs; they count as that late.
  returned: success
  type: int
  sample: 0
jitter:
  description:
    - Summary of the lateness in microseconds, V(null) without figures. The keys are those of RV(blocks[]) and of
      a summary of P(lowlatency.ec2.ping_probe#module).
  returned: success
  type: dict
  sample:
    best_us: 2.0
    p0_1_us: 2.0
    median_us: 4.0
    median_low_us: 4.0
    median_high_us: 4.0
    p99_us: 9.0
    p99_low_us: 9.0
    p99_high_us: 9.0
    p99_9_us: 14.0
    p99_9_low_us: 14.0
    p99_9_high_us: 15.0
max_us:
  description: The latest timer in microseconds, V(null) without figures.
  returned: success
  type: int
  sample: 41
histogram:
  description: How the samples are distributed, as with P(lowlatency.ec2.ping_probe#module).
  returned: success
  type: dict
  sample: {"edge_us": [3, 4], "count": [100, 900]}
blocks:
  description: Each block, in the order measured.
  returned: success
  type: list
  elements: dict
  contains:
    samples:
      description: Timers of the block.
      returned: success
      type: int
      sample: 8000
    best_us:
      description: Least late.
      returned: success
      type: float
      sample: 2.0
    median_us:
      description: Median.
      returned: success
      type: float
      sample: 4.0
    p99_us:
      description: Quantile of 99 %.
      returned: success
      type: float
      sample: 9.0
per_cpu:
  description: The median, the quantile of 99 % and the latest timer of each CPU, in microseconds.
  returned: success
  type: list
  elements: dict
  sample: [{"cpu": 2, "samples": 64000, "median_us": 4.0, "p99_us": 9.0, "max_us": 30}]
method:
  description: How the figures were made. Figures are comparable only where these agree.
  returned: success
  type: dict
  sample:
    tool: cyclictest
    version: "2.4"
    duration_s: 32
    blocks: 16
    cpus: [2, 3]
    interval_us: 500
    priority: 90
    kernel: 6.1.0
    machine: x86_64
msg:
  description: What was measured, or in check mode what would be, in a line.
  returned: success
  type: str
  sample: Measured 128000 timers on 2 CPUs with cyclictest.
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.jitter import Tools, plan_from, run_jitter
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import BadOption

ARGUMENT_SPEC = dict(
    duration_s=dict(type="int", default=32),
    blocks=dict(type="int", default=16),
    cpus=dict(type="list", elements="int", default=[]),
    interval_us=dict(type="int", default=500),
    priority=dict(type="int", default=90),
    tool=dict(type="str", choices=["auto", "cyclictest", "rtla"], default="auto"),
)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    tools = Tools(module.get_bin_path, lambda command: module.run_command(list(command)), root=os.geteuid() == 0)
    try:
        plan = plan_from(module.params)
        result = run_jitter(plan, tools, dry=module.check_mode)
    except BadOption as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()

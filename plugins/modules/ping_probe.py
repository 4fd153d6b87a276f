#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ping_probe
short_description: Measure request-reply round trips on established TCP connections to a peer
version_added: 0.1.0
author: lowlatency.ec2 contributors (@lowlatency)
description:
  - Measures, from the host that it runs on, how long a small message takes to a peer and back on a TCP connection that
    stands, as an order and its acknowledgement do. P(lowlatency.ec2.ping_responder#module) answers at the peer.
  - A time is what C(send) and C(recv) take in user space, with the wake-ups of both hosts and the interpreters. Busy
    polling, interrupt moderation and isolation of CPUs show here and not in a handshake.
  - The round trips are measured in blocks, each on a connection of its own, because the port decides by which queue of
    the NIC, and so over which CPU, a connection comes in. What differs from block to block is what the machine and the
    path add, and it widens the interval that P(lowlatency.ec2.tuning_gate_verdict#filter) judges by.
  - Round trips are bounded in rate, with gaps that are drawn at random.
  - That a peer could not be measured is a result and not a failure of the module.
attributes:
  check_mode:
    description: Can run in C(check_mode) and return what it would do. It then makes no connection.
    support: full
  diff_mode:
    description: Would return details on what has changed. This module changes nothing.
    support: none
options:
  address:
    description: IPv4 address of the peer.
    type: str
    required: true
  port:
    description: TCP port of the responder at the peer.
    type: int
    default: 7007
  samples:
    description: Round trips to measure, in all. Rounded up to a multiple of O(blocks).
    type: int
    default: 10000
  blocks:
    description:
      - Connections to spread them over, one after the other.
      - With fewer than 16 the gate has to judge by the spread of all blocks together, which shows less.
    type: int
    default: 20
  warmup:
    description: Round trips on each connection before those that are measured.
    type: int
    default: 50
  max_rate:
    description: Mean number of round trips per second that is not exceeded.
    type: int
    default: 1000
  timeout_ms:
    description: Milliseconds after which an answer is given up and the connection with it, from 1 to 60000.
    type: int
    default: 1000
  message_bytes:
    description: Size of a message, the same both ways, from 16 to 8192.
    type: int
    default: 64
  receive:
    description:
      - How an answer is waited for.
      - With V(blocking) the process sleeps in the kernel, with V(spin) it asks again and again.
    type: str
    choices: [blocking, spin]
    default: blocking
  busy_poll_us:
    description:
      - Microseconds that the kernel polls the NIC's queue for the connection (C(SO_BUSY_POLL)) before it sleeps.
      - More than the system's C(net.core.busy_read) needs privileges.
      - Without it the system's setting holds, which is what a gate wants to see.
    type: int
  cpu:
    description:
      - CPU to stay on while measuring.
      - Without it the scheduler decides.
    type: int
notes:
  - The host needs Linux and Python 3.9 or later, nothing else, and no privilege.
seealso:
  - module: lowlatency.ec2.ping_responder
  - plugin: lowlatency.ec2.tuning_gate_verdict
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Measure round trips to the peer
  lowlatency.ec2.ping_probe:
    address: 10.0.1.7
  register: ping

- name: Measure from an isolated CPU, without sleeping
  lowlatency.ec2.ping_probe:
    address: 10.0.1.7
    cpu: 3
    receive: spin
"""

RETURN = r"""
address:
  description: The peer's address.
  returned: success
  type: str
  sample: 10.0.1.7
port:
  description: The responder's port.
  returned: success
  type: int
  sample: 7007
path:
  description: Which way the kernel takes to the peer.
  returned: success
  type: dict
  contains:
    device:
      description: Interface that the route takes, V(null) without a route.
      returned: success
      type: str
      sample: ens5
    source:
      description: Source address towards the peer, V(null) without a route.
      returned: success
      type: str
      sample: 10.0.1.4
    loopback:
      description:
        - Whether the address is one of this host, so that no packet crosses a NIC.
        - Such figures are no evidence for P(lowlatency.ec2.tuning_gate_verdict#filter).
      returned: success
      type: bool
      sample: false
samples:
  description: Round trips that completed and were measured, without the warm-up.
  returned: success
  type: int
  sample: 10000
errors:
  description: Connections and round trips that failed, by kind, those of the warm-up included.
  returned: success
  type: dict
  contains:
    timeout:
      description: Not answered within O(timeout_ms).
      returned: success
      type: int
    refused:
      description: Nobody listens (C(ECONNREFUSED)).
      returned: success
      type: int
    reset:
      description: The connection was closed by the peer.
      returned: success
      type: int
    unreachable:
      description: No way to the host or its network.
      returned: success
      type: int
    other:
      description: Any other error, see RV(other_codes).
      returned: success
      type: int
    retransmitted:
      description:
        - Segments that the kernel sent again while measuring.
        - The round trips concerned did complete and are among the samples.
      returned: success
      type: int
other_codes:
  description: How often each error that counts as C(other) occurred, by the name of its code.
  returned: success
  type: dict
  sample: {}
round_trip:
  description: Summary of the round trips in microseconds, V(null) when none completed.
  returned: success
  type: dict
  contains:
    best_us:
      description: Lowest.
      returned: success
      type: float
      sample: 31.2
    p0_1_us:
      description: Quantile of 0.1 %. All quantiles are interpolated linearly (definition 7 of Hyndman and Fan).
      returned: success
      type: float
      sample: 32.0
    median_us:
      description: Median.
      returned: success
      type: float
      sample: 38.4
    median_low_us:
      description:
        - Lower bound of the median, with 95 % confidence by order statistics.
        - With fewer than 6 samples it is the lowest sample and the confidence is less.
      returned: success
      type: float
      sample: 38.3
    median_high_us:
      description: Upper bound of the median, in the same way.
      returned: success
      type: float
      sample: 38.6
    p99_us:
      description: Quantile of 99 %.
      returned: success
      type: float
      sample: 55.0
    p99_low_us:
      description: Lower bound of it with 95 % confidence, V(null) with too few samples (about 370).
      returned: success
      type: float
      sample: 54.1
    p99_high_us:
      description: Upper bound of it, in the same way.
      returned: success
      type: float
      sample: 56.9
    p99_9_us:
      description: Quantile of 99.9 %.
      returned: success
      type: float
      sample: 80.8
    p99_9_low_us:
      description: Lower bound of it with 95 % confidence, V(null) with too few samples (about 3,700).
      returned: success
      type: float
      sample: 75.2
    p99_9_high_us:
      description: Upper bound of it, in the same way.
      returned: success
      type: float
      sample: 97.5
histogram:
  description: How the samples are distributed, enough to plot.
  returned: success
  type: dict
  contains:
    edge_us:
      description:
        - Lower edges, in microseconds, of the bins that hold a sample.
        - Bins are 1 µs wide below 64 µs, 2 µs from there to 128 µs, 4 µs to 256 µs, and so on.
      returned: success
      type: list
      elements: int
    count:
      description: Samples in each bin.
      returned: success
      type: list
      elements: int
blocks:
  description: Each block that has a sample, in the order measured.
  returned: success
  type: list
  elements: dict
  contains:
    samples:
      description: Round trips of the block.
      returned: success
      type: int
      sample: 500
    best_us:
      description: Lowest.
      returned: success
      type: float
      sample: 31.2
    median_us:
      description: Median.
      returned: success
      type: float
      sample: 38.3
    p99_us:
      description: Quantile of 99 %.
      returned: success
      type: float
      sample: 54.0
    kernel_min_us:
      description: The kernel's own lowest round-trip time on the connection (C(tcpi_min_rtt)).
      returned: success
      type: int
      sample: 24
    kernel_smoothed_us:
      description: The kernel's own smoothed round-trip time at the end of the block (C(tcpi_rtt)).
      returned: success
      type: int
      sample: 29
    source_port:
      description: Source port of the connection.
      returned: success
      type: int
      sample: 40112
duration_s:
  description: Seconds that connecting, warm-up and measuring took.
  returned: success
  type: float
  sample: 10.9
method:
  description: How the figures were made. Figures are comparable only where these agree.
  returned: success
  type: dict
  sample:
    samples: 10000
    blocks: 20
    warmup: 50
    max_rate: 1000
    timeout_ms: 1000
    message_bytes: 64
    receive: blocking
    busy_poll_us:
    cpu: 3
    python: 3.11.2
    kernel: 6.1.0
    machine: x86_64
msg:
  description: What was measured, or in check mode what would be, in a line.
  returned: success
  type: str
  sample: Measured 10000 round trips with 10.0.1.7:7007 over ens5.
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.ping import plan_from, run_ping
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import BadOption

ARGUMENT_SPEC = dict(
    address=dict(type="str", required=True),
    port=dict(type="int", default=7007),
    samples=dict(type="int", default=10000),
    blocks=dict(type="int", default=20),
    warmup=dict(type="int", default=50),
    max_rate=dict(type="int", default=1000),
    timeout_ms=dict(type="int", default=1000),
    message_bytes=dict(type="int", default=64),
    receive=dict(type="str", default="blocking", choices=["blocking", "spin"]),
    busy_poll_us=dict(type="int"),
    cpu=dict(type="int"),
)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        plan = plan_from(module.params)
        result = run_ping(plan, dry=module.check_mode)
    except BadOption as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"The probe can't go on: {error}", errno=error.errno)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()

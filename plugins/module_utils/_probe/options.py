# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of M(lowlatency.ec2.latency_probe) as Ansible checks them.

Private to this collection: it may change in any release.
"""

from __future__ import annotations

ENDPOINT_SPEC = dict(
    name=dict(type="str", required=True),
    host=dict(type="str", required=True),
    port=dict(type="int", default=443),
    addresses=dict(type="list", elements="str", default=[]),
)

ARGUMENT_SPEC = dict(
    endpoints=dict(type="list", elements="dict", required=True, options=ENDPOINT_SPEC),
    samples=dict(type="int", default=10000),
    warmup=dict(type="int", default=100),
    probe_mode=dict(type="str", default="adaptive", choices=["adaptive", "exhaustive"]),
    metric=dict(type="str", default="wall", choices=["wall", "wire"]),
    median_limit_us=dict(type="float"),
    best_limit_us=dict(type="float"),
    best_min_hits=dict(type="int", default=1),
    primary_endpoint=dict(type="str"),
    champion_us=dict(type="float"),
    champion_statistic=dict(type="str", default="best", choices=["best", "p0_1"]),
    error_rate=dict(type="float", default=0.001),
    indifference=dict(type="float", default=0.1),
    full_addresses=dict(type="int", default=3),
    timeout_ms=dict(type="int", default=100),
    max_rate=dict(type="int", default=4000),
    max_rate_per_address=dict(type="int", default=200),
    connect=dict(type="str", default="blocking", choices=["blocking", "spin"]),
    source_ports=dict(type="int", default=0),
    realtime=dict(type="bool", default=False),
    cpu=dict(type="str", default="auto"),
    quiet_timeout_s=dict(type="int", default=0),
    quiet_load=dict(type="float", default=0.1),
    verify_tls=dict(type="bool", default=False),
    block_size=dict(type="int", default=10),
    resolve_attempts=dict(type="int", default=30),
    progress_path=dict(type="path"),
)

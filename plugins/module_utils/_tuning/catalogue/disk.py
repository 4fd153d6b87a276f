# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knobs of the group disk: the request queues of all whole disks."""

from __future__ import annotations

from ..model import Knob

_QUEUE = "Linux, Documentation/ABI/stable/sysfs-block"

KNOBS: tuple[Knob, ...] = (
    Knob(
        id="disk_scheduler",
        group="disk",
        means="block",
        target="scheduler",
        value="none",
        summary=(
            "No I/O scheduler: NVMe orders requests itself. mq-deadline, as the original AMI builder has it, is another"
            " value."
        ),
        source="aws-samples part_2_os_tuning_reference (none for NVMe; its playbook mq-deadline)",
        risk="low",
        applies_if=("disks",),
    ),
    Knob(
        id="disk_add_random",
        group="disk",
        means="block",
        target="add_random",
        value="0",
        summary="Disk interrupts do not feed the kernel's random pool.",
        source=f"The original AMI builder; {_QUEUE}",
        risk="low",
        applies_if=("disks",),
    ),
    Knob(
        id="disk_iostats",
        group="disk",
        means="block",
        target="iostats",
        value="0",
        summary="No accounting per request. iostat and monitoring agents show zeros for these disks.",
        source=f"The original AMI builder; {_QUEUE}",
        risk="low",
        applies_if=("disks",),
    ),
    Knob(
        id="disk_nomerges",
        group="disk",
        means="block",
        target="nomerges",
        value="2",
        summary="Requests are not merged. Saves a look-up each, and costs more requests for logs written in sequence.",
        source=f"aws-samples tune_os.yaml; {_QUEUE}",
        risk="medium",
        enabled=False,
        applies_if=("disks",),
    ),
    Knob(
        id="disk_read_ahead_kb",
        group="disk",
        means="block",
        target="read_ahead_kb",
        value="32",
        summary="Reads 32 KiB ahead instead of 128. Slows loading of programs and replays.",
        source="aws-samples tune_os.yaml; no measurement shows a gain",
        risk="medium",
        enabled=False,
        applies_if=("disks",),
    ),
    Knob(
        id="disk_nr_requests",
        group="disk",
        means="block",
        target="nr_requests",
        value="1024",
        summary="Longer request queues: for throughput, not latency. Lowered to what the device has.",
        source="aws-samples tune_os.yaml; no measurement shows a gain",
        risk="medium",
        enabled=False,
        applies_if=("disks",),
    ),
    Knob(
        id="disk_rq_affinity",
        group="disk",
        means="block",
        target="rq_affinity",
        value="0",
        summary="A request completes on the vCPU that takes the disk's interrupt, without a hop to the one that asked.",
        source=f"{_QUEUE}; keeps completions off isolated vCPUs at the price of cache misses",
        risk="low",
        enabled=False,
        applies_if=("disks",),
    ),
)

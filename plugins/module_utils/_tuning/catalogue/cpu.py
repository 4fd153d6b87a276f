# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knobs of the group cpu: frequencies and idle states, who serves interrupts and the kernel's own work, timers.

Frequencies and idle states are for Intel only: there they are nearly all that published tunings gained, while the same
settings were neutral or harmful on AMD (c7a.48xlarge) and Graviton (c8g.metal), which hand no such control to the guest
or need none (aws-samples/trading-latency-benchmark, tick_to_trade_latency_part2_os_tuning.md). A value given in
os_tuning_knobs turns them on elsewhere. Turbo is left alone: switching it off costs more than its jitter.
"""

from __future__ import annotations

import typing as t

from ..model import Knob

_TUNED = "tuned, profile latency-performance"
_TUNED_NETWORK = "tuned, profile network-latency"
_TUNED_REALTIME = "tuned, profile realtime"
_AWS_STATES = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/processor_state_control.html"
_SYSCTL_KERNEL = "https://docs.kernel.org/admin-guide/sysctl/kernel.html"
_WORKQUEUE = "https://docs.kernel.org/core-api/workqueue.html"


def _knob(identifier: str, means: str, target: str, value: str | dict[str, str], summary: str, **more: t.Any) -> Knob:
    return Knob(id=identifier, group="cpu", means=means, target=target, value=value, summary=summary, **more)


KNOBS: tuple[Knob, ...] = (
    _knob(
        "governor",
        "sysfs",
        "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
        {"intel": "performance"},
        "The highest frequency at once, no ramp when work comes; where the guest may choose at all (metal, large "
        "sizes)",
        source=_TUNED,
    ),
    _knob(
        "min_perf_pct",
        "sysfs",
        "/sys/devices/system/cpu/intel_pstate/min_perf_pct",
        {"intel": "100"},
        "Never below the highest frequency without turbo, for Intel's own driver",
        source=_TUNED,
    ),
    _knob(
        "energy_perf_bias",
        "sysfs",
        "/sys/devices/system/cpu/cpu[0-9]*/power/energy_perf_bias",
        {"intel": "0"},
        "Tell the processor to prefer speed over energy",
        source=_TUNED,
    ),
    _knob(
        "cpuidle_deep_states",
        "sysfs",
        "/sys/devices/system/cpu/cpu[0-9]*/cpuidle/state[2-9]/disable",
        {"intel": "1"},
        "Idle no deeper than C1, without a reboot. Off: intel_idle_max_cstate does it from boot on; for machines that "
        "must not reboot",
        source=_AWS_STATES,
        enabled=False,
    ),
    _knob(
        "clocksource_tsc",
        "sysfs",
        "/sys/devices/system/clocksource/clocksource0/current_clocksource",
        "tsc",
        "Read the time from the processor, without leaving user space; only where the kernel offers the TSC as stable",
        source="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/set-time.html (clock sources)",
        applies_if=("x86",),
    ),
    _knob(
        "irq_nic",
        "irq",
        "nic",
        "{housekeeping}",
        "The NIC's interrupts go to the housekeeping CPUs, so that none interrupts an isolated one. An "
        "application that "
        "polls its own queue may want another list here",
        source="https://github.com/amzn/amzn-drivers/blob/master/kernel/linux/ena/ENA_Linux_Best_Practices.rst",
        applies_if=("isolation",),
    ),
    _knob(
        "irq_default",
        "irq",
        "default",
        "{housekeeping}",
        "Interrupts that devices ask for later go to the housekeeping CPUs",
        source="https://docs.kernel.org/core-api/irq/irq-affinity.html",
        applies_if=("isolation",),
    ),
    _knob(
        "irq_all",
        "irq",
        "all",
        "{housekeeping}",
        "All other interrupts that can be moved go to the housekeeping CPUs. Disks' queues cannot; "
        "isolcpus=managed_irq is for "
        "them",
        source=_TUNED_REALTIME,
        applies_if=("isolation",),
    ),
    _knob(
        "workqueue_cpumask",
        "sysfs",
        "/sys/devices/virtual/workqueue/cpumask",
        "{housekeeping_mask}",
        "The kernel's deferred work runs on the housekeeping CPUs",
        source=_WORKQUEUE,
        applies_if=("isolation",),
    ),
    _knob(
        "writeback_cpumask",
        "sysfs",
        "/sys/devices/virtual/workqueue/writeback/cpumask",
        "{housekeeping_mask}",
        "Writing dirty pages to disks runs on the housekeeping CPUs",
        source=_TUNED_REALTIME,
        applies_if=("isolation",),
    ),
    _knob(
        "timer_migration",
        "sysctl",
        "kernel.timer_migration",
        "0",
        "A timer fires on the CPU that set it, instead of one that is busy at the time",
        source=_TUNED_NETWORK,
    ),
    _knob(
        "watchdog",
        "sysctl",
        "kernel.watchdog",
        "0",
        "No lockup detectors: they wake every CPU every few seconds. A kernel that hangs is then not reported",
        source=_SYSCTL_KERNEL,
        risk="medium",
    ),
    _knob(
        "nmi_watchdog",
        "sysctl",
        "kernel.nmi_watchdog",
        "0",
        "No hard lockup detector: it takes a performance counter, and interrupts that cannot be held off",
        source=_TUNED_NETWORK,
    ),
    _knob(
        "sched_rt_runtime",
        "sysctl",
        "kernel.sched_rt_runtime_us",
        "-1",
        "Real-time tasks may take all of a CPU. Off: one that spins on a housekeeping CPU then stops the system; the "
        "kernel's 95 % only hold back tasks of SCHED_FIFO or SCHED_RR that never sleep",
        source=_TUNED_REALTIME,
        risk="high",
        enabled=False,
    ),
    _knob(
        "sched_autogroup",
        "sysctl",
        "kernel.sched_autogroup_enabled",
        "0",
        "Nice values count between sessions too. Off: nothing is gained where applications have CPUs of their own",
        source=_SYSCTL_KERNEL,
        enabled=False,
    ),
    _knob(
        "hung_task_timeout",
        "sysctl",
        "kernel.hung_task_timeout_secs",
        "600",
        "Look for hung tasks less often. Off: a walk every two minutes on a housekeeping CPU is no cost",
        source=_TUNED_NETWORK,
        enabled=False,
    ),
    _knob(
        "mce_ignore_ce",
        "sysfs",
        "/sys/devices/system/machinecheck/machinecheck[0-9]*/ignore_ce",
        "1",
        "No polling for corrected memory errors every five minutes on every CPU. Off: on metal they are an early "
        "warning",
        source=_TUNED_REALTIME,
        enabled=False,
        applies_if=("x86",),
    ),
)

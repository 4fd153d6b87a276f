# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knobs of the group boot: parameters of the kernel's command line. All take effect with the next boot.

The set that guides copy (idle=poll, cpuidle.off, intel_pstate=disable, mitigations=off ...) is here as options, off:
they exclude each other, cost security or turbo, or were measured to be worse on EC2.
"""

from __future__ import annotations

import typing as t

from ..model import BOOT, Knob

_PARAMETERS = "https://docs.kernel.org/admin-guide/kernel-parameters.html"
_NO_HZ = "https://docs.kernel.org/timers/no_hz.html"
_TUNED_NETWORK = "tuned, profile network-latency"
_TUNED_REALTIME = "tuned, profile realtime"
_TUNED_PARTITIONING = "tuned, profile cpu-partitioning"
_ENA = "https://github.com/amzn/amzn-drivers/blob/master/kernel/linux/ena/ENA_Linux_Best_Practices.rst"
_AWS_SAMPLES = "aws-samples/trading-latency-benchmark, tune_os.yaml"


def _knob(identifier: str, target: str, value: str | dict[str, str], summary: str, **more: t.Any) -> Knob:
    conditions = ("bootloader", *more.pop("applies_if", ()))
    return Knob(
        id=identifier,
        group="boot",
        means="cmdline",
        target=target,
        value=value,
        summary=summary,
        effect=BOOT,
        applies_if=conditions,
        **more,
    )


KNOBS: tuple[Knob, ...] = (
    _knob(
        "isolcpus",
        "isolcpus",
        "managed_irq,domain,{isolated}",
        "Take the isolated CPUs from the scheduler: only what is pinned to them runs there, and disks' interrupts keep "
        "away where they can. What is not pinned has only the housekeeping CPUs",
        source=_TUNED_REALTIME,
        risk="medium",
        applies_if=("isolation", "config:CONFIG_CPU_ISOLATION"),
        verify=(("/sys/devices/system/cpu/isolated", "{isolated}"),),
    ),
    _knob(
        "nohz_full",
        "nohz_full",
        "{isolated}",
        "No timer tick on an isolated CPU while one task runs there",
        source=_NO_HZ,
        applies_if=("isolation", "config:CONFIG_NO_HZ_FULL"),
        verify=(("/sys/devices/system/cpu/nohz_full", "{isolated}"),),
    ),
    # No file shows which CPUs are offloaded: kernel threads rcuop/N of the isolated CPUs prove it, and no file of /sys.
    _knob(
        "rcu_nocbs",
        "rcu_nocbs",
        "{isolated}",
        "The kernel's deferred frees (RCU) run in threads on the housekeeping CPUs",
        source=_NO_HZ,
        applies_if=("isolation", "config:CONFIG_RCU_NOCB_CPU"),
    ),
    _knob(
        "irqaffinity",
        "irqaffinity",
        "{housekeeping}",
        "Interrupts go to the housekeeping CPUs from the first moment on",
        source=_PARAMETERS,
        applies_if=("isolation",),
    ),
    _knob(
        "rcu_normal_after_boot",
        "rcupdate.rcu_normal_after_boot",
        "1",
        "The kernel waits for RCU without interrupting all CPUs",
        source=_TUNED_NETWORK,
        applies_if=("isolation",),
        verify=(("/sys/kernel/rcu_normal", "1"),),
    ),
    _knob(
        "skew_tick",
        "skew_tick",
        "1",
        "The CPUs' ticks come one after the other, not all at once over the same locks",
        source=_TUNED_NETWORK,
    ),
    _knob(
        "tsc_reliable",
        "tsc",
        {"intel": "reliable", "amd": "reliable"},
        "No watchdog over the TSC. Nitro's is constant; a virtual one that is not would let the time drift unseen",
        source=_TUNED_NETWORK,
        applies_if=("x86",),
    ),
    _knob(
        "intel_idle_max_cstate",
        "intel_idle.max_cstate",
        {"intel": "1"},
        "Idle no deeper than C1: waking from deeper states takes 10 to 200 microseconds",
        source=_ENA,
        applies_if=("x86", "config:CONFIG_INTEL_IDLE"),
        verify=(("/sys/module/intel_idle/parameters/max_cstate", "1"),),
    ),
    _knob(
        "processor_max_cstate",
        "processor.max_cstate",
        {"intel": "1"},
        "The same for the driver of ACPI, where Intel's own is not used",
        source=_ENA,
        applies_if=("x86",),
    ),
    _knob(
        "thp_boot",
        "transparent_hugepage",
        {"graviton": "madvise", "default": "never"},
        "As thp, from the first process on. Off: thp comes early enough for applications. (thp's own file proves it)",
        source=_PARAMETERS,
        enabled=False,
    ),
    _knob(
        "idle_poll",
        "idle",
        "poll",
        "Never idle: no wake-up at all. Off: it takes turbo and the sibling's half of the core, and a vCPU that "
        "spins on "
        "AWS was measured at 71 % system time (edgelesssys/constellation 3387)",
        source=_AWS_SAMPLES,
        risk="high",
        enabled=False,
        applies_if=("x86",),
    ),
    _knob(
        "cpuidle_off",
        "cpuidle.off",
        "1",
        "No idle driver: the plain halt instruction. Off: it contradicts the C-state limits, which do it with less",
        source=_AWS_SAMPLES,
        risk="medium",
        enabled=False,
    ),
    _knob(
        "intel_pstate_disable",
        "intel_pstate",
        {"intel": "disable"},
        "Frequencies by ACPI instead of Intel's driver. Off: the governor performance holds them high with either",
        source=_TUNED_REALTIME,
        risk="medium",
        enabled=False,
        applies_if=("x86",),
    ),
    _knob(
        "smt_off",
        "nosmt",
        "",
        "One thread a core, so that no sibling shares it. Off: it halves the vCPUs; on EC2 better asked for at launch "
        "(CpuOptions, ThreadsPerCore 1), and the plan keeps siblings together anyway",
        source=_AWS_SAMPLES,
        risk="medium",
        enabled=False,
        applies_if=("smt",),
        verify=(("/sys/devices/system/cpu/smt/active", "0"),),
    ),
    _knob(
        "mitigations_off",
        "mitigations",
        "off",
        "No mitigations of processor flaws: cheaper system calls. Off: any code on the machine can then read its "
        "secrets",
        source="https://docs.kernel.org/admin-guide/hw-vuln/index.html",
        risk="high",
        enabled=False,
    ),
    _knob(
        "audit_off",
        "audit",
        "0",
        "No audit of system calls. Off: it is a record that compliance may ask for, and costs little without rules",
        source=_AWS_SAMPLES,
        risk="medium",
        enabled=False,
    ),
    _knob(
        "nosoftlockup",
        "nosoftlockup",
        "",
        "No soft lockup detector from boot on. Off: watchdog switches it off at run time",
        source=_TUNED_REALTIME,
        enabled=False,
    ),
    _knob(
        "nmi_watchdog_boot",
        "nmi_watchdog",
        "0",
        "No hard lockup detector from boot on. Off: nmi_watchdog switches it off at run time",
        source=_AWS_SAMPLES,
        enabled=False,
    ),
    _knob(
        "mce_ignore_ce_boot",
        "mce",
        "ignore_ce",
        "No polling for corrected memory errors, from boot on. Off: they are an early warning on metal",
        source=_AWS_SAMPLES,
        enabled=False,
        applies_if=("x86",),
    ),
    _knob(
        "clocksource_boot",
        "clocksource",
        "tsc",
        "The TSC as clock from boot on. Off: clocksource_tsc does it where the kernel offers it, and no kernel "
        "is forced",
        source=_AWS_SAMPLES,
        risk="medium",
        enabled=False,
        applies_if=("x86",),
    ),
    _knob(
        "rcu_nocb_poll",
        "rcu_nocb_poll",
        "",
        "The threads of rcu_nocbs look for work by themselves, so isolated CPUs need not wake them. Off: they "
        "then burn "
        "housekeeping CPUs, of which small machines have one",
        source=_AWS_SAMPLES,
        enabled=False,
        applies_if=("isolation", "config:CONFIG_RCU_NOCB_CPU"),
    ),
    _knob(
        "nohz_full_patience",
        "rcutree.nohz_full_patience_delay",
        "1000",
        "RCU waits a second before it asks a CPU without ticks for help. Off: from Linux 6.11 on only",
        source=_TUNED_NETWORK,
        enabled=False,
        applies_if=("isolation", "kernel:6.11"),
    ),
    _knob(
        "preempt_full",
        "preempt",
        "full",
        "The kernel can be preempted nearly everywhere. Off: better for the worst wake-up, worse for the usual one",
        source=_PARAMETERS,
        enabled=False,
        applies_if=("config:CONFIG_PREEMPT_DYNAMIC",),
    ),
    _knob(
        "psi_off",
        "psi",
        "0",
        "No pressure figures on the scheduler's paths. Off: some agents read them, and the cost is small",
        source=_PARAMETERS,
        enabled=False,
        applies_if=("config:CONFIG_PSI",),
    ),
)

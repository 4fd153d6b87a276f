# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knobs of the group nic: the interface of the default route."""

from __future__ import annotations

from ..model import Knob

_ENA_GUIDE = "AWS, ENA Linux driver best practices"
_ENA_LATENCY = f"{_ENA_GUIDE}: optimal settings for the best latency"

KNOBS: tuple[Knob, ...] = (
    Knob(
        id="coalesce_adaptive_rx",
        group="nic",
        means="nic",
        target="coalesce.adaptive-rx",
        value="off",
        summary="The interface does not adapt how long it holds back receive interrupts.",
        source=f"{_ENA_LATENCY}; AWS Graviton guide, optimization_recommendation",
        risk="low",
        applies_if=("interface",),
    ),
    Knob(
        id="coalesce_rx_usecs",
        group="nic",
        means="nic",
        target="coalesce.rx-usecs",
        value="0",
        summary="Receive interrupts are not held back at all. More interrupts under load.",
        source=f"{_ENA_LATENCY}. The original AMI builder has 1 µs; amzn-drivers #159, #290: not all types moderate",
        risk="low",
        applies_if=("interface",),
    ),
    Knob(
        id="coalesce_tx_usecs",
        group="nic",
        means="nic",
        target="coalesce.tx-usecs",
        value="0",
        summary="Send completions are not held back (the ENA's default is 64 µs).",
        source=_ENA_LATENCY,
        risk="low",
        applies_if=("interface",),
    ),
    Knob(
        id="gro_off",
        group="nic",
        means="nic",
        target="feature.gro",
        value="off",
        summary=(
            "Received segments are not merged, so the first of a burst does not wait for the rest of its NAPI poll. "
            "Costs CPU time for bulk streams."
        ),
        source="The original AMI builder (disables GRO); aws-samples tune_os.yaml",
        risk="medium",
        applies_if=("interface",),
    ),
    Knob(
        id="lro_off",
        group="nic",
        means="nic",
        target="feature.lro",
        value="off",
        summary="The interface does not merge received segments itself.",
        source="tuned and Red Hat low-latency guides; ENA has it off and fixed",
        risk="low",
        applies_if=("interface",),
    ),
    Knob(
        id="rps_off",
        group="nic",
        means="nic",
        target="rps",
        value="0",
        summary="The vCPU that takes the interrupt also works off the packet: no hop to another one.",
        source="AWS Graviton guide, optimization_recommendation (RPS 0)",
        risk="low",
        applies_if=("interface",),
    ),
    Knob(
        id="tso_off",
        group="nic",
        means="nic",
        target="feature.tso",
        value="off",
        summary="The kernel cuts large sends, not the interface. Orders fit one segment: nothing to gain.",
        source="The original AMI builder (disables TSO); no gain measured, and most ENA have none (amzn-drivers #29)",
        risk="medium",
        enabled=False,
        applies_if=("interface",),
    ),
    Knob(
        id="gso_off",
        group="nic",
        means="nic",
        target="feature.gso",
        value="off",
        summary="Large sends are cut early. Orders fit one segment: nothing to gain, and bulk sends cost more.",
        source="The original AMI builder (disables GSO); no measurement shows a gain",
        risk="medium",
        enabled=False,
        applies_if=("interface",),
    ),
    Knob(
        id="ring_rx",
        group="nic",
        means="nic",
        target="ring.rx",
        value="max",
        summary=(
            "The largest receive ring: rides out moments in which no vCPU takes packets, at the price of cache misses. "
            "Only for machines whose rx_drops grow. Changing it interrupts traffic for a moment."
        ),
        source=f"{_ENA_GUIDE}: CPU starvation. aws-samples sets 4,096 together with an impossible send ring",
        risk="medium",
        enabled=False,
        applies_if=("interface",),
    ),
    Knob(
        id="ring_tx",
        group="nic",
        means="nic",
        target="ring.tx",
        value="max",
        summary="The largest send ring (1,024 on ENA, its default). Changing it interrupts traffic for a moment.",
        source=f"{_ENA_GUIDE}: 256 to 1,024",
        risk="medium",
        enabled=False,
        applies_if=("interface",),
    ),
    Knob(
        id="channels_combined",
        group="nic",
        means="nic",
        target="channels.combined",
        value="{housekeeping_count}",
        summary=(
            "As many queues as housekeeping vCPUs, so that none has its interrupt on an isolated one. The irq knobs "
            "move interrupts without that. Changing it interrupts traffic for a moment."
        ),
        source="tuned, profile realtime ([net] channels=combined N)",
        risk="high",
        enabled=False,
        applies_if=("interface", "isolation"),
    ),
    Knob(
        id="ntuple",
        group="nic",
        means="nic",
        target="feature.ntuple",
        value="on",
        summary="Flow steering: lets rules send a flow to a queue of choice. Does nothing without such rules.",
        source="amzn-drivers: ntuple from Nitro v5 on",
        risk="low",
        enabled=False,
        applies_if=("interface",),
    ),
    Knob(
        id="xps",
        group="nic",
        means="nic",
        target="xps",
        value="spread",
        summary="Deals the vCPUs out to the send queues. Drivers such as ENA do that themselves.",
        source="The original AMI builder (configures XPS); Linux, Documentation/networking/scaling",
        risk="low",
        enabled=False,
        applies_if=("interface", "several_cpus"),
    ),
    Knob(
        id="napi_defer_hard_irqs",
        group="nic",
        means="nic",
        target="napi_defer_hard_irqs",
        value="5000",
        summary=(
            "With gro_flush_timeout: empty polls before interrupts come back. For programs that busy poll all the "
            "time; others would wait for the timeout."
        ),
        source="amzn-drivers #312, #316 (99.9 % fewer receive interrupts); Linux, Documentation/networking/napi",
        risk="high",
        enabled=False,
        applies_if=("interface",),
    ),
    Knob(
        id="gro_flush_timeout",
        group="nic",
        means="nic",
        target="gro_flush_timeout",
        value="200000",
        summary="With napi_defer_hard_irqs: ns after which the kernel polls by itself if the program does not.",
        source="amzn-drivers #312, #316; Linux, Documentation/networking/napi",
        risk="high",
        enabled=False,
        applies_if=("interface",),
    ),
)

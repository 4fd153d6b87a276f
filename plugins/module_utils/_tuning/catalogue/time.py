# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knobs of the group time: what disciplines the clock.

The references' C(local stratum 10) is not taken over: it makes chronyd pass the machine's own clock off as a good time
when it has lost all sources, which hides exactly what a trader must know.
"""

from __future__ import annotations

from ..model import Knob

_TIME_SYNC = "AWS, Amazon Time Sync Service"

KNOBS: tuple[Knob, ...] = (
    Knob(
        id="chrony_amazon_time",
        group="time",
        means="chrony",
        target="server",
        value="prefer iburst minpoll 4 maxpoll 4",
        summary="chrony asks the Amazon Time Sync Service (169.254.169.123) every 16 s, on EC2 only.",
        source=f"{_TIME_SYNC}; the original AMI builder",
        risk="low",
    ),
    Knob(
        id="chrony_phc",
        group="time",
        means="chrony",
        target="refclock",
        value="poll 0 delay 0.000010 prefer",
        summary="chrony reads the ENA's hardware clock, where the instance type and the driver show one.",
        source=f"{_TIME_SYNC}: PTP hardware clock",
        risk="low",
    ),
    Knob(
        id="chrony_hwtimestamp",
        group="time",
        means="chrony",
        target="hwtimestamp",
        value="*",
        summary="chrony uses timestamps of the interface. Switching them on interrupts an ENA's traffic for a moment.",
        source="aws-samples tune_os.yaml; ENA from 2.15.0 has receive stamps only (amzn-drivers #296, #349, #351)",
        risk="medium",
        enabled=False,
    ),
)

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knobs of the group limits: what a new login or a new service may use."""

from __future__ import annotations

from ..model import Knob

_SAMPLES = "The original AMI builder; aws-samples tune_os.yaml"

KNOBS: tuple[Knob, ...] = (
    Knob(
        id="limit_nofile",
        group="limits",
        means="limits",
        target="nofile",
        value="1048576",
        summary=(
            "Open files of a login: 1,048,576, or fs.nr_open if that is less. Services may raise themselves to it and "
            "start with 1,024, because select() breaks above."
        ),
        source=f"{_SAMPLES}; systemd, NEWS of version 240",
        risk="low",
    ),
    Knob(
        id="limit_memlock",
        group="limits",
        means="limits",
        target="memlock",
        value="unlimited",
        summary="Programs may lock all their memory, so that no page of it is ever fetched late.",
        source=_SAMPLES,
        risk="low",
    ),
    Knob(
        id="limit_rtprio",
        group="limits",
        means="limits",
        target="rtprio",
        value="99",
        summary="Programs of any user may ask for real-time priorities. A runaway one can take a vCPU for itself.",
        source=_SAMPLES,
        risk="medium",
    ),
    Knob(
        id="limit_nice",
        group="limits",
        means="limits",
        target="nice",
        value="-20",
        summary="Programs of any user may ask for the highest nice level. Real-time priorities make it superfluous.",
        source="limits.conf(5)",
        risk="medium",
        enabled=False,
    ),
    Knob(
        id="limit_core",
        group="limits",
        means="limits",
        target="core",
        value="0",
        summary="No core dumps: a crash is over at once, and cannot be looked into.",
        source="limits.conf(5)",
        risk="medium",
        enabled=False,
    ),
)

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue: every knob as data, one file per group. To change what a knob is, change it here and nowhere else."""

from __future__ import annotations

import typing as t

from ..model import GROUPS, Knob
from . import boot, cpu, disk, kernel_bypass, limits, memory, network, nic, services, time

#: Groups that are applied without being asked for by name.
DEFAULT_GROUPS = tuple(group for group in GROUPS if group != "kernel_bypass")

_FILES: dict[str, tuple[Knob, ...]] = {
    "cpu": cpu.KNOBS,
    "boot": boot.KNOBS,
    "memory": memory.KNOBS,
    "network": network.KNOBS,
    "nic": nic.KNOBS,
    "disk": disk.KNOBS,
    "time": time.KNOBS,
    "services": services.KNOBS,
    "limits": limits.KNOBS,
    "kernel_bypass": kernel_bypass.KNOBS,
}


def gather(files: t.Mapping[str, t.Sequence[Knob]]) -> dict[str, Knob]:
    """All knobs by id, in the order of the groups. Raises ValueError for one that is there twice."""
    found: dict[str, Knob] = {}
    for group, knobs in files.items():
        for knob in knobs:
            if knob.id in found:
                raise ValueError(f"the knob {knob.id} is there twice: in {found[knob.id].group} and in {group}")
            if knob.group != group:
                raise ValueError(f"the knob {knob.id} says group {knob.group} and stands in the file of {group}")
            found[knob.id] = knob
    return found


ALL: dict[str, Knob] = gather(_FILES)

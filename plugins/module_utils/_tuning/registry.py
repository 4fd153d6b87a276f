# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All means by the names that knobs use.

A run applies settings one by one, then lets each means persist what it has, then reads all again.
"""

from __future__ import annotations

from .means import Means
from .means.block import Block
from .means.chrony import Chrony
from .means.cmdline import Cmdline
from .means.irq import IrqAffinity
from .means.irqbalance import Irqbalance
from .means.limits import Limits
from .means.nic import Nic
from .means.service import Service
from .means.sysctl import Sysctl
from .means.sysfs import Sysfs

EARLY = "early"
LATE = "late"

MEANS: dict[str, Means] = {
    "sysctl": Sysctl(),
    "cmdline": Cmdline(),
    "sysfs": Sysfs(),
    "irq": IrqAffinity(),
    "nic": Nic(),
    "block": Block(),
    "service": Service(),
    "irqbalance": Irqbalance(),
    "limits": Limits(),
    "chrony": Chrony(),
}

#: Means whose settings the boot units apply at each boot, and when: before the network is up, or after. The others last
#: by their files alone.
BOOT_STAGES: dict[str, str] = {
    "sysfs": EARLY,
    "nic": EARLY,
    "irq": LATE,
}

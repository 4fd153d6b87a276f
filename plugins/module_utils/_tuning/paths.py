# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where tuning keeps its things on a machine. Every path is absolute, as on the machine (see C(Host.path))."""

from __future__ import annotations

#: What we keep: the wish and the originals (engine), and what the boots did (boot.py).
STATE = "/var/lib/lowlatency-ec2"
STORE = f"{STATE}/os_tuning.json"
BOOT_RECORD = f"{STATE}/boot.json"

#: The copy of this package that the boot units run.
LIBRARY = "/usr/local/lib/lowlatency-ec2"
PACKAGE_NAME = "lowlatency_tuning"
PACKAGE = f"{LIBRARY}/{PACKAGE_NAME}"

UNITS = "/etc/systemd/system"
EARLY_UNIT = "lowlatency-tuning.service"
LATE_UNIT = "lowlatency-tuning-late.service"

#: Drop-ins. 99-zz sorts behind what distributions, clouds and other roles put there.
SYSCTL = "/etc/sysctl.d/99-zz-lowlatency.conf"
GRUB_DROPIN = "/etc/default/grub.d/99-zz-lowlatency.cfg"
UDEV_DISK_RULES = "/etc/udev/rules.d/99-zz-lowlatency-disk.rules"
LIMITS = "/etc/security/limits.d/99-zz-lowlatency.conf"

#: The lab puts this into the namespaces that it passes off as machines.
LAB_MARK = "/etc/lowlatency-lab"

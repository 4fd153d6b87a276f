# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tuning of an operating system: what is wanted (the catalogue), how it is turned (the means), and who decides.

Private to lowlatency.ec2: its interface may change at any time.

The package uses the standard library alone and imports itself by relative names, because it also runs without Ansible:
the role copies the folder to the host, where a unit applies the same settings at every boot.
"""

from __future__ import annotations

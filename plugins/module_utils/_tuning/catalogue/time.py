# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knobs of the group time."""

from __future__ import annotations

from ..model import Knob

KNOBS: tuple[Knob, ...] = ()

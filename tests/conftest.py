# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that every test shares."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure of the code: what an example costs in time is never asserted.
settings.register_profile("lowlatency", deadline=None)
settings.load_profile("lowlatency")

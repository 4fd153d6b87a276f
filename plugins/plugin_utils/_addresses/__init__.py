# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of addresses on which the candidates of one search are probed.

Private to lowlatency.ec2: its interface may change at any time.
"""

from __future__ import annotations

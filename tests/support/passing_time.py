# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Time that passes only by sleeping: a wait of a module costs a test nothing, and a busy machine ends none early."""

from __future__ import annotations

import typing as t
from types import SimpleNamespace

import pytest
from ansible_collections.amazon.aws.plugins.module_utils import cloud
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import waiters
from support.region import Clock


def pass_by_sleeping(patch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Stop the region's clock, and let waits for EC2 and pauses between tries put it forward instead of sleeping."""
    patch.setattr(clock, "stopped", True)
    defaults = t.cast("dict[str, t.Any]", waiters.wait_until.__kwdefaults__)
    patch.setitem(defaults, "clock", clock)
    patch.setitem(defaults, "sleep", clock.advance)
    patch.setattr(cloud, "time", SimpleNamespace(sleep=clock.advance))

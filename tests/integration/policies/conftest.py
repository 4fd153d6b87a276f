# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab whose every playbook has a key of its own."""

from __future__ import annotations

import pytest
from held_keys import HeldKeys
from support.shared_lab import SharedLab


@pytest.fixture(scope="module")
def keys(lab_of_worker: SharedLab, tmp_path_factory: pytest.TempPathFactory) -> HeldKeys:
    """A lab in which nothing was set up yet."""
    return HeldKeys(lab_of_worker.as_new(tmp_path_factory.mktemp("policies"), network=False, probe_samples=200))

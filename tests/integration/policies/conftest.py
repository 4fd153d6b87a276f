# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab whose every playbook has a key of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from held_keys import HeldKeys
from support.lab import Lab, free_index


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeldKeys]:
    """A lab that is up, in which nothing was set up yet."""
    with free_index() as index:
        lab = Lab(index, tmp_path_factory.mktemp("policies"), {"lab_seed": 4, "probe_samples": 200})
        try:
            lab.play("lab")
            yield HeldKeys(lab)
        finally:
            lab.play("lab", lab_state="absent")

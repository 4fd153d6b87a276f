# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab that tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.shared_lab import SharedLab, shared_lab


@pytest.fixture(scope="session")
def lab_of_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedLab]:
    """One lab for all files of this worker; each puts it back first: ``lab_of_worker.as_new(folder)``."""
    if os.geteuid() != 0:
        pytest.skip("a lab needs root on Linux")
    with shared_lab(tmp_path_factory.mktemp("shared-lab")) as shared:
        yield shared

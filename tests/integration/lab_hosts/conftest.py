# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of these tests' own, driven by its command, and its instances over ssh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.lab_index import free_index
from support.lab_under_test import Instance, LabUnderTest

#: How long instances of the lab that is up take to boot, where that is asked for.
BOOT_S = 2.0


@contextmanager
def lab_up(folder: Path, **options: Any) -> Iterator[LabUnderTest]:
    """A lab at a free index, up as long as the context lasts."""
    with free_index() as index:
        lab = LabUnderTest(folder, index)
        try:
            lab.up(**options)
            yield lab
        finally:
            lab.command("down")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """A lab that is up."""
    with lab_up(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def slow_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """A lab that is up, and stays so, whose instances boot slowly."""
    with lab_up(tmp_path_factory.mktemp("slow-lab"), boot_s=BOOT_S) as lab:
        yield lab


@pytest.fixture(scope="module")
def instance(lab: LabUnderTest) -> Instance:
    """An instance that has booted, with user data that left a file."""
    script = "#!/bin/sh\nid -u > /root/from-user-data\necho told by user data\nhostname\n"
    return lab.launch(UserData=script)


@pytest.fixture(scope="module")
def index() -> Iterator[int]:
    """A lab index for the labs that tests bring up and take down themselves, one after the other."""
    with free_index() as index:
        yield index


@pytest.fixture
def new_lab(index: int, tmp_path: Path) -> Iterator[LabUnderTest]:
    """A lab that is not up yet."""
    lab = LabUnderTest(tmp_path, index)
    yield lab
    lab.command("down")

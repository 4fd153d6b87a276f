# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of these tests' own, driven by its command, and its instances over ssh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lab import reserved
from support.lab_under_test import INDEX, Instance, LabUnderTest


@pytest.fixture(scope="package", autouse=True)
def index_of_our_own() -> Iterator[None]:
    """Another run of these tests, beside this one, has its turn later."""
    with reserved(INDEX):
        yield


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """A lab that is up."""
    lab = LabUnderTest(tmp_path_factory.mktemp("lab"))
    lab.command("down")
    try:
        lab.up()
        yield lab
    finally:
        lab.command("down")


@pytest.fixture(scope="module")
def instance(lab: LabUnderTest) -> Instance:
    """An instance that has booted, with user data that left a file."""
    script = "#!/bin/sh\nid -u > /root/from-user-data\necho told by user data\nhostname\n"
    return lab.launch(UserData=script)


@pytest.fixture
def new_lab(tmp_path: Path) -> Iterator[LabUnderTest]:
    """A lab that is not up yet."""
    lab = LabUnderTest(tmp_path)
    lab.command("down")
    yield lab
    lab.command("down")

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests here run the deployed discoverer in network namespaces. They need root on Linux."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.discoverer import play


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root on Linux"))


@pytest.fixture(scope="package")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The discoverer, written by the role."""
    folder = tmp_path_factory.mktemp("deployed")
    play(folder)
    return folder / "address-discoverer"

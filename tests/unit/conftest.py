# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.region import TestRegion, Vpc


@pytest.fixture(scope="session")
def region_server() -> Iterator[TestRegion]:
    """One API server for the session: moto's state is global and takes a second to load."""
    from support.region import TestRegion  # noqa: PLC0415  moto is slow to import and few tests need it

    region = TestRegion()
    yield region
    region.api.stop()


@pytest.fixture
def region_api(region_server: TestRegion) -> TestRegion:
    """The simulated region without hosts, as new."""
    region_server.reset()
    return region_server


@pytest.fixture
def vpc(region_api: TestRegion) -> Vpc:
    """A VPC, a subnet in ap-northeast-1a, a security group and a key pair; its calls are not counted."""
    return region_api.make_vpc()

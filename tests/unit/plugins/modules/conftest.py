# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of modules share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.candidates import Rounds
    from support.region import TestRegion, Vpc


@pytest.fixture(scope="session", autouse=True)
def quick_clients(botocore_files_read_once: None) -> None:
    """A module makes one client a run."""


@pytest.fixture(autouse=True)
def waits_take_no_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the waits of modules put the region's clock forward, wherever a test has a region."""
    if "region_api" in request.fixturenames:
        from support.passing_time import pass_by_sleeping  # noqa: PLC0415  for the few modules that need boto3

        pass_by_sleeping(monkeypatch, request.getfixturevalue("region_api").clock)


@pytest.fixture
def rounds(region_api: TestRegion, vpc: Vpc) -> Rounds:
    """Runs of candidate_instance with the options of an ordinary round."""
    from support.candidates import Rounds  # noqa: PLC0415  for the few modules that need boto3

    return Rounds(region_api, vpc)

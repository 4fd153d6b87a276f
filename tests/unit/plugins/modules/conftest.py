# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of modules share."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.candidates import Rounds
    from support.region import TestRegion, Vpc


@pytest.fixture(scope="session", autouse=True)
def botocore_files_read_once() -> Iterator[None]:
    """Let the many clients of a test session share botocore's descriptions of the services.

    A module makes one client a run; each reads 5 MB of JSON, which takes longer than all that is tested.
    """
    from botocore.loaders import JSONFileLoader  # noqa: PLC0415  few modules need boto3

    with pytest.MonkeyPatch.context() as patch:
        loader = JSONFileLoader()
        read = functools.lru_cache(maxsize=None)(loader.load_file)
        patch.setattr(JSONFileLoader, "load_file", lambda _self, file_path: read(file_path))
        yield


@pytest.fixture
def rounds(region_api: TestRegion, vpc: Vpc) -> Rounds:
    """Runs of candidate_instance with the options of an ordinary round."""
    from support.candidates import Rounds  # noqa: PLC0415  for the few modules that need boto3

    return Rounds(region_api, vpc)

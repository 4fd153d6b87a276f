# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of modules share."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest


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

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the unit tests."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.region import TestRegion, Vpc


def pytest_collection_finish() -> None:
    """Thousands of tests and all that they import stay: the garbage collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def frozen_heap() -> None:
    """For tests of what collects garbage and unfreezes what others have frozen, as the probe does: 0.7 s each time."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Nobody pulls a plug here, and there are thousands of writes; a test of what is synced puts its own in place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield


@pytest.fixture(scope="session")
def botocore_files_read_once() -> Iterator[None]:
    """Let the many clients of a test session share botocore's descriptions of the services.

    Each client reads 5 MB of JSON and looks through 400 folders, which takes longer than most that is tested.
    """
    from botocore.loaders import JSONFileLoader, Loader  # noqa: PLC0415  few tests need boto3

    read = functools.lru_cache(maxsize=None)(JSONFileLoader().load_file)
    list_services = Loader.list_available_services
    known: dict[tuple[str, ...], list[str]] = {}

    def listed(loader: Loader, type_name: str) -> list[str]:
        key = (*loader.search_paths, type_name)
        if key not in known:
            known[key] = list_services(loader, type_name)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _self, file_path: read(file_path))
        patch.setattr(Loader, "list_available_services", listed)
        yield


@pytest.fixture(scope="session")
def region_server(botocore_files_read_once: None) -> Iterator[TestRegion]:
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

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all tests of a machine that boots share. Those marked `full` run with `make test-vm-full` alone."""

from __future__ import annotations

import pytest
from support.machine import base, why_not

# A boot under emulation takes half a minute, on a busy machine several; all of them are bounded on their own too.
_TIMEOUT_S = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = why_not()
    for item in items:
        if "tests/vm/" not in str(item.path):
            continue
        item.add_marker(pytest.mark.vm)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def image() -> None:
    """Make the base image before the first test, so that no test's time holds it."""
    if why_not() is None:
        base()

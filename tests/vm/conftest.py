# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all tests of a machine that boots share. Those marked `full` run with `make test-full PART=vm` alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.machine import BOOT_TIMEOUT_S, TestMachine, base, machine, why_not

# A boot under emulation takes half a minute, on a busy machine many; this ends only what hangs.
_TIMEOUT_S = 4 * BOOT_TIMEOUT_S
_BOOTED = "booted"


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


@pytest.fixture(scope="session")
def saved_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestMachine]:
    """A machine of two vCPUs that was saved when its boot was over."""
    with machine(tmp_path_factory.mktemp("saved"), vcpus=2, root_disk="virtio") as vm:
        vm.save(_BOOTED)
        yield vm


@pytest.fixture
def fresh_vm(saved_machine: TestMachine) -> TestMachine:
    """The saved machine, put back to where its boot was over. Its disk is no NVMe, and its boot is no test's."""
    saved_machine.go_back(_BOOTED)
    return saved_machine


@pytest.fixture(scope="module")
def fresh_vm_of_module(saved_machine: TestMachine) -> Iterator[TestMachine]:
    """The same for all tests of a module, which depend on each other."""
    saved_machine.go_back(_BOOTED)
    yield saved_machine
    saved_machine.kill()

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of a machine, over a folder."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Host

DROPIN = "/etc/systemd/system/irqbalance.service.d/lowlatency.conf"


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    return Host(str(tmp_path))


def test_a_drop_in_takes_its_empty_folder_with_it(host: Host) -> None:
    host.write(DROPIN, "[Service]\n")
    assert host.remove(DROPIN)
    assert not host.exists("/etc/systemd/system/irqbalance.service.d")
    assert host.exists("/etc/systemd/system")
    assert not host.remove(DROPIN)


def test_a_folder_that_a_killed_run_left_goes_too(host: Host) -> None:
    host.write(DROPIN, "[Service]\n")
    pathlib.Path(host.path(DROPIN)).unlink()
    assert not host.remove(DROPIN)
    assert not host.exists("/etc/systemd/system/irqbalance.service.d")


def test_a_folder_with_somebody_elses_drop_in_stays(host: Host) -> None:
    host.write(DROPIN, "[Service]\n")
    other = DROPIN.replace("lowlatency", "site")
    host.write(other, "[Service]\n")
    host.remove(DROPIN)
    assert host.read(other) == "[Service]"


def test_other_folders_stay(host: Host) -> None:
    host.write("/etc/sysctl.d/99-zz-lowlatency.conf", "vm.swappiness = 1\n")
    host.remove("/etc/sysctl.d/99-zz-lowlatency.conf")
    assert host.exists("/etc/sysctl.d")

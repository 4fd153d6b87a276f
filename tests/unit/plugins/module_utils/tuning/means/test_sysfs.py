# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import pathlib

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means.sysfs import Sysfs, chosen, same
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import KnobFailed
from support.recorded import RecordedHost, recorded_facts, recorded_host, recorded_setting

FACTS = recorded_facts()
THP_FILE = "/sys/kernel/mm/transparent_hugepage/enabled"
THP = recorded_setting("sysfs", THP_FILE, "never")
GOVERNOR_FILES = "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
GOVERNOR = recorded_setting("sysfs", GOVERNOR_FILES, "performance")
WORKQUEUE_FILE = "/sys/devices/virtual/workqueue/cpumask"
FILES = {
    THP_FILE: "always [madvise] never\n",
    WORKQUEUE_FILE: "3f\n",
    "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil\n",
    "/sys/devices/system/cpu/cpufreq/policy0/scaling_available_governors": "performance schedutil\n",
    "/sys/devices/system/cpu/cpufreq/policy1/scaling_governor": "performance\n",
    "/sys/devices/system/cpu/cpufreq/policy1/scaling_available_governors": "performance schedutil\n",
}


@pytest.fixture
def host(tmp_path: pathlib.Path) -> RecordedHost:
    return recorded_host(tmp_path, FILES)


def test_a_file_of_choices_is_compared_by_its_bracketed_word(host: RecordedHost) -> None:
    means = Sysfs()
    assert dict(means.read(host, FACTS, THP).running) == {THP_FILE: "madvise"}
    means.apply(host, FACTS, THP)
    assert host.read(THP_FILE) == "always madvise [never]"
    assert means.read(host, FACTS, THP).runs
    host.forget()
    means.apply(host, FACTS, THP)
    means.persist(host, FACTS, [THP])
    assert host.writes == []


def test_each_item_is_turned_only_where_it_differs_and_goes_back_by_itself(host: RecordedHost) -> None:
    means = Sysfs()
    original = dict(means.read(host, FACTS, GOVERNOR).running)
    means.apply(host, FACTS, GOVERNOR)
    assert [path for path, _text in host.writes] == ["/sys/devices/system/cpu/cpufreq/policy0/scaling_governor"]
    assert means.read(host, FACTS, GOVERNOR).runs
    host.forget()
    means.restore(host, FACTS, GOVERNOR, {**original, "/sys/devices/system/cpu/cpufreq/policy9/scaling_governor": "x"})
    assert dict(means.read(host, FACTS, GOVERNOR).running) == original
    assert len(host.writes) == 1


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        (recorded_setting("sysfs", THP_FILE, "sometimes"), "takes always, madvise, never here, not sometimes"),
        (recorded_setting("sysfs", GOVERNOR_FILES, "powersave"), "takes performance, schedutil here, not powersave"),
        (recorded_setting("sysfs", "/sys/kernel/mm/ksm/run", "0"), "built without KSM"),
        (
            recorded_setting("sysfs", "/sys/devices/system/cpu/intel_pstate/min_perf_pct", "100"),
            "keeps frequencies to itself",
        ),
        (recorded_setting("sysfs", "/sys/strange", "1"), "this machine has no /sys/strange"),
    ],
)
def test_what_the_machine_does_not_have_or_take_is_unsupported(
    host: RecordedHost, setting: object, reason: str
) -> None:
    reading = Sysfs().read(host, FACTS, setting)  # type: ignore[arg-type]
    assert reason in reading.unsupported
    assert not reading.wanted


def test_a_file_that_is_only_written_is_unsupported(host: RecordedHost) -> None:
    os.makedirs(host.path("/sys/kernel/mm/compact"))
    reading = Sysfs().read(host, FACTS, recorded_setting("sysfs", "/sys/kernel/mm/compact", "1"))
    assert reading.unsupported == "/sys/kernel/mm/compact cannot be read"


def test_masks_are_compared_as_sets(host: RecordedHost) -> None:
    means = Sysfs()
    host.kernel[WORKQUEUE_FILE] = lambda text: "00000000,00000003\n"
    setting = recorded_setting("sysfs", WORKQUEUE_FILE, "3")
    assert not means.read(host, FACTS, setting).runs
    means.apply(host, FACTS, setting)
    assert means.read(host, FACTS, setting).runs
    host.forget()
    means.apply(host, FACTS, setting)
    assert host.writes == []


def test_a_value_that_the_kernel_rounds_fails(host: RecordedHost) -> None:
    host.kernel[WORKQUEUE_FILE] = lambda text: "1\n"
    with pytest.raises(KnobFailed, match="keeps '1' instead of '3'"):
        Sysfs().apply(host, FACTS, recorded_setting("sysfs", WORKQUEUE_FILE, "3"))


def test_one_item_that_fails_does_not_stop_the_others(host: RecordedHost) -> None:
    host.add({"/sys/devices/system/cpu/cpufreq/policy2/scaling_governor": "schedutil\n"})
    host.refuse("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", errno.EBUSY)
    with pytest.raises(KnobFailed, match=f"policy0.*{os.strerror(errno.EBUSY)}"):
        Sysfs().apply(host, FACTS, GOVERNOR)
    assert host.read("/sys/devices/system/cpu/cpufreq/policy2/scaling_governor") == "performance"


@pytest.mark.parametrize(
    ("path", "left", "right", "wanted"),
    [
        ("/sys/devices/virtual/workqueue/cpumask", "ff,ffffff00", "000000ff,ffffff00", True),
        ("/sys/devices/virtual/workqueue/cpumask", "3", "7", False),
        ("/sys/class/net/ens5/queues/rx-0/rps_cpus", "0", "00000000", True),
        ("/sys/devices/system/node/node0/cpulist", "0,1,2", "0-2", True),
        ("/sys/devices/system/node/node0/cpulist", "rubbish", "0-2", False),
        ("/sys/module/nvme/parameters/use_threaded_interrupts", "Y", "1", True),
        ("/sys/module/nvme/parameters/use_threaded_interrupts", "N", "1", False),
        ("/sys/kernel/mm/ksm/run", "00", "0", False),
    ],
)
def test_same(path: str, left: str, right: str, wanted: bool) -> None:
    assert same(path, left, right) is wanted
    assert same(path, right, left) is wanted


def test_chosen() -> None:
    assert chosen("always defer defer+madvise [madvise] never\n") == "madvise"
    assert chosen("4096\t1 2\n") == "4096 1 2"

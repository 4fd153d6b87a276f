# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import pathlib

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means.sysctl import Sysctl, file_of
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import KnobFailed
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.paths import SYSCTL
from support.recorded import Link, RecordedHost, recorded_facts, recorded_host, recorded_setting

FACTS = recorded_facts()
SWAPPINESS = recorded_setting("sysctl", "vm.swappiness", "1")
#: As Debian 12 has it: procps' link, and the files of systemd and of the kernel's hardening.
FILES = {
    "/proc/sys/vm/swappiness": "60\n",
    "/proc/sys/vm/nr_hugepages": "0\n",
    "/proc/sys/vm/dirty_ratio": "20\n",
    "/proc/sys/vm/dirty_bytes": "0\n",
    "/proc/sys/net/ipv4/tcp_rmem": "4096\t131072\t6291456\n",
    "/etc/sysctl.conf": "# System wide settings\n#net.ipv4.ip_forward=1\n",
    "/etc/sysctl.d/99-sysctl.conf": Link("../sysctl.conf"),
    "/usr/lib/sysctl.d/50-default.conf": "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n",
    "/usr/lib/sysctl.d/50-pid-max.conf": "kernel.pid_max = 4194304\n",
}


@pytest.fixture
def host(tmp_path: pathlib.Path) -> RecordedHost:
    return recorded_host(tmp_path, FILES)


def test_apply_persist_and_again(host: RecordedHost) -> None:
    means = Sysctl()
    before = means.read(host, FACTS, SWAPPINESS)
    assert (before.running, before.wanted, before.persisted) == ({"vm.swappiness": "60"}, {"vm.swappiness": "1"}, False)

    means.apply(host, FACTS, SWAPPINESS)
    means.persist(host, FACTS, [SWAPPINESS])
    after = means.read(host, FACTS, SWAPPINESS)
    assert after.runs and after.persisted and after.note == ""
    assert "vm.swappiness = 1" in (host.read(SYSCTL) or "").splitlines()

    host.forget()
    means.apply(host, FACTS, SWAPPINESS)
    means.persist(host, FACTS, [SWAPPINESS])
    assert host.writes == []


def test_values_are_compared_without_their_blanks(host: RecordedHost) -> None:
    means = Sysctl()
    stock = recorded_setting("sysctl", "net.ipv4.tcp_rmem", "4096 131072  6291456")
    assert means.read(host, FACTS, stock).runs
    means.apply(host, FACTS, stock)
    assert host.writes == []


def test_none_left_removes_the_file(host: RecordedHost) -> None:
    means = Sysctl()
    means.persist(host, FACTS, [SWAPPINESS])
    means.persist(host, FACTS, [])
    assert not host.exists(SYSCTL)
    assert host.removed == [SYSCTL]
    host.forget()
    means.persist(host, FACTS, [])
    assert host.removed == []


@pytest.mark.parametrize(
    ("path", "text", "overrides"),
    [
        ("/etc/sysctl.d/99-zzz-site.conf", "vm.swappiness = 30\n", True),
        ("/usr/lib/sysctl.d/99-zzz-site.conf", "vm/swappiness=30\n", True),
        ("/run/sysctl.d/zz.conf", "-vm.swappiness = 30\n", True),
        ("/etc/sysctl.d/99-zzz-site.conf", "vm.swappiness=1\n", False),
        ("/etc/sysctl.d/99-zzz-site.conf", "vm.*=30\n", False),
        ("/etc/sysctl.d/99-zzz-site.conf", "# vm.swappiness=30\n; vm.swappiness=30\n", False),
        ("/etc/sysctl.d/98-site.conf", "vm.swappiness=30\n", False),
    ],
)
def test_a_later_file_that_sets_it_differently_is_named(
    host: RecordedHost, path: str, text: str, overrides: bool
) -> None:
    means = Sysctl()
    means.persist(host, FACTS, [SWAPPINESS])
    host.add({path: text})
    reading = means.read(host, FACTS, SWAPPINESS)
    assert reading.persisted is not overrides
    assert (path in reading.note) is overrides


def test_a_masked_file_overrides_nothing(host: RecordedHost) -> None:
    means = Sysctl()
    means.persist(host, FACTS, [SWAPPINESS])
    host.add({"/usr/lib/sysctl.d/zz.conf": "vm.swappiness = 30\n", "/etc/sysctl.d/zz.conf": "vm.swappiness = 1\n"})
    assert means.read(host, FACTS, SWAPPINESS).persisted


def test_the_main_file_is_only_noted(host: RecordedHost) -> None:
    """systemd-sysctl reads it by procps' link in front of ours; sysctl --system by hand reads it last."""
    means = Sysctl()
    host.add({"/etc/sysctl.conf": "vm.swappiness=60\n"})
    means.persist(host, FACTS, [SWAPPINESS])
    reading = means.read(host, FACTS, SWAPPINESS)
    assert reading.persisted
    assert "/etc/sysctl.conf" in reading.note


@pytest.mark.parametrize(
    ("name", "part"),
    [("kernel.sched_min_granularity_ns", "5.13"), ("net.ipv4.tcp_low_latency", "4.14"), ("vm.no_such", "6.1.0")],
)
def test_a_name_that_the_kernel_lacks_is_unsupported(host: RecordedHost, name: str, part: str) -> None:
    reading = Sysctl().read(host, FACTS, recorded_setting("sysctl", name, "1"))
    assert name in reading.unsupported
    assert part in reading.unsupported


def test_a_value_out_of_range_fails_with_the_kernels_reason(host: RecordedHost) -> None:
    host.refuse("/proc/sys/vm/swappiness", errno.EINVAL)
    with pytest.raises(KnobFailed, match=os.strerror(errno.EINVAL)):
        Sysctl().apply(host, FACTS, recorded_setting("sysctl", "vm.swappiness", "1000"))


def test_huge_pages_that_the_kernel_could_not_give_are_counted(host: RecordedHost) -> None:
    host.kernel["/proc/sys/vm/nr_hugepages"] = lambda text: "12\n"
    with pytest.raises(KnobFailed, match="gave 12 of 64"):
        Sysctl().apply(host, FACTS, recorded_setting("sysctl", "vm.nr_hugepages", "64"))


def test_a_value_that_the_kernel_keeps_fails(host: RecordedHost) -> None:
    host.kernel["/proc/sys/vm/swappiness"] = lambda text: "60\n"
    with pytest.raises(KnobFailed, match="keeps 60 instead of 1"):
        Sysctl().apply(host, FACTS, SWAPPINESS)


def test_restore_writes_only_what_differs_and_leaves_out_what_is_gone(host: RecordedHost) -> None:
    means = Sysctl()
    means.apply(host, FACTS, SWAPPINESS)
    means.restore(host, FACTS, SWAPPINESS, {"vm.swappiness": "60", "vm.gone": "1"})
    assert host.read("/proc/sys/vm/swappiness") == "60"
    host.forget()
    means.restore(host, FACTS, SWAPPINESS, {"vm.swappiness": "60"})
    assert host.writes == []


def test_dirty_bytes_go_back_to_the_ratio(host: RecordedHost) -> None:
    """The kernel refuses a 0 in dirty_bytes, and sets it itself when the ratio is written."""
    means, dirty_bytes = Sysctl(), recorded_setting("sysctl", "vm.dirty_bytes", "268435456")

    def kernel_bytes(text: str) -> str:
        if int(text) == 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        pathlib.Path(host.path("/proc/sys/vm/dirty_ratio")).write_text("0\n")
        return text

    def kernel_ratio(text: str) -> str:
        pathlib.Path(host.path("/proc/sys/vm/dirty_bytes")).write_text("0\n")
        return text

    host.kernel = {"/proc/sys/vm/dirty_bytes": kernel_bytes, "/proc/sys/vm/dirty_ratio": kernel_ratio}
    original = dict(means.read(host, FACTS, dirty_bytes).running)
    means.apply(host, FACTS, dirty_bytes)
    assert means.read(host, FACTS, dirty_bytes).runs
    means.restore(host, FACTS, dirty_bytes, original)
    assert (
        dict(means.read(host, FACTS, dirty_bytes).running)
        == original
        == {"vm.dirty_bytes": "0", "vm.dirty_ratio": "20"}
    )


def test_names_with_a_device() -> None:
    assert file_of("net/ipv4/conf/eth0.100/rp_filter") == "/proc/sys/net/ipv4/conf/eth0.100/rp_filter"
    assert file_of("net.ipv4.tcp_rmem") == "/proc/sys/net/ipv4/tcp_rmem"


def test_a_watchdog_comes_back_whatever_was_read_while_it_was_off(tmp_path: pathlib.Path) -> None:
    """As kernel/watchdog.c has it: a look writes what runs into the wish, and a detector runs where both are wished."""
    names = ("kernel.watchdog", "kernel.soft_watchdog")
    host = recorded_host(tmp_path, {file_of(name): "1\n" for name in names})
    wish = dict.fromkeys(names, True)

    class Looked(type(host)):  # type: ignore[misc]
        def read(self, path: str) -> str | None:
            for name in names:
                if path == file_of(name):
                    wish[name] = all(wish.values())
                    return str(int(wish[name]))
            return super().read(path)

        def poke(self, path: str, text: str) -> None:
            super().poke(path, text)
            wish.update({name: text.strip() == "1" for name in names if path == file_of(name)})

    host.__class__ = Looked
    means, watchdog = Sysctl(), recorded_setting("sysctl", "kernel.watchdog", "0")
    original = dict(means.read(host, FACTS, watchdog).running)
    assert original == dict.fromkeys(names, "1")
    means.apply(host, FACTS, watchdog)
    assert [host.read(file_of(name)) for name in names] == ["0", "0"]  # the look that makes it forget
    for order in (names, names[::-1]):
        means.restore(host, FACTS, watchdog, {name: original[name] for name in order})
        assert [host.read(file_of(name)) for name in names] == ["1", "1"]

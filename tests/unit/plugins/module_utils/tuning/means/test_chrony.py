# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The means chrony on recorded EC2 instances: Debian 12, Amazon Linux 2023 and RHEL 9."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, Facts, Topology
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means.chrony import Chrony
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import Knob, KnobFailed, Setting
from support.recorded import RecordedHost, recorded_host

CHRONY = Chrony()
FACTS = Facts(
    family="graviton",
    arch="aarch64",
    distribution="debian",
    version="12",
    kernel="6.1.0-38-cloud-arm64",
    kernel_config={},
    topology=Topology((Cpu(0, 0, 0),)),
    memory_kib=1024 * 1024,
)
#: /usr/share/chrony/chrony.conf of Debian's chrony 4.3-2+deb12u3, without its comments.
_DEBIAN = (
    "confdir /etc/chrony/conf.d\npool 2.debian.pool.ntp.org iburst\nsourcedir /run/chrony-dhcp\n"
    "sourcedir /etc/chrony/sources.d\nkeyfile /etc/chrony/chrony.keys\ndriftfile /var/lib/chrony/chrony.drift\n"
    "ntsdumpdir /var/lib/chrony\nlogdir /var/log/chrony\nmaxupdateskew 100.0\nrtcsync\nmakestep 1 3\n"
    "leapsectz right/UTC\n"
)
#: The part of Amazon Linux 2023's file that names folders: they are for sources alone, so it includes none for us.
_AMAZON = (
    "sourcedir /run/chrony.d\nsourcedir /etc/chrony.d\npool 2.amazon.pool.ntp.org iburst\n"
    "driftfile /var/lib/chrony/drift\n"
)
_RHEL = (
    "pool 2.rhel.pool.ntp.org iburst\nsourcedir /run/chrony-dhcp\ndriftfile /var/lib/chrony/drift\n"
    "makestep 1.0 3\nrtcsync\n"
)

_EC2 = {"/sys/class/dmi/id/sys_vendor": "Amazon EC2\n"}
_CLOCK = {"/sys/class/ptp/ptp0/clock_name": "ena-ptp-05\n"}
_DEBIAN_FILE = "/etc/chrony/conf.d/99-zz-lowlatency.conf"
_OTHER_FILE = "/etc/chrony-lowlatency.conf"


class Chronyd:
    """chronyd: a restart makes it read its files; chronyc prints a line for each source, as chrony 4.3 does with -c."""

    def __init__(self, main: str, ours: str) -> None:
        self.main, self.ours = main, ours
        self.host: RecordedHost | None = None
        self.restarts: list[str] = []
        self.lines: list[str] = []

    def systemctl(self, command: Sequence[str]) -> Done:
        assert self.host is not None
        self.restarts.append(command[-1])
        included = f"include {self.ours}" in (self.host.read(self.main) or "") or self.main.startswith("/etc/chrony/")
        self.lines = (self.host.read(self.ours) or "").splitlines() if included else []
        return Done(0, "", "")

    def chronyc(self, command: Sequence[str]) -> Done:
        assert tuple(command) == ("chronyc", "-n", "-c", "sources")
        shown = ["^,-,192.0.2.10,2,6,377,20,0.000100,0.000100,0.010"]
        for line in self.lines:
            words = line.split()
            if words[0] == "server":
                shown.append(f"^,*,{words[1]},3,4,377,3,-0.000001,-0.000001,0.000200")
            if words[0] == "refclock":
                shown.append("#,*,PHC0,0,0,377,1,0.000000002,0.000000001,0.000005031")
        return Done(0, "\n".join(shown) + "\n", "")


def setting(target: str, value: str) -> Setting:
    return Setting(Knob("a_knob", "time", "chrony", target, value, "", ""), value)


def machine(
    folder: pathlib.Path, text: str = _DEBIAN, files: dict[str, str] | None = None
) -> tuple[RecordedHost, Chronyd]:
    debian = text == _DEBIAN
    main = "/etc/chrony/chrony.conf" if debian else "/etc/chrony.conf"
    chronyd = Chronyd(main, _DEBIAN_FILE if debian else _OTHER_FILE)
    host = recorded_host(
        folder,
        {main: text, **(_EC2 if files is None else files)},
        {"systemctl try-restart": chronyd.systemctl, "chronyc": chronyd.chronyc},
    )
    chronyd.host = host
    return host, chronyd


SERVER = setting("server", "prefer iburst minpoll 4 maxpoll 4")
PHC = setting("refclock", "poll 0 delay 0.000010 prefer")
STAMPS = setting("hwtimestamp", "*")


@pytest.mark.parametrize(
    ("text", "path", "unit"),
    [
        (_DEBIAN, _DEBIAN_FILE, "chrony.service"),
        (_AMAZON, _OTHER_FILE, "chronyd.service"),
        (_RHEL, _OTHER_FILE, "chronyd.service"),
    ],
)
def test_the_source_is_taken_by_the_running_chronyd_and_given_up_again(
    tmp_path: pathlib.Path, text: str, path: str, unit: str
) -> None:
    host, chronyd = machine(tmp_path, text)
    main = chronyd.main
    before = CHRONY.read(host, FACTS, SERVER)
    assert (before.unsupported, before.runs, before.persisted) == ("", False, False)
    CHRONY.apply(host, FACTS, SERVER)
    CHRONY.persist(host, FACTS, [SERVER])
    assert (host.read(path) or "").splitlines()[1:] == ["server 169.254.169.123 prefer iburst minpoll 4 maxpoll 4"]
    assert chronyd.restarts == [unit]
    now = CHRONY.read(host, FACTS, SERVER)
    assert (now.runs, now.persisted) == (True, True)
    host.forget()
    CHRONY.persist(host, FACTS, [SERVER])
    assert (host.writes, chronyd.restarts) == ([], [unit])
    CHRONY.restore(host, FACTS, SERVER, before.running)
    CHRONY.persist(host, FACTS, [])
    assert host.read(main) == text.rstrip("\n")
    assert not host.exists(path)
    assert chronyd.restarts == [unit, unit]
    assert CHRONY.read(host, FACTS, SERVER).running == before.running


def test_the_distributions_own_lines_stay(tmp_path: pathlib.Path) -> None:
    host, _chronyd = machine(tmp_path, _RHEL)
    CHRONY.persist(host, FACTS, [SERVER])
    assert (host.read("/etc/chrony.conf") or "").startswith(_RHEL)
    other, _chronyd = machine(tmp_path / "debian", _DEBIAN)
    CHRONY.persist(other, FACTS, [SERVER])
    assert other.read("/etc/chrony/chrony.conf") == _DEBIAN.rstrip("\n")


def test_the_enas_clock_is_used_where_there_is_one(tmp_path: pathlib.Path) -> None:
    host, _chronyd = machine(tmp_path, files={**_EC2, **_CLOCK})
    CHRONY.persist(host, FACTS, [SERVER, PHC])
    assert (host.read(_DEBIAN_FILE) or "").splitlines()[2] == "refclock PHC /dev/ptp0 poll 0 delay 0.000010 prefer"
    reading = CHRONY.read(host, FACTS, PHC)
    assert (reading.runs, reading.persisted) == (True, True)


def test_the_link_of_awss_rule_is_preferred_to_a_number(tmp_path: pathlib.Path) -> None:
    host, _chronyd = machine(tmp_path, files={**_EC2, **_CLOCK, "/dev/ptp_ena": ""})
    CHRONY.persist(host, FACTS, [PHC])
    assert "refclock PHC /dev/ptp_ena poll 0 delay 0.000010 prefer" in (host.read(_DEBIAN_FILE) or "")


@pytest.mark.parametrize("clocks", [{}, {"/sys/class/ptp/ptp0/clock_name": "KVM virtual PTP\n"}])
def test_without_the_enas_clock_there_is_no_reference_clock(tmp_path: pathlib.Path, clocks: dict[str, str]) -> None:
    host, _chronyd = machine(tmp_path, files={**_EC2, **clocks})
    assert "no hardware clock" in CHRONY.read(host, FACTS, PHC).unsupported
    CHRONY.persist(host, FACTS, [SERVER, PHC])
    assert "refclock" not in (host.read(_DEBIAN_FILE) or "")


def test_stamps_of_the_interface_stand_in_the_file(tmp_path: pathlib.Path) -> None:
    host, _chronyd = machine(tmp_path)
    assert not CHRONY.read(host, FACTS, STAMPS).runs
    CHRONY.persist(host, FACTS, [STAMPS])
    reading = CHRONY.read(host, FACTS, STAMPS)
    assert (reading.runs, reading.persisted) == (True, True)


@pytest.mark.parametrize("files", [{}, {"/sys/class/dmi/id/sys_vendor": "QEMU\n"}])
def test_away_from_ec2_nothing_points_to_its_time_service(tmp_path: pathlib.Path, files: dict[str, str]) -> None:
    host, _chronyd = machine(tmp_path, files=files)
    assert "no EC2 instance" in CHRONY.read(host, FACTS, SERVER).unsupported
    CHRONY.persist(host, FACTS, [SERVER])
    assert host.writes == []


def test_an_instance_on_xen_is_one_too(tmp_path: pathlib.Path) -> None:
    files = {"/sys/class/dmi/id/sys_vendor": "Xen\n", "/sys/hypervisor/uuid": "ec2a1b2c-0000-0000-0000-000000000000\n"}
    host, _chronyd = machine(tmp_path, files=files)
    assert CHRONY.read(host, FACTS, SERVER).unsupported == ""


def test_without_chrony_it_is_unsupported(tmp_path: pathlib.Path) -> None:
    host = recorded_host(tmp_path, _EC2)
    assert CHRONY.read(host, FACTS, SERVER).unsupported == "chrony is not installed"
    CHRONY.persist(host, FACTS, [SERVER])
    assert host.writes == []


def test_a_chronyd_that_does_not_run_has_no_source(tmp_path: pathlib.Path) -> None:
    host, _chronyd = machine(tmp_path)
    CHRONY.persist(host, FACTS, [SERVER])
    host.commands["chronyc"] = Done(1, "506 Cannot talk to daemon\n", "")
    reading = CHRONY.read(host, FACTS, SERVER)
    assert (reading.runs, reading.persisted) == (False, True)


def test_a_chronyd_that_does_not_start_fails_the_knob(tmp_path: pathlib.Path) -> None:
    host, _chronyd = machine(tmp_path)
    host.commands["systemctl try-restart"] = Done(1, "", "Job for chrony.service failed.")
    with pytest.raises(KnobFailed, match="failed"):
        CHRONY.persist(host, FACTS, [SERVER])


def test_a_target_that_there_is_none_of_fails_the_knob(tmp_path: pathlib.Path) -> None:
    host, _chronyd = machine(tmp_path)
    with pytest.raises(KnobFailed, match="not 'pool'"):
        CHRONY.read(host, FACTS, setting("pool", "x"))

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The means limits on a recorded Debian 12: what pam_limits and systemd make of our files."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, Facts, Topology
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means.limits import MANAGERS, Limits
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import Knob, KnobFailed, Setting
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.paths import LIMITS
from support.recorded import RecordedHost, recorded_host

MEANS = Limits()
FACTS = Facts(
    family="amd",
    arch="x86_64",
    distribution="debian",
    version="12",
    kernel="6.1.0-38-cloud-amd64",
    kernel_config={},
    topology=Topology((Cpu(0, 0, 0),)),
    memory_kib=1024 * 1024,
)
_ROWS = {
    "nofile": "Max open files",
    "memlock": "Max locked memory",
    "rtprio": "Max realtime priority",
    "nice": "Max nice priority",
    "core": "Max core file size",
}
_STOCK = {
    "nofile": ("1024", "1048576"),
    "memlock": ("8388608", "8388608"),
    "rtprio": ("0", "0"),
    "nice": ("0", "0"),
    "core": ("0", "unlimited"),
}
_IN_BYTES = ("memlock", "core")


class Machine:
    """runuser opens a session as pam_limits would by the file as it is; systemctl shows what the manager last read."""

    def __init__(self, folder: pathlib.Path, nr_open: str = "1048576") -> None:
        self.host: RecordedHost = recorded_host(
            folder, {"/proc/sys/fs/nr_open": f"{nr_open}\n"}, {"runuser": self._login, "systemctl": self._systemctl}
        )
        self.manager = {name: ":".join(pair) for name, pair in _STOCK.items()}
        self.reloads = 0

    def _login(self, command: Sequence[str]) -> Done:
        limits = {name: list(pair) for name, pair in _STOCK.items()}
        for line in (self.host.read(LIMITS) or "").splitlines():
            subject, word, name, value = line.split() if not line.startswith("#") else ("", "", "", "")
            if subject == "*":
                kernel = value if value == "unlimited" else str(int(value) * (1024 if name in _IN_BYTES else 1))
                limits[name][word == "hard"] = str(20 - int(value)) if name == "nice" else kernel
        rows = [f"{'Limit':<25} {'Soft Limit':<20} {'Hard Limit':<20} Units"]
        rows += [f"{_ROWS[name]:<25} {soft:<20} {hard:<20} files" for name, (soft, hard) in limits.items()]
        return Done(0, "\n".join(rows) + "\n", "")

    def _systemctl(self, command: Sequence[str]) -> Done:
        if command[1] == "daemon-reload":
            self.reloads += 1
            self.manager = {name: ":".join(pair) for name, pair in _STOCK.items()}
            for line in (self.host.read(MANAGERS[0]) or "").splitlines():
                name, equals, value = line.partition("=")
                if equals:
                    pair = value if ":" in value else f"{value}:{value}"
                    self.manager[name[len("DefaultLimit") :].lower()] = pair
            return Done(0, "", "")
        shown = []
        for name, pair in self.manager.items():
            soft, hard = pair.replace("unlimited", "infinity").split(":")
            shown += [f"DefaultLimit{name.upper()}={hard}", f"DefaultLimit{name.upper()}Soft={soft}"]
        return Done(0, "\n".join(shown) + "\n", "")


def setting(target: str, value: str) -> Setting:
    return Setting(Knob(f"limit_{target}", "limits", "limits", target, value, "", ""), value)


@pytest.mark.parametrize(
    ("target", "value", "login", "services"),
    [
        ("nofile", "1048576", "1048576:1048576", "1024:1048576"),
        ("nofile", "65536:1048576", "65536:1048576", "65536:1048576"),
        ("nofile", "512", "512:512", "512:512"),
        ("memlock", "unlimited", "unlimited:unlimited", "unlimited:unlimited"),
        ("memlock", "65536", "67108864:67108864", "67108864:67108864"),
        ("rtprio", "99", "99:99", "99:99"),
        ("nice", "-20", "40:40", "40:40"),
        ("core", "0", "0:0", "0:0"),
    ],
)
def test_a_new_login_and_new_services_get_it_and_lose_it_again(
    tmp_path: pathlib.Path, target: str, value: str, login: str, services: str
) -> None:
    machine = Machine(tmp_path)
    host, wanted = machine.host, setting(target, value)
    before = MEANS.read(host, FACTS, wanted)
    assert (before.runs, before.persisted, before.note) == (False, False, "")
    MEANS.apply(host, FACTS, wanted)
    MEANS.persist(host, FACTS, [wanted])
    now = MEANS.read(host, FACTS, wanted)
    assert dict(now.wanted) == {"login": login, "services": services}
    assert (now.runs, now.persisted) == (True, True)
    host.forget()
    MEANS.persist(host, FACTS, [wanted])
    assert (host.writes, machine.reloads) == ([], 1)
    MEANS.restore(host, FACTS, wanted, before.running)
    MEANS.persist(host, FACTS, [])
    assert MEANS.read(host, FACTS, wanted).running == before.running
    assert host.removed == [LIMITS, *MANAGERS]


def test_all_limits_stand_together_and_root_is_named(tmp_path: pathlib.Path) -> None:
    host = Machine(tmp_path).host
    settings = [setting("nofile", "1048576"), setting("memlock", "unlimited"), setting("rtprio", "99")]
    MEANS.persist(host, FACTS, settings)
    assert (host.read(LIMITS) or "").splitlines()[5:9] == [
        "* soft nofile 1048576",
        "* hard nofile 1048576",
        "root soft nofile 1048576",
        "root hard nofile 1048576",
    ]
    for path in MANAGERS:
        assert (host.read(path) or "").splitlines()[1:] == [
            "[Manager]",
            "DefaultLimitMEMLOCK=infinity:infinity",
            "DefaultLimitNOFILE=1024:1048576",
            "DefaultLimitRTPRIO=99:99",
        ]
    host.forget()
    MEANS.persist(host, FACTS, settings[::-1])
    assert host.writes == []


def test_more_open_files_than_the_kernel_allows_would_lock_everyone_out(tmp_path: pathlib.Path) -> None:
    host = Machine(tmp_path, nr_open="524288").host
    for value in ("1048576", "unlimited"):
        reading = MEANS.read(host, FACTS, setting("nofile", value))
        assert reading.wanted["login"] == "524288:524288"
        assert reading.note == "lowered to fs.nr_open (524288)"
    MEANS.persist(host, FACTS, [setting("nofile", "1048576")])
    assert "* hard nofile 524288" in (host.read(LIMITS) or "").splitlines()


def test_another_file_that_wins_at_login_shows(tmp_path: pathlib.Path) -> None:
    machine = Machine(tmp_path)
    MEANS.persist(machine.host, FACTS, [setting("rtprio", "99")])
    machine.host.commands["runuser"] = Done(0, f"{_ROWS['rtprio']:<25} 10                   10\n", "")
    reading = MEANS.read(machine.host, FACTS, setting("rtprio", "99"))
    assert (reading.runs, reading.persisted) == (False, True)


@pytest.mark.parametrize("path", [LIMITS, *MANAGERS])
def test_a_file_that_is_gone_no_longer_keeps_it(tmp_path: pathlib.Path, path: str) -> None:
    host = Machine(tmp_path).host
    MEANS.persist(host, FACTS, [setting("rtprio", "99")])
    assert MEANS.read(host, FACTS, setting("rtprio", "99")).persisted
    host.remove(path)
    assert not MEANS.read(host, FACTS, setting("rtprio", "99")).persisted


def test_where_no_session_can_be_opened_it_is_unsupported(tmp_path: pathlib.Path) -> None:
    machine = Machine(tmp_path)
    del machine.host.commands["runuser"]
    assert MEANS.read(machine.host, FACTS, setting("rtprio", "99")).unsupported


@pytest.mark.parametrize(("target", "value"), [("nofile", "many"), ("memlock", "8G"), ("colours", "3")])
def test_a_value_or_a_limit_that_there_is_none_of_fails_the_knob(
    tmp_path: pathlib.Path, target: str, value: str
) -> None:
    with pytest.raises(KnobFailed):
        MEANS.read(Machine(tmp_path).host, FACTS, setting(target, value))

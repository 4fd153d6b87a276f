# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The means irqbalance on a recorded Debian 12: irqbalance 1.9.2 with its unit's two environment files."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, Facts, Topology
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means.irqbalance import (
    DROPIN,
    ENVIRONMENT,
    Irqbalance,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import Knob, Setting
from support.recorded import RecordedHost, recorded_host

IRQBALANCE = Irqbalance()
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
_OWN = "IRQBALANCE_BANNED_CPULIST=7\n"


def setting(value: str = "2-5") -> Setting:
    return Setting(Knob("a_knob", "services", "irqbalance", "banned_cpus", value, "", ""), value)


class Systemctl:
    """systemctl of a machine with irqbalance: a restart gives the process what the environment files say, in order."""

    def __init__(self, running: bool) -> None:
        self.running = running
        self.calls: list[str] = []
        self.host: RecordedHost | None = None

    def __call__(self, command: Sequence[str]) -> Done:
        if command[1] == "show":
            return Done(0, "4711\n" if self.running else "0\n", "")
        self.calls.append(command[1])
        if command[1] == "try-restart":
            self.start()
        return Done(0, "", "")

    def start(self) -> None:
        host = self.host
        assert host is not None
        if self.running:
            ours = (host.read(ENVIRONMENT) or "") if host.exists(DROPIN) else ""
            lines = [*(host.read("/etc/default/irqbalance") or "").splitlines(), *ours.splitlines()]
            said = dict(line.partition("=")[::2] for line in lines if not line.startswith("#"))
            host.add(
                {"/proc/4711/environ": "".join(f"{name}={value}\0" for name, value in {"PATH": "/bin", **said}.items())}
            )


def machine(folder: pathlib.Path, running: bool = True, own: str = "") -> tuple[RecordedHost, Systemctl]:
    systemctl = Systemctl(running)
    host = recorded_host(folder, {"/usr/sbin/irqbalance": "", "/etc/default/irqbalance": own}, {"systemctl": systemctl})
    systemctl.host = host
    systemctl.start()
    return host, systemctl


def test_the_running_process_is_given_the_list_and_the_distributions_file_stays(tmp_path: pathlib.Path) -> None:
    host, systemctl = machine(tmp_path, own=_OWN)
    before = IRQBALANCE.read(host, FACTS, setting())
    assert (dict(before.running), before.runs, before.persisted) == ({"banned_cpus": "7"}, False, False)
    IRQBALANCE.apply(host, FACTS, setting())
    IRQBALANCE.persist(host, FACTS, [setting()])
    now = IRQBALANCE.read(host, FACTS, setting())
    assert (dict(now.running), now.runs, now.persisted) == ({"banned_cpus": "2-5"}, True, True)
    assert host.read("/etc/default/irqbalance") == _OWN.strip()
    assert systemctl.calls == ["daemon-reload", "try-restart"]
    host.forget()
    IRQBALANCE.apply(host, FACTS, setting())
    IRQBALANCE.persist(host, FACTS, [setting()])
    assert host.writes == []
    assert systemctl.calls == ["daemon-reload", "try-restart"]


def test_it_goes_back_to_what_the_distribution_says(tmp_path: pathlib.Path) -> None:
    host, _systemctl = machine(tmp_path, own=_OWN)
    before = IRQBALANCE.read(host, FACTS, setting())
    IRQBALANCE.apply(host, FACTS, setting())
    IRQBALANCE.restore(host, FACTS, setting(), before.running)
    IRQBALANCE.persist(host, FACTS, [])
    assert IRQBALANCE.read(host, FACTS, setting()).running == before.running
    assert host.removed == [DROPIN, ENVIRONMENT]


def test_another_list_needs_a_restart_alone(tmp_path: pathlib.Path) -> None:
    host, systemctl = machine(tmp_path)
    IRQBALANCE.persist(host, FACTS, [setting()])
    systemctl.calls.clear()
    IRQBALANCE.persist(host, FACTS, [setting("4-7")])
    assert systemctl.calls == ["try-restart"]
    assert IRQBALANCE.read(host, FACTS, setting("4-7")).runs


def test_a_process_that_was_started_without_it_is_restarted(tmp_path: pathlib.Path) -> None:
    host, systemctl = machine(tmp_path)
    IRQBALANCE.persist(host, FACTS, [setting()])
    host.add({"/proc/4711/environ": "PATH=/bin\0"})
    assert not IRQBALANCE.read(host, FACTS, setting()).runs
    systemctl.calls.clear()
    IRQBALANCE.apply(host, FACTS, setting())
    assert systemctl.calls == ["try-restart"]
    assert IRQBALANCE.read(host, FACTS, setting()).runs


def test_a_stopped_irqbalance_is_ready_for_its_next_start(tmp_path: pathlib.Path) -> None:
    host, _systemctl = machine(tmp_path, running=False)
    assert not IRQBALANCE.read(host, FACTS, setting()).runs
    IRQBALANCE.persist(host, FACTS, [setting()])
    reading = IRQBALANCE.read(host, FACTS, setting())
    assert (reading.runs, reading.persisted) == (True, True)


def test_a_drop_in_that_is_gone_no_longer_keeps_it(tmp_path: pathlib.Path) -> None:
    host, _systemctl = machine(tmp_path)
    IRQBALANCE.persist(host, FACTS, [setting()])
    host.remove(DROPIN)
    assert not IRQBALANCE.read(host, FACTS, setting()).persisted


def test_without_irqbalance_it_is_unsupported(tmp_path: pathlib.Path) -> None:
    assert IRQBALANCE.read(recorded_host(tmp_path, {}), FACTS, setting()).unsupported == "irqbalance is not installed"

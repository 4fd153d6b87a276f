# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The means service on a recorded systemd."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, Facts, Topology
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.means.service import Service
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import Knob, KnobFailed, Setting
from support.recorded import RecordedHost, recorded_host

SERVICE = Service()
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
UNIT = "man-db.timer"
_FILE = f"/lib/systemd/system/{UNIT}"


class Systemctl:
    """systemctl with one unit. Answers of systemd 252 on Debian 12."""

    def __init__(self, enabled: str, active: str, load: str = "loaded") -> None:
        self.enabled, self.active, self.load = enabled, active, load
        self.before_mask = enabled
        self.changes: list[str] = []

    def __call__(self, command: Sequence[str]) -> Done:
        verb, unit = command[1], command[-1]
        assert unit == UNIT
        if verb == "show":
            return Done(0, f"LoadState={self.load}\nActiveState={self.active}\nUnitFileState={self.enabled}\n", "")
        self.changes.append(verb)
        if verb in ("start", "stop"):
            if verb == "start" and self.enabled == "masked":
                return Done(1, "", f"Failed to start {unit}: Unit {unit} is masked.\n")
            self.active = "active" if verb == "start" else "inactive"
        elif verb == "mask":
            self.before_mask, self.enabled = self.enabled, "masked"
        elif verb == "unmask":
            self.enabled = self.before_mask
        else:
            self.enabled = f"{verb}d"
        return Done(0, "", "")


def setting(value: str) -> Setting:
    return Setting(Knob("a_knob", "services", "service", UNIT, value, "", ""), value)


def machine(folder: pathlib.Path, systemctl: Systemctl) -> RecordedHost:
    return recorded_host(folder, {_FILE: "[Timer]\n"}, {"systemctl": systemctl})


@pytest.mark.parametrize(
    ("enabled", "active", "value", "changes", "back"),
    [
        ("enabled", "active", "disabled", ["disable", "stop"], ["enable", "start"]),
        ("enabled", "inactive", "disabled", ["disable"], ["enable"]),
        ("disabled", "active", "disabled", ["stop"], ["start"]),
        ("disabled", "inactive", "disabled", [], []),
        ("disabled", "failed", "disabled", [], []),
        ("masked", "inactive", "disabled", [], []),
        ("disabled", "inactive", "enabled", ["enable", "start"], ["disable", "stop"]),
        ("masked", "inactive", "enabled", ["unmask", "enable", "start"], ["mask", "stop"]),
        ("enabled", "active", "masked", ["mask", "stop"], ["unmask", "start"]),
        ("static", "active", "masked", ["mask", "stop"], ["unmask", "start"]),
    ],
)
def test_a_unit_is_turned_in_as_few_calls_as_it_takes_and_back(
    tmp_path: pathlib.Path, enabled: str, active: str, value: str, changes: list[str], back: list[str]
) -> None:
    systemctl = Systemctl(enabled, active)
    systemctl.before_mask = "disabled" if enabled == "masked" else enabled
    host = machine(tmp_path, systemctl)
    before = SERVICE.read(host, FACTS, setting(value))
    assert before.unsupported == ""
    assert before.runs == (not changes)
    SERVICE.apply(host, FACTS, setting(value))
    assert systemctl.changes == changes
    now = SERVICE.read(host, FACTS, setting(value))
    assert (now.runs, now.persisted) == (True, True)
    SERVICE.apply(host, FACTS, setting(value))
    assert systemctl.changes == changes
    systemctl.changes.clear()
    SERVICE.restore(host, FACTS, setting(value), before.running)
    assert systemctl.changes == back
    assert SERVICE.read(host, FACTS, setting(value)).running == before.running


def test_a_unit_that_there_is_none_of_is_unsupported(tmp_path: pathlib.Path) -> None:
    host = recorded_host(tmp_path, {}, {"systemctl": Systemctl("", "inactive", "not-found")})
    assert SERVICE.read(host, FACTS, setting("disabled")).unsupported == f"there is no unit {UNIT} here"
    with pytest.raises(KnobFailed):
        SERVICE.apply(host, FACTS, setting("disabled"))
    SERVICE.restore(host, FACTS, setting("disabled"), {"enabled": "enabled", "active": "active"})
    assert host.ran == []


def test_a_link_that_leads_nowhere_is_no_unit(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path, Systemctl("", "inactive", "not-found"))
    assert SERVICE.read(host, FACTS, setting("disabled")).unsupported == f"there is no unit {UNIT} here"


def test_a_unit_that_something_else_starts_can_only_be_masked(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path, Systemctl("static", "active"))
    assert "only masked would stop that" in SERVICE.read(host, FACTS, setting("disabled")).unsupported


def test_a_machine_without_systemd_has_no_units(tmp_path: pathlib.Path) -> None:
    facts = dataclasses.replace(FACTS, systemd=False)
    assert SERVICE.read(recorded_host(tmp_path, {}), facts, setting("disabled")).unsupported


def test_a_state_that_there_is_none_of_fails_the_knob(tmp_path: pathlib.Path) -> None:
    with pytest.raises(KnobFailed, match="not 'off'"):
        SERVICE.read(machine(tmp_path, Systemctl("enabled", "active")), FACTS, setting("off"))


def test_a_unit_that_does_not_start_fails_the_knob_with_systemds_words(tmp_path: pathlib.Path) -> None:
    systemctl = Systemctl("enabled", "inactive")

    def answer(command: Sequence[str]) -> Done:
        return Done(1, "", "Job for it failed.") if command[1] == "start" else systemctl(command)

    host = recorded_host(tmp_path, {_FILE: ""}, {"systemctl": answer})
    with pytest.raises(KnobFailed, match="Job for it failed"):
        SERVICE.apply(host, FACTS, setting("enabled"))


def test_nothing_but_systemds_own_links_persists_it(tmp_path: pathlib.Path) -> None:
    host = machine(tmp_path, Systemctl("enabled", "active"))
    SERVICE.persist(host, FACTS, [setting("disabled")])
    assert (host.writes, host.ran) == ([], [])

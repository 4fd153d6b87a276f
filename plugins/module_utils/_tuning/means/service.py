# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Means C(service): whether a systemd unit starts at boot, and whether it runs.

target: the unit, with its suffix (C(apt-daily.timer)). value: C(enabled) (starts at boot, runs now), C(disabled)
(neither) or C(masked) (cannot be started by anything). systemd's own links keep it, so there is nothing else to
persist.
"""

from __future__ import annotations

import typing as t

from ..facts import Facts
from ..host import Host
from ..model import KnobFailed, Reading, Setting

_WANTED = {
    "enabled": {"enabled": "enabled", "active": "active"},
    "disabled": {"enabled": "disabled", "active": "inactive"},
    "masked": {"enabled": "masked", "active": "inactive"},
}
#: What systemctl show says of a unit that is neither enabled nor disabled, because something else starts it.
_NOT_SWITCHED = ("static", "generated", "transient", "indirect", "alias", "linked", "")
_RUNS = ("active", "activating", "reloading", "refreshing")
#: Where units are (systemd.unit(5)), generated ones too. Most machines have few of the units that knobs are about, and
#: looking here first saves a process for each of the others.
_FOLDERS = (
    *("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"),
    *("/lib/systemd/system", "/run/systemd/generator", "/run/systemd/generator.late", "/run/systemd/transient"),
)


class Service:
    """See the module's description, and means/__init__.py for what each method promises. Items: enabled, active."""

    def read(self, host: Host, facts: Facts, setting: Setting) -> Reading:
        unit, value = setting.knob.target, setting.value
        if value not in _WANTED:
            raise KnobFailed(f"{unit} is {', '.join(_WANTED)}, not {value!r}")
        if not facts.systemd:
            return Reading(unsupported="this machine does not run systemd")
        state = _state(host, unit)
        if not state:
            return Reading(unsupported=f"there is no unit {unit} here")
        wanted = dict(_WANTED[value])
        if value == "disabled" and state["enabled"] == "masked":
            wanted["enabled"] = "masked"
        if value != "masked" and state["enabled"] in _NOT_SWITCHED:
            kind = state["enabled"] or "not installable"
            return Reading(unsupported=f"{unit} is {kind}: something else starts it, and only masked would stop that")
        return Reading(running=state, wanted=wanted, persisted=state["enabled"] == wanted["enabled"])

    def apply(self, host: Host, facts: Facts, setting: Setting) -> None:
        reading = self.read(host, facts, setting)
        if reading.unsupported:
            raise KnobFailed(reading.unsupported)
        _turn(host, setting.knob.target, reading.running, reading.wanted)

    def persist(self, host: Host, facts: Facts, settings: t.Sequence[Setting]) -> None:
        """systemctl has written its links in apply and restore."""

    def restore(self, host: Host, facts: Facts, setting: Setting, original: t.Mapping[str, str]) -> None:
        state = _state(host, setting.knob.target)
        if state:
            _turn(host, setting.knob.target, state, original)


def _state(host: Host, unit: str) -> dict[str, str]:
    """Whether a unit starts at boot and runs; empty when there is no such unit. Raises KnobFailed."""
    if not any(host.exists(f"{folder}/{unit}") for folder in _FOLDERS):
        return {}
    shown = host.check("systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", unit)
    state = dict(line.partition("=")[::2] for line in shown.splitlines())
    if state.get("LoadState") in (None, "not-found"):
        return {}
    runs = "active" if state.get("ActiveState") in _RUNS else "inactive"
    return {"enabled": state.get("UnitFileState", ""), "active": runs}


def _turn(host: Host, unit: str, now: t.Mapping[str, str], wanted: t.Mapping[str, str]) -> None:
    """Bring a unit to what is wanted in as few calls as it takes: links first, so that nothing starts it in between."""
    before, after = now["enabled"], wanted.get("enabled", now["enabled"])
    if before != after:
        if before == "masked":
            host.check("systemctl", "unmask", unit)
            before = _state(host, unit).get("enabled", "")
        if after in ("enabled", "disabled", "masked") and before != after:
            host.check("systemctl", {"enabled": "enable", "disabled": "disable", "masked": "mask"}[after], unit)
    if now["active"] != wanted.get("active", now["active"]):
        host.check("systemctl", "start" if wanted["active"] == "active" else "stop", unit)

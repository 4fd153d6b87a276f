# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Means C(chrony): where the clock's time comes from on EC2.

Targets: C(server) (value: the options after the address of the Amazon Time Sync Service), C(refclock) (value: the
options after the ENA's hardware clock; only where there is one), C(hwtimestamp) (value: interfaces, or C(*)). They
stand in a file of the folder that the distribution's chrony.conf includes; where it includes none, one marked line is
added to it. Away from EC2 the address leads nowhere, so there all of it is unsupported.
"""

from __future__ import annotations

import re
import typing as t

from ..facts import Facts
from ..host import Host
from ..model import KnobFailed, Reading, Setting

AMAZON_TIME_SYNC = "169.254.169.123"
_HEADER = "# Kept by lowlatency.ec2 (os_tuning).\n"
_NAME = "99-zz-lowlatency.conf"
_MAIN_FILES = ("/etc/chrony/chrony.conf", "/etc/chrony.conf")
_INCLUDED = "/etc/chrony-lowlatency.conf"
_MARK = "# Added by lowlatency.ec2 (os_tuning):\n"
_PHC = "/dev/ptp_ena"
_TARGETS = ("server", "refclock", "hwtimestamp")


class Chrony:
    """See the module's description, and means/__init__.py for what each method promises. Item: the target."""

    def read(self, host: Host, facts: Facts, setting: Setting) -> Reading:
        target = setting.knob.target
        if target not in _TARGETS:
            raise KnobFailed(f"chrony has the targets {', '.join(_TARGETS)}, not {target!r}")
        reason = _why_not(host, target)
        if reason:
            return Reading(unsupported=reason)
        line = _line(host, setting)
        kept = line in (host.read(_file(host)) or "").splitlines() and _reached(host)
        running = _running(host, target) if target != "hwtimestamp" or not kept else line
        wanted = line if target == "hwtimestamp" else _source(host, target)
        return Reading(running={target: running}, wanted={target: wanted}, persisted=kept)

    def apply(self, host: Host, facts: Facts, setting: Setting) -> None:
        """chrony reads its files when it starts; see persist, which restarts it once for all of them."""

    def persist(self, host: Host, facts: Facts, settings: t.Sequence[Setting]) -> None:
        main = _main_file(host)
        if not main:
            return
        wanted = [
            _line(host, setting)
            for setting in sorted(settings, key=lambda each: each.id)
            if not _why_not(host, setting.knob.target)
        ]
        path = _file(host)
        if wanted:
            changed = host.write(path, _HEADER + "".join(f"{line}\n" for line in wanted))
            changed |= _include(host, main, path == _INCLUDED)
        else:
            changed = _include(host, main, False)
            changed |= host.remove(path)
        if changed:
            host.check("systemctl", "try-restart", _unit(main))

    def restore(self, host: Host, facts: Facts, setting: Setting, original: t.Mapping[str, str]) -> None:
        """The distribution's own sources count again once our file is gone."""


def _why_not(host: Host, target: str) -> str:
    vendor = host.read("/sys/class/dmi/id/sys_vendor") or ""
    on_xen = (host.read("/sys/hypervisor/uuid") or "").startswith("ec2")
    if vendor != "Amazon EC2" and not on_xen:
        return f"this is no EC2 instance ({vendor or 'no vendor'}), and only those have the Amazon Time Sync Service"
    if not _main_file(host):
        return "chrony is not installed"
    if target == "refclock" and not _clock(host):
        return "the ENA shows no hardware clock (instance type with PHC support, ena.phc_enable=1)"
    return ""


def _main_file(host: Host) -> str:
    return next((path for path in _MAIN_FILES if host.exists(path)), "")


def _unit(main: str) -> str:
    return "chrony.service" if main.startswith("/etc/chrony/") else "chronyd.service"


def _clock(host: Host) -> str:
    """The device of the ENA's hardware clock: the link that AWS's udev rule makes, or the clock that says so."""
    if host.exists(_PHC):
        return _PHC
    for path in host.glob("/sys/class/ptp/ptp*/clock_name"):
        if (host.read(path) or "").startswith("ena"):
            return f"/dev/{path.split('/')[4]}"
    return ""


def _line(host: Host, setting: Setting) -> str:
    if setting.knob.target == "server":
        return f"server {AMAZON_TIME_SYNC} {setting.value}"
    if setting.knob.target == "refclock":
        return f"refclock PHC {_clock(host)} {setting.value}"
    return f"hwtimestamp {setting.value}"


def _folder(host: Host) -> str:
    """The folder that chrony.conf includes (confdir, or include with a pattern); empty where it includes none."""
    for line in (host.read(_main_file(host)) or "").splitlines():
        found = re.match(r"\s*(?:confdir\s+(/\S+)|include\s+(/\S+)/\*\.conf)", line)
        if found and (found[1] or found[2]).startswith("/etc/"):
            return found[1] or found[2]
    return ""


def _file(host: Host) -> str:
    folder = _folder(host)
    return f"{folder}/{_NAME}" if folder else _INCLUDED


def _reached(host: Host) -> bool:
    """Whether chrony.conf leads to our file."""
    return bool(_folder(host)) or f"include {_INCLUDED}" in (host.read(_main_file(host)) or "").splitlines()


def _include(host: Host, main: str, wanted: bool) -> bool:
    """Add our line to chrony.conf, or take it out. Tells whether that changed the file."""
    addition = f"{_MARK}include {_INCLUDED}\n"
    text = (host.read(main) or "") + "\n"
    without = text.replace(addition, "")
    return host.write(main, without + addition if wanted else without)


def _source(host: Host, target: str) -> str:
    return AMAZON_TIME_SYNC if target == "server" else "PHC0"


def _running(host: Host, target: str) -> str:
    """The source that the running chronyd has, as C(chronyc sources) names it; empty without it."""
    if target == "hwtimestamp":
        return ""
    done = host.run(["chronyc", "-n", "-c", "sources"])
    names = {line.split(",")[2] for line in done.output.splitlines() if line.count(",") > 2}
    wanted = _source(host, target)
    return wanted if done.code == 0 and wanted in names else ""

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Means C(irqbalance): which vCPUs irqbalance leaves alone.

target: C(banned_cpus), value: a list of vCPUs. The distribution's file (/etc/default/irqbalance,
/etc/sysconfig/irqbalance) is not touched: a drop-in of the service names a second environment file, and of two files
the later one wins (systemd.exec(5)). The proof is the environment of the running process.
"""

from __future__ import annotations

import typing as t

from ..facts import Facts
from ..host import Host
from ..model import Reading, Setting
from ..paths import UNITS

UNIT = "irqbalance.service"
DROPIN = f"{UNITS}/{UNIT}.d/99-zz-lowlatency.conf"
ENVIRONMENT = "/etc/default/irqbalance-lowlatency"
_VARIABLE = "IRQBALANCE_BANNED_CPULIST"
_HEADER = "# Kept by lowlatency.ec2 (os_tuning).\n"
_PROGRAMS = ("/usr/sbin/irqbalance", "/usr/bin/irqbalance")


class Irqbalance:
    """See the module's description, and means/__init__.py for what each method promises. Item: banned_cpus.

    When the process does not run, the item says what the next one will be given.
    """

    def read(self, host: Host, facts: Facts, setting: Setting) -> Reading:
        if not any(host.exists(program) for program in _PROGRAMS):
            return Reading(unsupported="irqbalance is not installed")
        kept = _kept(host)
        process = _process(host)
        running = kept if process is None else process
        return Reading(
            running={"banned_cpus": running}, wanted={"banned_cpus": setting.value}, persisted=kept == setting.value
        )

    def apply(self, host: Host, facts: Facts, setting: Setting) -> None:
        _bring(host, setting.value)

    def persist(self, host: Host, facts: Facts, settings: t.Sequence[Setting]) -> None:
        _bring(host, settings[-1].value if settings else "")

    def restore(self, host: Host, facts: Facts, setting: Setting, original: t.Mapping[str, str]) -> None:
        """What was there before is in the distribution's file, which counts again once ours are gone."""
        _bring(host, "")


def _bring(host: Host, banned: str) -> None:
    """Make our files say this (nothing: remove them), and let a running irqbalance have it."""
    if banned:
        changed = host.write(ENVIRONMENT, f"{_HEADER}{_VARIABLE}={banned}\n")
        reload = host.write(DROPIN, f"{_HEADER}[Service]\nEnvironmentFile={ENVIRONMENT}\n")
    else:
        reload = host.remove(DROPIN)
        changed = host.remove(ENVIRONMENT)
    if reload:
        host.check("systemctl", "daemon-reload")
    if changed or reload or (banned and _process(host) not in (None, banned)):
        host.check("systemctl", "try-restart", UNIT)


def _kept(host: Host) -> str:
    """The list that our files give to the service; empty where they do not."""
    if f"EnvironmentFile={ENVIRONMENT}" not in (host.read(DROPIN) or "").splitlines():
        return ""
    return _assigned((host.read(ENVIRONMENT) or "").splitlines())


def _process(host: Host) -> str | None:
    """The list that the running process was given, empty without one; none when it does not run."""
    done = host.run(["systemctl", "show", "--property=MainPID", "--value", UNIT])
    pid = done.output.strip()
    if done.code != 0 or pid in ("", "0"):
        return None
    environment = host.read(f"/proc/{pid}/environ")
    return None if environment is None else _assigned(environment.split("\0"))


def _assigned(lines: t.Iterable[str]) -> str:
    return next((line.partition("=")[2] for line in lines if line.startswith(f"{_VARIABLE}=")), "")

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Means C(limits): resource limits of new logins and of new services.

target: a name of limits.conf(5), value: a number in that file's unit, C(unlimited), or C(soft:hard). Logins get it by
pam_limits, for every user and for root, whom its wildcard leaves out; services and user sessions by the manager's
default limits, because no PAM stands between systemd and a service. Running processes keep what they have.

Services keep a soft limit of 1,024 open files unless C(soft:hard) says otherwise: select() breaks above it, and a
program that can do better raises its soft limit by itself (systemd, NEWS of version 240).
"""

from __future__ import annotations

import typing as t

from ..facts import Facts
from ..host import Host
from ..model import KnobFailed, Reading, Setting
from ..paths import LIMITS

_HEADER = "# Kept by lowlatency.ec2 (os_tuning).\n"
MANAGERS = ("/etc/systemd/system.conf.d/99-zz-lowlatency.conf", "/etc/systemd/user.conf.d/99-zz-lowlatency.conf")
_UNLIMITED = "unlimited"
_SELECT_LIMIT = "1024"
_SUBJECTS = ("*", "root")
#: The user whose new login proves it: no more than what every user gets.
_PROOF_USER = "nobody"


class _Kind(t.NamedTuple):
    """row: in /proc/<pid>/limits; manager: the end of systemd's DefaultLimit...=; factor: from limits.conf's unit."""

    row: str
    manager: str
    factor: int = 1


_KINDS = {
    "nofile": _Kind("Max open files", "NOFILE"),
    "memlock": _Kind("Max locked memory", "MEMLOCK", 1024),
    "rtprio": _Kind("Max realtime priority", "RTPRIO"),
    "nice": _Kind("Max nice priority", "NICE"),
    "core": _Kind("Max core file size", "CORE", 1024),
    "stack": _Kind("Max stack size", "STACK", 1024),
    "nproc": _Kind("Max processes", "NPROC"),
}

#: All at once: one question, however many limits are asked for.
_MANAGER_PROPERTIES = ",".join(f"DefaultLimit{kind.manager},DefaultLimit{kind.manager}Soft" for kind in _KINDS.values())


class Limits:
    """See the module's description, and means/__init__.py for what each method promises.

    Items: login, services; values: C(soft:hard) as the kernel has them.
    """

    def read(self, host: Host, facts: Facts, setting: Setting) -> Reading:
        kind = _kind(setting)
        login, note = _login(host, setting)
        running = {"login": _new_login(host, kind), "services": _manager(host, kind)}
        wanted = {
            "login": ":".join(_as_kernel(part, setting.knob.target, kind) for part in login),
            "services": ":".join(_as_kernel(part, setting.knob.target, kind) for part in _service(setting, login)),
        }
        if not running["login"]:
            return Reading(unsupported="no session can be opened to see its limits (runuser is missing)")
        if not facts.systemd:
            del running["services"], wanted["services"]
        return Reading(running=running, wanted=wanted, persisted=_kept(host, setting, login), note=note)

    def apply(self, host: Host, facts: Facts, setting: Setting) -> None:
        """The files are all there is: a new login reads them. See persist."""

    def persist(self, host: Host, facts: Facts, settings: t.Sequence[Setting]) -> None:
        login: list[str] = []
        manager: list[str] = []
        for setting in sorted(settings, key=lambda each: each.id):
            parts, _note = _login(host, setting)
            login += _lines(setting, parts)
            manager.append(_manager_line(setting, parts))
        if settings:
            host.write(LIMITS, _HEADER + "".join(f"{line}\n" for line in login))
            text = f"{_HEADER}[Manager]\n" + "".join(f"{line}\n" for line in manager)
            changed = [host.write(path, text) for path in MANAGERS]
        else:
            host.remove(LIMITS)
            changed = [host.remove(path) for path in MANAGERS]
        if facts.systemd and changed[0]:
            host.check("systemctl", "daemon-reload")

    def restore(self, host: Host, facts: Facts, setting: Setting, original: t.Mapping[str, str]) -> None:
        """What was there before is in the distribution's files, which count again once ours are gone."""


def _kind(setting: Setting) -> _Kind:
    kind = _KINDS.get(setting.knob.target)
    if kind is None:
        raise KnobFailed(f"limits knows {', '.join(_KINDS)}, not {setting.knob.target!r}")
    return kind


def _login(host: Host, setting: Setting) -> tuple[tuple[str, str], str]:
    """Soft and hard limit of a login in limits.conf's words, and a note where they had to be lowered.

    More open files than fs.nr_open would make pam_limits fail, and with it every login.
    """
    soft, colon, hard = setting.value.partition(":")
    parts = (soft, hard if colon else soft)
    for part in parts:
        if part != _UNLIMITED and not part.lstrip("-").isdigit():
            raise KnobFailed(f"{setting.knob.target} is a number, {_UNLIMITED} or soft:hard, not {setting.value!r}")
    if setting.knob.target != "nofile":
        return parts, ""
    most = host.read("/proc/sys/fs/nr_open") or "1048576"
    lowered = tuple(most if part == _UNLIMITED or int(part) > int(most) else part for part in parts)
    note = "" if lowered == parts else f"lowered to fs.nr_open ({most})"
    return (lowered[0], lowered[1]), note


def _service(setting: Setting, login: tuple[str, str]) -> tuple[str, str]:
    """Soft and hard limit of a service, in limits.conf's words."""
    if setting.knob.target != "nofile" or ":" in setting.value:
        return login
    return min(login[0], _SELECT_LIMIT, key=int), login[1]


def _as_kernel(part: str, target: str, kind: _Kind) -> str:
    """A limit in the kernel's unit. RLIMIT_NICE counts from 20 down: a nice level of -20 is a limit of 40."""
    if part == _UNLIMITED:
        return part
    return str(20 - int(part)) if target == "nice" else str(int(part) * kind.factor)


def _lines(setting: Setting, parts: tuple[str, str]) -> list[str]:
    target = setting.knob.target
    return [f"{subject} {word} {target} {part}" for subject in _SUBJECTS for word, part in zip(("soft", "hard"), parts)]


def _manager_line(setting: Setting, login: tuple[str, str]) -> str:
    kind = _kind(setting)
    parts = [_as_kernel(part, setting.knob.target, kind) for part in _service(setting, login)]
    return f"DefaultLimit{kind.manager}=" + ":".join("infinity" if part == _UNLIMITED else part for part in parts)


def _kept(host: Host, setting: Setting, login: tuple[str, str]) -> bool:
    if not set(_lines(setting, login)) <= set((host.read(LIMITS) or "").splitlines()):
        return False
    return all(_manager_line(setting, login) in (host.read(path) or "").splitlines() for path in MANAGERS)


def _new_login(host: Host, kind: _Kind) -> str:
    """The soft and hard limit of a session that PAM opens now, as ssh's would be; empty where that cannot be seen."""
    done = host.run(["runuser", "-u", _PROOF_USER, "--", "cat", "/proc/self/limits"])
    for line in done.output.splitlines():
        if done.code == 0 and line.startswith(kind.row):
            return ":".join(line[len(kind.row) :].split()[:2])
    return ""


def _manager(host: Host, kind: _Kind) -> str:
    """The default soft and hard limit of services that start from now on."""
    name = f"DefaultLimit{kind.manager}"
    done = host.run(["systemctl", "show", f"--property={_MANAGER_PROPERTIES}"])
    said = dict(line.partition("=")[::2] for line in done.output.splitlines())
    parts = [said.get(f"{name}Soft", ""), said.get(name, "")]
    return ":".join(_UNLIMITED if part == "infinity" else part for part in parts)

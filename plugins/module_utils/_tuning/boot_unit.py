# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boot units: a copy of this package on the machine, and two units of systemd that run its C(boot.py)."""

from __future__ import annotations

import pkgutil
import posixpath
import shutil
import sys

from . import boot
from .host import Host
from .model import KnobFailed
from .paths import BOOT_RECORD, EARLY_UNIT, LATE_UNIT, LIBRARY, PACKAGE, PACKAGE_NAME, STATE, STORE, UNITS

_WANTS = f"{UNITS}/multi-user.target.wants"

_HEADER = "# Written by lowlatency.ec2 (os_tuning). Changes are lost.\n"

# Before systemd-sysctl.service: on a machine of another size that must find the sysctls of this one, and not huge pages
# for the memory of a larger one.
# Before sysinit.target: a machine that has to reboot does so before any service (sshd, the trading software) is up, and
# services find the machine tuned. Default dependencies would put it behind sysinit.target, which cloud-init of Debian
# and Ubuntu puts behind the network: a cycle. TimeoutStartSec bounds what a boot can wait for it.
_EARLY = f"""\
{_HEADER}[Unit]
Description=Low-latency tuning before the network
DefaultDependencies=no
ConditionPathExists={STORE}
ConditionVirtualization=!container
ConditionKernelCommandLine=!lowlatency.tuning=off
After=local-fs.target systemd-modules-load.service systemd-udev-trigger.service
Before=systemd-sysctl.service network-pre.target sysinit.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
WorkingDirectory={LIBRARY}
ExecStart=/usr/bin/python3 -m {PACKAGE_NAME}.boot {boot.EARLY}
TimeoutStartSec=300

[Install]
WantedBy=multi-user.target
"""

# Without default dependencies, so that multi-user.target does not wait for a network that is late.
_LATE = f"""\
{_HEADER}[Unit]
Description=Low-latency tuning when the network is up
DefaultDependencies=no
ConditionPathExists={STORE}
ConditionVirtualization=!container
ConditionKernelCommandLine=!lowlatency.tuning=off
After=basic.target {EARLY_UNIT} network.target network-online.target
Before=shutdown.target
Wants=network-online.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
WorkingDirectory={LIBRARY}
ExecStart=/usr/bin/python3 -m {PACKAGE_NAME}.boot {boot.LATE}
TimeoutStartSec=300

[Install]
WantedBy=multi-user.target
"""

_UNIT_FILES = {f"{UNITS}/{EARLY_UNIT}": _EARLY, f"{UNITS}/{LATE_UNIT}": _LATE}


def install(host: Host) -> bool:
    """Put the package and the units there and enable them. Tells whether anything changed. Raises KnobFailed."""
    sources_changed = [host.write(path, text) for path, text in sources().items()]
    stale_removed = [host.remove(path) for path in _stale(host)]
    units_changed = [host.write(path, text) for path, text in _UNIT_FILES.items()]
    if any(units_changed):
        host.check("systemctl", "daemon-reload")
    if not _enabled(host):
        host.check("systemctl", "enable", EARLY_UNIT, LATE_UNIT)
        units_changed.append(True)
    return any((*sources_changed, *stale_removed, *units_changed))


def remove(host: Host) -> bool:
    """Take all that away, and the record of the boots. Tells whether anything changed. Raises KnobFailed."""
    there = [path for path in _UNIT_FILES if host.exists(path)]
    if there:
        host.check("systemctl", "disable", "--now", EARLY_UNIT, LATE_UNIT)
    # Also those that are not there: a stopped run may have left one half written.
    changed = [host.remove(path) for path in (*_UNIT_FILES, BOOT_RECORD)]
    if host.exists(PACKAGE):
        try:
            shutil.rmtree(host.path(PACKAGE))
        except OSError as error:
            raise KnobFailed(f"{PACKAGE}: {error.strerror}") from error
        changed.append(True)
    host.remove_folder(LIBRARY)
    host.remove_folder(STATE)
    if there:
        host.check("systemctl", "daemon-reload")
        # Else a unit that failed is listed for ever, without its file. Its code tells only that there was none.
        host.run(["systemctl", "reset-failed", EARLY_UNIT, LATE_UNIT])
    return any(changed)


def installed(host: Host) -> bool:
    """Whether the next boot runs this version of the package."""
    wanted = {**sources(), **_UNIT_FILES}
    return (
        _enabled(host)
        and not _stale(host)
        and all(host.read(path) == text.rstrip("\n") for path, text in wanted.items())
    )


def sources() -> dict[str, str]:
    """The files of this package, by their place on the machine.

    Read through the loader, so that it also works in a module that runs out of Ansible's archive.
    """
    name = __package__ or ""
    found: dict[str, str] = {}
    for module, is_package in [(name, True), *_modules(name)]:
        relative = module[len(name) + 1 :].replace(".", "/")
        path = posixpath.join(relative, "__init__.py") if is_package else f"{relative}.py"
        text = pkgutil.get_data(name, path)
        if text is None:
            raise KnobFailed(f"the source of {module} cannot be read, so the boot unit cannot be installed")
        found[f"{PACKAGE}/{path}"] = text.decode()
    return found


def _modules(name: str) -> list[tuple[str, bool]]:
    """The modules and packages below a package: (full name, whether it is a package)."""
    found = []
    for module in pkgutil.iter_modules(sys.modules[name].__path__, f"{name}."):
        found.append((module.name, module.ispkg))
        if module.ispkg:
            __import__(module.name)
            found += _modules(module.name)
    return found


def _stale(host: Host) -> list[str]:
    """Sources that an earlier version has left."""
    wanted = sources()
    there = [*host.glob(f"{PACKAGE}/*.py"), *host.glob(f"{PACKAGE}/*/*.py")]
    return [path for path in there if path not in wanted]


def _enabled(host: Host) -> bool:
    return all(host.exists(f"{_WANTS}/{unit}") for unit in (EARLY_UNIT, LATE_UNIT))

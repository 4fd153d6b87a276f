# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must be so before a lab can come up; asked before anything is changed."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import socket
import stat
import sys
from collections.abc import Mapping

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = {  # program: Debian package
    "ip": "iproute2",
    "tc": "iproute2",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "dnsmasq": "dnsmasq-base",
    "sudo": "sudo",
    "sysctl": "procps",
    "python3": "python3-minimal",
}
MACHINE_PROGRAMS = {  # for lab_machines
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "debootstrap": "debootstrap",
    "mke2fs": "e2fsprogs",
    "setpriv": "util-linux",
    "nsenter": "util-linux",
}
_TUN = "/dev/net/tun"


class LabError(RuntimeError):
    """The lab can't do what is asked; the message is one line that says why."""


def need_root() -> None:
    """Raise LabError unless this is root on Linux."""
    if sys.platform != "linux":
        raise LabError(f"the lab runs on Linux only, this is {sys.platform}")
    if os.geteuid() != 0:
        raise LabError(f"the lab needs root for its namespaces, this is user id {os.geteuid()}; use sudo or --become")


def check_machine() -> None:
    """Raise LabError when this machine lacks something that the lab runs on."""
    need_root()
    try:
        is_device = stat.S_ISCHR(os.stat(_TUN).st_mode)
    except FileNotFoundError:
        is_device = False
    if not is_device:
        raise LabError(f"{_TUN} is missing: the lab needs the kernel's tun module (modprobe tun)")
    check_programs(PROGRAMS)
    if importlib.util.find_spec("moto") is None:
        raise LabError(f"lab_python: {sys.executable} has no moto; install 'moto[server]' or name another Python")


def check_programs(programs: Mapping[str, str]) -> None:
    """Raise LabError when one of these programs, each with its Debian package, is missing."""
    missing = [name for name in programs if shutil.which(name, path=SEARCH_PATH) is None]
    if missing:
        packages = sorted({programs[name] for name in missing})
        raise LabError(f"missing programs: {', '.join(missing)}; install the Debian packages {' '.join(packages)}")


def check_port(port: int) -> None:
    """Raise LabError when something listens on the API's port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise LabError(f"lab_api_port: 127.0.0.1:{port} is in use, give another port") from error


def check_addresses(conflicts: list[str], index: int) -> None:
    """Raise LabError when addresses of the lab belong to something else on this machine."""
    if conflicts:
        raise LabError(f"lab_index: addresses of lab {index} are in use already ({'; '.join(conflicts)})")

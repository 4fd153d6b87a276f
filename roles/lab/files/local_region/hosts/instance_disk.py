# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is on an instance's own disk before its first boot."""

from __future__ import annotations

import os
import secrets
import subprocess

from local_region.hosts.backend import HostSpec
from local_region.hosts.image import USER_ID


def prepare(disk: str, spec: HostSpec) -> None:
    """Write the overlay's upper folder of a new instance. Raises OSError or subprocess.SubprocessError."""
    upper = os.path.join(disk, "upper", "root")
    os.makedirs(os.path.join(disk, "root"), mode=0o755)
    _folder(upper)
    for name in ("etc", "etc/ssh", "home", "var", "var/lib", "var/lib/cloud", "var/lib/cloud/instance"):
        _folder(os.path.join(upper, name))
    _file(f"{upper}/etc/hostname", f"{spec.hostname}\n")
    # sudo looks its own host name up at every call.
    _file(f"{upper}/etc/hosts", f"127.0.0.1 localhost\n{spec.private_ip} {spec.hostname}\n")
    _file(f"{upper}/etc/machine-id", f"{secrets.token_hex(16)}\n", mode=0o444)
    _host_key(f"{upper}/etc/ssh/ssh_host_ed25519_key", spec.hostname)
    home = f"{upper}/home/{spec.user_name}"
    for name in (home, f"{home}/.ssh"):
        _folder(name, 0o700, USER_ID)
    if spec.authorized_key:
        _file(f"{home}/.ssh/authorized_keys", f"{spec.authorized_key.strip()}\n", 0o600, USER_ID)
    if spec.user_data and spec.user_data.startswith("#!"):
        _file(f"{upper}/var/lib/cloud/instance/user-data.txt", spec.user_data, 0o700)


def _folder(path: str, mode: int = 0o755, owner: int = 0) -> None:
    os.makedirs(path)
    os.chmod(path, mode)
    os.chown(path, owner, owner)


def _file(path: str, text: str, mode: int = 0o644, owner: int = 0) -> None:
    with open(path, "x", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        os.fchown(file.fileno(), owner, owner)
        file.write(text)


def _host_key(path: str, hostname: str) -> None:
    command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"root@{hostname}", "-f", path)
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=30)

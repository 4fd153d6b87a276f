# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layer between the machine's own root and an instance: what every instance sees instead of what is there.

An instance's root is an overlay of three: its own disk, this layer, and the machine's /. This layer hides whatever
is not the operating system (homes, other software, everything that only root may read) and brings the instance's
users, its sshd and sudo configuration, its resolver and the commands that end it.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat

# Folders of / that are the operating system. Everything else of the machine stays outside.
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "var")
_EMPTY = ("boot", "dev", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp")
# Of /var an instance sees the package databases, so that package facts work, and nothing else.
_VAR_LIB = ("apt", "dpkg", "pam", "python")
_VAR_EMPTY = ("backups", "cache", "local", "log", "mail", "opt", "spool", "tmp")
USER_ID = 1000
_NOBODY_ID = 65534
_SHIM_NAMES = ("shutdown", "poweroff", "reboot", "halt")
MARKER = "etc/lowlatency-lab"

_SSHD_CONFIG = """\
# One sshd per simulated instance. PAM and reverse look-ups would only cost time here.
Port 22
ListenAddress 0.0.0.0
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile /run/sshd.pid
UsePAM no
UseDNS no
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100:30:200
PrintMotd no
PrintLastLog no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""
_SUDOERS = """\
Defaults env_reset
Defaults !syslog
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
root ALL=(ALL:ALL) ALL
{user} ALL=(ALL:ALL) NOPASSWD:ALL
"""
_NSSWITCH = """\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
"""


def build(layer: str, user_name: str, resolver: str, root: str = "/") -> None:
    """Write the layer into the new folder `layer`, on a file system that takes trusted.* attributes.

    Raises ValueError for a user name that no login may have, OSError when the layer can't be written.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", user_name):
        raise ValueError(f"not a user name: {user_name!r}")
    os.makedirs(layer, mode=0o755)
    for name in os.listdir(root):
        if name not in _SYSTEM and name not in _EMPTY:
            _hide(os.path.join(layer, name))
    for name in _EMPTY:
        _fresh(os.path.join(layer, name), 0o700 if name == "root" else 0o1777 if name == "tmp" else 0o755)
    _hide_secrets(os.path.join(layer, "etc"), os.path.join(root, "etc"))
    _var(os.path.join(layer, "var"), os.path.join(root, "var"))
    _etc(os.path.join(layer, "etc"), os.path.join(root, "etc"), user_name, resolver)
    _home(os.path.join(layer, "home", user_name))
    # Where /usr/sbin is a link (to bin), a folder of that name here would hide what it leads to.
    _shims(os.path.join(layer, os.path.relpath(os.path.realpath(os.path.join(root, "usr/sbin")), root)))


def separate_mounts(root: str = "/") -> list[str]:
    """Return those system folders of the machine that are mounts of their own: an overlay of / shows them empty."""
    candidates = [os.path.join(root, name) for name in _SYSTEM]
    return [path for path in candidates if os.path.ismount(path) and not os.path.islink(path)]


def _hide(path: str) -> None:
    """Make a whiteout: overlayfs shows nothing at this name."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mknod(path, stat.S_IFCHR | 0o000, os.makedev(0, 0))


def _fresh(path: str, mode: int = 0o755) -> None:
    """Make a folder that shows nothing of the one below it."""
    os.makedirs(path, exist_ok=True)
    os.chmod(path, mode)
    os.setxattr(path, "trusted.overlay.opaque", b"y")


def _write(path: str, text: str, mode: int = 0o644) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # a whiteout may stand here
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _hide_secrets(layer: str, source: str) -> None:
    """Hide every file and folder of /etc that only root or a service may read: it is the machine's, not ours."""
    os.makedirs(layer, exist_ok=True)
    for folder, folders, files in os.walk(source):
        inside = os.path.join(layer, os.path.relpath(folder, source))
        for name in [*folders, *files]:
            status = os.lstat(os.path.join(folder, name))
            open_to_all = 0o005 if stat.S_ISDIR(status.st_mode) else 0o004
            if status.st_mode & open_to_all != open_to_all:
                _hide(os.path.normpath(os.path.join(inside, name)))
        folders[:] = [name for name in folders if os.lstat(os.path.join(folder, name)).st_mode & 0o005 == 0o005]


def _var(layer: str, source: str) -> None:
    os.makedirs(os.path.join(layer, "lib"), exist_ok=True)
    for name in os.listdir(source):
        if name != "lib" and not os.path.islink(os.path.join(source, name)):
            _hide(os.path.join(layer, name))
    for name in os.listdir(os.path.join(source, "lib")):
        if name not in _VAR_LIB:
            _hide(os.path.join(layer, "lib", name))
    for name in _VAR_EMPTY:
        path = os.path.join(layer, name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        _fresh(path, 0o1777 if name == "tmp" else 0o755)
    for name, target in (("run", "/run"), ("lock", "/run/lock")):
        path = os.path.join(layer, name)
        if not os.path.islink(os.path.join(source, name)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.symlink(target, path)


def _accounts(path: str, last_id: int = _NOBODY_ID) -> list[str]:
    """Return the lines of a passwd or group file that belong to the system, not to a person."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.rstrip("\n") for line in file if line.count(":") >= 3]
    return [line for line in lines if int(line.split(":")[2] or 0) < USER_ID or int(line.split(":")[2]) == last_id]


def _etc(layer: str, source: str, user_name: str, resolver: str) -> None:
    users = [line for line in _accounts(os.path.join(source, "passwd")) if line.split(":")[0] != user_name]
    groups = [line for line in _accounts(os.path.join(source, "group")) if line.split(":")[0] != user_name]
    if not any(line.startswith("sshd:") for line in users):  # sshd refuses to start without its user
        users.append("sshd:x:102:65534::/run/sshd:/usr/sbin/nologin")
    users.append(f"{user_name}:x:{USER_ID}:{USER_ID}:EC2 Default User:/home/{user_name}:/bin/bash")
    groups.append(f"{user_name}:x:{USER_ID}:")
    # "*": no password fits, but the account is not locked, which sshd would refuse ("!").
    shadow = [f"{line.split(':')[0]}:*:19000:0:99999:7:::" for line in users]
    _fresh(os.path.join(layer, "ssh"))
    _fresh(os.path.join(layer, "sudoers.d"), 0o750)
    _fresh(os.path.join(layer, "profile.d"))
    for name, lines, mode in (
        ("passwd", users, 0o644),
        ("group", groups, 0o644),
        ("shadow", shadow, 0o640),
        ("gshadow", [f"{line.split(':')[0]}:*::" for line in groups], 0o640),
    ):
        _write(os.path.join(layer, name), "\n".join(lines) + "\n", mode)
    for name, text, mode in (
        ("ssh/sshd_config", _SSHD_CONFIG, 0o644),
        ("sudoers", _SUDOERS.format(user=user_name), 0o440),
        ("nsswitch.conf", _NSSWITCH, 0o644),
        ("resolv.conf", f"nameserver {resolver}\noptions timeout:1 attempts:2\n", 0o644),
        ("environment", "", 0o644),
        ("motd", "", 0o644),
        ("lowlatency-lab", "This is a simulated instance: a namespace on a machine that must not be tuned.\n", 0o644),
    ):
        _write(os.path.join(layer, name), text, mode)


def _home(home: str) -> None:
    os.makedirs(os.path.join(home, ".ssh"), mode=0o700)
    for path in (home, os.path.join(home, ".ssh")):
        os.chmod(path, 0o700)
        os.chown(path, USER_ID, USER_ID)


def _shims(folder: str) -> None:
    with open(os.path.join(os.path.dirname(__file__), "shims", "shutdown.py"), encoding="utf-8") as source:
        program = f"#!/usr/bin/python3 -IS\n{source.read()}"
    for name in _SHIM_NAMES:
        _write(os.path.join(folder, name), program, 0o755)

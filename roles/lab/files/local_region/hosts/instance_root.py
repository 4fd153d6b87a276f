# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds an instance's root out of mounts that only the instance's mount namespace holds."""

from __future__ import annotations

import os
import stat

from local_region.hosts import linux
from local_region.hosts.boot_plan import BootPlan

_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
# As container engines do: root in an instance must neither tune nor restart the machine.
_READ_ONLY = ("proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus", "proc/fs")
_MASKED = ("proc/kcore", "proc/kmsg", "proc/keys", "proc/timer_list")

# capabilities(7): chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service,
# net_broadcast, net_admin, net_raw, ipc_lock, ipc_owner, sys_chroot, sys_nice, sys_resource, sys_tty_config, lease,
# audit_write, setfcap. Not sys_admin, sys_time, sys_boot, sys_module, sys_rawio, sys_ptrace, mknod.
KEPT_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 18, 23, 24, 26, 28, 29, 31})


def build(plan: BootPlan) -> None:
    """Mount the instance's root at the plan's mount point and make it the root of this process.

    The caller is the first process of fresh mount, PID and network namespaces. Raises OSError.
    """
    root = plan.mount_point
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    _overlay(root, [*plan.layers, "/"], plan.disk, "root")
    for path in plan.separate_mounts:
        inside = path.lstrip("/")
        layers = [folder for layer in plan.layers if os.path.isdir(folder := os.path.join(layer, inside))]
        _overlay(os.path.join(root, inside), [*layers, path], plan.disk, inside.replace("/", "-"))
    _devices(os.path.join(root, "dev"))
    linux.mount("proc", f"{root}/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    linux.mount("sysfs", f"{root}/sys", "sysfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC | linux.MS_RDONLY)
    _shield(root)
    _scratch(f"{root}/run", 0o755)
    _scratch(os.path.join(root, "tmp"), 0o1777)
    for folder in ("sshd", "lock", "systemd/shutdown", "cloud-init"):
        os.makedirs(f"{root}/run/{folder}", mode=0o755, exist_ok=True)
    linux.pivot_root(root)


def _overlay(target: str, lower: list[str], disk: str, name: str) -> None:
    upper, work = os.path.join(disk, "upper", name), os.path.join(disk, "work", name)
    for folder in (upper, work):
        os.makedirs(folder, mode=0o755, exist_ok=True)
    data = f"lowerdir={':'.join(lower)},upperdir={upper},workdir={work},index=off,metacopy=off"
    linux.mount("overlay", target, "overlay", data=data)


def _scratch(target: str, mode: int) -> None:
    linux.mount("tmpfs", target, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"mode={mode:o},size=256m")


def _devices(dev: str) -> None:
    """A /dev without the machine's disks, memory and consoles."""
    linux.mount("tmpfs", dev, "tmpfs", linux.MS_NOSUID, "mode=755,size=1m")
    for name, (major, minor) in _DEVICES.items():
        os.mknod(f"{dev}/{name}", stat.S_IFCHR, os.makedev(major, minor))
        os.chmod(f"{dev}/{name}", 0o666)  # noqa: S103 - as on every Linux
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"{dev}/{name}")
    os.mkdir(f"{dev}/pts")
    options = "newinstance,ptmxmode=666,mode=620,gid=5"
    linux.mount("devpts", f"{dev}/pts", "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, options)
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    os.mkdir(f"{dev}/shm")
    _scratch(f"{dev}/shm", 0o1777)


def _shield(root: str) -> None:
    for name in _READ_ONLY:
        path = f"{root}/{name}"
        if os.path.exists(path):
            linux.mount(path, path, flags=linux.MS_BIND | linux.MS_REC)
            linux.mount(path, path, flags=linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY)
    for name in _MASKED:
        if os.path.exists(f"{root}/{name}"):
            linux.mount(f"{root}/dev/null", f"{root}/{name}", flags=linux.MS_BIND)

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in the base image: packages, files of ours, and the settings that need no file. Plain values.

Beside the files in `root/`, which are copied over the new system as they are.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
# linux-image-amd64, not the cloud kernel: that one has no driver of a NIC with interrupt coalescing.
PACKAGES = (
    *("linux-image-amd64", "initramfs-tools", "lz4", "grub-pc-bin", "grub2-common"),
    *("systemd", "systemd-sysv", "udev", "dbus", "libpam-systemd"),
    *("openssh-server", "sudo", "python3", "python3-apt"),
    *("iproute2", "ethtool", "procps", "kmod", "pciutils"),
    *("chrony", "irqbalance", "rt-tests"),
)
# Never wanted here: they wait for a network beyond, or wake an emulated CPU for nothing.
MASKED_UNITS = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("e2scrub_reap.service", "getty@tty1.service", "serial-getty@ttyS0.service", "systemd-pstore.service"),
    *("systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount"),
    # Modules that logind and the like ask for in case there is a screen or a container.
    *("modprobe@drm.service", "modprobe@dm_mod.service", "modprobe@loop.service", "modprobe@fuse.service"),
)
ENABLED_UNITS = ("systemd-networkd.service", "ssh.service", "machine-seed.service", "machine-user-data.service")
ROOT_UUID = "5ec0de00-1072-4a7e-9c2b-10a1a7e0c1ea"
ROOT_DEVICE = "/dev/nvme0n1p1"
DISK_MIB = 4096
FILES = Path(__file__).with_name("root")
# What makes the image of all this; a change of it is a change of the image.
MAKERS = ("recipe.py", "disk.py", "image.py")


def digest() -> str:
    """Return the recipe's name: 16 hex digits that differ when anything that goes into the image does."""
    hashed = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted([*FILES.rglob("*"), *(here / name for name in MAKERS)]):
        if path.is_file():
            mode = "x" if path.stat().st_mode & 0o100 else "-"
            hashed.update(f"{path.relative_to(here)} {mode} {path.stat().st_size}\n".encode())
            hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]

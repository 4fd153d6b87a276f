# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bootable disk of a folder, without a loop device: partition table, ext4 with what is in the folder, GRUB."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

SECTOR = 512
FIRST_SECTOR = 2048
# Enough for GRUB to find its own folder; it loads the rest from there.
_GRUB_MODULES = "biosdisk part_msdos ext2 linux normal configfile serial echo search search_fs_uuid"
_GRUB = "usr/lib/grub/i386-pc"
# A /dev of its own: the machine's would be changed by what is changed in it.
_CHROOT_MOUNTS = """\
mount -t proc proc /proc
mount -t tmpfs run /run
mount -t tmpfs dev /dev
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/zero c 1 5
mknod -m 666 /dev/urandom c 1 9
ln -s /proc/self/fd /dev/fd
"""


class DiskError(RuntimeError):
    """A tool could not do its part; the message is the end of what it said."""


def run(*command: str, timeout_s: float = 600) -> str:
    """Run a program, return its output. Raises DiskError when it fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise DiskError(f"{command[0]} did not end within {timeout_s:.0f} s") from None
    if done.returncode:
        raise DiskError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-600:].strip()}")
    return done.stdout


def in_root(root: Path, script: str, timeout_s: float = 600) -> str:
    """Run a shell script in a system's folder, with a /proc of its own; its mounts go with it. Raises DiskError."""
    prepared = f"{_CHROOT_MOUNTS}{script}"
    return run("unshare", "--mount", "--fork", "chroot", str(root), "/bin/sh", "-euc", prepared, timeout_s=timeout_s)


def boot_sector(template: bytes, sectors: int) -> bytes:
    """Return the first sector: GRUB's 440 bytes and one active Linux partition that fills the disk from 1 MiB on.

    The entry's layout is that of the PC's partition table since 1983; 0xFE 0xFF 0xFF says that cylinders don't count.
    """
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", FIRST_SECTOR, sectors - FIRST_SECTOR)
    return template[:440].ljust(440, b"\0") + struct.pack("<IH", 0x10A7E0C1, 0) + entry.ljust(64, b"\0") + b"\x55\xaa"


def make(root: Path, raw: Path, mebibytes: int, uuid: str) -> None:
    """Write the raw disk `raw` with all that is in `root`. Raises DiskError or OSError."""
    shutil.copytree(root / _GRUB, root / "boot/grub/i386-pc", dirs_exist_ok=True)
    in_root(root, f"grub-mkimage -O i386-pc -o /boot/grub/core.img -p '(hd0,msdos1)/boot/grub' {_GRUB_MODULES}")
    with open(raw, "wb") as file:
        file.truncate(mebibytes * 1024 * 1024)
    offset = FIRST_SECTOR * SECTOR
    run(
        *("mke2fs", "-q", "-t", "ext4", "-L", "root", "-U", uuid, "-d", str(root)),
        *("-E", f"offset={offset},lazy_itable_init=0", str(raw), f"{mebibytes - offset // 1048576}M"),
    )
    core = (root / "boot/grub/core.img").read_bytes()
    if len(core) > (FIRST_SECTOR - 1) * SECTOR:
        raise DiskError(f"GRUB's core of {len(core)} bytes does not fit before the partition")
    descriptor = os.open(raw, os.O_WRONLY)
    try:
        first = boot_sector((root / _GRUB / "boot.img").read_bytes(), mebibytes * 1048576 // SECTOR)
        os.pwrite(descriptor, first, 0)
        os.pwrite(descriptor, core, SECTOR)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The base image, made once and kept: a Debian with a kernel, GRUB and an sshd that takes its identity from a seed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from local_region.machine import disk, recipe

_LOCK_TIMEOUT_S = 1200.0
_DEBOOTSTRAP_TIMEOUT_S = 1200.0
# grub-mkconfig asks grub-probe what the root is; in a folder there is no such disk yet, so it is told.
_PROBE = """\
#!/bin/sh
case "$*" in
    *--target=device*) echo {device} ;;
    *--target=fs_uuid*) echo {uuid} ;;
    *--target=fs*) echo ext2 ;;
    *--target=partmap*) echo msdos ;;
    *--target=drive*) echo '(hd0,msdos1)' ;;
    *--target=compatibility_hint*) echo hd0,msdos1 ;;
esac
"""
_FINISH = """\
for name in {masked}; do ln -sf /dev/null "/etc/systemd/system/$name"; done
systemctl enable {enabled}
rm -f /etc/ssh/ssh_host_* /etc/udev/rules.d/70-persistent-net.rules /etc/resolv.conf
: >/etc/machine-id
update-initramfs -u
mkdir -p /dev/disk/by-uuid
: >/dev/disk/by-uuid/{uuid}
mkdir -p /boot/grub
mount --bind /run/grub-probe /usr/sbin/grub-probe
grub-mkconfig -o /boot/grub/grub.cfg
umount /usr/sbin/grub-probe
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*
"""


class ImageError(RuntimeError):
    """The base image could not be made; the message says at which step and why."""


def default_cache() -> Path:
    """Return where base images are kept: LOWLATENCY_MACHINE_CACHE, or a folder of the system's or the user's cache."""
    given = os.environ.get("LOWLATENCY_MACHINE_CACHE")
    if given:
        return Path(given)
    base = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
    return base / "lowlatency-machine"


def base_image(cache_dir: Path, say: Callable[[str], None]) -> Path:
    """Return the qcow2 base of this recipe, made first if it isn't there whole. Nobody may write to it.

    `say` gets a line for each step. Takes two to three minutes once, needs root and Debian's mirror for that. Several
    processes may ask at once: one makes it, the others wait. Raises ImageError.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    name = recipe.digest()
    path = cache_dir / f"base-{name}.qcow2"
    with _locked(cache_dir / "lock", say):
        why = broken(path)
        if why is None:
            return path
        say(f"making the base image {name}: {why}; this takes a few minutes, once")
        began_s = time.monotonic()
        _sweep(cache_dir)
        with tempfile.TemporaryDirectory(prefix="making-", dir=cache_dir) as folder:
            try:
                _make(Path(folder), path, say)
            except (disk.DiskError, OSError) as error:
                raise ImageError(f"the base image could not be made: {error}") from error
        say(f"base image {path} is ready after {time.monotonic() - began_s:.0f} s")
    return path


def broken(path: Path) -> str | None:
    """Return why a base image can't be used, None when it can: it is what was written when it was made."""
    try:
        stamp = json.loads(_stamp(path).read_text(encoding="utf-8"))
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "there is none of this recipe"
    except (OSError, ValueError) as error:
        return f"the one here can't be read ({error})"
    wanted = stamp.get("sha256") if isinstance(stamp, dict) else None
    return None if found == wanted else "the one here is not what was made"


def _stamp(path: Path) -> Path:
    return path.with_suffix(".json")


def _sweep(cache_dir: Path) -> None:
    """Remove what a killed maker left. The lock is held, so nobody else makes one now."""
    for left in cache_dir.glob("making-*"):
        shutil.rmtree(left, ignore_errors=True)


def _make(folder: Path, path: Path, say: Callable[[str], None]) -> None:
    root, raw, image = folder / "root", folder / "disk.raw", folder / "disk.qcow2"
    say(f"installing Debian {recipe.SUITE} into a folder")
    disk.run(
        *("debootstrap", "--variant=minbase", f"--include={','.join(recipe.PACKAGES)}"),
        *(recipe.SUITE, str(root), recipe.MIRROR),
        timeout_s=_DEBOOTSTRAP_TIMEOUT_S,
    )
    say("configuring it")
    shutil.copytree(recipe.FILES, root, dirs_exist_ok=True)
    (root / "etc/fstab").write_text(f"UUID={recipe.ROOT_UUID} / ext4 errors=remount-ro 0 1\n", encoding="utf-8")
    _finish(root)
    say("writing its disk")
    disk.make(root, raw, recipe.DISK_MIB, recipe.ROOT_UUID)
    disk.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image))
    disk.run("qemu-img", "check", "-q", str(image))
    with open(image, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    image.chmod(0o444)
    stamp = folder / "disk.json"
    stamp.write_text(json.dumps({"sha256": found, "packages": recipe.PACKAGES}), encoding="utf-8")
    os.replace(image, path)
    os.replace(stamp, _stamp(path))


def _finish(root: Path) -> None:
    probe = root / "grub-probe"
    probe.write_text(_PROBE.format(device=recipe.ROOT_DEVICE, uuid=recipe.ROOT_UUID), encoding="utf-8")
    probe.chmod(0o755)
    script = _FINISH.format(
        masked=" ".join(recipe.MASKED_UNITS), enabled=" ".join(recipe.ENABLED_UNITS), uuid=recipe.ROOT_UUID
    )
    disk.in_root(root, f"mv /grub-probe /run/grub-probe\n{script}")


@contextlib.contextmanager
def _locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the cache's lock; waits for another that makes an image. Raises ImageError after twenty minutes."""
    deadline_s = time.monotonic() + _LOCK_TIMEOUT_S
    told = False
    with open(path, "a", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise ImageError(f"another process has held {path} for twenty minutes") from None
            if not told:
                say("waiting for another process that makes the base image")
                told = True
            time.sleep(0.2)
        yield

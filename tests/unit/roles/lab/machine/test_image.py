# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A base image is used only when it is what was made; the disk's first sector."""

from __future__ import annotations

import json
import struct
import threading
import time
from pathlib import Path

import pytest
from local_region.machine import disk, image, recipe


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A maker that writes a small file in the place of a Debian; the list of what it made."""
    calls: list[Path] = []

    def make(folder: Path, path: Path, _say) -> None:
        calls.append(path)
        time.sleep(0.05)  # so that two at once would be seen
        content = folder / "content"
        content.write_bytes(b"disk")
        digest = image.hashlib.sha256(b"disk").hexdigest()
        image._stamp(path).write_text(json.dumps({"sha256": digest}), encoding="utf-8")
        content.replace(path)

    monkeypatch.setattr(image, "_make", make)
    return calls


def test_it_is_made_once(tmp_path, made):
    said: list[str] = []
    first = image.base_image(tmp_path / "cache", said.append)
    assert said and "making the base image" in said[0]
    said.clear()
    assert image.base_image(tmp_path / "cache", said.append) == first
    assert len(made) == 1 and not said


def test_a_changed_recipe_is_another_image(tmp_path, made, monkeypatch):
    files = tmp_path / "root"
    files.mkdir()
    (files / "a").write_text("1", encoding="utf-8")
    monkeypatch.setattr(recipe, "FILES", files)
    monkeypatch.setattr(recipe, "__file__", str(tmp_path / "recipe.py"))
    for name in recipe.MAKERS:
        (tmp_path / name).write_text("", encoding="utf-8")
    first = image.base_image(tmp_path / "cache", print)
    (files / "a").write_text("2", encoding="utf-8")
    second = image.base_image(tmp_path / "cache", print)
    (files / "a").chmod(0o755)
    third = image.base_image(tmp_path / "cache", print)
    assert len({first, second, third}) == 3 and len(made) == 3


@pytest.mark.parametrize("harm", ["cut", "changed", "no stamp", "half stamp", "other stamp"])
def test_a_broken_image_is_made_anew(tmp_path, made, harm):
    path = image.base_image(tmp_path, print)
    stamp = image._stamp(path)
    if harm == "cut":
        path.write_bytes(b"di")
    elif harm == "changed":
        path.write_bytes(b"dusk")
    elif harm == "no stamp":
        stamp.unlink()
    else:
        stamp.write_text('{"sha' if harm == "half stamp" else "[]", encoding="utf-8")
    assert image.broken(path)
    assert image.base_image(tmp_path, print) == path
    assert len(made) == 2 and image.broken(path) is None


def test_what_a_killed_maker_left_goes(tmp_path, made):
    left = tmp_path / "making-x" / "root"
    left.mkdir(parents=True)
    image.base_image(tmp_path, print)
    assert not left.parent.exists()


def test_of_two_at_once_one_makes_it(tmp_path, made):
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(image.base_image(tmp_path, print))) for _dummy in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(made) == 1 and len(set(found)) == 1 and len(found) == 3


def test_a_failure_leaves_nothing_and_says_why(tmp_path, monkeypatch):
    def fail(folder: Path, _path: Path, _say) -> None:
        (folder / "half").write_text("", encoding="utf-8")
        raise disk.DiskError("debootstrap ended with 1: no route to the mirror")

    monkeypatch.setattr(image, "_make", fail)
    with pytest.raises(image.ImageError, match="no route to the mirror"):
        image.base_image(tmp_path, print)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_program_that_fails_or_hangs_is_named():
    with pytest.raises(disk.DiskError, match=r"sh ended with 3: it said so"):
        disk.run("sh", "-c", "echo it said so >&2; exit 3")
    with pytest.raises(disk.DiskError, match="sleep did not end"):
        disk.run("sleep", "30", timeout_s=0.1)


def test_the_first_sector_has_one_active_partition_to_the_disks_end():
    sector = disk.boot_sector(b"\xaa" * 512, 8192)
    assert len(sector) == 512 and sector[510:] == b"\x55\xaa" and sector[:440] == b"\xaa" * 440
    active, kind = sector[446], sector[450]
    first, count = struct.unpack_from("<II", sector, 454)
    assert (active, kind, first, first + count) == (0x80, 0x83, 2048, 8192)
    assert sector[462:510] == bytes(48)

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are replaced whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._whole_file import locked, write_whole

ROOT = Path(__file__).resolve().parents[4]


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(str(path), "old")
    write_whole(str(path), "new")
    assert path.read_text(encoding="utf-8") == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_stops_it_before_the_rename_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old", encoding="utf-8")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(str(path), "new", stop)
    assert path.read_text(encoding="utf-8") == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    write_whole(str(link), "text")
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8") == "text"


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    """The old text or the new one, whenever the kill comes: here again and again, at no chosen moment."""
    path = tmp_path / "file"
    write_whole(str(path), "0" * 100_000)
    program = (
        "import sys; from ansible_collections.lowlatency.ec2.plugins.module_utils._whole_file import write_whole\n"
        "print('ready', flush=True)\n"
        "for turn in range(1_000_000): write_whole(sys.argv[1], str(turn % 10) * 100_000)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".venv/collections")}
    for _kill in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        for _look in range(20):
            text = path.read_text(encoding="utf-8")
            assert text == text[:1] * 100_000
        writer.kill()
        writer.wait(60)
        writer.stdout.close()
        text = path.read_text(encoding="utf-8")
        assert text == text[:1] * 100_000


def test_a_held_lock_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    with locked(path), pytest.raises(BlockingIOError), locked(path, wait=False):
        pass
    with locked(path, wait=False):
        pass

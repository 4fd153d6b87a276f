# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are replaced whole: a reader, a crash and a power cut see the old one or the new one, nothing between.

Private to this collection: it may change in any release. Standard library only: it runs on instances.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


def write_whole(path: str, text: str, before_rename: Callable[[], None] | None = None) -> None:
    """Replace a file. What C(before_rename) raises leaves the old one in place. Raises OSError.

    Writers take turns by L(locked): the draft has one name for all, so that what a crash left of it is written over.
    """
    directory, name = os.path.split(os.path.realpath(path))
    draft = os.path.join(directory, f".{name}.draft")
    try:
        with open(draft, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if before_rename is not None:
            before_rename()
        os.rename(draft, os.path.join(directory, name))
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        raise
    # Without this a power cut may undo a rename that was reported as done.
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file, C(path.lock). Raises OSError, BlockingIOError when it is held and not waited for."""
    # A file of its own: a lock on the file itself would be lost with each rename.
    lock = os.open(f"{os.path.realpath(path)}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)

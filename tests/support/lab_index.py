# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lab indexes for tests: each test takes a free one, and a lab of somebody else is never touched."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.times import spent_on

ROOT = Path(__file__).resolve().parents[2]
PACKAGE_ROOT = ROOT / "roles/lab/files"
#: Lab 0 is the user's own. Any other may be too, so an index counts as free only when nothing of a lab is there.
INDEXES = range(1, 16)
#: Stands in the lock file of an index from before a test brings anything up until all of it is gone.
_OF_A_TEST = b"a test brought this lab up\n"


@contextmanager
def free_index() -> Iterator[int]:
    """A lab index that no other test and nobody else uses, for as long as the context lasts.

    The leftovers of a killed run are taken down first. Raises RuntimeError when no index is free.
    """
    index, lock = _first_free()
    try:
        yield index
        if not _in_use(index):
            os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def lab_command(name: str, *options: str, fails: bool = False, **settings: t.Any) -> dict[str, t.Any]:
    """Run a command of the lab (`up`, `down`, `status`) with its settings, and return its answer."""
    with spent_on("lab", name):
        done = subprocess.run(
            [sys.executable, "-m", "local_region", name, *options],
            input=json.dumps(settings),
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)},
            timeout=600,
            check=False,
        )
    assert (done.returncode != 0) == fails, f"{name}: {done.returncode} {done.stdout} {done.stderr}"
    return t.cast("dict[str, t.Any]", json.loads(done.stdout))


def _first_free() -> tuple[int, int]:
    """Claim the first free index; returns it with the descriptor of its lock. Raises RuntimeError."""
    for index in INDEXES:
        try:
            lock = _lock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        try:
            claimed = _claim(index, lock)
        except BaseException:
            os.close(lock)
            raise
        if claimed:
            return index, lock
        os.close(lock)
    raise RuntimeError(f"all labs from {INDEXES.start} to {INDEXES.stop - 1} are in use")


def _claim(index: int, lock: int) -> bool:
    """Take an index whose lock is ours, unless a person's lab is there."""
    if _in_use(index):
        if os.pread(lock, len(_OF_A_TEST), 0) != _OF_A_TEST:
            return False
        lab_command("down", index=index)
    os.pwrite(lock, _OF_A_TEST, 0)
    return True


def _lock(index: int, operation: int) -> int:
    """The lock of a lab index, as a descriptor. Raises BlockingIOError when it is held and not to be waited for."""
    lock = os.open(f"/tmp/lowlatency-lab-test-{index}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, operation)
    except BlockingIOError:
        os.close(lock)
        raise
    return lock


def _in_use(index: int) -> bool:
    """Whether anything of a lab with this index is there: its state, a namespace, or whoever listens at its port."""
    if Path(f"/run/lowlatency-lab/{index}").exists() or list(Path("/run/netns").glob(f"ll{index}-*")):
        return True
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", 4566 + index)) == 0

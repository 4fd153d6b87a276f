# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Troubles that come from outside while a search runs in a lab: its candidates' hosts, the disk, the controller.

What the API does wrong is for the lab's scenarios to say. A trouble acts on this lab's own namespaces and on processes
of its own search alone.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import typing as t
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.lab import Lab
from support.whole_run import descendants

#: Seconds between two looks at what there is.
LOOK_S = 0.25


class Imp:
    """Meets each candidate with a trouble of its own, drawn by a seed and counted."""

    def __init__(self, mine: Lab, rng: random.Random) -> None:
        self._lab, self._rng = mine, rng
        self._met: set[str] = set()
        self._over = threading.Event()
        self._searching: subprocess.Popen[str] | None = None
        self.did: Counter[str] = Counter()

    @contextmanager
    def at(self, searching: subprocess.Popen[str]) -> Iterator[None]:
        """Be at work while this search runs."""
        self._searching = searching
        self._over.clear()
        thread = threading.Thread(target=self._work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(30)

    def _work(self) -> None:
        while not self._over.wait(LOOK_S):
            for one in self._lab.instances():
                if one["instance_id"] not in self._met and one["state"] == "running":
                    self._met.add(one["instance_id"])
                    self._meet(one["instance_id"])

    def _meet(self, instance_id: str) -> None:
        trouble = self._rng.choice(["none", "none", "no ssh", "probe dies", "disk full", "killed", "hangs up"])
        self.did[trouble] += 1
        namespace = f"ll{self._lab.index}-{instance_id[-8:]}"
        if trouble == "no ssh":
            # The port is open, and nobody ever says a word there.
            _signal(pids_in(namespace, "sshd"), signal.SIGSTOP)
        elif trouble == "probe dies":
            self._over.wait(self._rng.uniform(1.0, 4.0))
            _signal(pids_in(namespace, "latency_probe"), signal.SIGKILL)
        elif trouble == "disk full":
            with full_disk(self._lab.reports):
                self._over.wait(self._rng.uniform(2.0, 6.0))
        elif trouble in ("killed", "hangs up"):
            self._over.wait(self._rng.uniform(0.0, 6.0))
            self._end_controller(trouble)

    def _end_controller(self, trouble: str) -> None:
        process = self._searching
        if process is None or process.poll() is not None:
            return
        # With all that it had started, its guardians too, or alone.
        others = descendants(process.pid) if self._rng.random() < 0.5 else []
        process.send_signal(signal.SIGHUP if trouble == "hangs up" else signal.SIGKILL)
        _signal(others, signal.SIGKILL)


def pids_in(namespace: str, word: str) -> list[int]:
    """The processes of a namespace whose command line has this word."""
    told = subprocess.run(["ip", "netns", "pids", namespace], check=False, capture_output=True, text=True).stdout
    return [pid for pid in map(int, told.split()) if word in _command_line(pid)]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _signal(pids: t.Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def small_disk(folder: Path, size_kib: int = 4096) -> Iterator[None]:
    """A file system of this size in place of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Not a block is left on the file system of a folder."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    try:
        yield
    finally:
        filler.unlink()

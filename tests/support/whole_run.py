# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command that starts others, and leave none of them behind when it is given up.

Ansible's workers have a session of their own each (ansible.executor.process.worker), so neither the end of the main
process nor a signal to its group reaches them, and they would go on at what the test has taken down.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import typing as t
from collections.abc import Sequence
from pathlib import Path


def run_whole(command: Sequence[str], *, timeout_s: float, **options: t.Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end and take what it prints. Raises subprocess.TimeoutExpired once it and its own are killed."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, **options
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:
            kill_with_descendants(process.pid)
            process.communicate()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def kill_with_descendants(pid: int) -> None:
    """Kill a process and all that it started, as far as they are still its descendants."""
    for each in [pid, *descendants(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Every process that descends from this one, children before grandchildren."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                # Behind the name, which is in parentheses and may hold any character: the state, then the parent.
                parent = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry.name))
    found, next_ones = [], children.get(pid, [])
    while next_ones:
        found += next_ones
        next_ones = [grandchild for child in next_ones for grandchild in children.get(child, [])]
    return found

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command that is given up leaves none of what it started, whatever session that is in."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.whole_run import run_whole

# As Ansible's workers: a child in a session of its own, which notes its id and would go on for ten minutes.
STARTS_ANOTHER = 'setsid sleep 600 & echo $! >"$1.draft" && mv "$1.draft" "$1" && sleep 600'
#: Seconds after which it is given up. Only a machine that takes longer to start the child needs the later ones.
TRIES_S = (0.5, 5.0, 60.0)


def test_what_it_prints_and_how_it_ends_is_told() -> None:
    done = run_whole([sys.executable, "-c", "import sys; print('a'); sys.exit('b')"], timeout_s=30)
    assert (done.returncode, done.stdout, done.stderr) == (1, "a\n", "b\n")


def test_nothing_of_it_is_left_when_it_is_given_up(tmp_path: Path) -> None:
    noted = tmp_path / "child"
    for timeout_s in TRIES_S:
        with pytest.raises(subprocess.TimeoutExpired):
            run_whole(["sh", "-c", STARTS_ANOTHER, "sh", str(noted)], timeout_s=timeout_s)
        if noted.exists():
            break
    stat = Path("/proc", noted.read_text(encoding="ascii").strip(), "stat")
    deadline_s = time.monotonic() + 60
    # Gone, or a zombie that whoever inherited it has not buried yet.
    while stat.exists() and " Z " not in stat.read_text(encoding="ascii"):
        assert time.monotonic() < deadline_s, "the child goes on"
        time.sleep(0.05)

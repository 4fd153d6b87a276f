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

# As Ansible's workers: a child in a session of its own, which notes its id and would go on for a minute.
STARTS_ANOTHER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(60)
"""


def test_what_it_prints_and_how_it_ends_is_told() -> None:
    done = run_whole([sys.executable, "-c", "import sys; print('a'); sys.exit('b')"], timeout_s=30)
    assert (done.returncode, done.stdout, done.stderr) == (1, "a\n", "b\n")


def test_nothing_of_it_is_left_when_it_is_given_up(tmp_path: Path) -> None:
    noted = tmp_path / "child"
    with pytest.raises(subprocess.TimeoutExpired):
        run_whole([sys.executable, "-c", STARTS_ANOTHER, str(noted)], timeout_s=3)
    stat = Path("/proc", noted.read_text(encoding="ascii"), "stat")
    deadline_s = time.monotonic() + 60
    # Gone, or a zombie that whoever inherited it has not buried yet.
    while stat.exists() and " Z " not in stat.read_text(encoding="ascii"):
        assert time.monotonic() < deadline_s, "the child goes on"
        time.sleep(0.05)

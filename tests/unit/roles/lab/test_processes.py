# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process is known by pid and start time, so that no other process is ever ended for it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pytest
from local_region.hosts.processes import ProcessId, in_network_namespaces, with_argument


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_process_is_found_and_ended(sleeper: subprocess.Popen[bytes]) -> None:
    identity = ProcessId.of(sleeper.pid)
    assert identity is not None and identity.runs()
    assert identity.end(5.0)
    assert not identity.runs()
    assert sleeper.wait(60) == -15


def test_a_pid_that_was_used_again_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    identity = ProcessId.of(sleeper.pid)
    assert identity is not None
    earlier = ProcessId(identity.pid, identity.start_ticks - 1)
    assert not earlier.runs()
    assert earlier.end(5.0)
    assert sleeper.poll() is None


def test_one_that_does_not_listen_is_killed() -> None:
    program = "import signal, sys; signal.signal(15, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(["python3", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        identity = ProcessId.of(process.pid)
        assert identity is not None and identity.end(0.1)
        assert process.wait(60) == -9


def test_a_zombie_does_not_run(sleeper: subprocess.Popen[bytes]) -> None:
    identity = ProcessId.of(sleeper.pid)
    assert identity is not None
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not identity.runs()


def test_no_process_at_all() -> None:
    assert ProcessId.of(2**22 + 1) is None


def test_processes_of_a_namespace_are_found() -> None:
    assert os.getpid() in {process.pid for process in in_network_namespaces([f"/proc/{os.getpid()}/ns/net"])}
    assert in_network_namespaces(["/run/netns/ll-no-such-namespace"]) == []


def test_processes_are_found_by_an_argument() -> None:
    with subprocess.Popen(["sleep", "60", "60.0125"]) as process:
        # The kernel lets Popen return a moment before it shows the new program's arguments.
        for _look in range(500):
            if found := [each.pid for each in with_argument("60.0125")]:
                break
            time.sleep(0.01)
        assert found == [process.pid]
        assert with_argument("60.012") == []
        process.kill()

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard ends what a dead controller would have gone on doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.controller_guard import (
    ControllerGone,
    ControllerGuard,
)


def test_a_living_controller_lets_steps_through() -> None:
    ControllerGuard(os.getppid()).check()


def test_another_parent_stops_steps() -> None:
    with pytest.raises(ControllerGone, match="has ended"):
        ControllerGuard(os.getpid()).check()


CONTROLLER = textwrap.dedent(
    """
    import os, subprocess, sys, time
    from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.controller_guard import ControllerGuard
    worker = os.fork()
    if worker == 0:
        os.setsid()  # as Ansible's workers do
        with ControllerGuard(poll_s=0.05):
            module = subprocess.Popen(["sleep", "60"])
            print(os.getpid(), module.pid, flush=True)
            module.wait()
    os.waitpid(worker, 0)
    """
)


def _gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGHUP])
def test_the_worker_and_its_module_end_with_the_controller(sign: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    # Whoever runs the tests may ignore a closed terminal; the controller must not.
    command = ["env", "--default-signal=HUP", sys.executable, "-c", CONTROLLER]
    controller = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert controller.stdout is not None
    pids = [int(word) for word in controller.stdout.readline().split()]
    assert len(pids) == 2
    assert not any(_gone(pid) for pid in pids)
    controller.send_signal(sign)
    controller.wait(60)
    for _look in range(1200):
        if all(_gone(pid) for pid in pids):
            break
        time.sleep(0.05)
    left = [pid for pid in pids if not _gone(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []

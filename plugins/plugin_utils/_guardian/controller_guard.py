# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: keep a round from outliving its controller.

A round runs in a forked worker of C(ansible-playbook). The worker survives when its controller is killed
or its terminal closes, and would go on launching instances that nobody watches.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from types import TracebackType


class ControllerGone(Exception):
    """The controller of this worker has ended: start no further step."""


class ControllerGuard:
    """Knows the controller's process and tells when it has ended.

    Used as a context manager it also watches in the background: half a second after the controller
    ended, the worker and the modules that it started are ended too, so that a module that is waiting
    for EC2 asks no more. The worker leads a session of its own (Ansible calls C(setsid)), which is why
    its process group holds exactly the worker and what it started.
    """

    def __init__(self, controller_pid: int | None = None, poll_s: float = 0.25) -> None:
        parent = multiprocessing.parent_process()
        if controller_pid is None:
            controller_pid = parent.pid if parent is not None and parent.pid else os.getppid()
        self.controller_pid: int = controller_pid
        self._poll_s = poll_s
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def orphaned(self) -> bool:
        """Whether the controller has ended; a process whose parent ended is handed to another one."""
        return os.getppid() != self.controller_pid

    def check(self) -> None:
        """Raise ControllerGone once orphaned: called before each change in AWS and each state write."""
        if self.orphaned:
            raise ControllerGone(f"the controller, process {self.controller_pid}, has ended")

    def __enter__(self) -> ControllerGuard:
        self._done.clear()
        self._thread = threading.Thread(target=self._watch, name="controller-guard", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self._poll_s):
            if self.orphaned:
                end_process_group()


def end_process_group() -> None:
    """End this worker and what it started. Refuses unless this process leads its group."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine that runs: one QEMU process, a child of this one that ends with it, however it ends."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from local_region.machine.disk import run
from local_region.machine.qmp import ANSWER_TIMEOUT_S, Qmp, QmpError
from local_region.machine.spec import MachineSpec, command

_LOG = logging.getLogger("lab.machine")
_KILL_TIMEOUT_S = 10.0
_STATE_TIMEOUT_S = 300.0  # QEMU writes all of the memory that is in use; on a busy machine that takes a while
POWERED_OFF = "guest-shutdown"  # the guest switched itself off
LOST = "lost"  # QEMU ended without a word: killed, or it failed


class MachineError(RuntimeError):
    """A machine did not start or did not do as told; the message says why."""


def overlay(base: Path, disk: Path) -> None:
    """Make `disk`, which holds what differs from `base`; nobody may write to the base from then on.

    Raises DiskError.
    """
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base.resolve()), str(disk), timeout_s=60)


class Machine:
    """One machine, on a disk that is there. A reboot stays within it; a machine that was switched off may start again.

    `on_exit` is called once for each start that succeeded, from a thread of the machine's, with why it ended: a reason
    of QEMU's event SHUTDOWN ("guest-shutdown", "host-qmp-quit", ...), or "lost".
    """

    def __init__(self, spec: MachineSpec, on_exit: Callable[[str], None] | None = None) -> None:
        self.spec = spec
        self.resets = 0  # how often the guest restarted itself since the last start
        self._on_exit = on_exit
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: Qmp | None = None
        self._thread: threading.Thread | None = None
        self._reason = LOST
        self._ended = threading.Event()
        self._ended.set()

    @property
    def pid(self) -> int | None:
        """QEMU's process id while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    def resize(self, **changes: Any) -> None:
        """Change the computer while it is off: sockets, cores, threads, numa_nodes, memory_mib, nic, seed, ..."""
        if self.running:
            raise MachineError(f"{self.spec.name} runs: its size can't be changed")
        self.spec = replace(self.spec, **changes)

    def start(self, state: str = "") -> None:
        """Switch it on, or have it go on from a saved state; returns when QEMU runs, long before the guest is up.

        After a saved state the guest's clock is as late as the state is old. Raises MachineError.
        """
        if self.running:
            return
        self.spec.seed.write(self.spec.seed_folder)
        self.spec.qmp_socket.unlink(missing_ok=True)
        self._reason, self.resets, self._process = LOST, 0, None
        self._ended.clear()
        started: list[BaseException] = []
        ready = threading.Event()
        # QEMU gets SIGKILL when the thread that started it ends, so that thread stays for as long as QEMU runs.
        self._thread = threading.Thread(
            target=self._attend, args=(ready, started, state), name=f"machine-{self.spec.name}", daemon=True
        )
        self._thread.start()
        ready.wait()
        if started:
            raise MachineError(f"{self.spec.name}: {started[0]}; {self._said()}") from started[0]

    def wait(self, timeout_s: float) -> bool:
        """Wait for it to end; return whether it did."""
        return self._ended.wait(timeout_s)

    def power_off(self, timeout_s: float = 60.0) -> None:
        """Press its power button, wait for the guest to end, and cut the power after `timeout_s`."""
        try:
            self._do("system_powerdown")
        except QmpError as error:
            _LOG.warning("%s: %s", self.spec.name, error)
            timeout_s = 0.0
        if not self.wait(timeout_s):
            self.kill()

    def reset(self) -> None:
        """Press its reset button: nothing is written back first. Raises QmpError."""
        self._do("system_reset")

    def kill(self) -> None:
        """Cut the power. Raises MachineError when QEMU does not end."""
        process = self._process
        if process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if not self.wait(_KILL_TIMEOUT_S):
            raise MachineError(f"{self.spec.name}: process {process.pid if process else '?'} does not end")

    def save(self, state: str) -> None:
        """Keep memory, devices and disk under a name, in its disk. Raises QmpError, also when the disk is NVMe.

        QMP's own commands for this need the names of block nodes and a job to be watched. The monitor for people
        writes nothing when all is well.
        """
        line = f"savevm {state}"
        if said := self._do("human-monitor-command", {"command-line": line}, _STATE_TIMEOUT_S).strip():
            raise QmpError(f"{line}: {said}")

    def ask(self, query: str, **arguments: Any) -> Any:
        """Return the answer to any QMP command. Raises QmpError."""
        return self._do(query, arguments)

    def _do(
        self, name: str, arguments: Mapping[str, Any] | None = None, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> Any:
        if self._qmp is None or not self.running:
            raise QmpError(f"{name}: {self.spec.name} does not run")
        return self._qmp.do(name, arguments, timeout_s)

    def _attend(self, ready: threading.Event, failed: list[BaseException], state: str) -> None:
        """Start QEMU, tell how that went, and be there until it ends."""
        try:
            with open(self.spec.log, "ab") as log:
                process = self._process = subprocess.Popen(
                    command(self.spec, state), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            self._qmp = Qmp(self._event)
            self._qmp.connect(self.spec.qmp_socket, lambda: process.poll() is None)
        except (OSError, QmpError) as error:
            failed.append(error)
            self._end_process()
            self._ended.set()
            return
        finally:
            ready.set()
        try:
            self._qmp.read_events()
        except (OSError, ValueError):
            _LOG.exception("%s: the control socket failed", self.spec.name)
        self._end_process()
        self._ended.set()
        _LOG.info("%s: ended, %s", self.spec.name, self._reason)
        if self._on_exit is not None:
            self._on_exit(self._reason)

    def _end_process(self) -> None:
        """Reap QEMU; it has closed its socket, so it is ending or will never."""
        if self._process is None:
            return
        try:
            self._process.wait(_KILL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_KILL_TIMEOUT_S)
        self.spec.qmp_socket.unlink(missing_ok=True)

    def _event(self, name: str, data: Mapping[str, Any]) -> None:
        if name == "SHUTDOWN":
            self._reason = str(data.get("reason", LOST))
        elif name == "RESET" and data.get("guest"):
            self.resets += 1

    def _said(self) -> str:
        with contextlib.suppress(OSError):
            return self.spec.log.read_text(encoding="utf-8", errors="replace")[-600:].strip()
        return ""

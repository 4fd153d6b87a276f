# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of the lab that live in one of its namespaces and end with the process that started them."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_CLONE_NEWNET = 0x40000000
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
_START_TIMEOUT_S = 20.0
_ANSWER_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 3.0


class ChildError(RuntimeError):
    """A program of the lab did not start, did not answer or refused; the message is one line."""


def enter_namespace(name: str) -> None:
    """Move the calling thread into a named network namespace. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{name}", "rb") as handle:
        if libc.setns(handle.fileno(), _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), f"/run/netns/{name}")


def input_ended() -> bool:
    """Called in the child when its standard input is readable: whether the parent is gone."""
    return not os.read(0, 65536)


def say(**answer: Any) -> None:
    """Called in the child: answer its parent with one line of JSON."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


class NamespaceChild:
    """A Python module of this package, run as a process of its own and spoken to in lines of JSON.

    The first line that the child reads is its configuration; it answers `{"ready": true, ...}` or `{"error": text}`.
    Each later line is a request with one answer. The child ends when its standard input does, which the kernel
    closes when the parent goes, however it goes.
    """

    def __init__(self, module: str, config: dict[str, Any]) -> None:
        self._module = module
        self._config = config
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""

    @property
    def pid(self) -> int | None:
        """The process id while it was started and not stopped."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> dict[str, Any]:
        """Start the process unless it runs, wait until it is ready and return its first answer. Raises ChildError."""
        with self._lock:
            if self.running:
                return {"ready": True}
            self._pending = b""
            environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": _PACKAGE_ROOT, "LANG": "C.UTF-8"}
            if sys.pycache_prefix:
                environment["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
            try:
                return self._ask(self._config, _START_TIMEOUT_S)
            except ChildError:
                self._end()
                raise

    def ask(self, request: dict[str, Any], timeout_s: float = _ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Send one request and return its answer. Raises ChildError when refused, late or gone."""
        with self._lock:
            return self._ask(request, timeout_s)

    def stop(self) -> None:
        """End the process and wait until it is gone. Nothing to do when it was not started."""
        with self._lock:
            self._end()

    def _ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None:
            raise ChildError(f"{self._module} is not running")
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            raise ChildError(f"{self._module} has ended: {error.strerror}") from error
        answer: dict[str, Any] = json.loads(self._line(process, time.monotonic() + timeout_s))
        if "error" in answer:
            raise ChildError(f"{self._module}: {answer['error']}")
        return answer

    def _line(self, process: subprocess.Popen[bytes], deadline_s: float) -> bytes:
        answers = process.stdout.fileno() if process.stdout else -1
        while b"\n" not in self._pending:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([answers], [], [], left_s)[0]:
                raise ChildError(f"{self._module} did not answer in time")
            chunk = os.read(answers, 65536)
            if not chunk:
                raise ChildError(f"{self._module} has ended with status {process.wait()}")
            self._pending += chunk
        line, self._pending = self._pending.split(b"\n", 1)
        return line

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin:
            with contextlib.suppress(OSError):  # it went first, with a request unread
                process.stdin.close()
        for stronger in (process.terminate, process.kill, process.kill):
            try:
                process.wait(_STOP_TIMEOUT_S)
                break
            except subprocess.TimeoutExpired:
                stronger()
        if process.stdout:
            process.stdout.close()


class NamespacePart:
    """A part of the lab that is one process in a namespace; what inherits says which in `_child`."""

    _child: NamespaceChild

    @property
    def pid(self) -> int | None:
        """The process id while it was started and not stopped."""
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.running

    def start(self) -> int | None:
        """Start, return the process id. Repeating it does nothing. Raises ChildError."""
        self._child.start()
        return self._child.pid

    def stop(self) -> None:
        """Stop; nothing to do when it was not started."""
        self._child.stop()

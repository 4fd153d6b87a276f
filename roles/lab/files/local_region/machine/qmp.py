# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""QEMU's control socket (QMP): one command at a time, and the events that come in between."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Only a hang takes this long: a busy machine may take seconds to start QEMU.
ANSWER_TIMEOUT_S = 60.0


class QmpError(RuntimeError):
    """QEMU refused a command, did not answer in time, or is gone."""


class Qmp:
    """A connection. One thread calls `read_events`, which returns when QEMU is gone; any other may call `do`."""

    def __init__(self, on_event: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._on_event = on_event
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._one_at_a_time = threading.Lock()
        self._ready = threading.Event()
        self._gone = False
        self._sent = 0

    def connect(self, path: Path, alive: Callable[[], bool], timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Connect as soon as the socket is there. Raises QmpError when it isn't in time or QEMU ends before."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                self._socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if not alive() or time.monotonic() > deadline_s:
                    raise QmpError("QEMU has ended" if not alive() else f"no {path} within {timeout_s:.0f} s") from None
                time.sleep(0.01)
        # QEMU greets first; it takes commands once it was told what the client can do.
        self._send({"execute": "qmp_capabilities", "id": "ready"})

    def read_events(self) -> None:
        """Pass on events and answers until QEMU closes the connection."""
        pending = b""
        try:
            while chunk := self._receive():
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
        finally:
            self._gone = True
            self._answers.put({"error": {"desc": "QEMU is gone"}})
            self._ready.set()
            self._socket.close()

    def do(self, command: str, arguments: Mapping[str, Any] | None = None, timeout_s: float = ANSWER_TIMEOUT_S) -> Any:
        """Execute a command and return its answer. Raises QmpError."""
        with self._one_at_a_time:
            if not self._ready.wait(timeout_s) or self._gone:
                raise QmpError(f"{command}: QEMU is gone or does not answer")
            self._sent += 1
            try:
                self._send({"execute": command, "arguments": dict(arguments or {}), "id": self._sent})
                answer = self._answer_to(self._sent, time.monotonic() + timeout_s)
            except (OSError, queue.Empty) as error:
                raise QmpError(f"{command}: {error or 'no answer in time'}") from error
        if "error" in answer:
            raise QmpError(f"{command}: {answer['error'].get('desc')}")
        return answer["return"]

    def _answer_to(self, number: int, deadline_s: float) -> dict[str, Any]:
        """Wait for the answer to a command; those to commands that were given up are passed over."""
        while True:
            answer = self._answers.get(timeout=max(0.0, deadline_s - time.monotonic()))
            if answer.get("id", number) == number:  # that QEMU is gone answers all
                return answer

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except ConnectionResetError:
            return b""

    def _send(self, message: Mapping[str, Any]) -> None:
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _take(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self._on_event(message["event"], message.get("data", {}))
        elif message.get("id") == "ready":
            self._ready.set()
        elif "return" in message or "error" in message:
            self._answers.put(message)

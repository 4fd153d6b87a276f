# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two ends' agreement about a ping, and the server that answers it.

Private to this collection: it may change in any release. Standard library only: it runs on the peer.

A client greets with GREETING, which says how long its messages are, and gets the greeting back. Every message after it
is that long and comes back as it is; its first eight bytes are the sequence number. Whoever greets in another way is
closed without an answer.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable

MAGIC = b"LLping01"
GREETING = struct.Struct("!8sQ")
SEQUENCE = struct.Struct("!Q")
LEAST_BYTES, MOST_BYTES = 16, 8_192

# A connection on which nothing comes for so long is closed, so that a client that is gone gives its place back.
IDLE_S = 30

_TIMEVAL = struct.Struct("@ll")


def timeval(seconds: float) -> bytes:
    """Seconds as the options SO_RCVTIMEO and SO_SNDTIMEO want them."""
    whole = int(seconds)
    return _TIMEVAL.pack(whole, int((seconds - whole) * 1_000_000))


def listener(address: str, port: int) -> socket.socket:
    """Socket that listens. Raises OSError when the address is not this host's or the port is taken."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        # Handshakes are measured here as well, hundreds a second: none may be dropped because one was accepted late.
        made.listen(4_096)
    except OSError:
        made.close()
        raise
    return made


def receive_all(connection: socket.socket, view: memoryview) -> bool:
    """Fill the view from a connection; false when the connection ended first. Raises OSError (also on a timeout)."""
    received = connection.recv_into(view)
    while 0 < received < len(view):
        more = connection.recv_into(view[received:])
        if not more:
            return False
        received += more
    return received > 0


def answer(connection: socket.socket) -> None:
    """Serve one client until it goes, falls silent or does not keep to the agreement."""
    with connection:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval(IDLE_S))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval(IDLE_S))
            greeting = bytearray(GREETING.size)
            if not receive_all(connection, memoryview(greeting)):
                return
            magic, size = GREETING.unpack(greeting)
            if magic != MAGIC or not LEAST_BYTES <= size <= MOST_BYTES:
                return
            connection.sendall(greeting)
            message = memoryview(bytearray(size))
            sendall = connection.sendall
            while receive_all(connection, message):
                sendall(message)
        except OSError:
            # The client's end of it: gone, reset or silent. There is nobody to tell, and others are being served.
            return


class Server:
    """Accepts clients until its time is over, a bounded number of them at a time."""

    def __init__(self, listening: socket.socket, max_connections: int, lifetime_s: float) -> None:
        self._listening = listening
        self._places = threading.BoundedSemaphore(max_connections)
        self._end_s = time.monotonic() + lifetime_s

    def run(self) -> None:
        """Serve, then return; clients that are still there go down with the process."""
        gc.freeze()
        gc.disable()
        while True:
            left_s = self._end_s - time.monotonic()
            if left_s <= 0:
                return
            self._listening.settimeout(left_s)
            try:
                connection, _peer = self._listening.accept()
            except OSError:
                # The time is over (then the loop ends), or a client was gone before it was accepted.
                continue
            if not self._places.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(None)
            answer(connection)
        finally:
            self._places.release()


def detach(work: Callable[[], None], keep: int, cpu: int | None) -> int:
    """Run work in a process of its own, which nothing ties to this one; returns its process id.

    Forked twice, so that it can never get a terminal and is nobody's child here. Only the descriptor ``keep`` stays
    open. Raises OSError when this machine can't fork.
    """
    reading, writing = os.pipe()
    first = os.fork()
    if first == 0:
        _become_daemon(work, keep, cpu, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(first, 0)
    if not told:
        raise OSError(0, "the process of the responder could not be made")
    return int(told)


def _become_daemon(work: Callable[[], None], keep: int, cpu: int | None, writing: int) -> None:
    """The forked child's whole life; never returns, so that the module's own end does not run twice."""
    code = 1
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(writing, str(os.getpid()).encode("ascii"))
        _let_go(keep)
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        _step_down()
        work()
        code = 0
    finally:
        os._exit(code)


def _let_go(keep: int) -> None:
    """Close all that came from the module: its pipes would keep the task waiting."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir("/")
    os.umask(0o077)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.closerange(3, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX") if keep < 65_536 else keep + 65_536)


def _step_down() -> None:
    """Go on as nobody when started by root: from here on no privilege is needed."""
    if os.geteuid() != 0:
        return
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


#: The overflow user id, C(nobody) on every supported distribution.
NOBODY = 65_534

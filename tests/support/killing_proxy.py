# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A proxy before a region's API that counts a controller's calls and ends the controller at one of them.

The count begins with the first CreatePlacementGroup after it was armed: the first call of a round that changes
something. What a guardian asks (it says so in its user agent) goes through and is not counted.
"""

from __future__ import annotations

import http.client
import sys
import threading
import time
import typing as t
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

GUARDIAN = "lowlatency.ec2-guardian"


class KillingProxy:
    """Calls are numbered from 1 on; C(kill) is called once, before or after the one that it is armed for."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._lock = threading.Lock()
        self._kill: Callable[[], None] | None = None
        self._at = 0
        self._before = True
        self._counting = False
        self.seen: list[str] = []
        #: When the kill was done, s since 1970; calls of the controller that came later, with their delay.
        self.killed_at_s: float | None = None
        self.late: list[tuple[str, float]] = []
        self.guardian_calls: list[str] = []

    def arm(self, at: int, *, before: bool, kill: Callable[[], None] | None) -> None:
        """Begin to count anew. With C(at) 0 it only counts."""
        with self._lock:
            self._at, self._before, self._kill = at, before, kill
            self._counting, self.killed_at_s = False, None
            self.seen, self.late, self.guardian_calls = [], [], []

    def begins(self, action: str, agent: str) -> bool:
        """Count a call; true when the controller has ended before it."""
        with self._lock:
            if GUARDIAN in agent:
                self.guardian_calls.append(action)
                return False
            if self.killed_at_s is not None:
                self.late.append((action, time.time() - self.killed_at_s))
                return False
            self._counting = self._counting or action == "CreatePlacementGroup"
            if not self._counting:
                return False
            self.seen.append(action)
            return self._before and self._end()

    def ends(self, agent: str) -> bool:
        """True when the controller has ended after the call and its answer is lost."""
        with self._lock:
            return GUARDIAN not in agent and self._counting and not self._before and self._end()

    def _end(self) -> bool:
        if self._kill is None or self.killed_at_s is not None or len(self.seen) != self._at:
            return False
        self._kill()
        self.killed_at_s = time.time()
        return True

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self._upstream_port, timeout=60)
        try:
            upstream.request(method, path, body, headers)
            answer = upstream.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            upstream.close()


def _handler(proxy: KillingProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            agent = self.headers.get("User-Agent") or ""
            named = self.headers.get("X-Amz-Target") or f"{self.command} {self.path.partition('?')[0]}"
            action = parse_qs(body.decode(errors="replace")).get("Action", [named])[0]
            if proxy.begins(action, agent):
                self.close_connection = True
                return
            status, headers, answer = proxy.forward(self.command, self.path, dict(self.headers), body)
            if proxy.ends(agent):
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding", "server", "date"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_DELETE = do_POST

        def log_message(self, format: str, *args: t.Any) -> None:
            """Nothing: what was asked is in the proxy's lists."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A client that was killed breaks its connection off; that is no news here."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def killing_proxy(upstream_port: int) -> Iterator[tuple[KillingProxy, str]]:
    """A proxy on a free port of the loopback address, and its URL."""
    proxy = KillingProxy(upstream_port)
    server = _Server(("127.0.0.1", 0), _handler(proxy))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)

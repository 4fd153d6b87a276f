# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts with a cable between them: network namespaces of a test's own, and modules run in them as on hosts.

The addresses are of 198.18.0.0/15 (RFC 2544, never routed) and exist in the namespaces alone, so that no packet can
leave the machine. Needs root and iproute2.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CLIENT, PEER = "198.19.249.1", "198.19.249.2"
CLIENT_DEVICE, PEER_DEVICE = "llclient", "llpeer"

_MODULE = """
import runpy, sys
collections, module = sys.argv[1:]
del sys.argv[1:]
sys.path.insert(0, collections)
runpy.run_module("ansible_collections.lowlatency.ec2.plugins.modules." + module, run_name="__main__")
"""


def why_not() -> str | None:
    """Why the rig can't run here, None if it can."""
    return None if os.geteuid() == 0 else "the rig needs root for its network namespaces"


class PingRig:
    """Context manager for the two namespaces. Responders that a test left running are ended with it."""

    def __init__(self, folder: Path) -> None:
        name = f"ping-{os.getpid()}-{time.monotonic_ns() % 1_000_000}"
        self.client, self.peer = f"{name}-a", f"{name}-b"
        self.pid_path = str(folder / "responder.json")

    def __enter__(self) -> PingRig:
        for namespace in (self.client, self.peer):
            subprocess.run(["ip", "netns", "add", namespace], check=True)
        cable = ["type", "veth", "peer", "name", PEER_DEVICE, "netns", self.peer]
        subprocess.run(["ip", "-n", self.client, "link", "add", CLIENT_DEVICE, *cable], check=True)
        for namespace, device, address in (
            (self.client, CLIENT_DEVICE, CLIENT),
            (self.peer, PEER_DEVICE, PEER),
        ):
            for arguments in (
                ["link", "set", "lo", "up"],
                ["addr", "add", f"{address}/30", "dev", device],
                ["link", "set", device, "up"],
            ):
                subprocess.run(["ip", "-n", namespace, *arguments], check=True)
        return self

    def __exit__(self, *_exception: object) -> None:
        if Path(self.pid_path).exists():
            self.responder(state="stopped")
        for namespace in (self.client, self.peer):
            subprocess.run(["ip", "netns", "del", namespace], check=True)

    def run(
        self, module: str, options: Mapping[str, Any], namespace: str, prefix: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Result of a module that runs in a namespace, as a process of its own. Raises when it prints none."""
        command = ["ip", "netns", "exec", namespace, *prefix, sys.executable, "-B", "-c", _MODULE]
        done = subprocess.run(
            [*command, str(ROOT / ".venv" / "collections"), module],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": dict(options)}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        try:
            result: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            raise RuntimeError(f"no result: {done.stdout[:500]!r} {done.stderr[-2000:]!r}") from error
        return result

    def responder(self, prefix: Sequence[str] = (), **options: Any) -> dict[str, Any]:
        """Run ping_responder at the peer."""
        given = {"address": PEER, "pid_path": self.pid_path, "lifetime_s": 300, **options}
        return self.run("ping_responder", given, self.peer, prefix)

    def ping(self, prefix: Sequence[str] = (), **options: Any) -> dict[str, Any]:
        """Run ping_probe at the client."""
        return self.run("ping_probe", {"address": PEER, **options}, self.client, prefix)

    def in_client(self, command: Sequence[str]) -> list[str]:
        """The command that runs another one at the client."""
        return ["ip", "netns", "exec", self.client, *command]


# Goes before a command that other work on the machine must not hold up.
FIRST = ("chrt", "--fifo", "1")

_STOPPER = """
import os, signal, sys, time
pid, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))
try:
    while time.monotonic() < end:
        os.kill(pid, signal.SIGSTOP)
        if sys.stdout:
            print(flush=True)
            sys.stdout = None
        time.sleep(0.02)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.002)
finally:
    os.kill(pid, signal.SIGCONT)
"""


@contextmanager
def stopped_most_of_the_time(pid: int, longest_s: int = 60) -> Iterator[None]:
    """A process is stopped for 20 ms and goes on for 2, again and again; whatever else is on its CPU is left alone."""
    command = [sys.executable, "-c", _STOPPER, str(pid), str(longest_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()
        os.kill(pid, signal.SIGCONT)

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A name server that answers as told, right or wrong, in a network namespace of its own with nothing but loopback.

Needs root and iproute2. What runs in the namespace has this server as its resolver.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# Where `ip netns exec` looks for the files of a namespace, ip-netns(8).
NETNS_FILES = Path("/etc/netns")
RESOLV_CONF = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"

NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3
A, CNAME = 1, 5

# The server ends by itself after this, should whoever started it be gone.
LONGEST_LIFE_S = 120


class DnsLiar:
    """Context manager for a namespace whose resolver answers by name with addresses, or as one of these words.

    ``empty``: no error and no address. ``failure``: SERVFAIL. ``loop``: an alias for itself. ``silent``: no answer at
    all. A name that is not there does not exist.
    """

    def __init__(self, names: Mapping[str, Sequence[str] | str]) -> None:
        self.name = f"liar-{os.getpid()}-{time.monotonic_ns() % 1_000_000}"
        self._names = dict(names)
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> DnsLiar:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        try:
            files = NETNS_FILES / self.name
            files.mkdir(parents=True)
            (files / "resolv.conf").write_text(RESOLV_CONF, encoding="ascii")
            subprocess.run(self.command(["ip", "link", "set", "lo", "up"]), check=True)
            self._server = subprocess.Popen(
                self.command([sys.executable, "-I", str(Path(__file__).resolve()), json.dumps(self._names)]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert self._server.stdout is not None
            if self._server.stdout.readline() != "ready\n":
                raise RuntimeError("the name server did not start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.communicate()
        subprocess.run(["ip", "netns", "del", self.name], check=True)
        shutil.rmtree(NETNS_FILES / self.name, ignore_errors=True)
        if NETNS_FILES.is_dir() and not any(NETNS_FILES.iterdir()):
            NETNS_FILES.rmdir()

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs argv in the namespace."""
        return ["ip", "netns", "exec", self.name, *argv]


# What follows runs as a process of its own, the server.


def answer_to(query: bytes, names: Mapping[str, Sequence[str] | str]) -> bytes | None:
    """The answer to a query of one question (RFC 1035, section 4), None for silence."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii"))
        at += 1 + query[at]
    question = query[12 : at + 5]
    told = names.get(".".join(labels).lower())
    if told == "silent":
        return None
    code = NO_SUCH_NAME if told is None else SERVER_FAILURE if told == "failure" else NO_ERROR
    records = []
    if told == "loop":
        # The alias is a pointer to the question's own name.
        records = [struct.pack("!HHHIHH", 0xC00C, CNAME, 1, 0, 2, 0xC00C)]
    elif not isinstance(told, str):
        records = [struct.pack("!HHHIH4s", 0xC00C, A, 1, 0, 4, socket.inet_aton(one)) for one in told or ()]
    return query[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(records), 0, 0) + question + b"".join(records)


def serve(names: Mapping[str, Sequence[str] | str]) -> None:
    """Answer for LONGEST_LIFE_S at most."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 53))
        print("ready", flush=True)
        end_s = time.monotonic() + LONGEST_LIFE_S
        while (left_s := end_s - time.monotonic()) > 0:
            made.settimeout(left_s)
            try:
                query, asker = made.recvfrom(2_048)
            except socket.timeout:
                return
            answer = answer_to(query, names)
            if answer is not None:
                made.sendto(answer, asker)


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))

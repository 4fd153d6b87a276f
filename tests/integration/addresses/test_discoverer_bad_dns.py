# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The discoverer where DNS lies, loops, fails or says nothing."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from integration.lab_network.simulated_exchange import inside
from support.discoverer import Discoverer
from support.dns_liar import DnsLiar

PORT = 443
# Of the host at the other end of a cable: one that listens, and one that refuses. And this end's own.
ALIVE, DEAD, OWN = "198.19.253.7", "198.19.253.8", "198.19.253.9"
NAMES = {
    "good.example": [ALIVE, DEAD],
    "lies.example": ["0.0.0.0", "127.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255", OWN, ALIVE],
    "loops.example": "loop",
    "fails.example": "failure",
    "empty.example": "empty",
    "silent.example": "silent",
}


@contextmanager
def cable(here: str, own: str, others: Sequence[str]) -> Iterator[str]:
    """A namespace of its own that has the other addresses, at the end of a cable from a namespace that has one."""
    other = f"{here}-x"
    ip("netns", "add", other)
    try:
        ip("-n", here, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", other)
        for name, addresses in ((here, (own,)), (other, others)):
            for address in addresses:
                ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
        yield other
    finally:
        ip("netns", "del", other)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@pytest.fixture(scope="module")
def liar() -> Iterator[DnsLiar]:
    """A namespace with that resolver and a cable to another one, where something listens at one address."""

    def listen() -> socket.socket:
        return socket.create_server((ALIVE, PORT), backlog=256)

    with DnsLiar(NAMES) as liar, cable(liar.name, OWN, (ALIVE, DEAD)) as other, inside(other, listen):
        yield liar


@pytest.mark.parametrize("host", sorted(NAMES))
def test_a_bad_name_harms_neither_the_pass_nor_the_other_endpoint(
    liar: DnsLiar, program: Path, tmp_path: Path, host: str
) -> None:
    discoverer = Discoverer(program, tmp_path, liar.command([]))
    good = {"name": "good", "host": "good.example", "port": PORT}
    done = discoverer.run(endpoints=[{"name": "bad", "host": host, "port": PORT}, good])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found = discoverer.endpoints()
    assert found["good"]["addresses"][ALIVE]["last_alive"] is not None
    assert found["good"]["addresses"][DEAD]["last_alive"] is None
    wanted = {"good.example": [ALIVE, DEAD], "lies.example": [ALIVE]}.get(host, [])
    assert list(found["bad"]["addresses"]) == wanted
    if host == "lies.example":
        assert f"bad: DNS says {OWN} of lies.example, which is own: not taken" in done.stdout
    if not wanted:
        assert done.stdout.startswith("bad: DNS says EAI_")

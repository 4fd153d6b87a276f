# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pieces of a lab's network put together, and what a program in one of its namespaces sees."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from local_region.delay_line.client import DelayLine
from local_region.delay_line.reference import wire_us
from local_region.exchange.dns import Dns
from local_region.exchange.listener import Listener
from local_region.network.child import enter_namespace
from local_region.network.layout import LabNetwork
from local_region.topology import Topology

# What is waited for ends the wait; a machine that is busy may take its time.
PATIENCE_S = 30.0
MOST_TRIES = 10

Found = TypeVar("Found")


def inside(namespace: str, look: Callable[[], Found]) -> Found:
    """Return what a function finds when it is called in a namespace: in a thread that enters it and ends there."""
    found: list[Found] = []
    trouble: list[BaseException] = []

    def work() -> None:
        try:
            enter_namespace(namespace)
            found.append(look())
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]
    return found[0]


def serve_once(namespace: str, port: int = 22) -> socket.socket:
    """Return a socket that listens on every address of a namespace."""

    def listen() -> socket.socket:
        server = socket.create_server(("", port))
        server.settimeout(PATIENCE_S)
        return server

    return inside(namespace, listen)


def who_calls(server: socket.socket, address: str, port: int = 22) -> tuple[str, str]:
    """Connect from here to an address and return (the caller, the called one) as the server sees them."""
    with socket.create_connection((address, port), PATIENCE_S):
        client, caller = server.accept()
        with client:
            return caller[0], client.getsockname()[0]


def ask_dns(server: str, host: str, kind: int = 1, over_tcp: bool = False) -> tuple[int, list[str]]:
    """Return (the answer's code, its addresses in order), asking with a bare query of one question."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in host.split("."))
    query = struct.pack("!HHHHHH", 99, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_S)
        client.connect((server, 53))
        client.send(struct.pack("!H", len(query)) + query if over_tcp else query)
        answer = client.recv(4096)[2 if over_tcp else 0 :]
    code, count = struct.unpack_from("!H", answer, 2)[0] & 15, struct.unpack_from("!H", answer, 6)[0]
    records = answer[len(query) : len(query) + 16 * count]
    return code, [socket.inet_ntoa(records[16 * n + 12 : 16 * n + 16]) for n in range(count)]


class SimulatedExchange:
    """All of a lab's network, without hosts and without an API."""

    def __init__(self, directory: Path, index: int, addresses_per_endpoint: int = 8) -> None:
        self.dead = tuple(Topology(1, index).endpoints[0].addresses[:2])
        self.topology = Topology(1, index, addresses_per_endpoint, self.dead)
        every = [address for endpoint in self.topology.endpoints for address in endpoint.addresses]
        self.network = LabNetwork(index, every)
        self.log_path = directory / "held"
        self.listener = Listener(self.topology.addressing)
        self.dns = Dns(self.topology, str(directory))
        self.delay_line = DelayLine(self.network, self.topology, log_path=self.log_path)
        self.resolver = self.topology.addressing.resolver

    def up(self) -> None:
        self.network.down()
        self.network.up()
        self.listener.start()
        self.dns.start()
        self.delay_line.start()

    def down(self) -> None:
        for part in (self.delay_line, self.dns, self.listener):
            part.stop()
        self.network.down()

    def instance(self, number: int, rack: str | None) -> tuple[str, str]:
        """Return (namespace, private address) of an instance that is in a rack, or in none."""
        third = 16 * self.topology.addressing.index
        namespace, private_ip = f"ll{self.topology.addressing.index}-test{number}", f"198.18.{third}.{100 + number}"
        self.network.attach(namespace, private_ip)
        if rack:
            self.delay_line.set_rack(private_ip, rack)
        return namespace, private_ip

    def wires_us(self, namespace: str, address: str, count: int = 20) -> list[int]:
        """Return the wire times of so many handshakes from a namespace to an address that answers."""
        return inside(namespace, lambda: [answered_us(address) for _dummy in range(count)])


def answered_us(address: str) -> int:
    """Return the wire time of a handshake with an address that answers: one that is half a second late is repeated."""
    for _try in range(MOST_TRIES):
        taken_us = wire_us(address, 443)
        if taken_us is not None:
            return taken_us
    raise AssertionError(f"{address} did not answer {MOST_TRIES} times")

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Source ports that are held and taken in turn, on real sockets of this host."""

from __future__ import annotations

import errno
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.connectors import METHODS, connector
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.port_spread import MOST_PORTS, are_flows
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.source_ports import SourcePorts

SHUFFLE = random.Random(3).shuffle


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=4_096) as made:
        yield made


@pytest.mark.parametrize("method", METHODS)
def test_each_port_is_used_again_at_once_for_the_same_address(method: str, listener: socket.socket) -> None:
    with closing(SourcePorts(4, SHUFFLE)) as ports:
        connect = connector(method, 1_000, time.perf_counter_ns, ports.bind)
        outcomes = [connect(listener.getsockname()) for _handshake in range(400)]
        assert {outcome.code for outcome in outcomes} == {0}
        used = [outcome.port for outcome in outcomes]
        assert Counter(used) == dict.fromkeys(ports.ports, 100)
        assert are_flows(used)
        # Each time round has every port once, and the order is not always the same.
        laps = [tuple(used[at : at + 4]) for at in range(0, 400, 4)]
        assert all(set(lap) == set(ports.ports) for lap in laps)
        assert len(set(laps)) > 4


def test_each_address_goes_round_all_ports(listener: socket.socket) -> None:
    with closing(SourcePorts(3, SHUFFLE)) as ports, socket.create_server(("127.0.0.2", 0), backlog=64) as second:
        connect = connector("blocking", 1_000, time.perf_counter_ns, ports.bind)
        for address in (listener.getsockname(), second.getsockname()):
            assert {connect(address).port for _handshake in range(3)} == set(ports.ports)
        # In alternation too.
        pairs = [(connect(listener.getsockname()).port, connect(second.getsockname()).port) for _turn in range(3)]
        assert [set(used) for used in zip(*pairs)] == [set(ports.ports)] * 2


def test_held_ports_are_nobody_else_s() -> None:
    ports = SourcePorts(5, SHUFFLE)
    assert len(set(ports.ports)) == 5
    for port in ports.ports:
        with socket.socket() as other, pytest.raises(OSError, match="in use") as refused:
            other.bind(("", port))
        assert refused.value.errno == errno.EADDRINUSE
    ports.close()
    for port in ports.ports:
        with socket.socket() as other:
            other.bind(("", port))


def test_failed_handshakes_take_their_turns_as_well() -> None:
    with closing(SourcePorts(4, SHUFFLE)) as ports, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        connect = connector("spin", 100, time.perf_counter_ns, ports.bind)
        assert {connect(closed.getsockname()).code for _handshake in range(40)} == {errno.ECONNREFUSED}


@pytest.mark.parametrize("method", METHODS)
def test_port_of_a_handshake_that_was_given_up_can_be_used_again(method: str) -> None:
    with closing(SourcePorts(2, SHUFFLE)) as ports, socket.socket() as listener, socket.socket() as queued:
        # A listener whose queue is full drops SYNs, until it accepts.
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        queued.connect(listener.getsockname())
        connect = connector(method, 20, time.perf_counter_ns, ports.bind)
        assert {connect(listener.getsockname()).code for _handshake in range(6)} == {errno.EINPROGRESS}
        for _handshake in range(6):
            listener.accept()[0].close()
            assert connect(listener.getsockname()).code == 0


@pytest.mark.parametrize("count", [-1, 0, MOST_PORTS + 1])
def test_count_that_is_none(count: int) -> None:
    with pytest.raises(ValueError, match="are not 1 to"):
        SourcePorts(count, SHUFFLE)

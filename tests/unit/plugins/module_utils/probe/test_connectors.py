# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Handshakes by each method on real sockets of this host; see tests/integration/probe for them on a path."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.connectors import METHODS, Connect, connector


def choose_any(made: socket.SocketType, _address: tuple[str, int]) -> None:
    made.bind(("", 0))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as made:
        yield made


@pytest.fixture(params=["blocking", "spin", "blocking, bound", "spin, bound"])
def connect(request: pytest.FixtureRequest) -> Connect:
    method, _comma, bound = request.param.partition(", ")
    return connector(method, 30, time.perf_counter_ns, choose_any if bound else None)


def test_handshake_has_a_wall_and_a_wire_time_and_a_port(connect: Connect, listener: socket.socket) -> None:
    outcome = connect(listener.getsockname())
    _accepted, peer = listener.accept()
    assert (outcome.code, outcome.retransmits, outcome.port) == (0, 0, peer[1])
    # The kernel's time is in whole microseconds.
    assert 0 < outcome.wire_us <= outcome.wall_ns / 1_000 + 1


def test_connection_is_closed_with_a_reset(connect: Connect, listener: socket.socket) -> None:
    connect(listener.getsockname())
    accepted, _peer = listener.accept()
    with accepted, pytest.raises(ConnectionResetError):
        accepted.recv(1)


def test_port_that_nobody_listens_on_refuses(connect: Connect) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        outcome = connect(closed.getsockname())
    assert (outcome.code, outcome.wire_us) == (errno.ECONNREFUSED, 0)


def test_handshake_that_nobody_answers_ends_at_the_timeout(connect: Connect) -> None:
    # A listener whose queue is full drops SYNs.
    with socket.socket() as full, socket.socket() as queued:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        queued.connect(full.getsockname())
        outcome = connect(full.getsockname())
    assert outcome.code == errno.EINPROGRESS
    assert outcome.wall_ns >= 30_000_000


def test_address_of_no_one_host_is_an_error_and_no_sample(connect: Connect) -> None:
    # The kernel answers this itself: TCP has no broadcast.
    outcome = connect(("255.255.255.255", 443))
    assert outcome.code in (errno.ENETUNREACH, errno.EACCES)
    assert outcome.wire_us == 0


def test_every_handshake_is_one_connection(connect: Connect, listener: socket.socket) -> None:
    for _handshake in range(20):
        assert connect(listener.getsockname()).code == 0
    listener.setblocking(False)
    for _connection in range(20):
        listener.accept()[0].close()
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_spin_ends_by_its_clock_and_no_later(listener: socket.socket) -> None:
    # The queue is full, and the clock moves by 10 ms a look: the third look after the start is past 25 ms.
    with socket.socket() as full, socket.socket() as queued:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        queued.connect(full.getsockname())
        times_ns = iter(range(0, 10**9, 10_000_000))
        outcome = connector("spin", 25, lambda: next(times_ns))(full.getsockname())
    assert (outcome.code, outcome.wall_ns) == (errno.EINPROGRESS, 30_000_000)
    assert next(times_ns) == 40_000_000


def test_spin_times_from_before_its_first_look_to_its_last(listener: socket.socket) -> None:
    looks_ns = []

    def clock_ns() -> int:
        looks_ns.append(time.perf_counter_ns())
        return looks_ns[-1]

    outcome = connector("spin", 1_000, clock_ns)(listener.getsockname())
    assert outcome.wall_ns == looks_ns[-1] - looks_ns[0]


@pytest.mark.parametrize("method", METHODS)
def test_binding_is_not_timed(method: str, listener: socket.socket) -> None:
    looks: list[int] = []
    seen_at_bind = []

    def clock_ns() -> int:
        looks.append(0)
        return time.perf_counter_ns()

    def bind(made: socket.SocketType, _address: tuple[str, int]) -> None:
        seen_at_bind.append(len(looks))
        made.bind(("", 0))

    assert connector(method, 1_000, clock_ns, bind)(listener.getsockname()).code == 0
    assert seen_at_bind == [0]


@pytest.mark.parametrize("method", METHODS)
def test_port_that_can_not_be_had_is_an_outcome(method: str, listener: socket.socket) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        bind_to_taken = connector(method, 30, time.perf_counter_ns, lambda made, _to: made.bind(taken.getsockname()))
        outcome = bind_to_taken(listener.getsockname())
    assert outcome == (errno.EADDRINUSE, 0, 0, 0, 0)


def test_other_methods_are_refused() -> None:
    with pytest.raises(ValueError, match="'poll' is no way to connect"):
        connector("poll", 100, time.perf_counter_ns)

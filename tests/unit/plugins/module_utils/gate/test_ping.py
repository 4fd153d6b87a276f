# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ping's two ends on loopback, in this process; tests/integration/ping runs them on two hosts."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate import ping_daemon
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.ping import (
    Plan,
    Record,
    connected,
    plan_from,
    round_tripper,
    run_ping,
    summary_us,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.ping_daemon import (
    Keeper,
    boot_id,
    default_pid_path,
    online_cpus,
    start_ticks,
    wanted_from,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._gate.ping_server import (
    GREETING,
    MAGIC,
    NOBODY,
    answer,
    detach,
    listener,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import BadOption

OPTIONS: dict[str, Any] = {
    "address": "127.0.0.1",
    "port": 7007,
    "samples": 40,
    "blocks": 4,
    "warmup": 2,
    "max_rate": 100_000,
    "timeout_ms": 2_000,
    "message_bytes": 64,
    "receive": "blocking",
    "busy_poll_us": None,
    "cpu": None,
}
RESPONDER: dict[str, Any] = {
    "address": "127.0.0.1",
    "port": 7007,
    "lifetime_s": 60,
    "max_connections": 8,
    "cpu": None,
}


@contextmanager
def served(serve: Callable[[socket.socket], None] = answer) -> Iterator[int]:
    """A port of this host where connections are served one by one; the thread ends with the listener."""
    listening = listener("127.0.0.1", 0)

    def accept() -> None:
        while True:
            try:
                connection, _peer = listening.accept()
            except OSError:
                return
            serve(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(60)
        listening.close()


def plan(**options: Any) -> Plan:
    return plan_from({**OPTIONS, **options}, [0, 1])


@pytest.mark.parametrize("receive", ["blocking", "spin"])
@pytest.mark.parametrize("message_bytes", [16, 64, 8_192])
def test_round_trips_are_counted_in_blocks(receive: str, message_bytes: int) -> None:
    with served() as port:
        result = run_ping(plan(port=port, receive=receive, message_bytes=message_bytes))
    assert (result["samples"], set(result["errors"].values())) == (40, {0})
    assert [block["samples"] for block in result["blocks"]] == [10] * 4
    assert min(block["best_us"] for block in result["blocks"]) == result["round_trip"]["best_us"]
    assert result["path"]["loopback"] is True


def test_samples_are_rounded_up_to_whole_blocks() -> None:
    with served() as port:
        assert run_ping(plan(port=port, samples=41))["samples"] == 44


def test_a_dry_run_makes_no_connection() -> None:
    result = run_ping(plan(port=1), dry=True)
    assert (result["samples"], result["round_trip"], set(result["errors"].values())) == (0, None, {0})


def replies(*messages: Callable[[bytes], bytes]) -> Callable[[socket.socket], None]:
    """A server that greets and then answers each message as told, then closes."""

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.sendall(connection.recv(GREETING.size))
            for made in messages:
                got = connection.recv(64)
                if not got:
                    return
                connection.sendall(made(got))

    return serve


def test_an_answer_in_parts_is_put_together() -> None:
    arrived = threading.Event()

    def in_parts(connection: socket.socket) -> None:
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(connection.recv(GREETING.size))
            message = connection.recv(64)
            connection.sendall(message[:20])
            arrived.wait(60)
            connection.sendall(message[20:])

    with served(in_parts) as port, connected(plan(port=port)) as connection:
        trip = round_tripper(connection, plan(port=port))
        threading.Timer(0.05, arrived.set).start()
        assert trip(7) > 0


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        (replies(lambda message: b"\0" * 7 + b"\1" + message[8:]), errno.EPROTO),
        (replies(), errno.ECONNRESET),
        (replies(lambda message: message[:20]), errno.ECONNRESET),
    ],
    ids=["another's", "closed", "cut off"],
)
def test_what_is_no_answer_is_an_error(answers: Callable[[socket.socket], None], code: int) -> None:
    with served(answers) as port, connected(plan(port=port)) as connection:
        with pytest.raises(OSError) as raised:
            round_tripper(connection, plan(port=port))(7)
        assert raised.value.errno == code


@pytest.mark.parametrize("receive", ["blocking", "spin"])
def test_silence_is_a_timeout(receive: str) -> None:
    with served(replies(lambda _message: b"", lambda _message: b"")) as port:
        told = plan(port=port, timeout_ms=30, receive=receive)
        with connected(told) as connection, pytest.raises(BlockingIOError):
            round_tripper(connection, told)(7)


def test_a_peer_that_is_no_responder_is_told_from_one() -> None:
    with served(lambda connection: connection.close()) as port:
        result = run_ping(plan(port=port))
    assert (result["samples"], result["errors"]["reset"]) == (0, 3)


@pytest.mark.parametrize("greeting", [b"x" * 16, GREETING.pack(MAGIC, 15), GREETING.pack(MAGIC, 8_193), b"", b"LLping"])
def test_the_server_closes_who_greets_otherwise(greeting: bytes) -> None:
    with served() as port, socket.create_connection(("127.0.0.1", port), 20) as stranger:
        stranger.sendall(greeting)
        stranger.shutdown(socket.SHUT_WR)
        assert stranger.recv(1) == b""


def test_errors_are_counted_by_kind_and_others_by_name() -> None:
    record = Record()
    for code in (errno.EAGAIN, errno.ECONNREFUSED, errno.EPIPE, errno.ENETUNREACH, errno.EPROTO, errno.EPROTO):
        record.note_error(code)
    assert record.errors == {
        "timeout": 1,
        "refused": 1,
        "reset": 1,
        "unreachable": 1,
        "other": 2,
        "retransmitted": 0,
    }
    assert record.other_codes == {"EPROTO": 2}


@pytest.mark.parametrize(("count", "p99", "p99_9"), [(300, False, False), (500, True, False), (5_000, True, True)])
def test_bounds_of_the_tail_are_given_where_the_samples_allow(count: int, p99: bool, p99_9: bool) -> None:
    summary = summary_us(range(count))
    assert (summary["p99_low_us"] is not None, summary["p99_9_high_us"] is not None) == (p99, p99_9)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("address", "peer"),
        ("address", "0.0.0.0"),
        ("address", "224.0.0.1"),
        ("port", 0),
        ("port", 65_536),
        ("samples", 0),
        ("blocks", 0),
        ("warmup", -1),
        ("max_rate", 0),
        ("timeout_ms", 0),
        ("timeout_ms", 60_001),
        ("message_bytes", 15),
        ("message_bytes", 8_193),
        ("busy_poll_us", -1),
        ("cpu", 2),
    ],
)
def test_options_that_cant_be(option: str, value: Any) -> None:
    with pytest.raises(BadOption, match=f"^{option}: "):
        plan(**{option: value})


# --- which process the responder is ---


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("address", "here"),
        ("address", "0.0.0.0"),
        ("port", 0),
        ("lifetime_s", 0),
        ("max_connections", 65),
        ("cpu", 9_999),
    ],
)
def test_responders_that_cant_be(option: str, value: Any) -> None:
    with pytest.raises(BadOption, match=f"^{option}: "):
        wanted_from({**RESPONDER, option: value})


def test_this_process_is_known_by_its_start() -> None:
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    assert ticks / os.sysconf("SC_CLK_TCK") < float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    assert len(boot_id()) == 36


def test_a_process_that_has_ended_has_no_start() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert start_ticks(child) is None, "a zombie serves nobody"
    os.waitpid(child, 0)
    assert start_ticks(child) is None


def test_cpus_that_are_online() -> None:
    assert set(os.sched_getaffinity(0)) <= set(online_cpus())


def test_where_the_responder_is_written_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ping_daemon.os, "geteuid", lambda: 0)
    assert default_pid_path(7007) == "/run/lowlatency-ec2-ping-7007.json"
    monkeypatch.setattr(ping_daemon.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_pid_path(7008) == f"{tmp_path}/.lowlatency-ec2-ping-7008.json"


def test_no_file_is_no_responder(tmp_path: Path) -> None:
    keeper = Keeper(str(tmp_path / "none.json"))
    assert keeper.running() is None
    assert keeper.stop(check=False) is False


def test_a_detached_process_keeps_one_descriptor_and_nothing_else_of_this_one() -> None:
    reading, writing = os.pipe()

    def tell() -> None:
        with suppress(OSError):
            os.fstat(reading)
            os.write(writing, b"the other descriptor is still open: ")
        told = {"folder": os.getcwd(), "umask": os.umask(0), "session": os.getsid(0), "user": os.geteuid()}
        os.write(writing, json.dumps(told).encode())

    pid = detach(tell, writing, None)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        told = json.loads(pipe.read() or "{}")
    assert told.pop("session") not in (os.getsid(0), pid), "it leads no session, so it can never get a terminal"
    assert told == {"folder": "/", "umask": 0o077, "user": os.geteuid() or NOBODY}

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole probe in this process, against real listeners on loopback."""

from __future__ import annotations

import gc
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._handshake import ERROR_KINDS, NS_PER_S
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe_plan import BadOption, Endpoint, Plan
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe_run import (
    PROGRESS_EVERY_NS,
    ProgressFile,
    ProgressReport,
    quiet_process,
    run_probe,
)


@pytest.fixture
def port() -> Iterator[int]:
    """Port on which every loopback address accepts."""
    with socket.create_server(("0.0.0.0", 0), backlog=512) as listener:
        accepting = threading.Thread(target=accept_all, args=(listener,))
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()


def accept_all(listener: socket.socket) -> None:
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return


def plan(*endpoints: Endpoint, samples: int = 40, progress_path: Path | None = None, cpu: int | None = None) -> Plan:
    return Plan(
        endpoints=endpoints,
        samples=samples,
        warmup=10,
        probe_mode="exhaustive",
        timeout_ms=1_000,
        max_rate=100_000,
        max_rate_per_address=100_000,
        block_size=10,
        resolve_attempts=5,
        cpu=cpu,
        progress_path=str(progress_path) if progress_path else None,
    )


def test_probe_measures_every_address(port: int) -> None:
    result = run_probe(
        plan(Endpoint("one", "x", port, ("127.0.0.1", "127.0.0.2")), Endpoint("two", "x", port, ("127.0.0.3",)))
    )
    one, two = result["endpoints"]
    assert [(address["address"], address["samples"]) for address in one["addresses"] + two["addresses"]] == [
        ("127.0.0.1", 40),
        ("127.0.0.2", 40),
        ("127.0.0.3", 40),
    ]
    assert result["handshakes"] == result["handshakes_planned"] == 120
    assert result["client_address"] == "127.0.0.1"
    assert result["msg"] == "Measured 120 handshakes with 3 addresses of 2 endpoints."
    assert two["best"]["wall_us"] >= two["addresses"][0]["wire"]["best_us"]


def test_nobody_there_is_a_result() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        result = run_probe(plan(Endpoint("one", "x", closed.getsockname()[1], ("127.0.0.1",))))
    endpoint = result["endpoints"][0]
    assert (endpoint["best_median"], endpoint["best"]) == (None, None)
    assert endpoint["addresses"][0]["errors"] == {**dict.fromkeys(ERROR_KINDS, 0), "refused": 3}
    assert result["handshakes"] == 3


def test_nothing_resolved_is_a_result() -> None:
    result = run_probe(plan(Endpoint("one", "a..b", 443)))
    assert result["endpoints"][0]["addresses"] == []
    assert result["endpoints"][0]["resolve_error"]["code"] == "EAI_NONAME"
    assert (result["handshakes"], result["client_address"]) == (0, None)


def test_dry_run_makes_no_handshake_and_no_file(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        endpoint = Endpoint("one", "x", listener.getsockname()[1], ("127.0.0.1",))
        result = run_probe(plan(endpoint, progress_path=tmp_path / "progress.json"), dry=True)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert (result["handshakes"], result["handshakes_planned"]) == (0, 40)
    assert result["msg"].startswith("Would measure 40 handshakes with 1 address of 1 endpoint, at most 100000 a second")
    assert list(tmp_path.iterdir()) == []


def test_progress_ends_as_done(port: int, tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    run_probe(plan(Endpoint("one", "x", port, ("127.0.0.1",)), progress_path=path))
    shown = json.loads(path.read_text(encoding="utf-8"))
    assert (shown["stage"], shown["handshakes_done"], shown["handshakes_total"]) == ("done", 40, 40)
    assert shown["best"][0]["address"] == "127.0.0.1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["progress.json"]


def test_progress_that_can_not_be_written_ends_the_probe_before_any_handshake(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        endpoint = Endpoint("one", "x", listener.getsockname()[1], ("127.0.0.1",))
        with pytest.raises(BadOption, match="progress_path"):
            run_probe(plan(endpoint, progress_path=tmp_path / "missing" / "progress.json"))
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_progress_is_written_at_each_stage_and_twice_a_second(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    report = ProgressReport(ProgressFile(str(path)))
    report.enter("measure", ())
    path.unlink()
    now_ns = report._next_ns
    report.tick(now_ns - 1)
    assert not path.exists()
    report.tick(now_ns)
    assert path.exists()
    assert PROGRESS_EVERY_NS == NS_PER_S // 2


def test_quiet_process_is_undone() -> None:
    allowed = os.sched_getaffinity(0)
    last = max(allowed)
    frozen = gc.get_freeze_count()
    with quiet_process(last):
        assert os.sched_getaffinity(0) == {last}
        assert not gc.isenabled()
        assert gc.get_freeze_count() > frozen
    assert (os.sched_getaffinity(0), gc.isenabled(), gc.get_freeze_count()) == (allowed, True, 0)


def test_quiet_process_is_undone_after_an_error_too() -> None:
    allowed = os.sched_getaffinity(0)
    with pytest.raises(KeyError), quiet_process(max(allowed)):
        raise KeyError
    assert (os.sched_getaffinity(0), gc.isenabled()) == (allowed, True)

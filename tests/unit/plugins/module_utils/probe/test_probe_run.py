# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole probe in this process, against real listeners on loopback."""

from __future__ import annotations

import gc
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe import run
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.clock_steps import ClockWatch
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.handshake import ERROR_KINDS, NS_PER_S
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import Asked, BadOption, Endpoint, Plan
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.run import (
    PROGRESS_EVERY_NS,
    ProgressFile,
    ProgressReport,
    may_use,
    quiet_process,
    run_probe,
)

pytestmark = pytest.mark.usefixtures("frozen_heap")


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


def plan(*endpoints: Endpoint, progress_path: Path | None = None, **changes: Any) -> Plan:
    usual: dict[str, Any] = {
        "endpoints": endpoints,
        "samples": 40,
        "warmup": 10,
        "probe_mode": "exhaustive",
        "timeout_ms": 1_000,
        "max_rate": 100_000,
        "max_rate_per_address": 100_000,
        "block_size": 10,
        "resolve_attempts": 5,
        "cpu": None,
        "progress_path": str(progress_path) if progress_path else None,
    }
    return Plan(**{**usual, **changes})


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


def scheduling() -> tuple[set[int], int, int, bool]:
    return os.sched_getaffinity(0), os.sched_getscheduler(0), os.sched_getparam(0).sched_priority, gc.isenabled()


@pytest.mark.skipif(os.geteuid() != 0, reason="SCHED_FIFO needs root")
def test_realtime_is_undone_too() -> None:
    before = scheduling()
    with quiet_process(None, realtime=True):
        assert os.sched_getscheduler(0) == os.SCHED_FIFO
    assert scheduling() == before


def test_realtime_without_the_privilege_is_told_before_a_wait_and_leaves_nothing_behind() -> None:
    told, telling = os.pipe()
    child = os.fork()
    if not child:
        os._exit(realtime_as_nobody(telling))
    os.close(telling)
    with os.fdopen(told, encoding="utf-8") as reading:
        said = reading.read()
    assert os.waitpid(child, 0)[1] == 0
    assert said.startswith("realtime: True needs root, CAP_SYS_NICE or a limit RTPRIO above 0")


def realtime_as_nobody(telling: int) -> int:
    """What a child does that has no privilege; returns its exit code."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setuid(65_534)
    before = scheduling()
    try:
        run_probe(plan(Endpoint("one", "x", 1, ("127.0.0.1",)), realtime=True, quiet_timeout_s=3_600))
    except BadOption as error:
        os.write(telling, str(error).encode())
    return int(scheduling() != before)


def test_only_cpus_that_the_kernel_gives_may_be_used() -> None:
    allowed = os.sched_getaffinity(0)
    assert all(may_use(cpu) for cpu in allowed)
    assert not any(may_use(cpu) for cpu in (-1, 1_000, 2**31 - 1, 2**40, 2**70))
    assert os.sched_getaffinity(0) == allowed


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_a_cpu_that_this_process_is_not_spread_over_may_be_used_all_the_same() -> None:
    # As an isolated CPU: no process is spread over it, and the kernel lets any go there.
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert may_use(max(allowed))
        assert os.sched_getaffinity(0) == {min(allowed)}
    finally:
        os.sched_setaffinity(0, allowed)


def test_adaptive_probe_says_how_each_address_ended_and_what_was_asked(port: int) -> None:
    asked = Asked(median_limit_us=0.5)
    result = run_probe(
        plan(Endpoint("one", "x", port, ("127.0.0.1", "127.0.0.2")), probe_mode="adaptive", samples=1_000, asked=asked)
    )
    for address in result["endpoints"][0]["addresses"]:
        assert (address["ended"]["how"], address["ended"]["by"]) == ("above", "median")
        assert address["ended"]["samples"] == address["samples"] < 1_000
        assert address["ended"]["log_likelihood_ratio"] < 0
    assert (result["asked"]["median_limit_us"], result["handshakes_planned"]) == (0.5, 2_000)
    assert "(2 above) of 1 endpoint. No handshake reached a limit: the lowest took " in result["msg"]


def test_what_was_asked_is_only_part_of_the_method_in_adaptive_mode() -> None:
    endpoint = Endpoint("one", "x", 1, ("127.0.0.1",))
    exhaustive = run_probe(plan(endpoint), dry=True)["method"]
    adaptive = run_probe(plan(endpoint, probe_mode="adaptive"), dry=True)["method"]
    names = ("mode", "metric", "error_rate", "indifference", "full_addresses")
    assert [exhaustive[name] for name in names] == ["exhaustive", None, None, None, None]
    assert [adaptive[name] for name in names] == ["adaptive", "wall", 0.001, 0.1, 3]


def test_spin_and_chosen_ports_are_used(port: int) -> None:
    result = run_probe(
        plan(Endpoint("one", "x", port, ("127.0.0.1",)), connect="spin", source_ports=4, warmup=12, samples=80)
    )
    (address,) = result["endpoints"][0]["addresses"]
    assert [row["samples"] for row in address["ports"]] == [20, 20, 20, 20]
    assert (address["port_spread"]["ports"], address["port_spread"]["samples"]) == (4, 80)
    assert (result["method"]["connect"], result["method"]["source_ports"]) == ("spin", 4)


def test_ports_of_the_kernel_are_told_by_their_remainder_and_compared_with_nothing(port: int) -> None:
    (address,) = run_probe(plan(Endpoint("one", "x", port, ("127.0.0.1",)), samples=200))["endpoints"][0]["addresses"]
    assert sum(row["samples"] for row in address["ports"]) == 200
    assert all(row["bucket"] < 16 for row in address["ports"])
    assert address["port_spread"] is None


def test_a_service_without_tls_is_told(port: int) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoints = (
            Endpoint("one", "one.example.com", port, ("127.0.0.1",)),
            Endpoint("two", "two.example.com", closed.getsockname()[1], ("127.0.0.1",)),
        )
        one, two = run_probe(plan(*endpoints, verify_tls=True))["endpoints"]
    tls = one["addresses"][0]["tls"]
    assert (tls["ok"], tls["protocol"]) == (False, None)
    assert tls["error"]
    # Nothing was measured, so nobody is asked.
    assert two["addresses"][0]["tls"] is None


def test_a_host_that_can_be_no_tls_name_is_told_and_its_figures_are_kept(port: int) -> None:
    good, bad = (
        run_probe(plan(Endpoint("one", host, port, ("127.0.0.1",)), verify_tls=True))["endpoints"][0]["addresses"][0]
        for host in ("one.example.com", "." * 3)
    )
    assert (bad["tls"]["ok"], bad["tls"]["error"], bad["samples"]) == (False, "NOT_A_NAME", 40)
    assert set(bad["tls"]) == set(good["tls"])


def test_without_being_asked_no_tls_is_tried(port: int) -> None:
    result = run_probe(plan(Endpoint("one", "x", port, ("127.0.0.1",))))
    assert result["endpoints"][0]["addresses"][0]["tls"] is None


def test_surroundings_are_told(port: int) -> None:
    result = run_probe(plan(Endpoint("one", "x", port, ("127.0.0.1",))))
    assert result["quiet"]["quiet"] is None
    # Loopback leaves no interface to ask.
    assert result["allowances"] == {"before": {}, "after": {}, "moved": {}, "error": None}
    assert result["clock_steps"] == {"count": 0, "net_us": 0.0, "steps": []}


def test_localhost_is_measured_and_a_dry_run_tells_no_surroundings(port: int) -> None:
    result = run_probe(plan(Endpoint("one", "localhost", port)), dry=True)
    (endpoint,) = result["endpoints"]
    assert [address["address"] for address in endpoint["addresses"]] == ["127.0.0.1"]
    assert (endpoint["refused_answers"], endpoint["addresses"][0]["ended"]) == ([], None)
    assert (result["quiet"], result["allowances"], result["clock_steps"]) == (None, None, None)


def test_progress_shrinks_when_addresses_are_decided(port: int, tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    endpoint = Endpoint("one", "x", port, ("127.0.0.1", "127.0.0.2"))
    asked = Asked(median_limit_us=0.5)
    run_probe(plan(endpoint, probe_mode="adaptive", samples=5_000, asked=asked, progress_path=path))
    shown = json.loads(path.read_text(encoding="utf-8"))
    assert shown["handshakes_done"] == shown["handshakes_total"] < 10_000
    assert (shown["addresses"], shown["addresses_decided"], shown["addresses_dropped"]) == (2, 2, 0)
    assert shown["best"][0]["samples"] > 0


def test_a_time_of_day_that_is_set_is_told_and_touches_no_figure(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The machine's own clock is everybody's, so only what the watch reads of it is set back by an hour.
    looks = itertools.count()

    def set_back() -> int:
        return time.time_ns() - (3_600 * NS_PER_S if next(looks) >= 10 else 0)

    monkeypatch.setattr(run, "ClockWatch", lambda: ClockWatch(set_back, time.monotonic_ns))
    result = run_probe(plan(Endpoint("one", "x", port, ("127.0.0.1",))))
    assert result["clock_steps"]["count"] == 1
    assert result["clock_steps"]["net_us"] == pytest.approx(-3_600e6, rel=1e-3)
    (address,) = result["endpoints"][0]["addresses"]
    assert 0 < address["wire"]["best_us"] <= address["wall"]["p99_9_us"] < 3_600e6

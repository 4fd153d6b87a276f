# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe against a path whose truth is known: see tests/support/syn_rig.py."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._statistics import bin_width_us
from support.probe_process import probe_command, run_probe_module
from support.syn_rig import Behaviour, SynRig, cpus, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

NO_ERRORS = {"timeout": 0, "refused": 0, "reset": 0, "unreachable": 0, "other": 0, "retransmitted": 0}
NEAR, MIDDLE, FAR = "198.19.248.11", "198.19.248.12", "198.19.248.13"


def probe(behaviours: Mapping[str, Behaviour], **options: Any) -> tuple[dict[str, Any], dict[str, Any], SynRig]:
    """Result of a probe of all addresses of a rig, its addresses by their name, and the rig with its report."""
    with SynRig(behaviours) as rig:
        endpoint = {"name": "rig", "host": "rig.example.com", "addresses": list(behaviours)}
        options = {"endpoints": [endpoint], "cpu": cpus()[0], "max_rate_per_address": 4_000, **options}
        result = run_probe_module(options, prefix=rig.command([])).result
    assert not result.get("failed"), result
    addresses = {address["address"]: address for address in result["endpoints"][0]["addresses"]}
    return result, addresses, rig


def usual_wire_us(address: Mapping[str, Any]) -> tuple[int, int]:
    """Bounds of the wire time that was seen most often.

    Other work on the machine moves the median of a probe, also far; it spreads what it holds up, and leaves this. How
    near the median is on a machine that does nothing else is what tests/bench/probe.py shows.
    """
    histogram = address["histogram"]["wire"]
    _count, edge_us = max(zip(histogram["count"], histogram["edge_us"]))
    return edge_us, edge_us + bin_width_us(edge_us)


@pytest.mark.parametrize("max_rate_per_address", [4_000, 400], ids=["busy", "paced"])
def test_usual_wire_time_is_the_truth_and_wall_is_above_it(max_rate_per_address: int) -> None:
    behaviours = {NEAR: Behaviour(60), MIDDLE: Behaviour(120), FAR: Behaviour(400)}
    result, addresses, _rig = probe(behaviours, samples=500, max_rate_per_address=max_rate_per_address)
    for name, behaviour in behaviours.items():
        shown = addresses[name]
        assert shown["samples"] == 500
        low_us, high_us = usual_wire_us(shown)
        assert high_us >= behaviour.delay_us
        assert low_us <= behaviour.delay_us + 5
        # tcpi_rtt is in whole microseconds.
        for figure in ("best_us", "median_us", "p99_us"):
            assert shown["wall"][figure] >= shown["wire"][figure] - 1
    assert result["endpoints"][0]["best_median"]["address"] == NEAR


def test_jitter_moves_the_median_by_its_own() -> None:
    _result, addresses, rig = probe({NEAR: Behaviour(100, jitter_us=20)}, samples=2_000)
    # What the machine did meanwhile only adds to the law's own median, and the probe never falls below the truth.
    assert rig.report[NEAR]["kept_median_us"] >= 100 + 20 * math.log(2) - 2
    assert addresses[NEAR]["wire"]["median_us"] >= rig.report[NEAR]["kept_median_us"] - 5
    # Exponential: the 99th percentile lies 4.6 means above the least.
    assert addresses[NEAR]["wire"]["p99_us"] >= 100 + 20 * 4.6 - 15


def test_retransmitted_handshakes_are_counted_apart() -> None:
    # A lost SYN is sent again after a second, which this timeout waits for: here the 20th, 40th and 60th.
    _result, addresses, rig = probe({NEAR: Behaviour(100, lose_every=20)}, samples=57, warmup=3, timeout_ms=3_000)
    shown = addresses[NEAR]
    assert shown["samples"] == 57
    assert shown["errors"] == {**NO_ERRORS, "retransmitted": 3}
    assert rig.report[NEAR]["connections"] == 3 + 57 + 3
    assert shown["wall"]["p99_9_us"] < 1_000_000


def test_lost_syns_are_timeouts_when_the_timeout_is_short() -> None:
    _result, addresses, rig = probe({NEAR: Behaviour(100, lose_every=20)}, samples=57, warmup=3, timeout_ms=300)
    assert addresses[NEAR]["samples"] == 57
    assert addresses[NEAR]["errors"] == {**NO_ERRORS, "timeout": 3}
    assert rig.report[NEAR]["syns"] == rig.report[NEAR]["connections"] == 3 + 57 + 3


def test_dead_and_refusing_addresses_are_dropped_after_three_and_spoil_nothing() -> None:
    behaviours = {NEAR: Behaviour(100, silent_after=0), MIDDLE: Behaviour(100, refuse=True), FAR: Behaviour(150)}
    result, addresses, rig = probe(behaviours, samples=200, timeout_ms=300)
    assert addresses[NEAR]["errors"] == {**NO_ERRORS, "timeout": 3}
    assert addresses[MIDDLE]["errors"] == {**NO_ERRORS, "refused": 3}
    for name in (NEAR, MIDDLE):
        assert rig.report[name]["connections"] == 3
        assert (addresses[name]["wall"], addresses[name]["wire"], addresses[name]["dropped"]) == (None, None, True)
    assert addresses[FAR]["samples"] == 200
    low_us, high_us = usual_wire_us(addresses[FAR])
    assert low_us - 5 <= 150 <= high_us
    assert result["endpoints"][0]["best_median"]["address"] == FAR


def test_address_that_falls_silent_is_dropped_after_twenty_with_its_samples() -> None:
    result, addresses, rig = probe({NEAR: Behaviour(100, silent_after=60)}, samples=200, warmup=10, timeout_ms=300)
    assert addresses[NEAR]["samples"] == 50
    assert addresses[NEAR]["errors"] == {**NO_ERRORS, "timeout": 20}
    assert rig.report[NEAR]["connections"] == 80
    assert result["endpoints"][0]["best"]["address"] == NEAR


def test_nobody_answers_and_that_is_a_result() -> None:
    result, _addresses, _rig = probe({NEAR: Behaviour(silent_after=0), MIDDLE: Behaviour(refuse=True)}, timeout_ms=20)
    assert result["changed"] is False
    assert (result["endpoints"][0]["best_median"], result["endpoints"][0]["best"]) == (None, None)
    assert result["handshakes"] == 6


@pytest.mark.parametrize(
    ("caps", "per_address", "in_all"),
    [({"max_rate_per_address": 200}, 200, 600), ({"max_rate": 300}, 100, 300)],
    ids=["per address", "in all"],
)
def test_rates_are_kept_on_the_wire(caps: dict[str, int], per_address: int, in_all: int) -> None:
    behaviours = dict.fromkeys((NEAR, MIDDLE, FAR), Behaviour(100))
    _result, _addresses, rig = probe(behaviours, samples=300, warmup=9, **caps)
    seen = rig.report.values()
    span_s = max(one["last_s"] for one in seen) - min(one["first_s"] for one in seen)
    # The mean of 900 gaps deviates by 1 %; slower is allowed, a busy machine is no fault of the probe's.
    assert sum(one["syns"] for one in seen) / span_s <= in_all * 1.05
    for one in seen:
        assert one["syns"] / (one["last_s"] - one["first_s"]) <= per_address * 1.1


def test_progress_is_seen_moving_from_outside(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    with SynRig({NEAR: Behaviour(100)}) as rig:
        endpoint = {"name": "rig", "host": "rig.example.com", "addresses": [NEAR]}
        # Off the CPU of the rig's owner, which goes before all others.
        options = {"endpoints": [endpoint], "samples": 400, "progress_path": str(path), "cpu": str(cpus()[0])}
        process = subprocess.Popen(
            rig.command(probe_command()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
        process.stdin.close()
        seen = []
        while process.poll() is None:
            if path.exists():
                seen.append(json.loads(path.read_text(encoding="utf-8")))
            time.sleep(0.02)
        assert process.stdout is not None
        process.stdout.close()
    counts = [one["handshakes_done"] for one in seen]
    assert counts == sorted(counts)
    assert len({one["handshakes_done"] for one in seen if one["stage"] == "measure"}) >= 3
    assert seen[-1]["handshakes_total"] == 400
    assert json.loads(path.read_text(encoding="utf-8"))["stage"] == "done"

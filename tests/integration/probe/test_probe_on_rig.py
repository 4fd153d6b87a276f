# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe against a path whose truth is known: see tests/support/syn_rig.py."""

from __future__ import annotations

import json
import math
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from support.probe_on_rig import NO_ERRORS, Probed, all_within, assert_wire_is_the_truth, probe_rig
from support.probe_process import probe_command
from support.syn_rig import Behaviour, SynRig, cpus, why_not

pytestmark = [pytest.mark.measures, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

NEAR, MIDDLE, FAR = "198.19.248.11", "198.19.248.12", "198.19.248.13"
# Short, for it is waited through, and far above what the rig's answers take: one that is later is no test of silence.
SHORT_MS = 100
IN_TIME = all_within(SHORT_MS * 1_000 / 2)


def nearest(address: str, by_us: float) -> Any:
    """Spoiled when, by what the rig kept, an address is not nearer than all others by so much."""

    def spoiled(probed: Probed) -> str | None:
        medians_us = {name: probed.truth(name).median_us for name in probed.rig.truth}
        near_us = medians_us.pop(address)
        return None if near_us + by_us <= min(medians_us.values()) else f"medians of {near_us:.0f} us and {medians_us}"

    return spoiled


@pytest.mark.parametrize(
    ("max_rate_per_address", "samples"), [(4_000, 500), (400, 200)], ids=["busy", "paced"]
)
def test_wire_time_is_the_truth_and_wall_is_above_it(max_rate_per_address: int, samples: int) -> None:
    behaviours = {NEAR: Behaviour(60), MIDDLE: Behaviour(120), FAR: Behaviour(400)}
    probed = probe_rig(
        behaviours, nearest(NEAR, 20), samples=samples, max_rate_per_address=max_rate_per_address
    )
    for name, behaviour in behaviours.items():
        shown = probed.addresses[name]
        assert shown["samples"] == len(probed.truth(name).kept_us) == samples
        assert_wire_is_the_truth(probed, name)
        assert shown["wire"]["best_us"] >= behaviour.delay_us
        # tcpi_rtt is in whole microseconds.
        for figure in ("best_us", "median_us", "p99_us"):
            assert shown["wall"][figure] >= shown["wire"][figure] - 1
    assert probed.result["endpoints"][0]["best_median"]["address"] == NEAR


def test_jitter_moves_the_median_by_its_own() -> None:
    probed = probe_rig({NEAR: Behaviour(100, jitter_us=20)}, samples=2_000)
    assert_wire_is_the_truth(probed, NEAR)
    # What the machine did meanwhile only adds to the law's own median and tail. Exponential: the 99th percentile lies
    # 4.6 means above the least.
    assert probed.truth(NEAR).median_us >= 100 + 20 * math.log(2) - 2
    assert probed.addresses[NEAR]["wire"]["p99_us"] >= 100 + 20 * 4.6 - 15


def test_retransmitted_handshakes_are_counted_apart() -> None:
    # A lost SYN is sent again after a second, which this timeout waits for: here the 25th and the 50th.
    probed = probe_rig({NEAR: Behaviour(100, lose_every=25)}, samples=57, timeout_ms=3_000)
    shown = probed.addresses[NEAR]
    assert shown["samples"] == 57
    assert shown["errors"] == {**NO_ERRORS, "retransmitted": 2}
    assert probed.rig.report[NEAR]["connections"] == 3 + 57 + 2
    assert shown["wall"]["p99_9_us"] < 1_000_000


def test_lost_syns_are_timeouts_when_the_timeout_is_short() -> None:
    probed = probe_rig({NEAR: Behaviour(100, lose_every=20)}, IN_TIME, samples=57, timeout_ms=SHORT_MS)
    assert probed.addresses[NEAR]["samples"] == 57
    assert probed.addresses[NEAR]["errors"] == {**NO_ERRORS, "timeout": 3}
    assert probed.rig.report[NEAR]["syns"] == probed.rig.report[NEAR]["connections"] == 3 + 57 + 3


def test_dead_and_refusing_addresses_are_dropped_after_three_and_spoil_nothing() -> None:
    behaviours = {NEAR: Behaviour(100, silent_after=0), MIDDLE: Behaviour(100, refuse=True), FAR: Behaviour(150)}
    probed = probe_rig(behaviours, IN_TIME, samples=200, timeout_ms=SHORT_MS)
    addresses, rig = probed.addresses, probed.rig
    assert addresses[NEAR]["errors"] == {**NO_ERRORS, "timeout": 3}
    assert addresses[MIDDLE]["errors"] == {**NO_ERRORS, "refused": 3}
    for name in (NEAR, MIDDLE):
        assert rig.report[name]["connections"] == 3
        assert (addresses[name]["wall"], addresses[name]["wire"], addresses[name]["dropped"]) == (None, None, True)
    assert addresses[FAR]["samples"] == 200
    assert_wire_is_the_truth(probed, FAR)
    assert probed.result["endpoints"][0]["best_median"]["address"] == FAR


def test_address_that_falls_silent_is_dropped_after_twenty_with_its_samples() -> None:
    behaviours = {NEAR: Behaviour(100, silent_after=60)}
    probed = probe_rig(behaviours, IN_TIME, samples=200, warmup=10, timeout_ms=SHORT_MS)
    assert probed.addresses[NEAR]["samples"] == 50
    assert probed.addresses[NEAR]["errors"] == {**NO_ERRORS, "timeout": 20}
    assert probed.rig.report[NEAR]["connections"] == 80
    assert probed.result["endpoints"][0]["best"]["address"] == NEAR


def test_nobody_answers_and_that_is_a_result() -> None:
    result = probe_rig({NEAR: Behaviour(silent_after=0), MIDDLE: Behaviour(refuse=True)}, timeout_ms=20).result
    assert result["changed"] is False
    assert (result["endpoints"][0]["best_median"], result["endpoints"][0]["best"]) == (None, None)
    assert result["handshakes"] == 6


@pytest.mark.parametrize(
    ("caps", "per_address", "in_all"),
    [({"max_rate_per_address": 400}, 400, 1_200), ({"max_rate": 900}, 300, 900)],
    ids=["per address", "in all"],
)
def test_rates_are_kept_on_the_wire(caps: dict[str, int], per_address: int, in_all: int) -> None:
    behaviours = dict.fromkeys((NEAR, MIDDLE, FAR), Behaviour(100))
    seen = probe_rig(behaviours, samples=300, warmup=9, **caps).rig.report.values()
    span_s = max(one["last_s"] for one in seen) - min(one["first_s"] for one in seen)
    # The mean of 900 gaps deviates by 1 %; slower is allowed, a busy machine is no fault of the probe's.
    assert sum(one["syns"] for one in seen) / span_s <= in_all * 1.05
    for one in seen:
        assert one["syns"] / (one["last_s"] - one["first_s"]) <= per_address * 1.1


def test_progress_is_seen_moving_from_outside(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    counts: list[int] = []
    with SynRig({NEAR: Behaviour(100)}) as rig:
        endpoint = {"name": "rig", "host": "rig.example.com", "addresses": [NEAR]}
        # More than can be made meanwhile: the probe is ended when it has been seen to move, however long that takes.
        options = {"endpoints": [endpoint], "samples": 100_000, "progress_path": str(path), "cpu": str(cpus()[0])}
        with subprocess.Popen(
            rig.command(probe_command()),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
            process.stdin.close()
            while len(set(counts)) < 3:
                assert process.poll() is None
                time.sleep(0.02)
                seen = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"stage": None}
                if seen["stage"] == "measure":
                    assert seen["handshakes_total"] == 100_000
                    counts.append(seen["handshakes_done"])
            process.kill()
    assert counts == sorted(counts)

# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adaptive mode against paths whose truth is known, far enough apart for any machine to tell."""

from __future__ import annotations

from typing import Any

import pytest
from support.calm import calm
from support.probe_process import run_probe_module
from support.syn_rig import Behaviour, SynRig, cpus, why_not

pytestmark = [pytest.mark.measures, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

NEAR = [f"198.19.248.{number}" for number in (11, 12)]
FAR = [f"198.19.248.{number}" for number in range(21, 24)]
LIMIT_US = 4_000.0
BEHAVIOURS = {
    **{address: Behaviour(200 + 400 * number, jitter_us=20) for number, address in enumerate(NEAR)},
    **{address: Behaviour(8_000, jitter_us=20) for address in FAR},
}


def probe(**options: Any) -> dict[str, Any]:
    """Result of a probe of two endpoints of the rig, a near one and a far one."""
    return calm(lambda: probe_once(**options), out_of_place)[0]


def probe_once(**options: Any) -> tuple[dict[str, Any], SynRig]:
    with SynRig(BEHAVIOURS) as rig:
        endpoints = [
            {"name": "near", "host": "near.example.com", "addresses": NEAR},
            {"name": "far", "host": "far.example.com", "addresses": FAR},
        ]
        asked = {"endpoints": endpoints, "cpu": cpus()[0], "samples": 400, "timeout_ms": 900, **options}
        result = run_probe_module({"max_rate_per_address": 4_000, **asked}, prefix=rig.command([])).result
    assert not result.get("failed"), result
    return result, rig


def out_of_place(probed: tuple[dict[str, Any], SynRig]) -> str | None:
    """Whether the rig kept other delays than asked for, so far that an address is elsewhere than it should be."""
    truth = probed[1].truth
    off_us = {address: truth[address].median_us - one.delay_us for address, one in BEHAVIOURS.items()}
    most_us = max(off_us.values())
    return f"the median of an address was {most_us:.0f} us too high" if most_us > 150 else None


def ways(result: dict[str, Any], endpoint: int) -> list[tuple[str, str]]:
    return [(one["ended"]["how"], one["ended"]["by"]) for one in result["endpoints"][endpoint]["addresses"]]


@pytest.mark.parametrize("metric", ["wall", "wire"])
def test_each_address_is_found_on_its_side_of_the_limit(metric: str) -> None:
    result = probe(median_limit_us=LIMIT_US, metric=metric)
    near, far = result["endpoints"]
    assert ("full", "median") in ways(result, 0)
    assert set(ways(result, 0)) <= {("full", "median"), ("below", "median")}
    assert ways(result, 1) == [("above", "median")] * len(FAR)
    assert all(address["samples"] <= 100 for address in far["addresses"])
    assert near["best_median"]["address"] == NEAR[0]
    assert near["best_median"]["samples"] == 400


def test_a_champion_that_can_not_be_beaten_ends_all_early() -> None:
    result = probe(primary_endpoint="near", champion_us=50.0, samples=10_000)
    assert ways(result, 0) == [("beaten", "champion")] * len(NEAR)
    assert result["handshakes"] <= 200 * len(BEHAVIOURS)


def test_a_champion_that_is_far_is_challenged_with_full_samples() -> None:
    result = probe(primary_endpoint="near", champion_us=4_000.0, full_addresses=1)
    assert ("full", "champion") in ways(result, 0)
    assert "full" not in {how for how, _by in ways(result, 1)}
